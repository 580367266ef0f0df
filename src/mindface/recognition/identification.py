"""1:N identification, closed and open set, from embeddings.

Probes are searched in a gallery of enrolled people. A probe is mated where its person is enrolled.
Closed set: how often is the person among the first k candidates? Open set: how often does a
threshold raise an alarm for somebody who is not enrolled (FPIR), and how often does it miss
somebody who is (FNIR)? The terms are those of ISO/IEC 19795-1:2021 and of Grother, Ngan, Hanaoka,
"Face Recognition Vendor Test (FRVT) Part 2: Identification", NIST IR 8271, 2019, with one
candidate (R = 1) in the FNIR.

Intervals come from drawing people, as in `mindface.recognition.metrics`. The gallery stays as it
is; the enrolled people whom probes show and the people who are not enrolled are drawn apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mindface.recognition.bootstrap import Interval
from mindface.recognition.metrics import FAILED, REPLICATES, Doubles, Floats, Ints

Pooling = Literal["max", "mean"]

RATES = (0.1, 0.01)
MISS = int(np.iinfo(np.int64).max)  # the rank of a person who cannot be found
BLOCK = 1 << 24  # scores held at once, 64 MB
_LEAST = float(np.nextafter(np.float32(FAILED), np.float32(0)))  # no failed photo reaches it


@dataclass(frozen=True)
class OpenSetRate:
    """What a threshold does in open-set identification.

    Attributes:
        rate: the FPIR that was asked for.
        threshold: the least score at which the FPIR is not above `rate`.
        fpir: the FPIR measured there, with its interval at this fixed threshold.
        fnir: the FNIR at `rate`; its interval lets the threshold vary with the people drawn.
    """

    rate: float
    threshold: float
    fpir: Interval
    fnir: Interval

    @property
    def tpir(self) -> Interval:
        """The share of mated probes that are identified: what FNIR lacks to 1."""
        return Interval(1 - self.fnir.value, 1 - self.fnir.high, 1 - self.fnir.low)


@dataclass(frozen=True, eq=False)
class Identification:
    """The outcome of every search; see `identify`.

    Attributes:
        ranks: `(M,)` of the own person of each mated probe, from 1 on; `MISS` where it cannot be
            found. Others with an equal score rank before it.
        mated: `(M,)` float32 scores of the own person.
        mated_people: `(M,)` whose probes they are.
        non_mated: `(N,)` float32 best scores of the probes whose person is not enrolled.
        non_mated_people: `(N,)` whose probes they are.
        enrolled: how many people the gallery holds.
    """

    ranks: Ints
    mated: Floats
    mated_people: Ints
    non_mated: Floats
    non_mated_people: Ints
    enrolled: int

    def found(self, rank: int) -> float:
        """The share of mated probes whose person is among the first `rank` candidates."""
        return float((self.ranks <= rank).sum() / max(len(self.ranks), 1))

    def cmc(self, depth: int = 20) -> Doubles:
        """The cumulative match characteristic: `(depth,)`, `found` at the ranks 1 to `depth`."""
        return np.array([self.found(rank) for rank in range(1, depth + 1)])

    def fpir(self, threshold: float) -> float:
        """The share of non-mated probes whose best candidate scores at least the threshold."""
        alarms = (self.non_mated >= max(threshold, _LEAST)).sum()
        return float(alarms / max(len(self.non_mated), 1))

    def fnir(self, threshold: float) -> float:
        """The share of mated probes whose person is not first, or scores below the threshold."""
        identified = (self._identified >= max(threshold, _LEAST)).sum()
        return float(1 - identified / max(len(self.ranks), 1))

    def threshold(self, rate: float) -> float:
        """The least score at which at most `rate` of the non-mated probes raise an alarm."""
        falling = -np.sort(-self.non_mated)
        allowed = int(rate * len(falling) * (1 + 1e-12))
        limit = falling[allowed] if allowed < len(falling) else np.float32(FAILED)
        return float(np.nextafter(limit, np.float32(2)))

    def supports(self, rate: float) -> bool:
        """Whether an FPIR can be measured: it takes 3 / rate people who are not enrolled.

        The rule of three, as in `mindface.recognition.metrics.ScoreTable.supports`.
        """
        return len(np.unique(self.non_mated_people)) * rate >= 3 * (1 - 1e-9)

    def rates(
        self, rates: Sequence[float] = RATES, replicates: int = REPLICATES, seed: int = 0
    ) -> list[OpenSetRate | None]:
        """Thresholds, FPIR and FNIR at each rate, with 95% intervals.

        Args:
            rates: FPIRs.
            replicates: how often people are drawn anew.
            seed: of the drawing.

        Returns:
            One of each rate; None where `supports` says no, or no probe is mated.
        """
        able = [rate for rate in rates if self.supports(rate) and len(self.ranks)]
        thresholds = [self.threshold(rate) for rate in able]
        fpirs, fnirs = self._bootstrap(able, thresholds, replicates, seed)
        measured = {
            rate: OpenSetRate(
                rate,
                threshold,
                Interval.of(self.fpir(threshold), fpir),
                Interval.of(self.fnir(threshold), fnir),
            )
            for rate, threshold, fpir, fnir in zip(able, thresholds, fpirs.T, fnirs.T, strict=True)
        }
        return [measured.get(rate) for rate in rates]

    @property
    def _identified(self) -> Floats:
        """Scores of the own person where it is the first candidate, else `FAILED`."""
        return np.where(self.ranks == 1, self.mated, np.float32(FAILED))

    def _bootstrap(
        self, rates: Sequence[float], thresholds: Sequence[float], replicates: int, seed: int
    ) -> tuple[Doubles, Doubles]:
        """FPIR at the thresholds and FNIR at the rates, `(replicates, rates)` each."""
        fpirs, fnirs = np.zeros((2, replicates, len(rates)))
        if not rates:
            return fpirs, fnirs
        alarms, strangers = _falling(self.non_mated, self.non_mated_people)
        identified, owners = _falling(self._identified, self.mated_people)
        reaching = [int((alarms >= threshold).sum()) for threshold in thresholds]
        rng = np.random.default_rng(seed)
        for row in range(replicates):
            drawn, mine = _drawn(rng, strangers), _drawn(rng, owners)
            fpirs[row] = drawn[reaching] / drawn[-1]
            for column, rate in enumerate(rates):
                allowed = np.searchsorted(drawn, rate * drawn[-1] * (1 + 1e-12), side="right") - 1
                limit = alarms[allowed] if allowed < len(alarms) else np.float32(FAILED)
                above = np.searchsorted(-identified, -limit, side="left")
                fnirs[row, column] = 1 - mine[above] / mine[-1]
        return fpirs, fnirs


def identify(
    gallery: NDArray[Any],
    gallery_people: NDArray[Any],
    probes: NDArray[Any],
    probe_people: NDArray[Any],
    *,
    pooling: Pooling = "max",
) -> Identification:
    """Searches every probe among all enrolled people, block by block.

    A row of zeros is a photo without a face, and scores `metrics.FAILED` against everybody: a
    failed probe can be a miss but no false alarm, and a person all of whose gallery photos failed
    is never a candidate, so that probes of this person are misses.

    Args:
        gallery: `(G, D)` float32 of unit length.
        gallery_people: `(G,)` the number of the person in each gallery photo.
        probes: `(P, D)` float32 of unit length.
        probe_people: `(P,)` the number of the person in each probe.
        pooling: how the photos of an enrolled person are combined: "max" takes the best of their
            scores, "mean" compares with the mean of their embeddings, scaled to unit length.

    Raises:
        ValueError: arrays do not fit together, the gallery is empty, or the pooling is unknown.
    """
    gallery, probes = np.asarray(gallery, np.float32), np.asarray(probes, np.float32)
    gallery_people, probe_people = np.asarray(gallery_people), np.asarray(probe_people)
    _check(gallery, gallery_people, probes, probe_people, pooling)
    templates, starts, people = _enrol(gallery, gallery_people, pooling)
    own = np.minimum(np.searchsorted(people, probe_people), len(people) - 1)
    mated = people[own] == probe_people
    scores = np.zeros(len(probes), np.float32)
    ranks = np.full(len(probes), MISS)
    for rows, block in _blocks(probes, templates, starts):
        mine = block[np.arange(len(block)), own[rows]]
        findable = mated[rows] & (mine > FAILED)
        ranks[rows][findable] = (block >= mine[:, None]).sum(axis=1)[findable]
        scores[rows] = np.where(mated[rows], mine, block.max(axis=1))
    return Identification(
        ranks[mated],
        scores[mated],
        probe_people[mated],
        scores[~mated],
        probe_people[~mated],
        len(people),
    )


def split_folder(
    people: NDArray[Any], seed: int, gallery_photos: int = 1, non_mated: float = 0.5
) -> tuple[Ints, Ints]:
    """Draws a gallery and probes from labelled photos.

    A share of the people is left out of the gallery; all their photos are probes. Of everybody
    else some photos are enrolled and the rest are probes. A person who has no more than
    `gallery_photos` is enrolled with all of them and is not searched for.

    Args:
        people: `(M,)` the number of the person in each photo.
        seed: of the drawing; with the same photos it gives the same split.
        gallery_photos: how many photos of a person are enrolled.
        non_mated: the share of the people who are not enrolled, 0 to 1.

    Returns:
        Rising indices into the photos: of the gallery, and of the probes.

    Raises:
        ValueError: an argument is out of range, or nobody would be enrolled.
    """
    if gallery_photos < 1:
        raise ValueError(f"gallery_photos is {gallery_photos}: enrol 1 photo a person at least")
    if not 0 <= non_mated <= 1:
        raise ValueError(f"non_mated is {non_mated}: a share lies between 0 and 1")
    rng = np.random.default_rng(seed)
    identities = rng.permutation(np.unique(people))
    left_out = identities[: round(non_mated * len(identities))]
    if len(left_out) == len(identities):
        raise ValueError(
            f"non_mated {non_mated:g} of {len(identities)} people enrols nobody: lower it"
        )
    shuffled = rng.permutation(len(people))
    order = shuffled[np.argsort(people[shuffled], kind="stable")]
    _, starts, counts = np.unique(people[order], return_index=True, return_counts=True)
    place = np.arange(len(order)) - np.repeat(starts, counts)
    enrolled = (place < gallery_photos) & ~np.isin(people[order], left_out)
    return np.sort(order[enrolled]), np.sort(order[~enrolled])


def _check(
    gallery: Floats,
    gallery_people: NDArray[Any],
    probes: Floats,
    probe_people: NDArray[Any],
    pooling: str,
) -> None:
    for name, rows, people in (
        ("gallery", gallery, gallery_people),
        ("probes", probes, probe_people),
    ):
        if rows.ndim != 2 or people.shape != rows.shape[:1]:
            raise ValueError(
                f"{name} {rows.shape} with people {people.shape}: give embeddings (N, D) and the "
                "number of the person in each, (N,)"
            )
    if gallery.shape[1] != probes.shape[1]:
        raise ValueError(
            f"a gallery of {gallery.shape[1]} values and probes of {probes.shape[1]} cannot be "
            "compared: they come from different models"
        )
    if not len(gallery):
        raise ValueError("the gallery is empty: enrol one photo at least")
    if pooling not in get_args(Pooling):
        raise ValueError(f"pooling is {pooling!r}: use one of {', '.join(get_args(Pooling))}")


def _enrol(
    gallery: Floats, gallery_people: NDArray[Any], pooling: Pooling
) -> tuple[Floats, Ints, Ints]:
    """Templates sorted by person, where each person's begin, and the people."""
    order = np.argsort(gallery_people, kind="stable")
    people, starts = np.unique(gallery_people[order], return_index=True)
    templates = gallery[order]
    if pooling == "max":
        return templates, starts, people
    sums = np.add.reduceat(templates, starts, axis=0)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return sums / np.maximum(lengths, 1e-12), np.arange(len(people)), people


def _blocks(probes: Floats, templates: Floats, starts: Ints) -> Iterator[tuple[slice, Floats]]:
    """Scores of some probes against every enrolled person."""
    absent = ~templates.any(axis=1)
    size = max(BLOCK // len(templates), 1)
    for start in range(0, len(probes), size):
        rows = slice(start, start + size)
        scores = probes[rows] @ templates.T
        scores[:, absent] = FAILED
        scores[~probes[rows].any(axis=1)] = FAILED
        yield rows, np.maximum.reduceat(scores, starts, axis=1)


def _falling(scores: Floats, people: Ints) -> tuple[Floats, Ints]:
    """Scores from the highest on, and whose they are, numbered from 0 on."""
    order = np.argsort(-scores, kind="stable")
    return scores[order], np.unique(people[order], return_inverse=True)[1]


def _drawn(rng: np.random.Generator, owners: Ints) -> Ints:
    """How much the first 0, 1 .. N rows weigh when as many people are drawn as there are."""
    count = int(owners.max()) + 1
    weights = np.bincount(rng.integers(count, size=count), minlength=count)
    return np.concatenate([[0], np.cumsum(weights[owners])])
