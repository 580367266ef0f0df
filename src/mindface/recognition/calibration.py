"""Thresholds at stated false-match rates, for a set of people whose scores are known.

A rate is measured where the data support it (`ScoreTable.supports`) and refused otherwise. Beyond
that, and only when asked, it is read off a tail fitted to the highest impostor scores: peaks over
a threshold, Coles, "An Introduction to Statistical Modeling of Extreme Values", 2001, section 4.3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mindface.errors import CalibrationError, ContractError
from mindface.recognition.bootstrap import draws
from mindface.recognition.metrics import KEPT_RATE, RATES, REPLICATES, Doubles, ScoreTable
from mindface.zoo.record import Calibration, Tail, Threshold, read_record, write_record

GRID = (*(float(f"{digit}e{power}") for power in range(-9, -2) for digit in (1, 2, 5)), 1e-2)
"""The rates that a calibration answers besides those asked for."""

TAIL_PAIRS = 300  # how many pairs of people the tail should hold: few enough to be a tail
LEAST_TAIL_PAIRS = 30
TAIL_SHARE = 1e-2  # the largest tail


def calibrate(
    table: ScoreTable,
    name: str,
    contract: str | None = None,
    rates: Sequence[float] | None = RATES,
    extrapolate: bool = False,
    replicates: int = REPLICATES,
    seed: int = 0,
    manifest: Mapping[str, Any] | None = None,
) -> Calibration:
    """Thresholds at false-match rates, with 95% intervals from drawing people anew.

    Between the strictest rate and 1e-2 the calibration holds the rates of `GRID` too, so that it
    can answer for galleries of any size.

    Args:
        table: the scores.
        name: of the calibration: what it was measured on.
        contract: the embedding contract of the model whose scores they are.
        rates: the false-match rates that must be answered, below 0.02; None for those of `RATES`
            that can be.
        extrapolate: whether rates that the data cannot support are read off a fitted tail. Its
            intervals know what chance did to the fit, not whether the tail goes on as it began.
        replicates: how often people are drawn anew.
        seed: of the drawing.
        manifest: what else is to be known of the measurement, as plain values; seed and
            replicates are added.

    Raises:
        CalibrationError: too few people for a rate, a rate out of range, only genuine or only
            impostor pairs, or a threshold above 1.
    """
    people = int((table.faces > 0).sum())
    if not len(table.genuine) or not table.impostor_count:
        raise CalibrationError(
            f"{name}: {len(table.genuine)} genuine and {table.impostor_count} impostor pairs: "
            "calibrating needs both kinds"
        )
    points = _points(table, people, rates, extrapolate)
    supported = [rate for rate in points if table.supports(rate)]
    thresholds = [
        _threshold(found.rate, found.threshold, (found.fmr.low, found.fmr.high), found.tar.value)
        for found in table.rates(supported, replicates, seed)
        if found
    ]
    tail = None
    if beyond := [rate for rate in points if rate not in supported]:
        tail = fit_tail(table)
        thresholds = _extrapolated(table, tail, beyond, thresholds, replicates, seed) + thresholds
    return Calibration(
        name=name,
        contract=contract,
        thresholds=tuple(thresholds),
        people=people,
        people_pairs=table.people_pairs,
        photos=int(table.faces.sum()),
        genuine=len(table.genuine),
        tail=tail,
        manifest={**(manifest or {}), "seed": seed, "replicates": replicates},
    )


def people_needed(rate: float) -> int:
    """How many people support a false-match rate when everybody is compared with everybody.

    It is the least n with n (n - 1) / 2 >= 3 / rate; see `ScoreTable.supports`.
    """
    return math.ceil((1 + math.sqrt(1 + 24 / rate)) / 2 - 1e-9)


def fit_tail(table: ScoreTable) -> Tail:
    """Fits a generalised Pareto distribution to the highest impostor scores.

    The tail holds about 300 pairs of people and at most 1% of the impostor pairs. The fit is by
    probability-weighted moments: Hosking, Wallis, "Parameter and quantile estimation for the
    generalized Pareto distribution", Technometrics 1987.

    Raises:
        CalibrationError: fewer than 30 pairs of people would be in the tail.
    """
    share = min(TAIL_SHARE, TAIL_PAIRS / max(table.people_pairs, 1))
    if table.people_pairs * share < LEAST_TAIL_PAIRS:
        wanted = LEAST_TAIL_PAIRS / TAIL_SHARE
        raise CalibrationError(
            f"{table.people_pairs} pairs of people are too few to extrapolate from: it takes "
            f"{wanted:.0f}, such as of {people_needed(3 / wanted)} people"
        )
    start = table.threshold(share)
    excess = _excess(table, start)
    if not len(excess) or excess[-1] <= 0:
        raise CalibrationError(f"no impostor score stands above {start:g}: there is no tail to fit")
    shape, scale = _moments_fit(excess, np.ones(len(excess)))
    middle = 1 - (np.arange(len(excess)) + 0.5) / len(excess)
    gap = np.abs(_survival(excess, shape, scale) - middle).max() + 0.5 / len(excess)
    return Tail(
        start=start,
        share=len(excess) / table.impostor_count,
        pairs=len(excess),
        shape=shape,
        scale=scale,
        distance=min(float(gap), 1.0),
    )


def write_into_record(calibration: Calibration, path: Path) -> None:
    """Puts a calibration into the record of the weight it was measured with.

    Raises:
        RecordError: the record cannot be read.
        ContractError: it is another weight's.
    """
    record = read_record(path)
    if calibration.contract not in (None, record.contract):
        raise ContractError(f"{path}: the calibration was measured with another model")
    inside = calibration.model_copy(update={"contract": None})
    write_record(record.model_copy(update={"calibration": inside}), path)


def _points(
    table: ScoreTable, people: int, rates: Sequence[float] | None, extrapolate: bool
) -> list[float]:
    """The rates asked for and those of the grid, strictest first."""
    wanted = RATES if rates is None else rates
    for rate in wanted:
        if not 0 < rate < KEPT_RATE:
            raise CalibrationError(f"a false-match rate lies between 0 and {KEPT_RATE}, not {rate}")
    unsupported = [rate for rate in wanted if not table.supports(rate)]
    if rates is None and not extrapolate:
        wanted = [rate for rate in wanted if rate not in unsupported]
        unsupported = [] if wanted else [max(RATES)]
    if unsupported and not (extrapolate and table.supports(TAIL_SHARE)):
        rate = min(unsupported) if not extrapolate else TAIL_SHARE
        raise CalibrationError(
            f"{people} people, {table.people_pairs} pairs of different people, cannot support a "
            f"false-match rate of {rate:g}: it takes {people_needed(rate)} people compared with "
            "each other; ask for a looser rate, or add people"
        )
    within = [rate for rate in GRID if rate >= min(wanted) or table.supports(rate)]
    return sorted({*wanted, *within})


def _threshold(
    rate: float,
    threshold: float,
    interval: tuple[float, float],
    tar: float,
    extrapolated: bool = False,
) -> Threshold:
    if threshold > 1:
        remedy = (
            "the fitted tail is too uncertain; add people"
            if extrapolated
            else "look for photos of one person under two names"
        )
        raise CalibrationError(
            f"the false-match rate {rate:g} would need the threshold {threshold:.4f}, above 1: "
            f"{remedy}, or ask for a looser rate"
        )
    return Threshold(
        false_match_rate=rate,
        threshold=threshold,
        interval=interval,
        true_accept_rate=tar,
        extrapolated=extrapolated,
    )


def _extrapolated(
    table: ScoreTable,
    tail: Tail,
    rates: Sequence[float],
    measured: Sequence[Threshold],
    replicates: int,
    seed: int,
) -> list[Threshold]:
    least = measured[0].threshold
    scores = [max(_quantile(tail, rate), least) for rate in rates]
    found = _refitted_rates(table, tail.start, np.array(scores), replicates, seed)
    low, high = np.percentile(found, [2.5, 97.5], axis=0)
    return [
        _threshold(rate, score, (float(low[i]), float(high[i])), table.tar(score), True)
        for i, (rate, score) in enumerate(zip(rates, scores, strict=True))
    ]


def _refitted_rates(
    table: ScoreTable, start: float, scores: Doubles, replicates: int, seed: int
) -> Doubles:
    """The FMR at fixed scores by tails fitted to people drawn anew, `(replicates, scores)`."""
    excess = _excess(table, start)
    first, second = table.impostor_people[: len(excess)][::-1].T
    present = np.flatnonzero(table.faces)
    found = np.zeros((replicates, len(scores)))
    for row, drawn in zip(found, draws(len(table.faces), [present], replicates, seed), strict=True):
        weights = drawn[first] * drawn[second]
        if weights @ excess > 0:
            shape, scale = _moments_fit(excess, weights)
            share = weights.sum() / table.weight_of_impostors(drawn.astype(np.float32))
            row[:] = share * _survival(scores - start, shape, scale)
    return np.minimum(found, 1)


def _excess(table: ScoreTable, start: float) -> Doubles:
    """By how much impostor scores exceed the start of the tail, rising."""
    reached = table.impostor[table.impostor >= np.float32(start)]
    return reached[::-1].astype(np.float64) - start


def _moments_fit(excess: Doubles, weights: Doubles) -> tuple[float, float]:
    """Shape and scale from rising excesses that count as often as their weights say."""
    total = weights.sum()
    mean = float(weights @ excess / total)
    rank = (np.cumsum(weights) - (weights - 1) / 2 - 0.35) / total
    second = float((weights * (1 - rank)) @ excess / total)
    spread = mean - 2 * second
    return 2 - mean / spread, 2 * mean * second / spread


def _survival(excess: Doubles, shape: float, scale: float) -> Doubles:
    """The share of a generalised Pareto distribution above an excess."""
    if abs(shape) < 1e-9:
        return np.asarray(np.exp(-excess / scale))
    return np.asarray(np.maximum(1 + shape * excess / scale, 0) ** (-1 / shape))


def _quantile(tail: Tail, rate: float) -> float:
    """The score that a share `rate` of all impostor pairs reaches."""
    depth = math.log(tail.share / rate)
    if abs(tail.shape) < 1e-9:
        return tail.start + tail.scale * depth
    return tail.start + tail.scale * math.expm1(tail.shape * depth) / tail.shape
