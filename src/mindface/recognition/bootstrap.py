"""Intervals by drawing people anew; see `metrics` for why people and not pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Interval:
    """A figure and its 95% interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, drawn: ArrayLike) -> Interval:
        """The interval that holds 95% of what was `drawn`; NaN is passed over."""
        low, high = np.nanpercentile(np.asarray(drawn, np.float64), [2.5, 97.5])
        return cls(value, float(low), float(high))


def draws(
    size: int, strata: Sequence[NDArray[np.int64]], replicates: int, seed: int
) -> Iterator[NDArray[np.float64]]:
    """How often each person is drawn, `(size,)`, when each stratum is drawn anew in its own size.

    Args:
        size: how many people there are in all.
        strata: the numbers of the people in each stratum.
        replicates: how often to draw.
        seed: of the drawing.
    """
    generator = np.random.default_rng(seed)
    for _ in range(replicates):
        drawn = [generator.choice(stratum, len(stratum)) for stratum in strata if len(stratum)]
        yield np.bincount(np.concatenate(drawn), minlength=size).astype(np.float64)
