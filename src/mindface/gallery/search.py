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

from mindface.gallery.product import Product
from mindface.gallery.rows import Ints
from mindface.results import Array

SCORES = 10 << 18  # held at once, 10 MB
QUERIES = 256  # searched together
HITS = 1 << 18  # that could be among the best, before they are scored exactly
GROUPS = 8  # for each of the best k, whose bests tell what the k-th best is at least
GROUP = 16  # rows of a group, at most
RESCORED = 64  # rows scored again at once
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
    """Scores the rows of some queries roughly.

    Attributes:
        held: how many scores are held at once.
    """

    held: int

    def reaching(
        self, start: int, stop: int, k: int, floor: Array, mask: Mask | None
    ) -> tuple[Array, Hits]:
        """The rows from `start` to `stop` that may be among the best `k`.

        Args:
            start: the first row.
            stop: the one behind the last.
            k: see `ExactSearch.top`, and `mask` likewise.
            floor: `(Q,)` float32, what the exact score of each query's k-th best is at least;
                `LOWEST` where nothing is known of it.
            mask: which rows count.

        Returns:
            The floor, which may be higher now, and the rows.
        """


class ExactSearch:
    """Search through a float32 matrix.

    Args:
        vectors: `(N, D)` float32 of unit length, in memory or mapped.
    """

    def __init__(self, vectors: Array) -> None:
        self.vectors = vectors
        self.product = Product()

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
        return FloatScan(self, queries)

    def _candidates(self, queries: Array, k: int, mask: Mask | None, order: Ints | None) -> Hits:
        """All that could be among the best k."""
        scan = self._scan(queries)
        floor = np.full(len(queries), LOWEST, np.float32)
        best = new = _none()
        for start, stop in self._blocks(max(scan.held // len(queries), 1), mask):
            if len(new.rows) > len(best.rows):  # else sorting would take longer than scanning
                best, new = best.and_these(new).ordered(), _none()
                last = rank(best.queries) == k - 1
                floor[best.queries[last]] = lowered(best.low[last])
                best = best.take(best.high >= floor[best.queries])
            if len(best.rows) > HITS + 2 * k * len(queries):
                best = self._settled(queries, best, k, order)
            floor, found = scan.reaching(start, stop, k, floor, mask)
            new = new.and_these(found)
        return best.and_these(new)

    def _blocks(self, size: int, mask: Mask | None) -> Iterator[tuple[int, int]]:
        count = len(self.vectors)
        for start in range(0, count, size):
            stop = min(start + size, count)
            if mask is None or mask[start:stop].any():
                yield start, stop

    def _settled(self, queries: Array, hits: Hits, k: int, order: Ints | None) -> Hits:
        """The best k of each query, with exact scores, best first."""
        exact = self.exact(queries, hits.queries, hits.rows)
        keys = hits.rows if order is None else order[hits.rows]
        found = hits._replace(low=exact, high=exact)
        owners = hits.queries.astype(np.int16)  # they are sorted in less time
        found = found.take(np.lexsort((keys, -exact, owners)))
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
        queries = queries.astype(np.float64)
        for start in range(0, len(rows), RESCORED):
            part = slice(start, start + RESCORED)
            count = len(rows[part])
            vectors[:count] = self.vectors.take(rows[part], 0, single[:count], "clip")
            queries.take(owners[part], 0, asked[:count], "clip")
            scores[part] = np.einsum("ij,ij->i", vectors[:count], asked[:count])
        return np.clip(scores, -1, 1)


class FloatScan:
    """Rough scores from float32 rows; see `Scan`."""

    def __init__(self, search: ExactSearch, queries: Array) -> None:
        self.held = SCORES
        self.vectors = search.vectors
        self.product = search.product
        self.queries = np.ascontiguousarray(queries.T)
        self.error = np.float32(search.error)

    def reaching(
        self, start: int, stop: int, k: int, floor: Array, mask: Mask | None
    ) -> tuple[Array, Hits]:
        """See `Scan`."""
        size = min(max((stop - start) // (GROUPS * k), 1), GROUP)
        whole = stop - (stop - start) % size
        floor, hits = self._in_groups(start, whole, size, k, floor, mask)
        if whole < stop:
            floor, others = self._in_groups(whole, stop, stop - whole, k, floor, mask)
            hits = hits.and_these(others)
        return floor, hits

    def _in_groups(
        self, start: int, stop: int, size: int, k: int, floor: Array, mask: Mask | None
    ) -> tuple[Array, Hits]:
        """As `reaching`, of rows in whole groups, of which only those are looked into that may."""
        rows = self.vectors[start:stop].reshape(-1, size, len(self.queries))
        scores, bests = self.product(rows, self.queries)
        if mask is not None:
            out = ~mask[start:stop].reshape(-1, size)
            scores[out] = -np.inf
            changed = out.any(axis=1)
            bests[changed] = scores[changed].max(axis=1)
        if len(bests) >= k and (floor == LOWEST).any():
            floor = np.maximum(floor, lowered(reached(bests, k) - self.error))
        least = floor - self.error
        groups, queries = np.divmod(np.flatnonzero(bests >= least), len(floor))
        found = scores[groups, :, queries]
        which, place = np.divmod(np.flatnonzero(found >= least[queries, None]), size)
        near = found[which, place]
        numbers = start + groups[which] * size + place
        return floor, Hits(queries[which], numbers, near - self.error, near + self.error)


def _none() -> Hits:
    numbers, scores = np.zeros(0, np.int64), np.zeros(0, np.float32)
    return Hits(numbers, numbers, scores, scores)


def reached(scores: Array, k: int) -> Array:
    """What each column's k-th largest score reaches: the k-th largest of the bests of groups."""
    groups = min(len(scores), GROUPS * k)
    size = len(scores) // groups
    bests = scores[: groups * size].reshape(groups, size, -1).max(axis=1)
    best: Array = np.partition(bests, -k, axis=0)[-k]
    return best


def lowered(scores: Array) -> Array:
    """What a score must reach, given that of the k-th best; beyond -1 and 1 exact ones are cut."""
    return np.where(scores > -1, np.minimum(scores, 1), LOWEST).astype(np.float32)


def rank(owners: Ints) -> Ints:
    """The place of each element among its owner's; owners are in ascending order."""
    return np.arange(len(owners)) - np.searchsorted(owners, owners)
