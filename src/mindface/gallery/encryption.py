"""Galleries that are encrypted on disk: each page of the database and its log, by SQLCipher.

AES-256 in CBC mode with an HMAC-SHA512 of each page
(https://www.zetetic.net/sqlcipher/design/). Temporary tables stay in memory.
"""

from __future__ import annotations

import binascii
import os
import re
import secrets
import sqlite3
import sys
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from mindface.errors import GalleryKeyError, MissingExtraError

BYTES = 32  # of a key
PAGE = 8192  # bytes of a database's page: three faces of 512 values
LONGEST = 4096  # bytes of a file that may hold a key
PLAIN = b"SQLite format 3\x00"
FRACTIONS = b"\x40\x20\x20"  # what any SQLite file that is not encrypted has from byte 21 on
WORLD = 0o007  # permissions of everybody
MODULE = "sqlcipher3.dbapi2"


@dataclass(frozen=True)
class Key:
    """What an encrypted gallery is opened with. Who loses it loses the gallery.

    Attributes:
        secret: 32 random bytes.

    Raises:
        GalleryKeyError: there are not 32.
    """

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != BYTES:
            raise GalleryKeyError(
                f"a key has {BYTES} bytes, not {len(self.secret)}: mindface gallery key FILE "
                "makes one"
            )

    @classmethod
    def parse(cls, text: str, where: str) -> Key:
        """The key in hexadecimal digits or Base64.

        Args:
            text: of the key.
            where: it stands, for messages, which never show it.

        Raises:
            GalleryKeyError: it is neither, or not of 32 bytes.
        """
        text = text.strip()
        try:
            if re.fullmatch(f"[0-9A-Fa-f]{{{2 * BYTES}}}", text):
                return cls(bytes.fromhex(text))
            return cls(binascii.a2b_base64(text.encode("ascii"), strict_mode=True))
        except (ValueError, GalleryKeyError):
            raise GalleryKeyError(
                f"{where}: no key: it is {BYTES} random bytes, as they are, in hexadecimal digits "
                "or in Base64: mindface gallery key FILE makes one"
            ) from None

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Key:
        """The key in a file: its 32 bytes as they are, in hexadecimal digits or in Base64.

        Raises:
            GalleryKeyError: there is none, or everybody on this machine may read it.
        """
        try:
            with open(path, "rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                data = file.read(LONGEST)
        except OSError as error:
            raise GalleryKeyError(f"{path}: the key cannot be read: {error.strerror}") from error
        if os.name == "posix" and mode & WORLD:
            raise GalleryKeyError(f"{path}: everybody may read this key: run  chmod 600 {path}")
        if len(data) == BYTES:
            return cls(data)
        return cls.parse(data.decode("latin-1"), str(path))

    @classmethod
    def make(cls, path: str | os.PathLike[str]) -> Key:
        """A new key, written into a new file that its owner alone can read.

        Raises:
            GalleryKeyError: the file is there already, or cannot be written.
        """
        key = cls(secrets.token_bytes(BYTES))
        try:
            with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
                file.write(key.secret.hex().encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            reason = error.strerror
            if isinstance(error, FileExistsError):
                reason = "is there already, and may be some gallery's key: name a new file"
            raise GalleryKeyError(f"{path}: no key was made: {reason}") from error
        return key


def open_database(path: Path, key: Key | None, timeout: float = 5.0) -> sqlite3.Connection:
    """Opens a database of a gallery, or makes one; it is in no transaction.

    Args:
        path: of the database.
        key: None: it is not encrypted.
        timeout: seconds for others who write.

    Raises:
        GalleryKeyError: the key is missing or another's, or the gallery is not encrypted.
        MissingExtraError: SQLCipher is not installed.
    """
    connection = driver(key).connect(
        path, timeout=timeout, isolation_level=None, check_same_thread=False
    )
    try:
        if key is not None:
            connection.execute("PRAGMA cipher_log_level = NONE")  # it would go to standard error
            connection.execute(f"PRAGMA key = \"x'{key.secret.hex()}'\"")
            connection.execute(f"PRAGMA cipher_page_size = {PAGE}")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException as error:
        connection.close()
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_NOTADB:
            _refuse(path, key)
        raise
    return cast(sqlite3.Connection, connection)


def sqlite_errors(kind: str = "Error", *others: type[Exception]) -> tuple[type[Exception], ...]:
    """A class of SQLite's errors, SQLCipher's of the same name where it is in use, and others."""
    modules = [sqlite3, *([sys.modules[MODULE]] if sys.modules.get(MODULE) else [])]
    return (*(getattr(module, kind) for module in modules), *others)


def driver(key: Key | None) -> Any:
    """The module that opens databases with this key.

    Raises:
        MissingExtraError: SQLCipher is not installed.
    """
    if key is None:
        return sqlite3
    try:
        return import_module(MODULE)
    except ModuleNotFoundError as error:
        raise MissingExtraError("an encrypted gallery", "encrypt") from error


def _refuse(path: Path, key: Key | None) -> None:
    """Raises what is wrong with the key of a file that cannot be read, where it is the key.

    What stands at the beginning of an encrypted file is random. Only such a file is looked into:
    closing it drops the locks on it that SQLite holds in this process
    (https://www.sqlite.org/howtocorrupt.html, section 2.2).
    """
    with path.open("rb") as file:
        head = file.read(len(PLAIN) + 8)
        whole = os.fstat(file.fileno()).st_size % PAGE == 0
    plain = head.startswith(PLAIN) or head[21:24] == FRACTIONS
    if key is not None and plain:
        raise GalleryKeyError(
            f"{path}: is not encrypted, and a key was given: open it without, or export it and "
            "import that into a new gallery with the key"
        )
    if key is not None:
        raise GalleryKeyError(
            f"{path}: this key does not open it: give the key that it was made with (or its first "
            "page is damaged: restore a backup)"
        )
    if whole and not plain:
        raise GalleryKeyError(
            f"{path}: is encrypted: give its key (or it is no gallery, or its first page is "
            "damaged)"
        )
