"""Search by an HNSW graph, which finds the nearest mostly instead of always; by usearch.

Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using Hierarchical
Navigable Small World graphs", https://arxiv.org/abs/1603.09320.

The graph holds the rows' int8 codes (`quantised.encode`), each under the person's id and the row's
checksum. So a graph that was made of other rows, in memory or in a file, differs in keys, and only
what differs is added and removed. What it finds is scored exactly from the float32 rows.

usearch keeps the vector of what is removed until another takes its place. A new row does, or else
a stand-in (of person 0, random codes), which the next new row replaces: nothing removed stays.

`X-hnsw` is what usearch saves, followed by `TRAILER`. It may be behind the matrix, and is made anew
where it does not fit. Whoever writes holds the gallery's lock.
"""

from __future__ import annotations

import os
import zlib
from contextlib import nullcontext, suppress
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindface.engines import EngineOptions
from mindface.errors import GalleryError, MissingExtraError
from mindface.gallery.matrix import View, created, wasteful
from mindface.gallery.quantised import encode, shred
from mindface.gallery.rows import Ints
from mindface.gallery.schema import beside, translated
from mindface.gallery.search import ExactSearch, Hits, Mask, rank
from mindface.results import Array

Keys = NDArray[np.uint64]

SMALL = 16_384  # people up to whom all are scanned, which is as fast and exact
SPARE = 14  # found beyond k, since codes order what is alike otherwise than rows do
LINKS = 16  # of a row, the paper's M
BUILDING = 128  # candidates while a row is linked, its efConstruction
SEARCHING = 1024  # candidates while it is searched, its ef
UNSAVED = 1024  # rows that a file may be behind
BLOCK = 4096  # rows that are added at once
READ = 1 << 22  # bytes, likewise
FIRST = np.uint64(1 << 32)  # the lowest key that is not a stand-in's
TRAILER = np.dtype([("crc", "<u4"), ("magic", "S8")])
MAGIC = b"MFHNSW01"


