"""Opening a file that a user names: a regular file, and never a wait on anything else."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING

from mindface.errors import IntegrityError, ModelError

if TYPE_CHECKING:
    from mindface.zoo.record import ModelRecord

# Without O_NONBLOCK opening a FIFO waits for a writer; Windows has no such flag, but O_BINARY.
FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@contextmanager
def opened(path: Path) -> Iterator[BufferedReader]:
    """A regular file (or a symbolic link to one), open for reading.

    Raises:
        ModelError: there is no such file, it is of another kind, or it cannot be read.
    """
    descriptor = _descriptor(path)
    try:
        kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
        if kind != stat.S_IFREG:
            raise ModelError(f"{path}: {KINDS.get(kind, 'something else')}, not a file")
        with open(descriptor, "rb", closefd=False) as file:
            yield file
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    finally:
        os.close(descriptor)


def _descriptor(path: Path) -> int:
    try:
        return os.open(path, FLAGS)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ModelError(f"{str(path)!r}: no path: {error}") from error


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
