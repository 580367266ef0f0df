"""Exact search for the rows most like a query, in blocks through BLAS.

Scores of blocks are rough, to within a known error: their last bits depend on how BLAS cuts the
work. Whatever could be among the best `k` is scored again, alone, in float64. So a row's score and
the order do not depend on blocks, threads or other queries, and a form of the matrix that takes
less memory needs only its own `_rough` and `error`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mindface.gallery.rows import Ints
from mindface.results import Array

SCORES = 1 << 22  # held at once, 16 MB
QUERIES = 256  # searched together
RESCORED = 4096  # rows scored again at once
UNIT_ROUNDOFF = 2.0**-24  # of float32

Mask = NDArray[np.bool_]


class Hits(NamedTuple):
    """Rows that may be among the best: the query's number, the row's, and the rough score."""

    queries: Ints
    rows: Ints
    scores: Array

    def take(self, which: Ints | Mask) -> Hits:
        """Some of them, in that order."""
        return Hits(self.queries[which], self.rows[which], self.scores[which])

    def and_these(self, others: Hits) -> Hits:
        """These and others, by query and best first."""
        both = Hits(
            np.concatenate([self.queries, others.queries]),
            np.concatenate([self.rows, others.rows]),
            np.concatenate([self.scores, others.scores]),
        )
        return both.take(np.lexsort((-both.scores, both.queries)))


class Search(Protocol):
    """Finds the rows most like queries."""

    def top(
        self, queries: Array, k: int, mask: Mask | None = None, order: Ints | None = None
    ) -> tuple[Ints, Array]:
        """See `ExactSearch.top`."""


class ExactSearch:
    """Search through a float32 matrix.

    Args:
        vectors: `(N, D)` float32 of unit length, in memory or mapped.
    """

    def __init__(self, vectors: Array) -> None:
        self.vectors = vectors

    @property
    def error(self) -> float:
        """How far a rough score of unit vectors may be off, in whatever order BLAS adds.

        Higham, "Accuracy and Stability of Numerical Algorithms", 2nd edition, section 3.1; a little
        more, since lengths are not exactly 1, and exact scores are rounded too.
        """
        return 1.01 * (int(self.vectors.shape[1]) + 4) * UNIT_ROUNDOFF

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
            hits = self._candidates(some, k, mask)
            exact = self._rescored(some, hits)
            keys = hits.rows if order is None else order[hits.rows]
            sequence = np.lexsort((keys, -exact, hits.queries))
            owner = hits.queries[sequence]
            rank = _rank(owner)
            kept = rank < k
            place = owner[kept] + start, rank[kept]
            rows[place] = hits.rows[sequence][kept]
            scores[place] = exact[sequence][kept]
        return rows, scores

    def _candidates(self, queries: Array, k: int, mask: Mask | None) -> Hits:
        """All that could be among the best k."""
        slack = 2 * self.error
        floor = np.full(len(queries), -np.inf, np.float32)
        none = np.zeros(0, np.int64)
        best = Hits(none, none, np.zeros(0, np.float32))
        for start, stop in self._blocks(len(queries), mask):
            rough = self._rough(queries, start, stop)
            if mask is not None:
                rough[:, ~mask[start:stop]] = -np.inf
            if np.isneginf(floor).any() and stop - start > k:
                floor = np.maximum(floor, -np.partition(-rough, k - 1)[:, k - 1])
            owners, columns = np.nonzero((rough >= (floor - slack)[:, None]) & (rough > -np.inf))
            found = Hits(owners, columns + start, rough[owners, columns])
            best = best.and_these(found)
            last = _rank(best.queries) == k - 1
            floor[best.queries[last]] = best.scores[last]
            best = best.take(best.scores >= (floor - slack)[best.queries])
        return best

    def _blocks(self, queries: int, mask: Mask | None) -> Iterator[tuple[int, int]]:
        count = len(self.vectors)
        size = max(SCORES // queries, 1)
        for start in range(0, count, size):
            stop = min(start + size, count)
            if mask is None or mask[start:stop].any():
                yield start, stop

    def _rough(self, queries: Array, start: int, stop: int) -> Array:
        """Scores `(Q, stop - start)`, off by `error` at most."""
        block = self.vectors[start:stop]
        if len(queries) == 1:
            return np.asarray(block @ queries[0])[None]
        return np.asarray(queries @ block.T)

    def _rescored(self, queries: Array, hits: Hits) -> Array:
        scores = np.empty(len(hits.rows), np.float32)
        for start in range(0, len(scores), RESCORED):
            part = slice(start, start + RESCORED)
            rows = self.vectors[hits.rows[part]].astype(np.float64)
            probes = queries[hits.queries[part]].astype(np.float64)
            scores[part] = (rows * probes).sum(axis=1)
        return np.clip(scores, -1, 1)


def _rank(owners: Ints) -> Ints:
    """The place of each element among its owner's, which stand together."""
    numbers = np.arange(len(owners))
    first = np.flatnonzero(np.diff(owners, prepend=-1))
    return numbers - np.repeat(first, np.diff(first, append=len(owners)))
