"""Exact answers from a server's search, whose scores are rounded in a way of its own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mindface.gallery.rows import Ints
from mindface.gallery.search import ExactSearch
from mindface.results import Array

SPARE = 14  # asked for beyond k: as many may score so alike that only exact scores tell

Find = Callable[[int], tuple[Ints, Array]]


def nearest(find: Find, query: Array, k: int, most: int | None = None) -> tuple[Ints, Array]:
    """The `k` people most like a query, scored again alone, so that scores and order repeat.

    Should so many be alike that the server may have left out one of the best, more are fetched.

    Args:
        find: gives the people nearest in the server's eyes, with their templates `(n, D)`, as
            many as it is told or all that there are.
        query: `(D,)` float32 of unit length.
        k: at least 1.
        most: that can be asked for; None: any number.

    Returns:
        Ids `(k,)`, 0 where there are fewer, and scores `(k,)` float32, -1 there.
    """
    limit = k + SPARE
    while True:
        wanted = limit if most is None else min(limit, most)
        people, vectors = find(wanted)
        search = ExactSearch(vectors)
        rows, scores = search.top(query[None], max(k, len(people)), None, people)
        complete = len(people) < wanted or wanted == most
        if complete or scores[0, len(people) - 1] < scores[0, k - 1] - 2 * search.error:
            break
        limit *= 4
    best = rows[0, :k]
    ids = np.zeros(k, np.int64)
    ids[best >= 0] = people[best[best >= 0]]
    return ids, scores[0, :k]
