"""What stands beside the figures of a verification: groups, discard curves, scores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindface.errors import MindFaceError
from mindface.recognition.discard import DiscardCurve, rank_qualities
from mindface.recognition.fairness import Fairness, group_rates, group_thresholds, read_groups
from mindface.recognition.metrics import FAILED, Floats, Ints, Rate
from mindface.recognition.protocols import Protocol
from mindface.recognition.verification import VerificationResult, pair_scores

BEST_NEAR_ZERO = ("yaw", "pitch", "roll", "truncation")
CURVE_POINTS = 200
MOST_DISCARDED = 0.5
MOST_LISTED = 200_000


def operating_point(result: VerificationResult, rate: float = 1e-3) -> Rate | None:
    """What was measured at a rate, else at the strictest rate that could be measured, else None."""
    measured = [found for found in result.rates.values() if found]
    at_rate = [found for found in measured if math.isclose(found.rate, rate)]
    return next(iter(at_rate), min(measured, key=lambda found: found.rate, default=None))


def discard(
    result: VerificationResult, embeddings: Floats, measures: Mapping[str, NDArray[Any]]
) -> list[dict[str, Any]]:
    """Error-versus-discard curves of each measure, the most useful first; see `discard`.

    Args:
        result: of the verification.
        embeddings: `(M, D)` that it scored.
        measures: by name `(M,)`, NaN where there is no face; see `mindface.features.Features`.

    Returns:
        Empty where no genuine pair fails, or all do.
    """
    point = operating_point(result)
    pairs = genuine_pairs(result.protocol)
    scores = np.einsum("nd,nd->n", *(embeddings[side] for side in pairs.T))
    scores[~embeddings[pairs].any(axis=(1, 2))] = FAILED
    if point is None or not 0 < (scores < np.float32(point.threshold)).sum() < len(scores):
        return []
    qualities = {name: _higher_is_better(name, values) for name, values in measures.items()}
    people = result.protocol.people[pairs[:, 0]]
    ranked = rank_qualities(qualities, scores, pairs, people, point.threshold, replicates=200)
    return [_curve_dict(curve) for curve in ranked]


def fairness(result: VerificationResult, groups: Path) -> dict[str, Any]:
    """Error rates and thresholds by group at the operating point; see `group_rates`.

    Args:
        result: of the verification.
        groups: a CSV file with the columns `person` and `group`.

    Raises:
        MindFaceError: the file is wrong, or nobody in it, or the protocol does not say who is who.
    """
    named = read_groups(groups)
    numbers = {
        number: named[name] for number, name in enumerate(result.protocol.persons) if name in named
    }
    point = operating_point(result)
    if not numbers or point is None:
        why = "too few people for any rate" if numbers else f"nobody in {groups} stands in it"
        raise MindFaceError(f"{result.protocol.name}: no error rates by group: {why}")
    found = _fairness_dict(group_rates(result.table, numbers, point.threshold))
    thresholds = group_thresholds(result.table, numbers, point.rate)
    return {**found, "rate": point.rate, "thresholds": thresholds}


def listed(result: VerificationResult, embeddings: Floats) -> dict[str, Any] | None:
    """The scores of a list of pairs, for comparing runs; None for all pairs and very long lists."""
    protocol = result.protocol
    if protocol.pairs is None or protocol.same is None or len(protocol.pairs) > MOST_LISTED:
        return None
    return {
        "scores": pair_scores(protocol, embeddings).astype(float).round(7).tolist(),
        "same": protocol.same.astype(int).tolist(),
        "people": protocol.people[protocol.pairs].tolist(),
        "folds": None if protocol.folds is None else protocol.folds.tolist(),
        "hashes": dict(protocol.hashes),
    }


def genuine_pairs(protocol: Protocol) -> Ints:
    """The photos `(G, 2)` of all genuine pairs."""
    if protocol.pairs is not None and protocol.same is not None:
        return protocol.pairs[protocol.same]
    order = np.argsort(protocol.people, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(protocol.people[order])) + 1)
    return np.concatenate(
        [group[np.column_stack(np.triu_indices(len(group), 1))] for group in groups]
    )


def _higher_is_better(name: str, values: NDArray[Any]) -> NDArray[Any]:
    quality = -np.abs(values) if name in BEST_NEAR_ZERO else np.asarray(values)
    lowest = np.nanmin(quality) if np.isfinite(quality).any() else 0.0
    return np.asarray(np.where(np.isfinite(quality), quality, lowest - 1))


def _curve_dict(curve: DiscardCurve) -> dict[str, Any]:
    shown = np.searchsorted(curve.photos, MOST_DISCARDED, side="right") - 1
    chosen = np.unique(np.linspace(0, shown, CURVE_POINTS).astype(int))
    return {
        "score": curve.name,
        "share": curve.photos[chosen].tolist(),
        "fnmr": curve.fnmr[chosen].tolist(),
        "relative_area": curve.relative.value,
        "relative_area_low": curve.relative.low,
        "relative_area_high": curve.relative.high,
        "worth_using": curve.worth_using,
    }


def _fairness_dict(found: Fairness) -> dict[str, Any]:
    def plain(value: float) -> float | None:
        return float(value) if math.isfinite(value) else None

    rows = []
    for index, group in enumerate(found.groups):
        warnings = [text for text in found.warnings if f"The group {group!r} has" in text]
        rows.append(
            {
                "group": group,
                "people": int(found.people[index]),
                "pairs": int(found.people_pairs[index, index]),
                "fmr": plain(found.fmr.values[index, index]),
                "fmr_low": plain(found.fmr.low[index, index]),
                "fmr_high": plain(found.fmr.high[index, index]),
                "fnmr": plain(found.fnmr.values[index]),
                "fnmr_low": plain(found.fnmr.low[index]),
                "fnmr_high": plain(found.fnmr.high[index]),
                "warning": "; ".join(warnings) or None,
            }
        )
    return {
        "threshold": found.threshold,
        "rows": rows,
        "fmr_matrix": [[plain(value) for value in row] for row in found.fmr.values],
        "fmr_ratio": found.fmr_ratio if found.fmr_ratio is None else plain(found.fmr_ratio),
        "fnmr_ratio": found.fnmr_ratio if found.fnmr_ratio is None else plain(found.fnmr_ratio),
        "warnings": list(found.warnings),
    }
