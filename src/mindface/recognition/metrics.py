"""From the scores of pairs to accuracy and error rates with intervals.

A score is a cosine; two faces match where it is at least the threshold. FMR (the false match rate,
FAR in the literature on faces) is the share of impostor pairs that match, TAR the share of genuine
pairs that do, FNMR what TAR lacks to 1 (ISO/IEC 19795-1).

Pairs of photos are not independent where the same people stand in many of them, so intervals come
from drawing people, not pairs: Bolle, Ratha, Pankanti, "Error analysis of pattern recognition
systems: the subsets bootstrap", CVIU 2004. A pair of strangers counts as often as the two people
were drawn, multiplied: where people hardly recur among the pairs, such intervals are up to 1.7
times as wide as they need be. Where a list does not say who is who, people who recur cannot be
seen, and intervals may be too narrow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mindface.recognition.bootstrap import Interval

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

FAILED = -1.0  # the score of a pair in which a photo shows no face
RATES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
REPLICATES = 1000
BINS = 1 << 16
KEPT_RATE = 0.02  # impostor scores are kept one by one down to the threshold of this rate
BLOCK = 1024


@dataclass(frozen=True)
class Rate:
    """What a threshold does.

    Attributes:
        rate: the FMR that was asked for.
        threshold: the least score at which the FMR is not above `rate`.
        fmr: the FMR measured there, with its interval at this fixed threshold.
        tar: the TAR at `rate`; its interval lets the threshold vary with the people drawn.
    """

    rate: float
    threshold: float
    fmr: Interval
    tar: Interval


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """The scores of genuine and impostor pairs, as much of them as error rates need.

    Attributes:
        genuine: `(G,)` scores of pairs of one person, falling.
        genuine_people: `(G,)` whose they are.
        impostor: `(K,)` the highest scores of pairs of strangers, falling.
        impostor_people: `(K, 2)` whose they are.
        histogram: `(BINS,)` counts of all impostor scores between -1 and 1.
        pairings: `(P, 3)` which people were compared, and how often: all impostor pairs; None
            where everybody was compared with everybody.
        faces: `(people,)` how many photos of each person there are.
    """

    genuine: Floats
    genuine_people: Ints
    impostor: Floats
    impostor_people: Ints
    histogram: Ints
    pairings: Ints | None
    faces: Ints

    @classmethod
    def of_pairs(cls, scores: Floats, same: Flags, people: Ints) -> ScoreTable:
        """The table of a list of pairs.

        Args:
            scores: `(N,)` cosines.
            same: `(N,)` whether a pair shows one person.
            people: `(N, 2)` the number of the person on either side, from 0 on. Where nobody
                knows who they are, number them so that each pair has people of its own.
        """
        scores = np.asarray(scores, np.float32)
        strangers = np.sort(people[~same], axis=1)
        order = np.argsort(-scores[~same], kind="stable")
        genuine = np.argsort(-scores[same], kind="stable")
        everybody = int(people.max(initial=-1)) + 1
        codes, counts = np.unique(strangers @ [everybody, 1], return_counts=True)
        return cls(
            scores[same][genuine],
            people[same][genuine, 0],
            scores[~same][order],
            strangers[order],
            _histogram(scores[~same]),
            np.column_stack([*np.divmod(codes, max(everybody, 1)), counts]),
            np.bincount(people.reshape(-1), minlength=everybody),
        )

    @classmethod
    def of_all_pairs(cls, embeddings: Floats, people: Ints) -> ScoreTable:
        """The table of every photo against every other, computed block by block, never held.

        Args:
            embeddings: `(N, D)` float32 of unit length; rows of zeros for photos without a face,
                which match nobody.
            people: `(N,)` the number of the person in each photo, from 0 on.
        """
        histogram = np.zeros(BINS, np.int64)
        genuine: list[Floats] = []
        owners: list[Ints] = []
        for scores, rows, columns in blocks(embeddings):
            same = people[rows, None] == people[None, columns]
            later = (
                np.arange(columns.start, columns.stop) > np.arange(rows.start, rows.stop)[:, None]
            )
            row, column = np.nonzero(same & later)
            genuine.append(scores[row, column])
            owners.append(people[rows][row])
            histogram += _histogram(scores[~same & later])
        cut = _cut(histogram)
        impostor: list[Floats] = []
        strangers: list[Ints] = []
        for scores, rows, columns in blocks(embeddings):
            row, column = np.nonzero(scores >= cut)
            a, b = row + rows.start, column + columns.start
            kept = (b > a) & (people[a] != people[b])
            impostor.append(scores[row[kept], column[kept]])
            strangers.append(np.column_stack([people[a[kept]], people[b[kept]]]))
        mine, others = np.concatenate(genuine), np.concatenate(impostor)
        first, second = np.argsort(-mine, kind="stable"), np.argsort(-others, kind="stable")
        return cls(
            mine[first],
            np.concatenate(owners)[first],
            others[second],
            np.concatenate(strangers)[second],
            histogram,
            None,
            np.bincount(people, minlength=int(people.max(initial=-1)) + 1),
        )

    @property
    def impostor_count(self) -> int:
        """How many pairs of strangers there are."""
        return int(self.histogram.sum())

    @property
    def people_pairs(self) -> int:
        """How many pairs of different people were compared: what supports an FMR."""
        if self.pairings is not None:
            return len(self.pairings)
        present = int((self.faces > 0).sum())
        return present * (present - 1) // 2

    def supports(self, rate: float) -> bool:
        """Whether an FMR can be measured: with none in 3 / rate, the true one is below it at 95%.

        The rule of three: Hanley, Lippman-Hand, "If nothing goes wrong, is everything all
        right?", JAMA 1983; applied to pairs of people, since pairs of photos depend on each other.
        """
        return self.people_pairs * rate >= 3 * (1 - 1e-9)

    def threshold(self, rate: float) -> float:
        """The least score at which at most `rate` of the impostor pairs match.

        Raises:
            ValueError: `rate` is above `KEPT_RATE`, and not all impostor scores were kept.
        """
        allowed = int(rate * self.impostor_count * (1 + 1e-12))
        if allowed >= self.impostor_count:
            return FAILED
        if allowed >= len(self.impostor):
            raise ValueError(f"scores were kept for rates up to {KEPT_RATE:g} only, not {rate:g}")
        return float(np.nextafter(self.impostor[allowed], np.float32(np.inf)))

    def fmr(self, threshold: float) -> float:
        """The share of impostor pairs that match; to 1 / BINS of a score below those kept."""
        if not self.impostor_count:
            return 0.0
        if self._complete or threshold >= self.impostor[-1]:
            return _reaching(self.impostor, threshold) / self.impostor_count
        first = max(int(np.ceil((threshold + 1) / 2 * BINS)), 0)
        return float(self.histogram[first:].sum() / self.impostor_count)

    def tar(self, threshold: float) -> float:
        """The share of genuine pairs that match."""
        return _reaching(self.genuine, threshold) / max(len(self.genuine), 1)

    def curve(self) -> tuple[Doubles, Doubles, Doubles]:
        """The ROC curve at every score that changes it: thresholds (falling), FMR and TAR.

        Below the scores that were kept one by one it goes by the bins of the histogram.
        """
        kept = np.concatenate([self.impostor, self.genuine])
        if not self._complete:
            kept = kept[kept >= self.impostor[-1]]
        exact = np.unique(kept)[::-1].astype(np.float64)
        fmr = np.searchsorted(-self.impostor, -exact, side="right") / max(self.impostor_count, 1)
        parts = [(np.array([2.0]), np.zeros(1)), (exact, fmr)]
        if not self._complete:
            edges = np.arange(BINS)[::-1] / BINS * 2 - 1
            shares = np.cumsum(self.histogram[::-1]) / self.impostor_count
            rest = edges < exact[-1]
            parts.append((edges[rest], shares[rest]))
        thresholds, fmr = (np.concatenate(each) for each in zip(*parts, strict=True))
        tar = np.searchsorted(-self.genuine, -thresholds, side="right") / max(len(self.genuine), 1)
        return thresholds, fmr, tar

    def auc(self) -> float:
        """The area under the ROC curve.

        It is the chance that a genuine pair scores above an impostor pair, ties counting half.
        """
        _, fmr, tar = self.curve()
        return float((np.diff(fmr) * (tar[1:] + tar[:-1]) / 2).sum())

    def eer(self) -> float:
        """The equal error rate: the mean of FMR and FNMR where they are nearest.

        Of equally near ones it is that of the highest threshold.
        """
        _, fmr, tar = self.curve()
        strangers, mine = self.impostor_count, len(self.genuine)
        matches = np.rint(fmr * strangers).astype(np.int64)
        misses = mine - np.rint(tar * mine).astype(np.int64)
        nearest = int(np.argmin(np.abs(matches * mine - misses * strangers)))  # without rounding
        return float((fmr[nearest] + 1 - tar[nearest]) / 2)

    def rates(
        self, rates: Sequence[float] = RATES, replicates: int = REPLICATES, seed: int = 0
    ) -> list[Rate | None]:
        """Thresholds, FMR and TAR at each rate, with intervals; None where `supports` says no.

        Args:
            rates: FMRs, at most `KEPT_RATE` where not all scores were kept.
            replicates: how often people are drawn anew.
            seed: of the drawing.
        """
        able = [rate for rate in rates if self.supports(rate) and len(self.genuine)]
        thresholds = [self.threshold(rate) for rate in able]
        tars, fmrs = self._bootstrap(able, thresholds, replicates, seed)
        measured = {
            rate: Rate(
                rate,
                threshold,
                Interval.of(self.fmr(threshold), fmr),
                Interval.of(self.tar(threshold), tar),
            )
            for rate, threshold, fmr, tar in zip(able, thresholds, fmrs.T, tars.T, strict=True)
        }
        return [measured.get(rate) for rate in rates]

    @property
    def _complete(self) -> bool:
        return len(self.impostor) == self.impostor_count

    def _bootstrap(
        self, rates: Sequence[float], thresholds: Sequence[float], replicates: int, seed: int
    ) -> tuple[Doubles, Doubles]:
        """TAR at the rates and FMR at the thresholds, `(replicates, rates)` each."""
        if not rates:
            return np.zeros((replicates, 0)), np.zeros((replicates, 0))
        present = np.flatnonzero(self.faces)
        a, b = (column.astype(np.int32) for column in self.impostor_people.T)
        owners = self.genuine_people.astype(np.int32)
        reached = [_reaching(self.impostor, threshold) for threshold in thresholds]
        seeds = np.random.SeedSequence(seed).spawn(replicates)

        def one(state: np.random.SeedSequence) -> tuple[list[float], list[float]]:
            draw = np.random.default_rng(state).choice(present, len(present))
            weights = np.bincount(draw, minlength=len(self.faces)).astype(np.float32)
            total = max(self.weight_of_impostors(weights), 1e-9)
            strangers = np.concatenate([[0.0], np.cumsum(weights[a] * weights[b], dtype=float)])
            mine = np.concatenate([[0.0], np.cumsum(weights[owners], dtype=float)])
            tars = []
            for rate in rates:
                first = (
                    int(np.searchsorted(strangers, rate * total * (1 + 1e-12), side="right")) - 1
                )
                above = len(self.genuine)
                if first < len(self.impostor):
                    above = _above(self.genuine, self.impostor[first])
                tars.append(mine[above] / max(mine[-1], 1e-9))
            return tars, [strangers[count] / total for count in reached]

        with ThreadPoolExecutor() as pool:
            tars, fmrs = zip(*pool.map(one, seeds), strict=True)
        return np.array(tars), np.array(fmrs)

    def weight_of_impostors(self, weights: Floats) -> float:
        """How many impostor pairs there are if each person counts as often as `(people,)` says."""
        if self.pairings is not None:
            first, second, counts = self.pairings.T
            return float((weights[first] * weights[second] * counts).sum(dtype=float))
        photos = weights.astype(float) * self.faces
        return float((photos.sum() ** 2 - (photos**2).sum()) / 2)


def without_face(embeddings: Floats) -> Flags:
    """Which rows `(N,)` are zeros: photos without a face."""
    return np.asarray((embeddings == 0).all(axis=1), bool)


def blocks(embeddings: Floats) -> Iterator[tuple[Floats, slice, slice]]:
    """Scores of some rows against all rows from the first of them on."""
    failed = without_face(embeddings)
    for start in range(0, len(embeddings), BLOCK):
        rows = slice(start, min(start + BLOCK, len(embeddings)))
        columns = slice(start, len(embeddings))
        scores = embeddings[rows] @ embeddings[columns].T
        scores[failed[rows]] = FAILED
        scores[:, failed[columns]] = FAILED
        yield scores, rows, columns


def _histogram(scores: Floats) -> Ints:
    bins = ((scores + 1) * np.float32(BINS / 2)).astype(np.int32)
    np.clip(bins, 0, BINS - 1, out=bins)
    return np.bincount(bins, minlength=BINS)


def _cut(histogram: Ints) -> float:
    """The score from which on impostor scores are kept: the lower edge of a bin."""
    wanted = max(KEPT_RATE * histogram.sum(), min(histogram.sum(), 200_000))
    enough = np.flatnonzero(np.cumsum(histogram[::-1]) >= wanted)
    edge = BINS - 1 - int(enough[0]) if len(enough) else 0
    return edge / BINS * 2 - 1 - 1e-6 if edge else -2.0


def _reaching(falling: Floats, threshold: float) -> int:
    """How many scores are at least the threshold."""
    return int(np.searchsorted(-falling, -np.float32(threshold), side="right"))


def _above(falling: Floats, score: float) -> int:
    """How many scores are above a score."""
    return int(np.searchsorted(-falling, -np.float32(score), side="left"))
