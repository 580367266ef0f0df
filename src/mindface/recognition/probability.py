"""From scores to the probability that two faces show one person, and how honest it is.

A probability depends on how often pairs of one person come up at all: the prior, which is stated
and never taken from how many pairs of either kind a list happens to hold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindface.recognition.bootstrap import Interval
from mindface.recognition.metrics import Doubles, Flags

NORMAL_95 = 1.959963984540054
STEPS = 100
LEAST_SPREAD = 1e-9


@dataclass(frozen=True, eq=False)
class IsotonicProbability:
    """Probabilities that rise with the score and are otherwise free; see `fit_isotonic`.

    Attributes:
        prior: the share of pairs that show one person.
        scores: `(K,)` rising.
        probabilities: `(K,)` at these scores, not falling, 0 to 1; straight lines between them.
    """

    prior: float
    scores: Doubles
    probabilities: Doubles

    def __call__(self, scores: NDArray[Any]) -> Doubles:
        """Probabilities of scores, of their shape; beyond the ends those of the ends."""
        return np.asarray(np.interp(scores, self.scores, self.probabilities))


@dataclass(frozen=True, eq=False)
class LogisticProbability:
    """`1 / (1 + exp(-(slope * score + intercept)))`; see `fit_logistic`."""

    prior: float
    slope: float
    intercept: float

    def __call__(self, scores: NDArray[Any]) -> Doubles:
        """Probabilities of scores, of their shape."""
        return _logistic(self.slope * np.asarray(scores, np.float64) + self.intercept)


@dataclass(frozen=True)
class ReliabilityBin:
    """Pairs of like probability.

    Attributes:
        pairs: how many.
        share: what they count for among all pairs, with the prior.
        predicted: their mean probability.
        observed: the share that shows one person; Wilson's interval, pairs taken as independent.
    """

    pairs: int
    share: float
    predicted: float
    observed: Interval


@dataclass(frozen=True)
class Reliability:
    """How probabilities compare with what happened.

    Attributes:
        bins: those that hold pairs, from the least probable on.
        expected_error: expected calibration error: the mean difference between predicted and
            observed, weighted by share, 0 to 1.
    """

    bins: tuple[ReliabilityBin, ...]
    expected_error: float


def fit_isotonic(
    genuine: NDArray[Any], impostor: NDArray[Any], prior: float = 0.5
) -> IsotonicProbability:
    """Isotonic regression by pooling adjacent violators.

    Zadrozny, Elkan, "Transforming classifier scores into accurate multiclass probability
    estimates", KDD 2002. Needs some thousands of scores; gives 0 and 1 at the ends.

    Args:
        genuine: `(G,)` scores of pairs of one person.
        impostor: `(K,)` scores of pairs of strangers.
        prior: the share of pairs that show one person, where the probabilities will be used.

    Raises:
        ValueError: no scores of a kind, scores that are not finite, or a prior out of range.
    """
    scores, same, weights = _weighted(genuine, impostor, prior)
    levels, level = np.unique(scores, return_inverse=True)
    totals = np.bincount(level, weights)
    means = np.bincount(level, weights * same) / totals
    blocks: list[tuple[float, float, int]] = []
    for mean, total in zip(means.tolist(), totals.tolist(), strict=True):
        count = 1
        while blocks and blocks[-1][0] >= mean:
            last, weight, size = blocks.pop()
            mean = (last * weight + mean * total) / (weight + total)
            total, count = total + weight, count + size
        blocks.append((mean, total, count))
    counts = np.array([count for _, _, count in blocks])
    ends = np.cumsum(counts) - 1
    corners = np.unique(np.concatenate([ends - counts + 1, ends]))
    fitted = np.repeat([mean for mean, _, _ in blocks], counts)
    return IsotonicProbability(prior, levels[corners], fitted[corners].clip(0, 1))


def fit_logistic(
    genuine: NDArray[Any], impostor: NDArray[Any], prior: float = 0.5
) -> LogisticProbability:
    """Platt's scaling: a logistic curve by maximum likelihood, its targets drawn in from 0 and 1.

    Platt, "Probabilistic outputs for support vector machines", 1999; solved by
    Newton's method with step halving: Lin, Lin, Weng, "A note on Platt's probabilistic outputs
    for support vector machines", Machine Learning 2007.

    Args:
        genuine: `(G,)` scores of pairs of one person.
        impostor: `(K,)` scores of pairs of strangers.
        prior: the share of pairs that show one person, where the probabilities will be used.

    Raises:
        ValueError: no scores of a kind, scores that are not finite, or a prior out of range.
    """
    scores, same, weights = _weighted(genuine, impostor, prior)
    targets = np.where(same, (len(genuine) + 1) / (len(genuine) + 2), 1 / (len(impostor) + 2))
    centre, spread = scores.mean(), max(scores.std(), LEAST_SPREAD)
    inputs = np.column_stack([(scores - centre) / spread, np.ones(len(scores))])

    def loss(parameters: Doubles) -> float:
        logits = inputs @ parameters
        return float(weights @ (np.logaddexp(0, logits) - targets * logits))

    parameters = np.array([0.0, math.log(prior / (1 - prior))])
    for _ in range(STEPS):
        found = _logistic(inputs @ parameters)
        gradient = inputs.T @ (weights * (found - targets))
        curvature = (inputs.T * (weights * found * (1 - found))) @ inputs
        step = np.linalg.solve(curvature + 1e-12 * np.eye(2), gradient)
        before = loss(parameters)
        while loss(parameters - step) > before and np.abs(step).max() > 1e-12:
            step = step / 2
        parameters = parameters - step
        if np.abs(step).max() < 1e-10:
            break
    slope = float(parameters[0] / spread)
    return LogisticProbability(prior, slope, float(parameters[1] - slope * centre))


def reliability(
    probabilities: NDArray[Any], same: Flags, prior: float | None = None, bins: int = 15
) -> Reliability:
    """The reliability curve and its expected calibration error.

    Naeini, Cooper, Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning",
    AAAI 2015: bins of equal width. Intervals by Wilson, "Probable inference, the law of
    succession, and statistical inference", JASA 1927; where pairs count unequally, with Kish's
    effective number of them. Measure on other people than those the probabilities were fitted on.

    Args:
        probabilities: `(N,)` 0 to 1.
        same: `(N,)` whether a pair shows one person.
        prior: the share of such pairs that the probabilities assume; None for that among the `N`.
        bins: how many.

    Raises:
        ValueError: probabilities out of range, a prior out of range or without pairs of a kind.
    """
    found, same = np.asarray(probabilities, np.float64), np.asarray(same, bool)
    if not len(found) or not ((found >= 0) & (found <= 1)).all():
        raise ValueError("probabilities must be given and lie between 0 and 1")
    weights = np.full(len(found), 1 / len(found))
    if prior is not None:
        _, _, weights = _weighted(found[same], found[~same], prior)
        weights = np.where(same, weights[0], weights[-1])
    place = np.minimum((found * bins).astype(int), bins - 1)
    curve = tuple(
        _bin(found[here], same[here], weights[here])
        for here in (place == index for index in range(bins))
        if here.any()
    )
    error = sum(each.share * abs(each.predicted - each.observed.value) for each in curve)
    return Reliability(curve, error)


def _bin(found: Doubles, same: Flags, weights: Doubles) -> ReliabilityBin:
    share = float(weights.sum())
    observed = float(weights @ same / share)
    effective = share**2 / float(weights @ weights)
    return ReliabilityBin(
        len(found), share, float(weights @ found / share), _wilson(observed, effective)
    )


def _wilson(share: float, count: float) -> Interval:
    square = NORMAL_95**2 / count
    centre = (share + square / 2) / (1 + square)
    half = math.sqrt(square * share * (1 - share) + square**2 / 4) / (1 + square)
    return Interval(share, max(centre - half, 0.0), min(centre + half, 1.0))


def _weighted(
    genuine: NDArray[Any], impostor: NDArray[Any], prior: float
) -> tuple[Doubles, Flags, Doubles]:
    """Scores, genuine first, whether they are genuine, and weights that sum to 1."""
    if not 0 < prior < 1:
        raise ValueError(f"the prior must lie between 0 and 1, not {prior}")
    if not len(genuine) or not len(impostor):
        raise ValueError(f"{len(genuine)} genuine and {len(impostor)} impostor pairs: give both")
    scores = np.concatenate([genuine, impostor]).astype(np.float64)
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite numbers")
    same = np.arange(len(scores)) < len(genuine)
    return scores, same, np.where(same, prior / len(genuine), (1 - prior) / len(impostor))


def _logistic(logits: Doubles) -> Doubles:
    return np.asarray(np.exp(-np.logaddexp(0, -logits)))
