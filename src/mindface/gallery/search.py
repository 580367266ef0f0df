"""Exact search for the rows most like a query, in blocks.

A scan gives each score roughly, and says how far it may be off at most. Whatever could be among
the best `k` by that is scored again, alone, in float64 from the float32 rows. So a row's score and
the order depend neither on blocks, threads or other queries nor on the precision of the scan: none
can lose one of the best. `quantised` has other scans.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mindface.gallery.rows import Ints
from mindface.results import Array

SCORES = 1 << 20  # held at once, 4 MB: about what the cores' caches hold
QUERIES = 256  # searched together
HITS = 1 << 18  # that could be among the best, before they are scored exactly
GROUPS = 8  # for each of the best k, whose bests tell what the k-th best is at least
RESCORED = 64  # rows scored again at once, likewise
UNIT_ROUNDOFF = 2.0**-24  # of float32
LOWEST = np.finfo(np.float32).min

Mask = NDArray[np.bool_]


class Hits(NamedTuple):
    """Rows that may be among the best: the query's number, the row's, the score's bounds."""

    queries: Ints
    rows: Ints
    low: Array
    high: Array

    def take(self, which: Ints | Mask) -> Hits:
        """Some of them, in that order."""
        return Hits(self.queries[which], self.rows[which], self.low[which], self.high[which])

    def and_these(self, others: Hits) -> Hits:
        """These and others."""
        if not len(self.rows):
            return others
        return Hits(
            np.concatenate([self.queries, others.queries]),
            np.concatenate([self.rows, others.rows]),
            np.concatenate([self.low, others.low]),
            np.concatenate([self.high, others.high]),
        )

    def ordered(self) -> Hits:
        """By query, and best first."""
        return self.take(np.lexsort((-self.low, self.queries)))


class Search(Protocol):
    """Finds the rows most like queries."""

    def top(
        self, queries: Array, k: int, mask: Mask | None = None, order: Ints | None = None
    ) -> tuple[Ints, Array]:
        """See `ExactSearch.top`."""


class Scan(Protocol):
    """The rough scores of some queries.

    Attributes:
        errors: `(Q,)` float32, how far a query's scores may be off, besides the row's `widths`.
    """

    errors: Array

    def scores(self, start: int, stop: int) -> Array:
        """Scores `(stop - start, Q)` of rows; the next call may write over them."""

    def widths(self, start: int, stop: int) -> Array | None:
        """`(stop - start,)` how far scores of these rows may be off besides; None: no further."""


