"""Opening a file that a user names: a regular file, and never a wait on anything else."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_regular(path: str | os.PathLike[str]) -> BufferedReader:
    """Opens a regular file, or a symbolic link to one, for reading.

    What it is, is asked before it is opened, since opening a device may act on it, and again
    afterwards, since it may have been exchanged in between.

    Raises:
        OSError: no such file, of another kind, or unreadable; its `strerror` says which.
    """
    try:
        _check(os.stat(path), path)
        file = open(path, "rb", opener=_without_blocking)  # noqa: SIM115
    except ValueError as error:
        raise OSError(errno.EINVAL, f"not a path: {error}", repr(path)) from error
    try:
        _check(os.fstat(file.fileno()), path)
    except OSError:
        file.close()
        raise
    return file


def _check(status: os.stat_result, path: str | os.PathLike[str]) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise OSError(errno.EINVAL, f"{kind}, not a file", os.fspath(path))


def _without_blocking(path: str, flags: int) -> int:
    """Without O_NONBLOCK opening a FIFO waits for a writer; Windows has no such flag."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