class Graph:
    """The graph of a gallery, in memory, and in a file unless the gallery is encrypted.

    Args:
        path: of the file; None: it is kept in memory alone.
        size: of an embedding.

    Raises:
        MissingExtraError: usearch is not installed.
    """

    def __init__(self, path: Path | None, size: int) -> None:
        self.path = path
        self.size = size
        self._made = usearch().Index
        self._index: Any = None
        self._unsaved = 0
        self._lock = Lock()  # usearch does not search while it grows

    def follow(self, view: View) -> ExactSearch:
        """What searches the matrix's rows, after bringing the graph in step; the lock is held.

        Raises:
            GalleryError: the file cannot be written.
        """
        keys, rows = _keyed(view)
        if len(keys) <= SMALL:
            return ExactSearch(view.vectors)
        with self._lock, translated(self.path) if self.path else nullcontext():
            if self._index is None:
                self._index = self._read()
            try:
                self._bring(view, keys, rows)
            except BaseException:
                self._index = None  # something removed may still be in it
                raise
            if self._unsaved > UNSAVED:
                self._save()
        return HnswSearch(view.vectors, self, keys, rows)

    def find(self, queries: Array, count: int) -> tuple[Ints, Keys]:
        """Keys of about the `count` rows most like each query, and the queries' numbers."""
        codes = encode(queries, "int8").codes
        with self._lock:
            found = self._index.search(codes, count, threads=EngineOptions().thread_count)
        keys = np.asarray(found.keys, np.uint64).reshape(len(queries), -1)
        counts = np.asarray(getattr(found, "counts", keys.shape[1]))
        there = np.arange(keys.shape[1]) < np.broadcast_to(counts, len(queries))[:, None]
        return np.nonzero(there)[0], keys[there]

    def clear(self) -> None:
        """Lets go of the graph."""
        with self._lock:
            self._index = None

    def forget(self, view: View) -> None:
        """Leaves nothing in the file but the matrix's rows; the lock is held.

        Raises:
            GalleryError: the file cannot be written.
        """
        if self.path is None:
            return
        keys, rows = _keyed(view)
        with translated(self.path):
            self._index = self._read()
            if self._index is None or len(keys) <= SMALL:
                shred(self.path)
                return
            self._bring(view, keys, rows)
            self._save()

    def _bring(self, view: View, keys: Keys, rows: Ints) -> None:
        """Adds and removes what differs."""
        held: Keys = np.zeros(0, np.uint64)
        if self._index is not None:
            held = self._index.keys[: len(self._index)]
        gone = np.setdiff1d(held, keys)
        if self._index is None or wasteful(len(gone), len(held)):
            self._index, self._unsaved = self._empty(), UNSAVED
            held = gone = held[:0]
        new = np.flatnonzero(~np.isin(keys, held))
        spare = gone[gone < FIRST]
        stale = gone[gone >= FIRST]
        freed = np.concatenate([stale, spare[: max(len(new) - len(stale), 0)]])
        if len(freed):
            self._index.remove(freed)
        for start in range(0, len(new), BLOCK):
            some = new[start : start + BLOCK]
            self._add(keys[some], encode(view.vectors[rows[some]], "int8").codes)
        if left := max(len(freed) - len(new), 0):
            first = int(spare.max(initial=0)) + 1
            random = np.random.default_rng(first).integers(-127, 128, (left, self.size), np.int8)
            self._add(np.arange(first, first + left, dtype=np.uint64), random)
        self._unsaved += len(stale) + len(new)

    def _empty(self) -> Any:
        return self._made(
            ndim=self.size,
            metric="cos",
            dtype="i8",
            connectivity=LINKS,
            expansion_add=BUILDING,
            expansion_search=SEARCHING,
        )

    def _add(self, keys: Keys, codes: NDArray[Any]) -> None:
        self._index.add(keys, codes, threads=1)  # side by side, some rows end up linked by none

    def _read(self) -> Any:
        """The graph in the file, or None where there is none that can be used."""
        if self.path is None or not self.path.exists():
            return None
        with self.path.open("rb") as file:
            left = os.fstat(file.fileno()).st_size - TRAILER.itemsize
            crc = 0
            while left > 0 and (data := file.read(min(left, READ))):
                crc, left = zlib.crc32(data, crc), left - len(data)
            trailer = file.read()
        if left or trailer != _trailer(crc):
            return None
        index = self._empty()
        with suppress(RuntimeError, ValueError):  # of another version, or of other sizes
            index.load(self.path)
            if index.ndim == self.size and len(index):
                index.expansion_search = SEARCHING
                index.expansion_add = BUILDING
                return index
        return None

    def _save(self) -> None:
        """Writes the file aside; then it takes the place of the old one, which is wiped."""
        if self.path is None:
            return
        partial = _aside(self.path)
        try:
            created(partial).close()
            with suppress(RuntimeError):  # not raised for all that cannot be written
                self._index.save(partial)
            if partial.stat().st_size != self._index.serialized_length:
                raise GalleryError(f"{self.path}: not written: the disk is full or fails")
            with partial.open("r+b") as file:
                crc = 0
                while data := file.read(READ):
                    crc = zlib.crc32(data, crc)
                file.write(_trailer(crc))
            shred(self.path)
            partial.replace(self.path)
        finally:
            partial.unlink(missing_ok=True)
        self._unsaved = 0