class ExactSearch:
    """Search through a float32 matrix, by BLAS.

    Args:
        vectors: `(N, D)` float32 of unit length, in memory or mapped.
    """

    def __init__(self, vectors: Array) -> None:
        self.vectors = vectors

    @property
    def error(self) -> float:
        """How far a float32 score of unit vectors may be off, in whatever order it is added.

        Higham, "Accuracy and Stability of Numerical Algorithms", 2nd edition, section 3.1; a little
        more, since lengths are not exactly 1, and bounds and exact scores are rounded too.
        """
        return 1.01 * (int(self.vectors.shape[1]) + 16) * UNIT_ROUNDOFF

    def top(
        self, queries: Array, k: int, mask: Mask | None = None, order: Ints | None = None
    ) -> tuple[Ints, Array]:
        """The `k` rows most like each query.

        Args:
            queries: `(Q, D)` float32 of unit length.
            k: at least 1.
            mask: `(N,)`, which rows count; None: all.
            order: `(N,)`, of rows with equal scores the one with the lowest comes first; None:
                the rows' numbers.

        Returns:
            Rows `(Q, k)`, -1 where there are fewer, and scores `(Q, k)` float32, -1 there.
        """
        rows = np.full((len(queries), k), -1)
        scores = np.full((len(queries), k), -1, np.float32)
        for start in range(0, len(queries), QUERIES):
            some = queries[start : start + QUERIES]
            best = self._settled(some, self._candidates(some, k, mask, order), k, order)
            place = best.queries + start, rank(best.queries)
            rows[place], scores[place] = best.rows, best.low
        return rows, scores

    def _scan(self, queries: Array) -> Scan:
        return BlasScan(self.vectors, queries, self.error)

    def _candidates(self, queries: Array, k: int, mask: Mask | None, order: Ints | None) -> Hits:
        """All that could be among the best k."""
        scan = self._scan(queries)
        floor = np.full(len(queries), LOWEST, np.float32)
        best = new = _none()
        for start, stop in self._blocks(len(queries), mask):
            if len(new.rows) > len(best.rows):  # else sorting would take longer than scanning
                best, new = best.and_these(new).ordered(), _none()
                last = rank(best.queries) == k - 1
                floor[best.queries[last]] = _floor(best.low[last])
                best = best.take(best.high >= floor[best.queries])
            if len(best.rows) > HITS + 2 * k * len(queries):
                best = self._settled(queries, best, k, order)
            scores, widths = scan.scores(start, stop), scan.widths(start, stop)
            if mask is not None:
                scores[~mask[start:stop]] = -np.inf
            if (floor == LOWEST).any() and stop - start > k:
                low = scores if widths is None else scores - widths[:, None]
                floor = np.maximum(floor, _floor(_reached(low, k) - scan.errors))
            new = new.and_these(_reaching(scores, widths, scan.errors, floor, start))
        return best.and_these(new)

    def _blocks(self, queries: int, mask: Mask | None) -> Iterator[tuple[int, int]]:
        count = len(self.vectors)
        size = max(SCORES // queries, 1)
        for start in range(0, count, size):
            stop = min(start + size, count)
            if mask is None or mask[start:stop].any():
                yield start, stop

    def _settled(self, queries: Array, hits: Hits, k: int, order: Ints | None) -> Hits:
        """The best k of each query, with exact scores, best first."""
        exact = self.exact(queries, hits.queries, hits.rows)
        keys = hits.rows if order is None else order[hits.rows]
        found = hits._replace(low=exact, high=exact)
        found = found.take(np.lexsort((keys, -exact, hits.queries)))
        return found.take(rank(found.queries) < k)

    def exact(self, queries: Array, owners: Ints, rows: Ints) -> Array:
        """The scores of single rows, added in float64.

        Args:
            queries: `(Q, D)` float32.
            owners: `(M,)` numbers of queries.
            rows: `(M,)` numbers of rows.

        Returns:
            `(M,)` float32 from -1 to 1.
        """
        scores = np.empty(len(rows), np.float32)
        shape = min(len(rows), RESCORED), self.vectors.shape[1]
        single, vectors, asked = np.empty(shape, np.float32), np.empty(shape), np.empty(shape)
        for start in range(0, len(rows), RESCORED):
            part = slice(start, start + RESCORED)
            count = len(rows[part])
            vectors[:count] = self.vectors.take(rows[part], 0, single[:count], "clip")
            asked[:count] = queries.take(owners[part], 0, single[:count], "clip")
            scores[part] = np.einsum("ij,ij->i", vectors[:count], asked[:count])
        return np.clip(scores, -1, 1)


class BlasScan:
    """Rough scores from float32 rows; see `Scan`."""

    def __init__(self, vectors: Array, queries: Array, error: float) -> None:
        self.vectors = vectors
        self.queries = queries
        self.errors: Array = np.full(len(queries), error, np.float32)
        self.memory: Array = np.empty(0, np.float32)

    def scores(self, start: int, stop: int) -> Array:
        """See `Scan`."""
        block, count = self.vectors[start:stop], len(self.queries)
        if len(self.memory) < count * len(block):
            self.memory = np.empty(count * len(block), np.float32)
        scores = self.memory[: count * len(block)].reshape(-1, count)
        return np.matmul(block, self.queries.T, out=scores)

    def widths(self, start: int, stop: int) -> None:
        """See `Scan`."""


def _none() -> Hits:
    numbers, scores = np.zeros(0, np.int64), np.zeros(0, np.float32)
    return Hits(numbers, numbers, scores, scores)


def _reached(scores: Array, k: int) -> Array:
    """What each column's k-th largest score reaches: the k-th largest of the bests of groups."""
    groups = min(len(scores), GROUPS * k)
    size = len(scores) // groups
    bests = scores[: groups * size].reshape(groups, size, -1).max(axis=1)
    reached: Array = np.partition(bests, -k, axis=0)[-k]
    return reached


def _reaching(scores: Array, widths: Array | None, errors: Array, floor: Array, start: int) -> Hits:
    """The scores that may reach their query's floor."""
    high = scores if widths is None else scores + widths[:, None]
    places = np.flatnonzero(high >= floor - errors)
    rows, queries = np.divmod(places, len(errors))
    off = errors[queries] if widths is None else errors[queries] + widths[rows]
    found = scores.reshape(-1)[places]
    return Hits(queries, rows + start, found - off, found + off)


def _floor(low: Array) -> Array:
    """What a score must reach, given that of the k-th best; beyond -1 and 1 exact ones are cut."""
    return np.where(low > -1, np.minimum(low, 1), LOWEST).astype(np.float32)


def rank(owners: Ints) -> Ints:
    """The place of each element among its owner's, which stand together."""
    numbers = np.arange(len(owners))
    first = np.flatnonzero(np.diff(owners, prepend=-1))
    return numbers - np.repeat(first, np.diff(first, append=len(owners)))
