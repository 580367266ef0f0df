"""Looks through files, byte by byte, for what should no longer be in them.

A program of its own, started by `forgetting` with what to look for on its standard input: closing
a database's file in the process that has it open would drop SQLite's locks on it
(https://www.sqlite.org/howtocorrupt.html, section 2.2). It needs nothing of MindFace.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

WINDOW = 32  # bytes; a stretch of any blob as long as that counts as found
BLOCK = 16  # each window holds one whole block that begins at a multiple of 16
CHUNK = 1 << 24
DISTINCT = 8  # a window with fewer different bytes tells nothing


class Found(NamedTuple):
    """Where something stands: the number of the blob or token, and the offset."""

    number: int
    offset: int


class Windows:
    """Blobs, of which every window of 32 bytes is looked for at every offset.

    Args:
        blobs: what to look for.
    """

    def __init__(self, blobs: Sequence[bytes]) -> None:
        self.blobs = blobs
        self._places: dict[int, list[tuple[int, int]]] = {}
        for number, blob in enumerate(blobs):
            for start in range(0, len(blob) - BLOCK + 1, BLOCK):
                for at in (start, start + 8):
                    word = blob[at : at + 8]
                    if len(set(word)) > 1:
                        key = int.from_bytes(word, "little")
                        self._places.setdefault(key, []).append((number, at))
                        break
        self._words = np.array(sorted(self._places), np.uint64)
        self._low = np.zeros(1 << 16, bool)
        self._low[self._words & 0xFFFF] = True

    def find(self, data: bytes) -> Iterator[Found]:
        """Where the windows stand in some bytes."""
        for phase in range(8):
            words = np.frombuffer(data, "<u8", (len(data) - phase) // 8, phase)
            some = np.flatnonzero(self._low[words.view("<u2")[::4]])
            some = some[np.isin(words[some], self._words)]
            for place in some.tolist():
                yield from self._around(data, phase + place * 8, int(words[place]))

    def _around(self, data: bytes, place: int, word: int) -> Iterator[Found]:
        for number, at in self._places[word]:
            blob = self.blobs[number]
            first, last = place, place + 8
            shift = place - at
            while (
                first > max(shift, 0, place - WINDOW) and data[first - 1] == blob[first - 1 - shift]
            ):
                first -= 1
            stop = min(shift + len(blob), len(data), place + WINDOW)
            while last < stop and data[last] == blob[last - shift]:
                last += 1
            if last - first >= min(WINDOW, len(blob)) and len(set(data[first:last])) >= DISTINCT:
                yield Found(number, first)


def tokens(data: bytes, wanted: Sequence[bytes], known: Sequence[bytes]) -> Iterator[Found]:
    """Where tokens stand, other than inside texts that are known to be there."""
    for number, token in enumerate(wanted):
        inside = [(text, at) for text in known for at in _places(text, token)]
        for place in _places(data, token):
            if not any(place >= at and data.startswith(text, place - at) for text, at in inside):
                yield Found(number, place)


def search(
    path: Path, windows: Windows, wanted: Sequence[bytes], known: Sequence[bytes]
) -> dict[str, list[Found]]:
    """The first place of each blob and token in a file."""
    overlap = 2 * max([WINDOW * 2, *map(len, wanted), *map(len, known)])
    first: dict[str, dict[int, int]] = {"blobs": {}, "tokens": {}}
    with path.open("rb") as file:
        start, data = 0, b""
        while more := file.read(CHUNK):
            data += more
            for kind, found in (
                ("blobs", windows.find(data)),
                ("tokens", tokens(data, wanted, known)),
            ):
                for number, place in found:
                    first[kind].setdefault(number, start + place)
            start += max(len(data) - overlap, 0)
            data = data[-overlap:]
    return {kind: [Found(*pair) for pair in found.items()] for kind, found in first.items()}


def _places(data: bytes, token: bytes) -> Iterator[int]:
    place = data.find(token)
    while place >= 0:
        yield place
        place = data.find(token, place + 1)


def main(request: dict[str, Any]) -> dict[str, Any]:
    """Answers a request: what stands where, and how long each file is."""
    blobs, wanted, known = (
        [base64.b64decode(each) for each in request[name]] for name in ("blobs", "tokens", "known")
    )
    windows = Windows(blobs)
    found, sizes = {}, {}
    for path in map(Path, request["files"]):
        with suppress(FileNotFoundError):  # replaced meanwhile by another process
            sizes[path.name] = path.stat().st_size
            found[path.name] = search(path, windows, wanted, known)
    return {"found": found, "bytes": sizes}


if __name__ == "__main__":
    json.dump(main(json.load(sys.stdin)), sys.stdout)
