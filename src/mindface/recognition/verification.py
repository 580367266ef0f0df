"""1:1 verification: pairs of photos and their embeddings -> figures with intervals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindface.recognition.metrics import (
    FAILED,
    RATES,
    REPLICATES,
    Floats,
    Ints,
    Rate,
    ScoreTable,
    blocks,
    without_face,
)
from mindface.recognition.protocols import Protocol
from mindface.recognition.ten_fold import TenFold, ten_fold

WORST = 20
CURVE_POINTS = 300
HISTOGRAM_BINS = 128
BAND = (*(float(f"{digit}e{power}") for power in range(-6, -2) for digit in (1, 2, 5)), 1e-2)


@dataclass(frozen=True, eq=False)
class VerificationResult:
    """What a model reaches on a protocol.

    Attributes:
        protocol: the photos and pairs.
        table: the scores; a pair with a photo that shows no face has `metrics.FAILED`.
        rates: per FMR asked for, TAR and threshold, or None where the pairs cannot support it.
        band: TAR with its interval at more rates, for drawing.
        accuracy: ten-fold accuracy, or None where the protocol has no folds.
        failures: why photos gave no embedding: their names and the reasons.
        acquired: the same figures without the pairs of these photos, where there are any.
        worst: the impostor pairs that score highest and the genuine ones that score lowest.
        manifest: what makes the figures reproducible.
    """

    protocol: Protocol
    table: ScoreTable
    rates: Mapping[float, Rate | None]
    band: Sequence[Rate]
    accuracy: TenFold | None
    failures: Mapping[str, str]
    acquired: VerificationResult | None = None
    worst: Mapping[str, Sequence[tuple[str, str, float]]] = field(default_factory=dict)
    manifest: Mapping[str, Any] = field(default_factory=dict)

    def figures(self) -> dict[str, Any]:
        """Counts and figures as plain values."""
        table = self.table
        return {
            "pairs": table.impostor_count + len(table.genuine),
            "genuine": len(table.genuine),
            "impostor": table.impostor_count,
            "people": int((table.faces > 0).sum()),
            "people_pairs": table.people_pairs,
            "accuracy_mean": self.accuracy and self.accuracy.mean,
            "accuracy_std": self.accuracy and self.accuracy.std,
            "folds": self.accuracy and len(self.accuracy.accuracies),
            "tar_at_far": {rate_name(rate): rate_dict(found) for rate, found in self.rates.items()},
            "auc": table.auc(),
            "eer": table.eer(),
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `mindface evaluate verification --json` prints them."""
        photos = len(self.protocol.photos)
        thresholds, fmr, tar = _thinned(*self.table.curve())
        return {
            "task": "verification",
            "protocol": self.protocol.name,
            **self.figures(),
            "failure_to_acquire": {
                "photos": photos,
                "failed": len(self.failures),
                "rate": len(self.failures) / photos,
            },
            "without_failures": self.acquired and self.acquired.figures(),
            "skipped": [{"path": path, "reason": why} for path, why in self.failures.items()],
            "curve": {"threshold": thresholds, "fmr": fmr, "tar": tar},
            "band": {
                "fmr": [rate.rate for rate in self.band],
                "low": [rate.tar.low for rate in self.band],
                "high": [rate.tar.high for rate in self.band],
            },
            "histogram": self._histogram(),
            "worst": {
                kind: [{"a": a, "b": b, "score": score} for a, b, score in pairs]
                for kind, pairs in self.worst.items()
            },
            "manifest": dict(self.manifest),
        }

    def _histogram(self) -> dict[str, list[float]]:
        edges = np.linspace(-1, 1, HISTOGRAM_BINS + 1)
        return {
            "edges": edges.tolist(),
            "genuine": np.histogram(self.table.genuine, edges)[0].tolist(),
            "impostor": self.table.histogram.reshape(HISTOGRAM_BINS, -1).sum(1).tolist(),
        }


