"""Accuracy over ten folds, as InsightFace and MindFace print it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mindface.recognition.metrics import Doubles, Flags, Ints


@dataclass(frozen=True, eq=False)
class TenFold:
    """Accuracy as InsightFace and MindFace measure it; see `ten_fold`.

    Attributes:
        accuracies: `(F,)` of each fold, 0 to 1.
        thresholds: `(F,)` squared distances below which its pairs were called the same.
    """

    accuracies: Doubles
    thresholds: Doubles

    @property
    def mean(self) -> float:
        """Mean over the folds."""
        return float(self.accuracies.mean())

    @property
    def std(self) -> float:
        """Standard deviation over the folds (of the population, as `numpy.std`)."""
        return float(self.accuracies.std())


def ten_fold(distances: NDArray[np.floating], same: Flags, folds: Ints) -> TenFold:
    """Accuracy of each fold at the threshold that is best on all the others.

    The thresholds are 0, 0.01 .. 3.99 of the squared distance between embeddings of unit length
    (2 - 2 cosine), of equally good ones the least: InsightFace, `recognition/arcface_torch/eval/
    verification.py`, `calculate_roc`, which MindFace's `eval` follows. There the folds are tenths
    of the list in its order.

    Args:
        distances: `(N,)` squared distances.
        same: `(N,)` whether a pair shows one person.
        folds: `(N,)` number of each pair's fold, from 0 on.
    """
    grid = np.arange(0, 4, 0.01)
    first = np.searchsorted(grid, distances, side="right")
    count = int(folds.max()) + 1
    right = np.zeros((count, len(grid)), np.int64)
    sizes = np.bincount(folds, minlength=count)
    for fold in range(count):
        here = folds == fold
        accepted, wrongly = (
            np.cumsum(np.bincount(first[here & kind], minlength=len(grid) + 1)[:-1])
            for kind in (same, ~same)
        )
        right[fold] = accepted + (here & ~same).sum() - wrongly
    best = np.argmax(right.sum(0) - right, axis=1)
    return TenFold(right[np.arange(count), best] / np.maximum(sizes, 1), grid[best])


def equal_folds(count: int, folds: int = 10) -> Ints:
    """Consecutive folds whose sizes differ by one at most, as scikit-learn's `KFold` makes them."""
    sizes = np.full(folds, count // folds)
    sizes[: count % folds] += 1
    return np.repeat(np.arange(folds), sizes)
