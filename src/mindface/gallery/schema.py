"""The SQLite database of an embedded gallery: opened, brought up to date, or refused."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mindface.errors import GalleryError, IntegrityError, MindFaceError
from mindface.gallery.encryption import PAGE, Key, driver, open_database, sqlite_errors
from mindface.zoo.lock import locked

APPLICATION = 0x4D464761  # "MFGa"
WAIT = 60.0  # seconds for another writer
MIGRATIONS = Path(__file__).parent / "migrations"

_FULL = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_DENIED = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}


def migrations() -> list[Path]:
    """Scripts by number; the n-th leads from schema n - 1 to schema n."""
    return sorted(MIGRATIONS.glob("[0-9][0-9][0-9][0-9]_*.sql"))


def connect(path: Path, key: Key | None = None) -> sqlite3.Connection:
    """Opens a gallery's database, durable at each commit, and migrates it.

    Raises:
        GalleryKeyError: see `encryption.open_database`; MissingExtraError likewise.
        GalleryError: it is another program's, or of a newer schema, or cannot be opened.
        IntegrityError: it is damaged.
    """
    if path.is_dir():
        raise GalleryError(f"{path}: a folder, not a gallery: name a file")
    driver(key)  # if absent, nothing is made
    with translated(path), locked(beside(path, "lock")):
        if not path.exists():
            path.touch(mode=0o600)
        connection = open_database(path, key, WAIT)
        try:
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA cell_size_check = ON")
            _migrate(connection, path)
            connection.execute("PRAGMA synchronous = FULL")
        except BaseException:
            connection.close()
            raise
    return connection


def beside(path: Path, what: str) -> Path:
    """The file of a gallery that holds something else than the database."""
    return path.with_name(f"{path.name}-{what}")


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turns what SQLite and the system raise into errors that say what to do.

    Raises:
        IntegrityError: the database is damaged.
        GalleryError: it cannot be opened, read or written.
    """
    try:
        yield
    except sqlite_errors() as error:
        raise _meaning(path, error) from error
    except UnicodeDecodeError as error:  # from SQLite's own messages too
        raise _damage(path, error) from error
    except OSError as error:
        raise GalleryError(
            f"{path}: {error.strerror or error}: what was acknowledged is kept"
        ) from error


def _meaning(path: Path, error: Exception) -> MindFaceError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _FULL:
        return GalleryError(
            f"{path}: not written ({error}): the disk is full or fails; what was acknowledged is "
            "kept: free space and try again"
        )
    if code in _BUSY:
        return GalleryError(f"{path}: another process has been writing for {WAIT:.0f} s: try again")
    if code in _DENIED or isinstance(error, sqlite_errors("ProgrammingError")):
        return GalleryError(f"{path}: {error}")
    return _damage(path, error)


def _damage(path: Path, error: Exception) -> IntegrityError:
    return IntegrityError(
        f"{path}: damaged, or no gallery ({error}): restore a backup, or recover what is left"
    )


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    scripts = migrations()
    schema = _pragma(connection, "user_version")
    owner = _pragma(connection, "application_id")
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if tables and owner != APPLICATION:
        raise GalleryError(f"{path}: the database of another program: name another file")
    if schema > len(scripts):
        raise GalleryError(
            f"{path}: has schema {schema}, and this MindFace knows up to {len(scripts)}: "
            "run  pip install --upgrade mindface"
        )
    if not tables:
        connection.execute(f"PRAGMA page_size = {PAGE}")
        connection.execute("PRAGMA journal_mode = WAL")
    for number, script in enumerate(scripts[schema:], schema + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in _statements(script.read_text(encoding="utf-8")):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
            connection.execute("COMMIT")
        except BaseException:
            connection.rollback()
            raise


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
