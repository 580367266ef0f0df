"""The people's templates as one contiguous matrix in a file, mapped into memory for the search.

It holds nothing that the store does not: `Matrix` is brought in step with it, or made anew.

Two files. `X-matrix`: a header of 4096 bytes (`HEADER`), then rows of `size` float32. `X-rows`:
records (`RECORD`), of which the first holds the generation, then one for each row. Whoever writes
holds the gallery's lock; a row is never written over while it counts, and a new generation is a
new pair of files, so that a `View` stays what it was.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mindface.errors import GalleryError
from mindface.gallery.rows import Ints
from mindface.gallery.schema import beside, translated
from mindface.results import Array

MAGIC = b"MFMATRX1"
START = 4096
HEADER = np.dtype(
    [
        ("magic", "S8"),
        ("owner", "V32"),  # sha256 of what names the gallery
        ("size", "<u8"),
        ("generation", "<u8"),
        ("rows", "<u8"),
        ("entry", "<u8"),  # the journal's newest entry that is in it
        ("operation", "V32"),
        ("crc", "<u4"),
    ]
)
RECORD = np.dtype(
    [
        ("person", "<i8"),  # 0: the row no longer counts
        ("since", "<f8"),
        ("until", "<f8"),
        ("crc", "<u4"),  # of what stands before it, and the row
        ("unused", "<u4"),
    ]
)
COLUMNS = ("person", "since", "until", "crc")
CHECKED = 24  # bytes of a record before its checksum
SUM = 4  # bytes of the header's checksum, which are its last
WASTE = 1024  # rows that may be dead before a quarter of all is
BLOCK = 4096  # rows that are copied at once

Mark = tuple[int, bytes]
Records = NDArray[Any]
Rows = tuple[Array, Records]


@dataclass(frozen=True)
class Header:
    """Which state of the store the matrix is in."""

    generation: int
    rows: int
    mark: Mark


@dataclass(frozen=True, eq=False)
class View:
    """The matrix as it was at one moment.

    Attributes:
        vectors: `(N, D)` float32, mapped: rows are read when they are used.
        people: `(N,)` int64 ids, 0 where a row does not count.
        since: `(N,)` float64, when the person becomes valid, seconds since 1970 UTC.
        until: `(N,)` float64, when it no longer is.
        sums: `(N,)` uint32 checksums of all that.
        mark: the state of the store.
    """

    vectors: Array
    people: Ints
    since: NDArray[np.float64]
    until: NDArray[np.float64]
    sums: NDArray[np.uint32]
    mark: Mark

    def row(self, row: int) -> Array:
        """A copy of a row.

        Raises:
            DamagedRow: it is not what was written.
        """
        vector = np.array(self.vectors[row])
        limits = self.people[row], self.since[row], self.until[row]
        if _sum(vector, b"".join(each.tobytes() for each in limits)) != self.sums[row]:
            raise DamagedRow(row)
        return vector

    def rows_of(self, people: Collection[int]) -> Ints:
        """Rows of people, in order of the rows."""
        return np.flatnonzero(np.isin(self.people, np.array(sorted(people), np.int64)))


class DamagedRow(Exception):  # noqa: N818
    """A row of the matrix whose checksum is wrong; the store has what belongs there."""


class Matrix:
    """The two files.

    Args:
        path: of the gallery's database, beside which they lie.
        owner: what names the gallery: the matrix of another is not used.
        size: of an embedding.
    """

    def __init__(self, path: Path, owner: str, size: int) -> None:
        self._owner = sha256(owner.encode()).digest()
        self.size = size
        self.vectors_path = beside(path, "matrix")
        self.where = str(self.vectors_path)
        self.records_path = beside(path, "rows")

    def header(self) -> Header | None:
        """What the files say they hold, or None where they cannot be used."""
        try:
            with self.vectors_path.open("rb") as file:
                data = file.read(HEADER.itemsize)
            with self.records_path.open("rb") as file:
                first = file.read(RECORD.itemsize)
        except FileNotFoundError:
            return None
        if len(data) < HEADER.itemsize or len(first) < RECORD.itemsize:
            return None
        header = np.frombuffer(data, HEADER)[0]
        fits = (
            header["crc"] == zlib.crc32(data[:-SUM])
            and header["magic"] == MAGIC
            and header["owner"].tobytes() == self._owner
            and header["size"] == self.size
            and header["generation"] == np.frombuffer(first, RECORD)[0]["person"]
            and self.vectors_path.stat().st_size >= START + int(header["rows"]) * self._stride
            and self.records_path.stat().st_size >= (int(header["rows"]) + 1) * RECORD.itemsize
        )
        if not fits:
            return None
        mark = int(header["entry"]), header["operation"].tobytes()
        return Header(int(header["generation"]), int(header["rows"]), mark)

    def view(self) -> View:
        """The rows that are there now; the lock is held."""
        with translated(self.vectors_path):
            header = self._present()
            count = header.rows
            vectors: Array = np.empty((0, self.size), np.float32)
            if count:
                vectors = np.memmap(
                    self.vectors_path, "<f4", "r", offset=START, shape=(count, self.size)
                )
            records = np.fromfile(self.records_path, RECORD, count + 1)[1:]
        people, since, until, sums = (np.ascontiguousarray(records[name]) for name in COLUMNS)
        return View(vectors, people, since, until, sums, header.mark)

    def update(self, changed: Collection[int], parts: Iterable[Rows], mark: Mark) -> None:
        """Brings the files in step with the store; the lock is held.

        Killed in between, they are as before, and the same is done again.

        Args:
            changed: people whose rows no longer count.
            parts: their new vectors, with records.
            mark: the state of the store that this leads to.

        Raises:
            GalleryError: they cannot be written.
        """
        with translated(self.vectors_path):
            header = self._present()
            count = header.rows
            with self.vectors_path.open("r+b") as vectors, self.records_path.open("r+b") as records:
                vectors.seek(START + count * self._stride)
                records.seek((count + 1) * RECORD.itemsize)
                added = _append(vectors, records, parts)
                for file in (vectors, records):
                    file.flush()
                    os.fsync(file.fileno())
                dead = self._bury(records, count, changed)
                self._write_header(vectors, Header(header.generation, count + added, mark))
        if wasteful(dead, count + added):
            self.compact()

    def replace(self, parts: Iterable[Rows], mark: Mark) -> None:
        """Writes the files anew, as another generation; the lock is held.

        Raises:
            GalleryError: they cannot be written; the old ones stand.
        """
        old = self.header()
        generation = int.from_bytes(os.urandom(7), "little") if old is None else old.generation + 1
        files = self.vectors_path, self.records_path
        partial = [path.with_name(f"{path.name}.tmp") for path in files]
        with translated(self.vectors_path):
            try:
                with created(partial[0]) as vectors, created(partial[1]) as records:
                    vectors.write(bytes(START))
                    first = np.zeros(1, RECORD)
                    first["person"] = generation
                    records.write(first.tobytes())
                    count = _append(vectors, records, parts)
                    self._write_header(vectors, Header(generation, count, mark))
                    for file in (vectors, records):
                        file.flush()
                        os.fsync(file.fileno())
                for new, path in zip(partial, files, strict=True):
                    new.replace(path)
            finally:
                for new in partial:
                    new.unlink(missing_ok=True)

    def compact(self) -> None:
        """Leaves out the rows that do not count; the lock is held."""
        view = self.view()
        self.replace(living(view), view.mark)

    def forget(self, people: Collection[int]) -> None:
        """Removes people without a trace, in step with the store or not; the lock is held.

        Their rows are overwritten before the file goes, since others may have it open still.

        Raises:
            GalleryError: the files cannot be written.
        """
        header = self.header()
        if header is None:
            with translated(self.vectors_path):
                self.vectors_path.unlink(missing_ok=True)
                self.records_path.unlink(missing_ok=True)
            return
        with translated(self.vectors_path), self.records_path.open("r+b") as records:
            self._bury(records, header.rows, people)
            records.seek(RECORD.itemsize)
            held = np.frombuffer(records.read(header.rows * RECORD.itemsize), RECORD)["person"]
            with self.vectors_path.open("r+b") as file:
                for row in np.flatnonzero(held == 0).tolist():
                    file.seek(START + row * self._stride)
                    file.write(bytes(self._stride))
                file.truncate(START + header.rows * self._stride)
                file.flush()
                os.fsync(file.fileno())
        self.compact()

    @property
    def _stride(self) -> int:
        return self.size * 4

    def _present(self) -> Header:
        header = self.header()
        if header is None:
            raise GalleryError(f"{self.vectors_path}: removed or damaged meanwhile: try again")
        return header

    def _bury(self, records: BinaryIO, count: int, people: Collection[int]) -> int:
        """Marks rows among the first `count` as dead; returns how many are now."""
        records.seek(RECORD.itemsize)
        held = np.frombuffer(records.read(count * RECORD.itemsize), RECORD)["person"]
        mine = np.flatnonzero(np.isin(held, np.array(sorted(people), np.int64)) & (held != 0))
        for row in mine.tolist():
            records.seek((row + 1) * RECORD.itemsize)
            records.write(bytes(held.dtype.itemsize))
        records.flush()
        os.fsync(records.fileno())
        return int((held == 0).sum()) + len(mine)

    def _write_header(self, file: BinaryIO, header: Header) -> None:
        row: NDArray[Any] = np.zeros(1, HEADER)
        row["magic"], row["owner"], row["size"] = MAGIC, np.void(self._owner), self.size
        row["generation"], row["rows"] = header.generation, header.rows
        row["entry"], row["operation"] = header.mark[0], np.void(header.mark[1])
        row["crc"] = zlib.crc32(row.tobytes()[:-SUM])
        file.seek(0)
        file.write(row.tobytes())
        file.flush()


def rows_for(
    people: list[int], vectors: list[Any], since: list[float | None], until: list[float | None]
) -> Rows:
    """Vectors with their records; None is no limit."""
    matrix = np.array(vectors, "<f4")
    records = np.zeros(len(people), RECORD)
    records["person"] = people
    records["since"] = [-np.inf if each is None else each for each in since]
    records["until"] = [np.inf if each is None else each for each in until]
    records["crc"] = [
        _sum(row, record.tobytes()[:CHECKED]) for row, record in zip(matrix, records, strict=True)
    ]
    return matrix, records


def _sum(vector: Array, described: bytes) -> int:
    return zlib.crc32(vector.tobytes(), zlib.crc32(described))


def _append(vectors: BinaryIO, records: BinaryIO, parts: Iterable[Rows]) -> int:
    count = 0
    for rows, described in parts:
        vectors.write(rows.tobytes())
        records.write(described.tobytes())
        count += len(rows)
    return count


def wasteful(dead: int, rows: int) -> bool:
    """Whether so many rows do not count that they should be left out."""
    return dead > max(WASTE, rows // 4)


def living(view: View) -> Iterator[Rows]:
    """The rows that count, some at a time."""
    alive = np.flatnonzero(view.people)
    for start in range(0, len(alive), BLOCK):
        some = alive[start : start + BLOCK]
        records: Records = np.zeros(len(some), RECORD)
        records["person"], records["crc"] = view.people[some], view.sums[some]
        records["since"], records["until"] = view.since[some], view.until[some]
        yield np.asarray(view.vectors[some]), records


def created(path: Path) -> BinaryIO:
    """A new file that its owner alone can read, in the place of whatever is there."""
    path.unlink(missing_ok=True)
    return open(path, "xb", opener=_private)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