class HnswSearch(ExactSearch):
    """Search through a graph; see `Graph.follow`.

    Of few rows that count, all are scanned; and so they are for a query for which the graph finds
    fewer than k of them, or so many alike that it may have left out one that comes first.

    Args:
        vectors: `(N, D)` float32 of unit length, in memory or mapped.
        graph: that holds the rows.
        keys: `(M,)` of the rows that it holds, in ascending order.
        rows: `(M,)` their numbers.
    """

    def __init__(self, vectors: Array, graph: Graph, keys: Keys, rows: Ints) -> None:
        super().__init__(vectors)
        self.graph = graph
        self.keys = keys
        self.rows = rows

    def _candidates(self, queries: Array, k: int, mask: Mask | None, order: Ints | None) -> Hits:
        allowed = len(self.rows) if mask is None else int(mask[self.rows].sum())
        wanted = k + SPARE
        if allowed <= max(SMALL, wanted):
            return self._scanned(queries, k, mask, order)
        hits = self._found(queries, -(-wanted * len(self.rows) // allowed), mask)
        hits = hits.take(rank(hits.queries) < wanted)
        sure = self._sure(hits, len(queries), k)
        unsure = np.flatnonzero(~sure)
        hits = hits.take(sure[hits.queries])
        if len(unsure):
            scanned = super()._candidates(queries[unsure], k, mask, order)
            hits = hits.and_these(scanned._replace(queries=unsure[scanned.queries]))
        return hits

    def _scanned(self, queries: Array, k: int, mask: Mask | None, order: Ints | None) -> Hits:
        """As an exact search, of the rows that the mask takes alone."""
        if mask is None:
            return super()._candidates(queries, k, None, order)
        rows = np.flatnonzero(mask)
        alone = ExactSearch(np.asarray(self.vectors[rows]))
        hits = alone._candidates(queries, k, None, None if order is None else order[rows])
        return hits._replace(rows=rows[hits.rows])

    def _found(self, queries: Array, count: int, mask: Mask | None) -> Hits:
        """What the graph finds and the mask takes, of each query the most alike first."""
        owners, keys = self.graph.find(queries, count)
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        rows = self.rows[places]
        counts = self.keys[places] == keys
        if mask is not None:
            counts &= mask[rows]
        owners, rows = owners[counts], rows[counts]
        scores = self.exact(queries, owners, rows)
        return Hits(owners, rows, scores, scores)

    def _sure(self, hits: Hits, queries: int, k: int) -> Mask:
        """For which queries the k-th best is better than what was found last."""
        scores = np.full((queries, k + SPARE), np.nan, np.float32)
        scores[hits.queries, rank(hits.queries)] = hits.low
        ordered = np.sort(-scores, axis=1)  # NaN comes last
        last = np.fmax.reduce(ordered, axis=1)
        return np.asarray(-last < -ordered[:, k - 1] - 2 * self.error)


def forget(path: Path, size: int, view: View | None) -> None:
    """Removes whoever is not in the matrix from the graph's file; the lock is held.

    Args:
        path: of the gallery's database.
        size: of an embedding.
        view: the matrix; None: there is none.
    """
    file = beside(path, "hnsw")
    shred(_aside(file))
    if view is None or not file.exists():
        shred(file)
        return
    try:
        graph = Graph(file, size)
    except MissingExtraError:
        shred(file)  # whoever can search by it makes it anew
    else:
        graph.forget(view)


def shred_graph(path: Path) -> None:
    """Wipes and removes the graph's file beside a database; the lock is held."""
    file = beside(path, "hnsw")
    shred(_aside(file))
    shred(file)


def usearch() -> Any:
    """The module `usearch.index`.

    Raises:
        MissingExtraError: it is not installed.
    """
    import onnxruntime  # noqa: F401  # crashes where it is loaded after usearch

    try:
        return import_module("usearch.index")
    except ModuleNotFoundError as error:
        raise MissingExtraError("search by HNSW", "search") from error


def _keyed(view: View) -> tuple[Keys, Ints]:
    """The keys of the rows that count, in ascending order, and the rows."""
    rows = np.flatnonzero(view.people)
    keys = (view.people[rows].astype(np.uint64) << np.uint64(32)) | view.sums[rows]
    keys, first = np.unique(keys, return_index=True)
    return keys, rows[first]


def _trailer(crc: int) -> bytes:
    return np.array([(crc, MAGIC)], TRAILER).tobytes()


def _aside(file: Path) -> Path:
    return file.with_name(f"{file.name}.tmp")
