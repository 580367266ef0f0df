"""The graph of nearest neighbours, exact, by blocks of matrix products in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mindface.results import Array

Ints = NDArray[np.int32]

BLOCK = 2048  # faces a side: 16 MB of similarities


class Pairs(NamedTuple):
    """Pairs of faces that are alike, each once, the most alike first.

    Attributes:
        first: `(E,)` numbers of faces.
        second: `(E,)`, each above its `first`.
        similarity: `(E,)` float32 cosines, falling; equal ones in the order of their faces.
    """

    first: Ints
    second: Ints
    similarity: Array


def neighbours(embeddings: Array, k: int, least: float = -1.0, since: int = 0) -> Pairs:
    """Pairs of which one is among the k nearest neighbours of the other.

    Of equally near neighbours those with the lower numbers are taken. No more than 2 N k pairs and
    those of one block are held at a time, at about 70 bytes each while they are sorted.

    Args:
        embeddings: `(N, D)` float32 of unit length.
        k: how many neighbours a face has at most.
        least: the least cosine of neighbours.
        since: pairs of two faces with lower numbers than this are left out.
    """
    count = len(embeddings)
    limit = max(2 * k * count, BLOCK * BLOCK)
    floors = np.full(count, least, np.float32)
    found, pending = [_NONE], 0
    for rows, columns in _blocks(count, since):
        similarity = embeddings[rows] @ embeddings[columns].T
        pairs = _alike(similarity, rows, columns, floors)
        found.append(pairs)
        pending += len(pairs.first)
        if pending > limit:
            found = [_nearest(_joined(found), k, floors)]
            pending = len(found[0].first)
    return _nearest(_joined(found), k, floors)


_NONE = Pairs(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.float32))


def _blocks(count: int, since: int) -> Iterator[tuple[slice, slice]]:
    """Blocks that hold each pair with a face from `since` on once or, on the diagonal, twice."""
    for start in range(since, count, BLOCK):
        columns = slice(start, min(start + BLOCK, count))
        for row in range(0, columns.stop, BLOCK):
            yield slice(row, min(row + BLOCK, columns.stop)), columns


def _alike(similarity: Array, rows: slice, columns: slice, floors: Array) -> Pairs:
    """Pairs of a block that may be among the nearest of one of their faces."""
    lowest = min(floors[rows].min(), floors[columns].min())
    row, column = np.divmod(np.flatnonzero(similarity >= lowest), similarity.shape[1])
    values = similarity[row, column]
    row, column = row + rows.start, column + columns.start
    kept = (row < column) & (values >= np.minimum(floors[row], floors[column]))
    return Pairs(row[kept].astype(np.int32), column[kept].astype(np.int32), values[kept])


def _nearest(pairs: Pairs, k: int, floors: Array) -> Pairs:
    """Pairs among the k nearest of one of their faces; raises the floors of faces that have k."""
    order = np.lexsort((pairs.second, pairs.first, -pairs.similarity))
    first, second, similarity = pairs.first[order], pairs.second[order], pairs.similarity[order]
    faces = np.column_stack([first, second]).reshape(-1)
    counts = np.bincount(faces, minlength=len(floors))
    starts = np.cumsum(counts) - counts
    by_face = np.argsort(faces, kind="stable")  # a face's pairs in their order
    ranks = np.empty(len(faces), np.int32)
    ranks[by_face] = np.arange(len(faces)) - starts[faces[by_face]]
    full = np.flatnonzero(counts >= k)
    floors[full] = similarity[by_face[starts[full] + k - 1] // 2]
    kept = (ranks.reshape(-1, 2) < k).any(axis=1)
    return Pairs(first[kept], second[kept], similarity[kept])


def _joined(parts: list[Pairs]) -> Pairs:
    return Pairs(
        np.concatenate([part.first for part in parts]),
        np.concatenate([part.second for part in parts]),
        np.concatenate([part.similarity for part in parts]),
    )
