"""What the search of an encrypted gallery reads: in memory alone, made anew by each process.

The system may write memory to its swap; that is encrypted, or not, by the system.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mindface.errors import GalleryError
from mindface.gallery.matrix import (
    COLUMNS,
    RECORD,
    Header,
    Mark,
    Rows,
    View,
    living,
    wasteful,
)
from mindface.gallery.quantised import BLOCK, Codes, Quantisation, encode
from mindface.gallery.rows import Ints
from mindface.results import Array

Value = TypeVar("Value", bound=np.generic)


class MatrixInMemory:
    """As `Matrix`, without files: rows are never written over while a `View` may have them.

    Args:
        path: of the gallery's database, for messages.
        size: of an embedding.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.where = f"{path}, its matrix in memory"
        self.size = size
        self._header: Header | None = None
        self._vectors: Array = np.empty((0, size), np.float32)
        self._records: NDArray[Any] = np.empty(0, RECORD)

    def header(self) -> Header | None:
        """What it holds, or None before it is made."""
        return self._header

    def view(self) -> View:
        """The rows that are there now; the lock is held."""
        header = self._present()
        records = self._records[: header.rows]
        people, since, until, sums = (np.ascontiguousarray(records[name]) for name in COLUMNS)
        return View(self._vectors[: header.rows], people, since, until, sums, header.mark)

    def update(self, changed: Collection[int], parts: Iterable[Rows], mark: Mark) -> None:
        """Brings it in step with the store; see `Matrix.update`."""
        header = self._present()
        count = self._append(header.rows, parts)
        self._bury(header.rows, changed)
        self._header = Header(header.generation, count, mark)
        if wasteful(int((self._records["person"][:count] == 0).sum()), count):
            self.compact()

    def replace(self, parts: Iterable[Rows], mark: Mark) -> None:
        """Makes it anew; the lock is held."""
        made = MatrixInMemory(Path(), self.size)
        count = made._append(0, parts)
        generation = 1 if self._header is None else self._header.generation + 1
        self._vectors, self._records = made._vectors, made._records
        self._header = Header(generation, count, mark)

    def compact(self) -> None:
        """Leaves out the rows that do not count; the lock is held."""
        view = self.view()
        self.replace(living(view), view.mark)

    def forget(self, people: Collection[int]) -> None:
        """Removes people; the lock is held."""
        if self._header is not None:
            self._bury(self._header.rows, people)
            self.compact()

    def _present(self) -> Header:
        if self._header is None:
            raise GalleryError(f"{self.where}: is not made yet: try again")
        return self._header

    def _append(self, count: int, parts: Iterable[Rows]) -> int:
        for vectors, records in parts:
            end = count + len(vectors)
            self._vectors, self._records = _room(self._vectors, end), _room(self._records, end)
            self._vectors[count:end], self._records[count:end] = vectors, records
            count = end
        return count

    def _bury(self, count: int, people: Collection[int]) -> None:
        held: Ints = self._records["person"][:count]
        held[np.isin(held, np.array(sorted(people), np.int64))] = 0


class CodesInMemory:
    """As `CodesFile`, without a file.

    Args:
        precision: of the codes.
        size: of an embedding.
    """

    def __init__(self, precision: Quantisation, size: int) -> None:
        self.precision = precision
        self._none = encode(np.empty((0, size), np.float32), precision)
        self._held = self._none
        self._follows: NDArray[np.uint32] = np.empty(0, np.uint32)

    def follow(self, view: View) -> Codes:
        """The codes of the matrix's rows, after bringing them in step; the lock is held."""
        done, count = len(self._follows), len(view.sums)
        if not np.array_equal(self._follows, view.sums[:done]):
            self._held, done = self._none, 0
        for start in range(done, count, BLOCK):
            made = encode(view.vectors[start : start + BLOCK], self.precision)
            end = start + len(made.codes)
            self._held = Codes(*(_room(each, end) for each in self._held))
            for held, rows in zip(self._held, made, strict=True):
                held[start:end] = rows
        self._follows = view.sums
        return Codes(*(each[:count] for each in self._held))


def _room(values: NDArray[Value], count: int) -> NDArray[Value]:
    """An array with room for so many rows: this one, or a longer copy."""
    if len(values) >= count:
        return values
    longer = np.empty((max(count, 2 * len(values)), *values.shape[1:]), values.dtype)
    longer[: len(values)] = values
    return longer