def rate_name(rate: float) -> str:
    """A rate as people write it: 1e-3."""
    return f"{rate:.0e}".replace("e-0", "e-")


def rate_dict(rate: Rate | None) -> dict[str, float] | None:
    """A rate as plain values."""
    if rate is None:
        return None
    return {
        "tar": rate.tar.value,
        "low": rate.tar.low,
        "high": rate.tar.high,
        "threshold": rate.threshold,
        "fmr": rate.fmr.value,
        "fmr_low": rate.fmr.low,
        "fmr_high": rate.fmr.high,
    }


def evaluate(
    protocol: Protocol,
    embeddings: Floats,
    reasons: Sequence[str | None],
    *,
    rates: Sequence[float] = RATES,
    replicates: int = REPLICATES,
    seed: int = 0,
    manifest: Mapping[str, Any] | None = None,
) -> VerificationResult:
    """Scores a protocol.

    A photo without a face matches nobody: a genuine pair with it is a false non-match, an
    impostor pair a true non-match. The figures without such pairs stand beside.

    Args:
        protocol: photos and pairs.
        embeddings: `(M, D)` float32 of unit length, in the order of the photos; zeros where there
            is none.
        reasons: why a photo has no embedding, or None.
        rates: FMRs to give TAR and thresholds for.
        replicates: of the bootstrap.
        seed: of the bootstrap.
        manifest: what else makes the figures reproducible.
    """
    failed = np.array([reason is not None for reason in reasons], bool)
    known = {"lists": dict(protocol.hashes), "seed": seed, "replicates": replicates}
    whole = _measure(protocol, embeddings, failed, rates, replicates, seed)
    failures = {
        name: reason for name, reason in zip(protocol.names, reasons, strict=True) if reason
    }
    return VerificationResult(
        protocol,
        **whole,
        failures=failures,
        acquired=_acquired(protocol, embeddings, failed, rates, replicates, seed),
        worst=_worst(protocol, embeddings),
        manifest={**(manifest or {}), **known},
    )


def pair_scores(protocol: Protocol, embeddings: Floats) -> Floats:
    """The scores `(N,)` of a protocol's list of pairs, `FAILED` where a photo has no embedding."""
    if protocol.pairs is None:
        raise ValueError(f"the protocol {protocol.name} is every photo against every other")
    first, second = protocol.pairs.T
    scores = np.einsum("nd,nd->n", embeddings[first], embeddings[second])
    absent = without_face(embeddings)
    return np.where(absent[first] | absent[second], np.float32(FAILED), scores)


def score_table(protocol: Protocol, embeddings: Floats) -> ScoreTable:
    """The scores of all pairs of a protocol."""
    if protocol.pairs is None or protocol.same is None:
        return ScoreTable.of_all_pairs(embeddings, protocol.people)
    scores = pair_scores(protocol, embeddings)
    return ScoreTable.of_pairs(scores, protocol.same, protocol.people[protocol.pairs])


def _measure(
    protocol: Protocol,
    embeddings: Floats,
    failed: NDArray[np.bool_],
    rates: Sequence[float],
    replicates: int,
    seed: int,
) -> dict[str, Any]:
    table = score_table(protocol, embeddings)
    between = [rate for rate in BAND if table.supports(rate)]
    asked = table.rates([*rates, *between], replicates, seed)
    accuracy = None
    if protocol.pairs is not None and protocol.same is not None and protocol.folds is not None:
        distances = 2 - 2 * pair_scores(protocol, embeddings).astype(np.float64)
        accuracy = ten_fold(distances, protocol.same, protocol.folds)
    return {
        "table": table,
        "rates": dict(zip(rates, asked, strict=False)),
        "band": [rate for rate in asked[len(rates) :] if rate],
        "accuracy": accuracy,
    }


