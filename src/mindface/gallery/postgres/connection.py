"""A database of PostgreSQL: reached, its gallery made or brought up to date, its errors told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlunsplit

import psycopg
from psycopg import errors, sql

from mindface.errors import GalleryError, IntegrityError, MindFaceError
from mindface.gallery.claim import founded

WAIT = 60  # seconds for another writer
FOUNDING = 0x4D464761  # "MFGa", the advisory lock under which galleries are made
PLAIN = 1900  # values of a vector that fits into a page beside its row
SHOWN = 63  # bytes of a name that PostgreSQL keeps
MIGRATIONS = Path(__file__).parent / "migrations"

Connection = psycopg.Connection[tuple[Any, ...]]


def migrations() -> list[Path]:
    """Scripts by number; the n-th leads from schema n - 1 to schema n."""
    return sorted(MIGRATIONS.glob("[0-9][0-9][0-9][0-9]_*.sql"))


def shown(address: SplitResult, gallery: str) -> str:
    """The URL without passwords, for messages."""
    host = address.netloc.rpartition("@")[2]
    return f"postgresql://{host}{address.path}?gallery={gallery}"


def connect(
    where: str, address: SplitResult, gallery: str, contract: str | None, size: int | None
) -> Connection:
    """Connects, and makes or migrates the gallery, which is a schema of the database.

    Args:
        where: the URL, for messages.
        address: the URL as libpq takes it.
        gallery: the name of the schema.
        contract: of a new gallery.
        size: likewise.

    Raises:
        GalleryError: no connection, no pgvector, a schema of another program or a newer MindFace,
            or no gallery, and it was not said whose embeddings a new one will hold.
    """
    if len(gallery.encode()) > SHOWN:
        raise GalleryError(f"{where}: the name of a gallery has at most {SHOWN} bytes here")
    with translated(where):
        told = psycopg.conninfo.conninfo_to_dict(urlunsplit(address))
        options: dict[str, Any] = {"connect_timeout": 10, **told, "client_encoding": "UTF8"}
        connection = psycopg.connect(autocommit=True, **options)
        try:
            _prepare(connection, where, gallery, contract, size)
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Turns what the server and libpq say into errors that say what to do.

    Raises:
        IntegrityError: the server found damage.
        GalleryError: it cannot be reached, read or written.
    """
    try:
        yield
    except psycopg.Error as error:
        raise _meaning(where, error) from error


def _meaning(where: str, error: psycopg.Error) -> MindFaceError:
    said = str(error).strip().partition("\n")[0]
    if isinstance(error, errors.LockNotAvailable):
        return GalleryError(f"{where}: others have been using it for {WAIT} s: try again")
    if isinstance(error, errors.DiskFull):
        return GalleryError(
            f"{where}: not written ({said}); what was acknowledged is kept: free space on the "
            "server and try again"
        )
    if isinstance(error, errors.DataCorrupted | errors.IndexCorrupted):
        return IntegrityError(f"{where}: damaged ({said}): restore a backup of the database")
    if isinstance(error, psycopg.DataError) and "NUL" in said:
        return GalleryError(f"{where}: PostgreSQL cannot store text with a NUL in it: leave it out")
    if isinstance(error, psycopg.OperationalError) and error.sqlstate is None:
        return GalleryError(
            f"{where}: no connection ({said}): what was acknowledged is kept; try again, writes "
            "with the same operation id"
        )
    return GalleryError(f"{where}: {said}")


def _prepare(
    connection: Connection, where: str, gallery: str, contract: str | None, size: int | None
) -> None:
    encoding = _one(connection, "SHOW server_encoding")
    if encoding != "UTF8":
        raise GalleryError(f"{where}: the database has the encoding {encoding}: make one in UTF8")
    schema = sql.Identifier(gallery)
    connection.execute(sql.SQL("SET lock_timeout = {}").format(sql.Literal(f"{WAIT}s")))
    connection.execute("SET synchronous_commit = on")
    if _schema(connection, where, gallery) != len(migrations()):
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (FOUNDING,))
            _migrate(connection, where, gallery, contract, size)
    path = [schema, sql.Identifier(_home(connection, where))]
    connection.execute(sql.SQL("SET search_path = {}").format(sql.SQL(", ").join(path)))


def _migrate(
    connection: Connection, where: str, gallery: str, contract: str | None, size: int | None
) -> None:
    found = _schema(connection, where, gallery)
    facts: dict[str, str] = {}
    if found == 0:
        facts = founded(where, contract, size)
        connection.execute(
            sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(gallery))
        )
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    path = [sql.Identifier(gallery), sql.Identifier(_home(connection, where))]
    connection.execute(sql.SQL("SET LOCAL search_path = {}").format(sql.SQL(", ").join(path)))
    size = int(facts["size"]) if facts else int(_one(connection, _FACT, "size"))
    words = {"{size}": str(size), "{storage}": "PLAIN" if size <= PLAIN else "EXTERNAL"}
    for script in migrations()[found:]:
        text = script.read_text(encoding="utf-8")
        for word, value in words.items():
            text = text.replace(word, value)
        connection.execute(text.encode())
    facts["schema"] = str(len(migrations()))
    for key, value in facts.items():
        connection.execute("DELETE FROM meta WHERE key = %s", (key,))
        connection.execute("INSERT INTO meta (key, value) VALUES (%s, %s)", (key, value))


_FACT = "SELECT value FROM meta WHERE key = %s"


def _schema(connection: Connection, where: str, gallery: str) -> int:
    """Which migration the gallery had last; 0: there is none.

    Raises:
        GalleryError: a newer one, or tables of another program.
    """
    tables = connection.execute(
        "SELECT tablename FROM pg_tables WHERE schemaname = %s", (gallery,)
    ).fetchall()
    if not tables:
        return 0
    if not {("meta",), ("people",), ("journal",)} <= {*tables}:
        raise GalleryError(
            f"{where}: the schema {gallery} has tables of another program: name another gallery"
        )
    statement = sql.SQL("SELECT value FROM {} WHERE key = 'schema'")
    row = connection.execute(statement.format(sql.Identifier(gallery, "meta"))).fetchone()
    found = int(row[0]) if row else 0
    if found > len(migrations()):
        raise GalleryError(
            f"{where}: has schema {found}, and this MindFace knows up to {len(migrations())}: "
            "run  pip install --upgrade mindface"
        )
    return found


def _home(connection: Connection, where: str) -> str:
    """The schema that pgvector was installed into."""
    row = connection.execute(
        "SELECT nspname FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace "
        "WHERE extname = 'vector'"
    ).fetchone()
    if row is None:
        raise GalleryError(f"{where}: pgvector is not there: run  CREATE EXTENSION vector")
    return str(row[0])


def _one(connection: Connection, statement: str, *values: object) -> str:
    row = connection.execute(statement.encode(), values).fetchone()
    return str(row[0]) if row else ""


def parameters(statement: str, values: Sequence[object]) -> tuple[bytes, Sequence[object] | None]:
    """A statement with `?` as psycopg takes it."""
    return statement.replace("?", "%s").encode(), values or None
