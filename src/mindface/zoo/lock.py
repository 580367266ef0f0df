"""A lock between processes that ends with its owner, however that ends."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

if sys.platform == "win32":
    import msvcrt

    def _wait_for(file: BinaryIO) -> None:
        while True:
            try:
                file.seek(0)
                msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)  # gives up after ten seconds
                return
            except PermissionError:
                continue

else:
    import fcntl

    def _wait_for(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_EX)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock `path`, after waiting while another process or thread holds it.

    The system frees it when the file is closed or its owner dies. The empty file stays: removing
    it would let two owners in.
    """
    with path.open("ab") as file:
        _wait_for(file)
        yield
