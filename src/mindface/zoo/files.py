"""Weight files: opened, hashed, held against their records."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING

from mindface.errors import IntegrityError, ModelError
from mindface.files import open_regular

if TYPE_CHECKING:
    from mindface.zoo.record import ModelRecord


@contextmanager
def opened(path: Path) -> Iterator[BufferedReader]:
    """A regular file (or a symbolic link to one), open for reading.

    Raises:
        ModelError: there is no such file, it is of another kind, or it cannot be read.
    """
    try:
        with open_regular(path) as file:
            yield file
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in lower-case hex; about 0.6 s per GB where the CPU has SHA extensions.

    Raises:
        ModelError: the file cannot be read.
    """
    with opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(path: Path, record: ModelRecord, remedy: str) -> None:
    """Compares a file with its record; the whole file is hashed every time.

    A remembered verification (by path, size, times, inode) would be faster and would not notice
    a file that was changed and had its times put back.

    Args:
        path: the file.
        record: what it should be.
        remedy: what to do when it is not, for the message.

    Raises:
        IntegrityError: size or sha256 differ.
        ModelError: the file cannot be read.
    """
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        if record.bytes is not None and size != record.bytes:
            raise IntegrityError(
                f"{path}: {size} bytes, but the record of {record.name} says {record.bytes}: "
                f"{remedy}"
            )
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != record.sha256:
        raise IntegrityError(
            f"{path}: its sha256 is {found[:16]}..., but the record of {record.name} says "
            f"{record.sha256[:16]}...: {remedy}"
        )