def _acquired(
    protocol: Protocol,
    embeddings: Floats,
    failed: NDArray[np.bool_],
    rates: Sequence[float],
    replicates: int,
    seed: int,
) -> VerificationResult | None:
    """The figures over the photos that show a face; None where all do."""
    if not failed.any():
        return None
    if protocol.pairs is None or protocol.same is None:
        kept = np.flatnonzero(~failed)
        part = replace(
            protocol,
            photos=tuple(protocol.photos[index] for index in kept),
            names=tuple(protocol.names[index] for index in kept),
            people=protocol.people[kept],
        )
        embeddings, failed = embeddings[kept], failed[kept]
    else:
        whole = ~failed[protocol.pairs].any(axis=1)
        part = replace(
            protocol,
            pairs=protocol.pairs[whole],
            same=protocol.same[whole],
            folds=None if protocol.folds is None else protocol.folds[whole],
        )
    return VerificationResult(
        part, **_measure(part, embeddings, failed, rates, replicates, seed), failures={}
    )


def _worst(protocol: Protocol, embeddings: Floats) -> dict[str, list[tuple[str, str, float]]]:
    """The highest impostor and the lowest genuine scores, of pairs in which both show a face."""
    strangers, mine = [_NONE], [_NONE]
    absent = without_face(embeddings)
    for scores, same, pairs in _scored(protocol, embeddings):
        present = ~absent[pairs].any(axis=1)
        for found, kind, sign in ((strangers, ~same, -1), (mine, same, 1)):
            here = kind & present
            rows = np.column_stack([scores[here], pairs[here]])
            both = np.concatenate([found.pop(), rows])
            found.append(both[np.argsort(sign * both[:, 0], kind="stable")[:WORST]])

    def named(rows: NDArray[np.float64]) -> list[tuple[str, str, float]]:
        names = protocol.names
        return [(names[int(a)], names[int(b)], float(score)) for score, a, b in rows]

    return {"false_matches": named(strangers[0]), "false_non_matches": named(mine[0])}


_NONE = np.zeros((0, 3))


def _scored(
    protocol: Protocol, embeddings: Floats
) -> Iterator[tuple[Floats, NDArray[np.bool_], Ints]]:
    """Scores, whether they are of one person, and which photos; the likely extremes are enough."""
    if protocol.pairs is not None and protocol.same is not None:
        yield pair_scores(protocol, embeddings), protocol.same, protocol.pairs
        return
    present = ~without_face(embeddings)
    for scores, rows, columns in blocks(embeddings):
        a, b = np.arange(rows.start, rows.stop)[:, None], np.arange(columns.start, columns.stop)
        same = protocol.people[a] == protocol.people[b]
        wanted = (b > a) & present[a] & present[b]
        for kind, sign in ((same & wanted, 1), (~same & wanted, -1)):
            flat = np.flatnonzero(kind)
            values = sign * scores.reshape(-1)[flat]
            if len(flat) > WORST:
                chosen = np.argpartition(values, WORST)[:WORST]
                flat, values = flat[chosen], values[chosen]
            row, column = np.divmod(flat, scores.shape[1])
            pairs = np.column_stack([row + rows.start, column + columns.start])
            yield sign * values, np.full(len(flat), sign > 0), pairs


def _thinned(*curve: NDArray[np.float64]) -> list[list[float]]:
    """A few hundred points of a curve, even on the logarithm of the FMR and on the TAR."""
    _, fmr, tar = curve
    low = max(fmr[fmr > 0].min(initial=1.0), 1e-9)
    wanted = np.geomspace(low, 1, CURVE_POINTS)
    by_fmr = np.searchsorted(fmr, wanted)
    by_tar = np.searchsorted(tar, np.linspace(0, 1, CURVE_POINTS // 2))
    chosen = np.unique(np.concatenate([[0], by_fmr, by_tar]).clip(0, len(fmr) - 1))
    return [part[chosen].tolist() for part in curve]
