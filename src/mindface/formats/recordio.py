"""RecordIO files (`.rec`, `.idx`) of labelled pictures, without MXNet.

A `.rec` is a row of records. One begins with a magic number and a word of which three bits say
whether it is whole or a part, and 29 bits how long it is; its data are padded to four bytes. Data
that hold the magic number at a multiple of four bytes are split there (dmlc-core, `recordio.h`).
The data are a header, labels and an encoded picture (MXNet, `python/mxnet/recordio.py`, `pack`).
The `.idx` has a line `key<TAB>offset` a record.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindface.errors import IntegrityError, WeightsError
from mindface.files import open_regular
from mindface.formats.mapped import mapped

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

_MAGIC = 0xCED7230A
_MAGIC_BYTES = _MAGIC.to_bytes(4, "little")
_FRAME = struct.Struct("<II")
_HEADER = struct.Struct("<IfQQ")
_LENGTH_BITS = 29
_MAX_LENGTH = (1 << _LENGTH_BITS) - 1
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)

_BAD_LINE = re.compile(rb"^(?![0-9]{1,18}\t[0-9]{1,18}\r?$).+", re.MULTILINE)


@dataclass(frozen=True, eq=False, slots=True)
class Record:
    """What a record holds.

    Attributes:
        label: `(k,)`, one label or several.
        id: the number that its writer gave it; in InsightFace's sets its key.
        content: the encoded picture; empty where there is none.
    """

    label: Floats
    id: int
    content: bytes


class RecordFile:
    """A `.rec` and its `.idx`, mapped into memory; threads may share it, and it can be pickled.

    Attributes:
        path: of the `.rec`.
        keys: `(N,)`, ascending. Without an `.idx` records are numbered from 0 in their order, as
            MXNet's `rec2idx.py` does.

    Args:
        path: ends in `.rec`; the `.idx` is looked for beside it.

    Raises:
        IntegrityError: a file cannot be read, or the index does not fit the records.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = rec_path(path)
        self._map()
        index = self.path.with_suffix(".idx")
        try:
            with open_regular(index) as file:
                self.keys, self._offsets = _parsed(index, file.read())
        except FileNotFoundError:
            self._offsets = np.fromiter(self._scan(), np.int64)
            self.keys = np.arange(len(self._offsets), dtype=np.int64)
        except OSError as error:
            raise IntegrityError(f"{index}: cannot be read: {error.strerror or error}") from error
        else:
            self._check_offsets(index)

    def __len__(self) -> int:
        return len(self.keys)

    def __getstate__(self) -> dict[str, Any]:
        state = vars(self) | {"_size": len(self._content)}
        del state["_content"], state["_words"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        size = state.pop("_size")
        vars(self).update(state)
        self._map()
        if len(self._content) != size:
            raise IntegrityError(f"{self.path}: changed since it was opened: open it anew")

    def read(self, key: int) -> Record:
        """Reads one record.

        Raises:
            IntegrityError: no record has this key, or it is damaged.
        """
        offset = int(self._find(np.array([key], np.int64))[0])
        parts = [self._content[start:stop] for start, stop in self._parts(offset)]
        data = memoryview(_MAGIC_BYTES.join(parts))
        header = bytes(data[: _HEADER.size]).ljust(_HEADER.size, b"\0")
        flag, label, number, _ = _HEADER.unpack(header)
        start = _HEADER.size + 4 * flag
        if start > len(data):
            raise IntegrityError(
                f"{self.path}: record {key} at offset {offset} has {len(data)} bytes, too few for "
                f"a header and {flag} labels: damaged"
            )
        several = np.frombuffer(data[_HEADER.size : start], "<f4").astype(np.float32)
        labels = several if flag else np.array([label], np.float32)
        return Record(labels, number, bytes(data[start:]))

    def labels(self, keys: Ints) -> Floats:
        """The first label `(N,)` of each of many records, of which only the beginnings are read.

        Args:
            keys: `(N,)`.

        Raises:
            IntegrityError: no record has one of these keys, or its beginning is damaged.
        """
        at = self._find(keys) // 4
        words, end = self._words, len(self._words) - 1
        kinds, lengths = words[at + 1] >> _LENGTH_BITS, words[at + 1] & _MAX_LENGTH
        flags = words[np.minimum(at + 2, end)].astype(np.int64)
        labels = words[np.minimum(np.where(flags, at + 8, at + 3), end)].view("<f4")
        plain = words[at] == _MAGIC
        plain &= kinds <= _FIRST
        plain &= lengths >= _HEADER.size + 4 * flags
        plain &= 4 * at + _FRAME.size + lengths <= len(self._content)
        for row in np.flatnonzero(~plain):
            labels[row] = self.read(int(keys[row])).label[0]
        return labels.astype(np.float32, copy=False)

    def _map(self) -> None:
        try:
            self._content = mapped(self.path)
        except WeightsError as error:
            raise IntegrityError(str(error)) from error
        self._words = np.frombuffer(self._content, "<u4", len(self._content) // 4)

    def _find(self, keys: Ints) -> Ints:
        """Offsets `(N,)` of the records with these keys."""
        rows = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        absent = keys[self.keys[rows] != keys]
        if len(absent):
            raise IntegrityError(f"{self.path}: no record has the key {absent[0]}: see its `keys`")
        return self._offsets[rows]

    def _check_offsets(self, index: Path) -> None:
        size, offsets = len(self._content), self._offsets
        wrong = (offsets % 4 != 0) | (offsets > size - _FRAME.size)
        if not wrong.any():
            wrong = self._words[offsets // 4] != _MAGIC
        if wrong.any():
            row = int(np.argmax(wrong))
            raise IntegrityError(
                f"{index}: key {self.keys[row]} has the offset {offsets[row]}, where no record of "
                f"{self.path.name} ({size} bytes) begins: damaged, or the index of another file; "
                "without it one is made"
            )

    def _scan(self) -> Iterator[int]:
        """Offsets of all records, found one after the other."""
        position = 0
        while position < len(self._content):
            yield position
            for _, stop in self._parts(position):
                position = stop + -stop % 4

    def _parts(self, offset: int) -> Iterator[tuple[int, int]]:
        """Where the data of the record at an offset lie, part by part."""
        size, position, allowed = len(self._content), offset, (_WHOLE, _FIRST)
        while True:
            start = position + _FRAME.size
            frame = bytes(self._content[position:start]).ljust(_FRAME.size, b"\0")
            magic, word = _FRAME.unpack(frame)
            kind, stop = word >> _LENGTH_BITS, start + (word & _MAX_LENGTH)
            if magic != _MAGIC or stop > size or kind not in allowed:
                raise IntegrityError(
                    f"{self.path}: no sound record at offset {offset}: at {position} there is no "
                    f"part that is next in turn and ends within the {size} bytes: damaged or cut"
                )
            yield start, stop
            if kind in (_WHOLE, _LAST):
                return
            position, allowed = stop + -stop % 4, (_MIDDLE, _LAST)


def packed(key: int, label: float | Iterable[float], picture: bytes = b"") -> bytes:
    """The data of a record: a header with one label, or with several, and a picture."""
    if isinstance(label, Iterable):
        labels = np.fromiter(label, "<f4")
        return _HEADER.pack(len(labels), 0, key, 0) + labels.tobytes() + picture
    return _HEADER.pack(0, label, key, 0) + picture


def framed(data: bytes) -> bytes:
    """A record around its data, split at each magic number that stands at a multiple of four."""
    words = np.frombuffer(data, "<u4", len(data) // 4)
    cuts = (4 * np.flatnonzero(words == _MAGIC)).tolist()
    starts, stops = [0, *(cut + 4 for cut in cuts)], [*cuts, len(data)]
    kinds = [_FIRST, *[_MIDDLE] * (len(cuts) - 1), _LAST] if cuts else [_WHOLE]
    pieces = []
    for kind, start, stop in zip(kinds, starts, stops, strict=True):
        pieces.append(_FRAME.pack(_MAGIC, kind << _LENGTH_BITS | stop - start))
        pieces.append(data[start:stop])
    return b"".join([*pieces, bytes(-len(data) % 4)])


def rec_path(path: str | os.PathLike[str]) -> Path:
    """A path that ends in `.rec`.

    Raises:
        IntegrityError: it ends in something else.
    """
    if Path(path).suffix != ".rec":
        raise IntegrityError(f"{path}: give the file whose name ends in .rec")
    return Path(path)


def _parsed(index: Path, text: bytes) -> tuple[Ints, Ints]:
    """Keys in ascending order, and their offsets."""
    bad = _BAD_LINE.search(text)
    if bad:
        raise IntegrityError(f"{index}: {bad[0]!r:.80} is no line of a key, a tab and an offset")
    table = np.fromstring(text, np.int64, sep=" ").reshape(-1, 2)
    if not len(table):
        raise IntegrityError(f"{index}: names no record; without it an index is made")
    for name, column in zip(("key", "offset"), table.T, strict=True):
        values, counts = np.unique(column, return_counts=True)
        if len(values) < len(column):
            raise IntegrityError(f"{index}: the {name} {values[counts > 1][0]} stands in it twice")
    keys, offsets = table[np.argsort(table[:, 0])].T.copy()
    return keys, offsets
