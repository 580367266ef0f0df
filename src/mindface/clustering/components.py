"""Connected components of a graph, by arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ints = NDArray[np.int64]


def connected(count: int, first: ArrayLike, second: ArrayLike) -> Ints:
    """The component of each node, named by the lowest number in it.

    Every round each component takes the lowest name that it touches, and names of names are
    followed to their end: Shiloach, Vishkin, "An O(log n) parallel connectivity algorithm",
    Journal of Algorithms 1982.

    Args:
        count: N, of nodes.
        first: `(E,)`, the one end of each edge.
        second: `(E,)`, the other.

    Returns:
        `(N,)` numbers of nodes.
    """
    names = np.arange(count)
    a, b = np.asarray(first, np.int64), np.asarray(second, np.int64)
    while len(a):
        low, high = np.minimum(names[a], names[b]), np.maximum(names[a], names[b])
        a, b = low[low < high], high[low < high]
        np.minimum.at(names, b, a)
        while (names[names] != names).any():
            names = names[names]
    return names
