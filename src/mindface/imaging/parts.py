"""A file read as the sequence of some of its parts."""

from __future__ import annotations

import io
from bisect import bisect_right
from itertools import accumulate
from typing import BinaryIO

Part = bytes | tuple[int, int]
"""Literal bytes, or (start, end) in the file."""


class Parts(io.RawIOBase):
    """Presents parts of a file, and bytes that replace others, as one seekable file.

    Nothing is copied beforehand and the file is left open.
    """

    def __init__(self, file: BinaryIO, parts: list[Part]) -> None:
        self._file = file
        self._parts = parts
        lengths = (len(p) if isinstance(p, bytes) else p[1] - p[0] for p in parts)
        self._starts = list(accumulate(lengths, initial=0))
        self._at = 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """Position among the parts."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves among the parts; never before the first."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._starts[-1]}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Reads from the part at the position; less than asked for where that part ends."""
        if self._at >= self._starts[-1]:
            return 0
        index = bisect_right(self._starts, self._at) - 1
        part = self._parts[index]
        inside = self._at - self._starts[index]
        wanted = min(len(buffer), self._starts[index + 1] - self._at)
        if isinstance(part, bytes):
            data = part[inside : inside + wanted]
        else:
            self._file.seek(part[0] + inside)
            data = self._file.read(wanted)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
