"""Is one model better than another? The same pairs, the same people drawn, the difference.

Both runs meet the same easy and hard people, so the difference between them is known far better
than either figure. Its interval comes from drawing people anew and scoring both runs on them: the
paired bootstrap, Efron, Tibshirani, "An Introduction to the Bootstrap", 1993; people are drawn as
in `metrics`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mindface.errors import MindFaceError
from mindface.recognition.bootstrap import Interval, draws
from mindface.recognition.metrics import (
    RATES,
    REPLICATES,
    Doubles,
    Flags,
    Floats,
    Ints,
    ScoreTable,
)
from mindface.recognition.ten_fold import ten_fold

SIGNIFICANT = 0.05


@dataclass(frozen=True, eq=False)
class Run:
    """What a model scored on a list of pairs.

    Attributes:
        name: of the model.
        scores: `(N,)` cosines.
        hashes: of the lists that the pairs come from, by name.
    """

    name: str
    scores: Floats
    hashes: Mapping[str, str]


@dataclass(frozen=True)
class Difference:
    """How two runs differ in one figure.

    Attributes:
        figure: "accuracy" (ten-fold), "auc", or "tar@" and the FAR.
        first: the figure of the first run, 0 to 1.
        second: likewise of the second.
        difference: second less first.
        p_value: the chance of a difference as far from 0 if there were none; two-sided.
        better: the name of the better run, or None where chance explains the difference
            (`p_value` of 0.05 or more).
    """

    figure: str
    first: float
    second: float
    difference: Interval
    p_value: float
    better: str | None


def compare(
    first: Run,
    second: Run,
    same: Flags,
    people: Ints,
    folds: Ints | None = None,
    rates: Sequence[float] = RATES,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> list[Difference]:
    """Compares two runs over the same pairs.

    Args:
        first: a run.
        second: another.
        same: `(N,)` whether a pair shows one person.
        people: `(N, 2)` the number of the person on either side, from 0 on.
        folds: `(N,)` number of each pair's fold; None leaves the ten-fold accuracy out.
        rates: FARs at which TARs are compared, of those that the pairs support.
        replicates: how often people are drawn anew.
        seed: of the drawing.

    Returns:
        The differences in TAR, AUC and accuracy.

    Raises:
        MindFaceError: the runs are of different lists.
        ValueError: the arrays differ in length, or pairs of a kind are missing.
    """
    _check(first, second, same, people)
    supported = ScoreTable.of_pairs(first.scores, same, people).supports
    figures = {f"tar@{rate:g}": _tar_at(rate) for rate in rates if supported(rate)} | {"auc": _auc}
    measures = [_Measure(run.scores, same, people, folds, figures) for run in (first, second)]
    names = list(figures) + ([] if folds is None else ["accuracy"])
    whole = [measure(np.ones(int(people.max()) + 1)) for measure in measures]
    drawn = np.array(
        [
            [measure(weights) for measure in measures]
            for weights in draws(int(people.max()) + 1, [np.unique(people)], replicates, seed)
        ]
    )
    return [
        _difference(name, (first.name, second.name), values, drawn[:, 1, i] - drawn[:, 0, i])
        for i, (name, values) in enumerate(zip(names, zip(*whole, strict=True), strict=True))
    ]


def _check(first: Run, second: Run, same: Flags, people: Ints) -> None:
    if dict(first.hashes) != dict(second.hashes):
        keys = {*first.hashes, *second.hashes}
        differing = sorted(k for k in keys if first.hashes.get(k) != second.hashes.get(k))
        raise MindFaceError(
            f"{first.name} and {second.name} were run on different lists ({', '.join(differing)}): "
            "run both on the same files"
        )
    lengths = {len(first.scores), len(second.scores), len(same), len(people)}
    if len(lengths) != 1:
        raise ValueError(f"scores, same and people must be of one length, not {sorted(lengths)}")
    if same.all() or not same.any():
        raise ValueError("pairs of one person and pairs of strangers are both needed")


class _Measure:
    """The figures of a run, for people who count as often as their weights say."""

    def __init__(
        self,
        scores: Floats,
        same: Flags,
        people: Ints,
        folds: Ints | None,
        figures: Mapping[str, Callable[[Doubles, Doubles], float]],
    ) -> None:
        order = np.argsort(-scores, kind="stable")
        falling = scores[order]
        self._figures = figures
        self._same, self._people = same[order], people[order]
        self._ends = np.append(np.flatnonzero(np.diff(falling)), len(scores) - 1)
        self._distances = 2 - 2 * falling.astype(np.float64)
        self._folds = None if folds is None else folds[order]

    def __call__(self, weights: Doubles) -> list[float]:
        """The figures in their order, the accuracy last; NaN where none can be had."""
        a, b = self._people.T
        often = np.where(self._same, weights[a], weights[a] * weights[b])
        fmr, tar = (np.cumsum(often * kind)[self._ends] for kind in (~self._same, self._same))
        if not (fmr[-1] and tar[-1]):
            return [np.nan] * (len(self._figures) + (self._folds is not None))
        found = [figure(fmr / fmr[-1], tar / tar[-1]) for figure in self._figures.values()]
        return found if self._folds is None else [*found, self._accuracy(often, self._folds)]

    def _accuracy(self, often: Doubles, folds: Ints) -> float:
        drawn = np.repeat(np.arange(len(often)), often.astype(np.int64))
        with np.errstate(invalid="ignore"):  # a fold of which nobody was drawn
            return ten_fold(self._distances[drawn], self._same[drawn], folds[drawn]).mean


def _tar_at(rate: float) -> Callable[[Doubles, Doubles], float]:
    def tar_at(fmr: Doubles, tar: Doubles) -> float:
        last = int(np.searchsorted(fmr, rate * (1 + 1e-12), side="right")) - 1
        return float(tar[last]) if last >= 0 else 0.0

    return tar_at


def _auc(fmr: Doubles, tar: Doubles) -> float:
    x, y = np.append(0.0, fmr), np.append(0.0, tar)
    return float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum())


def _difference(
    figure: str, names: tuple[str, str], values: tuple[float, float], drawn: Doubles
) -> Difference:
    drawn = drawn[np.isfinite(drawn)]
    value = values[1] - values[0]
    low, high = np.percentile(drawn, [2.5, 97.5]) if len(drawn) else (np.nan, np.nan)
    beyond = min((drawn <= 0).sum(), (drawn >= 0).sum())
    p_value = min(2 * float(beyond + 1) / (len(drawn) + 1), 1.0)
    better = names[int(value > 0)] if p_value < SIGNIFICANT and value else None
    return Difference(figure, *values, Interval(value, float(low), float(high)), p_value, better)
