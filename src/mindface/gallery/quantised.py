"""The matrix in fewer bits, scanned faster and searched exactly all the same.

A row x is stored as codes c with a scale s, as x' = s c, and the distance |x - x'|, its width. For
a query q, rounded likewise to q', the score of the codes is off by at most

    |q.x - q'.x'| = |(q - q').x + q'.(x - x')| <= |q - q'| |x| + |q'| |x - x'|

(Cauchy and Schwarz), and by the rounding of float32. `search` scores again whatever could be among
the best by that.

One file, which holds nothing that the matrix does not. `X-int8` or `X-float16`: a header of 4096
bytes (`HEADER`), `capacity` scales, as many widths, then the codes of the rows. It grows with the
matrix; where it does not fit the matrix's rows it is made anew. Whoever writes holds the gallery's
lock.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mindface.engines import EngineOptions
from mindface.errors import MissingExtraError
from mindface.gallery.matrix import View, created
from mindface.gallery.rows import UNIT
from mindface.gallery.schema import beside, translated
from mindface.gallery.search import LOWEST, ExactSearch, Hits, Mask, lowered, reached
from mindface.results import Array

Quantisation = Literal["float16", "int8"]

CODES: dict[Quantisation, np.dtype[Any]] = {"float16": np.dtype("<f2"), "int8": np.dtype("i1")}
MAGIC = b"MFCODES1"
START = 4096
HEADER = np.dtype(
    [
        ("magic", "S8"),
        ("size", "<u8"),
        ("capacity", "<u8"),
        ("rows", "<u8"),
        ("follows", "<u4"),  # of the sums of the matrix's rows that are in it
        ("crc", "<u4"),
    ]
)
SUM = 4  # bytes of the header's checksum, which are its last
ROOM = 512  # rows that the capacity is a multiple of
BLOCK = 4096  # rows that are written at once
SHREDDED = 1 << 22  # bytes, likewise
SCORES = 1 << 20  # held at once, 4 MB: about what the cores' caches hold
LONGEST = 1.01 * UNIT + 1  # length of what counts as a unit vector


class Codes(NamedTuple):
    """Rows in fewer bits.

    Attributes:
        codes: `(N, D)` float16 or int8.
        scales: `(N,)` float32, of a row's codes.
        widths: `(N,)` float32, how far a row is from its codes times its scale, or a little more.
    """

    codes: NDArray[Any]
    scales: Array
    widths: Array


def encode(vectors: Array, precision: Quantisation) -> Codes:
    """Rows `(N, D)` float32 in fewer bits, to the nearest code."""
    if precision == "float16":
        scales = np.ones(len(vectors), np.float32)
        codes = vectors.astype(CODES[precision])
    else:
        most = np.abs(vectors).max(axis=1, initial=0)
        scales = np.maximum(most / np.float32(127), np.finfo(np.float32).tiny)
        codes = np.rint(vectors / scales[:, None]).astype(CODES[precision])
    left = vectors - codes.astype(np.float64) * scales[:, None]
    widths = np.sqrt((left * left).sum(axis=1)) * (1 + 1e-6)
    return Codes(codes, scales, widths.astype(np.float32))


class CodesFile:
    """The file of one precision.

    Args:
        path: of the gallery's database, beside which it lies.
        precision: of the codes.
        size: of an embedding.
    """

    def __init__(self, path: Path, precision: Quantisation, size: int) -> None:
        self.path = beside(path, precision)
        self.precision = precision
        self.size = size

    def follow(self, view: View) -> Codes:
        """The codes of the matrix's rows, mapped, after bringing them in step; the lock is held.

        Raises:
            GalleryError: the file cannot be written.
        """
        count = len(view.sums)
        with translated(self.path):
            header = self._following(view)
            if header is None or count > header["capacity"]:
                header = self._replace(view)
            elif header["rows"] < count:
                with self.path.open("r+b") as file:
                    self._write(file, view, int(header["rows"]), int(header["capacity"]))
            return self._mapped(count, int(header["capacity"]))

    def faults(self, view: View) -> Iterator[str]:
        """A sentence where the file is not what the matrix's rows make it; the lock is held."""
        with translated(self.path):
            header = self._following(view)
            if header is None:  # it is made anew before it is used
                return
            held = self._mapped(int(header["rows"]), int(header["capacity"]))
            for start in range(0, len(held.codes), BLOCK):
                some = slice(start, min(start + BLOCK, len(held.codes)))
                made = encode(view.vectors[some], self.precision)
                if not all(np.array_equal(a[some], b) for a, b in zip(held, made, strict=True)):
                    yield f"{self.path}: is not what the matrix makes it: rebuild it"
                    return

    def _following(self, view: View) -> Any:
        """The header, or None where the file does not hold the matrix's first rows."""
        try:
            with self.path.open("rb") as file:
                data = file.read(HEADER.itemsize)
                length = os.fstat(file.fileno()).st_size
        except FileNotFoundError:
            return None
        if len(data) < HEADER.itemsize:
            return None
        header = np.frombuffer(data, HEADER)[0]
        fits = (
            header["crc"] == zlib.crc32(data[:-SUM])
            and header["magic"] == MAGIC
            and header["size"] == self.size
            and header["rows"] <= len(view.sums)
            and header["follows"] == zlib.crc32(view.sums[: int(header["rows"])].tobytes())
            and length >= self._place(int(header["rows"]), int(header["capacity"]))
        )
        return header if fits else None

    def _replace(self, view: View) -> Any:
        capacity = -(-(2 * len(view.sums) + 1) // ROOM) * ROOM
        partial = self.path.with_name(f"{self.path.name}.tmp")
        try:
            with created(partial) as file:
                header = self._write(file, view, 0, capacity)
            partial.replace(self.path)
        finally:
            partial.unlink(missing_ok=True)
        return header

    def _write(self, file: BinaryIO, view: View, first: int, capacity: int) -> Any:
        """Writes rows from `first` on, then the header that counts them."""
        file.truncate(self._place(first, capacity))
        for start in range(first, len(view.sums), BLOCK):
            rows = encode(view.vectors[start : start + BLOCK], self.precision)
            places = (
                self._place(start, capacity),
                START + 4 * start,
                START + 4 * (capacity + start),
            )
            for place, part in zip(places, rows, strict=True):
                file.seek(place)
                file.write(part.tobytes())
        file.flush()
        os.fsync(file.fileno())
        header: NDArray[Any] = np.zeros(1, HEADER)
        header["magic"], header["size"], header["capacity"] = MAGIC, self.size, capacity
        header["rows"], header["follows"] = len(view.sums), zlib.crc32(view.sums.tobytes())
        header["crc"] = zlib.crc32(header.tobytes()[:-SUM])
        file.seek(0)
        file.write(header.tobytes())
        file.flush()
        return header[0]

    def _mapped(self, count: int, capacity: int) -> Codes:
        if not count:
            return encode(np.empty((0, self.size), np.float32), self.precision)
        facts: Array = np.memmap(self.path, "<f4", "r", START, (2, capacity))
        codes = np.memmap(
            self.path, CODES[self.precision], "r", self._place(0, capacity), (count, self.size)
        )
        return Codes(codes, facts[0, :count], facts[1, :count])

    def _place(self, row: int, capacity: int) -> int:
        """Where the codes of a row begin."""
        return START + 8 * capacity + row * self.size * CODES[self.precision].itemsize


def shred_copies(path: Path) -> None:
    """Writes zeros over the files of all precisions beside a database, and removes them.

    They may be open elsewhere still; whoever searches next makes them anew. The lock is held.
    """
    for precision in CODES:
        whole = beside(path, precision)
        for each in (whole, whole.with_name(f"{whole.name}.tmp")):
            shred(each)


def shred(path: Path) -> None:
    """Writes zeros over a file and removes it, where it is there.

    Raises:
        GalleryError: it cannot be written.
    """
    with translated(path), suppress(FileNotFoundError):
        with path.open("r+b") as file:
            left = os.fstat(file.fileno()).st_size
            while left > 0:
                left -= file.write(bytes(min(left, SHREDDED)))
            file.flush()
            os.fsync(file.fileno())
        path.unlink()


class QuantisedSearch(ExactSearch):
    """Search through codes, exact by the float32 rows that they stand for.

    Args:
        vectors: `(N, D)` float32 of unit length, in memory or mapped.
        codes: of these rows.
        precision: of the codes.

    Raises:
        MissingExtraError: NumKong is not installed.
    """

    def __init__(self, vectors: Array, codes: Codes, precision: Quantisation) -> None:
        super().__init__(vectors)
        self.codes = codes
        self.precision = precision
        self.kernels = kernels()
        self.threads = EngineOptions().thread_count

    def _scan(self, queries: Array) -> CodesScan:
        return CodesScan(self, queries)


class CodesScan:
    """Rough scores from codes; see `search.Scan`.

    Of many queries, what their codes leave is encoded too: it costs less than scoring what could
    otherwise be among the best.
    """

    def __init__(self, search: QuantisedSearch, queries: Array) -> None:
        self.held = SCORES
        self.search = search
        parts = [encode(queries, search.precision)]
        if len(queries) > 1 and search.precision == "int8":
            left = queries - parts[0].codes * parts[0].scales[:, None]
            parts.append(encode(np.asarray(left, np.float32), search.precision))
        self.scales = [part.scales for part in parts]
        self.codes = np.concatenate([part.codes for part in parts])
        self.packed = search.kernels.dots_pack(self.codes)
        widths = parts[-1].widths
        self.errors: Array = LONGEST * widths + np.float32(2 * search.error)
        self.length = np.float32(LONGEST + widths.max(initial=0))

    def reaching(
        self, start: int, stop: int, k: int, floor: Array, mask: Mask | None
    ) -> tuple[Array, Hits]:
        """See `Scan`."""
        scores = self.scores(start, stop)
        widths = self.length * self.search.codes.widths[start:stop]
        if mask is not None:
            scores[~mask[start:stop]] = -np.inf
        if (floor == LOWEST).any() and stop - start > k:
            floor = np.maximum(floor, lowered(reached(scores - widths[:, None], k) - self.errors))
        places = np.flatnonzero(scores + widths[:, None] >= floor - self.errors)
        rows, queries = np.divmod(places, len(floor))
        off = self.errors[queries] + widths[rows]
        found = scores.reshape(-1)[places]
        return floor, Hits(queries, rows + start, found - off, found + off)

    def scores(self, start: int, stop: int) -> Array:
        """Scores `(stop - start, Q)` of rows, off by a row's width and a query's error."""
        kernels, threads, count = self.search.kernels, self.search.threads, len(self.errors)
        codes, scales, _ = self.search.codes
        block = codes[start:stop]
        if count == 1:
            dots = kernels.cdist(block, self.codes, "dot", threads=threads)
        else:
            dots = kernels.dots_packed(block, self.packed, threads=threads)
        sums = np.asarray(dots)
        scores: Array = _times(sums[:, :count], self.scales[0])
        if len(self.scales) > 1:
            scores += _times(sums[:, count:], self.scales[1])
        scores *= scales[start:stop, None]
        return scores


def _times(sums: NDArray[Any], scales: Array) -> Array:
    scores: Array = np.multiply(sums, scales, dtype=np.float32, casting="unsafe")
    return scores


def kernels() -> Any:
    """The module `numkong`, with products of float16 and int8.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return import_module("numkong")
    except ModuleNotFoundError as error:
        raise MissingExtraError("search in float16 or int8", "search") from error
