"""Error versus discard: does a measure of quality find the photos that recognition fails on?

The photos of lowest quality are discarded, the threshold stays, and the false non-match rate of
what is left should fall. Grother, Tabassi, "Performance of biometric quality measures", PAMI 2007.
The quality of a pair is the lower of its two photos'.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindface.recognition.bootstrap import Interval, draws
from mindface.recognition.metrics import REPLICATES, Doubles, Flags, Ints

LIMIT = 0.2  # how much is discarded at most where curves are compared


@dataclass(frozen=True, eq=False)
class DiscardCurve:
    """FNMR as photos are discarded, one point for each quality at which pairs fall out.

    Attributes:
        name: of the quality.
        photos: `(K,)` share of photos discarded, rising from 0.
        pairs: `(K,)` share of genuine pairs discarded with them.
        fnmr: `(K,)` of the genuine pairs that are left.
        area: under `fnmr` over `pairs`, up to the limit.
        ideal: the area where pairs that fail fall out first.
        relative: `area` on a scale where the ideal is 0 and discarding at random is 1; above 1,
            discarding does harm.
    """

    name: str
    photos: Doubles
    pairs: Doubles
    fnmr: Doubles
    area: float
    ideal: float
    relative: Interval

    @property
    def worth_using(self) -> bool:
        """Whether it is better than chance: the interval of `relative` ends below 1."""
        return self.relative.high < 1


def rank_qualities(
    qualities: Mapping[str, NDArray[Any]],
    scores: NDArray[Any],
    photos: Ints,
    people: Ints,
    threshold: float,
    limit: float = LIMIT,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> list[DiscardCurve]:
    """Discard curves of several measures of quality, the most useful first.

    Args:
        qualities: by name, `(M,)`, higher is better; any scale. A photo without a face takes the
            lowest value.
        scores: `(G,)` of genuine pairs.
        photos: `(G, 2)` the numbers of the photos in each.
        people: `(G,)` whose they are, from 0 on.
        threshold: below it a pair fails; take that of the FMR to be held (`ScoreTable.threshold`).
        limit: largest share of pairs discarded where areas are taken, between 0 and 1.
        replicates: how often people are drawn anew for the intervals.
        seed: of the drawing.

    Raises:
        ValueError: a quality that is not finite, a limit out of range, or nothing to tell apart:
            no pair or every pair fails.
    """
    failed = np.asarray(scores) < np.float32(threshold)
    if not 0 < limit < 1:
        raise ValueError(f"limit must lie between 0 and 1, not {limit}")
    if failed.all() or not failed.any():
        raise ValueError(
            f"{failed.sum()} of {len(failed)} genuine pairs fail at {threshold:g}: discarding "
            "changes nothing; choose another threshold"
        )
    curves = [
        _curve(name, np.asarray(quality), failed, photos, people, limit, replicates, seed)
        for name, quality in qualities.items()
    ]
    return sorted(curves, key=lambda curve: curve.relative.value)


def _curve(
    name: str,
    quality: NDArray[Any],
    failed: Flags,
    photos: Ints,
    people: Ints,
    limit: float,
    replicates: int,
    seed: int,
) -> DiscardCurve:
    if not np.isfinite(quality).all():
        raise ValueError(
            f"the quality {name!r} of photo {int(np.argmin(np.isfinite(quality)))} is not finite: "
            "give photos without a face the lowest value"
        )
    levels, level = np.unique(quality[photos].min(axis=1), return_inverse=True)
    pairs, fnmr = _points(level, failed, np.ones(len(failed)))
    area, ideal = _area(pairs, fnmr, limit), _ideal(float(fnmr[0]), limit)
    drawn = [
        _relative(*_points(level, failed, weights[people]), limit)
        for weights in draws(int(people.max()) + 1, [np.unique(people)], replicates, seed)
    ]
    return DiscardCurve(
        name,
        np.searchsorted(np.sort(quality), levels) / len(quality),
        pairs,
        fnmr,
        area,
        ideal,
        Interval.of(_relative(pairs, fnmr, limit), drawn),
    )


def _points(level: NDArray[np.intp], failed: Flags, weights: Doubles) -> tuple[Doubles, Doubles]:
    """The share of pairs below each level, and the FNMR of the others."""
    all_pairs, failures = np.bincount(level, weights), np.bincount(level, weights * failed)
    left = np.cumsum(all_pairs[::-1])[::-1]
    wrong = np.cumsum(failures[::-1])[::-1]
    some = left > 0
    return 1 - left[some] / left[0], wrong[some] / left[some]


def _relative(pairs: Doubles, fnmr: Doubles, limit: float) -> float:
    ideal, chance = _ideal(float(fnmr[0]), limit), float(fnmr[0]) * limit
    return (_area(pairs, fnmr, limit) - ideal) / (chance - ideal) if chance > ideal else math.nan


def _area(pairs: Doubles, fnmr: Doubles, limit: float) -> float:
    within = np.append(pairs[pairs < limit], limit)
    heights = np.interp(within, pairs, fnmr)
    return float((np.diff(within) * (heights[1:] + heights[:-1]) / 2).sum())


def _ideal(fnmr: float, limit: float) -> float:
    """The integral of (fnmr - x) / (1 - x), as far as it is positive."""
    end = min(fnmr, limit)
    return end + (1 - fnmr) * math.log1p(-end)
