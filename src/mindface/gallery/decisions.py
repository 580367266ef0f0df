"""Who is this, in a world where most people are not in the gallery.

Never the nearest one: a match needs a similarity that strangers seldom reach at this size of
gallery, and a lead over the second person.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from mindface.zoo.record import Calibration, Tail

Decision = Literal["match", "uncertain", "unknown"]

FPIR = 0.01
DOUBTFUL = 0.1
MARGIN = 0.05


@dataclass(frozen=True)
class Match:
    """The answer for one face.

    Attributes:
        decision: "match": it is that person. "uncertain": it may be; somebody should look.
            "unknown": nobody of the gallery.
        person: the name; None where unknown.
        similarity: cosine to the nearest person's template, -1 to 1, known or not; None in a
            gallery without anybody to compare with.
        threshold: the similarity from which on it may be a match; None where the calibration does
            not reach a gallery of this size, or there is none.
        margin: the similarity less that to the second person; None where there is no second.
        runner_up: the name of the second person; None where unknown.
        extrapolated: whether the threshold was read off a fitted tail and not measured.
        confirmed: whether somebody said that this face shows this person (`Gallery.confirm`).
    """

    decision: Decision
    person: str | None
    similarity: float | None
    threshold: float | None
    margin: float | None
    runner_up: str | None
    extrapolated: bool = False
    confirmed: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Thresholds:
    """Similarities at one size of a gallery.

    Attributes:
        match: from here on it may be a match; None: never.
        uncertain: from here on it is uncertain at least; None: always.
        extrapolated: whether `match` was read off a fitted tail and not measured.
    """

    match: float | None
    uncertain: float | None
    extrapolated: bool = False


@dataclass(frozen=True)
class Policy:
    """How sure an answer must be.

    The threshold of a match is that at which a stranger is taken for anybody in the gallery with
    probability `fpir` at most: the rate of one comparison is `1 - (1 - fpir) ** (1 / people)`
    (`Calibration.for_gallery`). Where the calibration's thresholds end, its fitted tail is read,
    which the answer says; where it has none, nothing is a match.

    Attributes:
        calibration: of the model; None: nothing is a match, everybody is uncertain.
        fpir: false-positive identification rate of matches.
        doubtful: that of uncertain answers, not below `fpir`.
        margin: a match leads the second person by this much in similarity.

    Raises:
        ValueError: a rate or the margin is out of range.
    """

    calibration: Calibration | None = None
    fpir: float = FPIR
    doubtful: float = DOUBTFUL
    margin: float = MARGIN

    def __post_init__(self) -> None:
        if not 0 < self.fpir <= self.doubtful < 1:
            raise ValueError(
                f"0 < fpir <= doubtful < 1 must hold, not {self.fpir:g} and {self.doubtful:g}"
            )
        if not 0 <= self.margin <= 2:
            raise ValueError(f"the margin lies between 0 and 2, not {self.margin:g}")

    def thresholds(self, people: int) -> Thresholds:
        """The two thresholds for a search among so many people."""
        if self.calibration is None:
            return Thresholds(None, None)
        match, extrapolated = _threshold(self.calibration, self.fpir, max(people, 1))
        uncertain, _ = _threshold(self.calibration, self.doubtful, max(people, 1))
        strictest = self.calibration.thresholds[0].threshold
        return Thresholds(match, strictest if uncertain is None else uncertain, extrapolated)

    def decide(self, similarity: float, second: float | None, thresholds: Thresholds) -> Decision:
        """The decision on the nearest person, given the similarity to the second one."""
        if thresholds.uncertain is not None and similarity < thresholds.uncertain:
            return "unknown"
        leads = second is None or similarity - second >= self.margin
        reached = thresholds.match is not None and similarity >= thresholds.match
        return "match" if reached and leads else "uncertain"


def _threshold(calibration: Calibration, fpir: float, people: int) -> tuple[float | None, bool]:
    """A threshold, and whether it was extrapolated."""
    found = calibration.for_gallery(fpir, people)
    if found is not None:
        return found.threshold, found.extrapolated
    if calibration.tail is None:
        return None, False
    rate = -math.expm1(math.log1p(-fpir) / people)
    least = calibration.thresholds[0].threshold
    score = max(_tail_threshold(calibration.tail, rate), least)
    return (score, True) if score <= 1 else (None, False)


def _tail_threshold(tail: Tail, rate: float) -> float:
    """The score that a share `rate` of all impostors reaches: Coles 2001, equation 4.12."""
    depth = math.log(tail.share / rate)
    if abs(tail.shape) < 1e-9:
        return tail.start + tail.scale * depth
    return tail.start + tail.scale * math.expm1(tail.shape * depth) / tail.shape
