"""Which pictures will do for an enrolment, and why others will not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from mindface.results import Analysis, Quality

FINAL = frozenset({"name", "unreadable", "face", "duplicate", "rejected"})
"""Checks that nobody can overrule: there is nothing to enroll, or it would be wrong."""


@dataclass(frozen=True)
class Limits:
    """What a picture must reach; `mindface.results.Quality` says what is measured.

    Attributes:
        side: least shorter side of the box, in pixels.
        sharpness: least variance of the Laplacian.
        yaw: greatest turn to either side, in degrees.
        pitch: greatest turn up or down, in degrees.
        truncation: greatest share of the box outside the photo.
        score: least confidence of the detector.
        others: greatest side of another face, as a share of the largest face's.
    """

    side: float = 50
    sharpness: float = 40
    yaw: float = 45
    pitch: float = 35
    truncation: float = 0.1
    score: float = 0.7
    others: float = 0.5


@dataclass(frozen=True)
class Refusal:
    """Why a picture is not enrolled.

    Attributes:
        check: "name", "unreadable", "face", "side", "sharpness", "yaw", "pitch", "truncation",
            "score", "others", "duplicate", "rejected" or "conflict".
        sentence: in words, with the figure and the limit.
        figure: what was measured, where it was.
        limit: what was asked for.
    """

    check: str
    sentence: str
    figure: float | None = None
    limit: float | None = None

    @property
    def final(self) -> bool:
        """Whether it holds even when forced."""
        return self.check in FINAL

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def judge(analysis: Analysis, index: int, limits: Limits) -> list[Refusal]:
    """What is wrong with the picture of one face.

    Args:
        analysis: of the photo, with `quality`.
        index: of the face.
        limits: what is asked for.
    """
    quality = analysis.quality[index]
    sides = [each.side for each in analysis.quality]
    others = max([side / sides[index] for i, side in enumerate(sides) if i != index], default=0.0)
    return [*_of_face(quality, limits), *_of_others(others, limits)]


def _of_face(quality: Quality, limits: Limits) -> Iterator[Refusal]:
    if quality.side < limits.side:
        said = f"the face is too small: {quality.side:.0f} pixels, at least {limits.side:.0f}"
        yield Refusal("side", said, quality.side, limits.side)
    if quality.sharpness < limits.sharpness:
        sharpness = f"{quality.sharpness:.0f}, at least {limits.sharpness:.0f}"
        said = f"the face is blurred: sharpness {sharpness}"
        yield Refusal("sharpness", said, quality.sharpness, limits.sharpness)
    if abs(quality.yaw) > limits.yaw:
        said = f"turned to the side by {abs(quality.yaw):.0f} degrees, at most {limits.yaw:.0f}"
        yield Refusal("yaw", said, abs(quality.yaw), limits.yaw)
    if abs(quality.pitch) > limits.pitch:
        way = "up" if quality.pitch > 0 else "down"
        said = f"turned {way} by {abs(quality.pitch):.0f} degrees, at most {limits.pitch:.0f}"
        yield Refusal("pitch", said, abs(quality.pitch), limits.pitch)
    if quality.truncation > limits.truncation:
        said = f"{quality.truncation:.0%} of the face lies outside, at most {limits.truncation:.0%}"
        yield Refusal("truncation", said, quality.truncation, limits.truncation)
    if quality.score < limits.score:
        said = f"hardly a face: confidence {quality.score:.2f}, at least {limits.score:.2f}"
        yield Refusal("score", said, quality.score, limits.score)


def _of_others(others: float, limits: Limits) -> Iterator[Refusal]:
    if others > limits.others:
        said = (
            f"several faces: another has {others:.0%} of the largest one's size, "
            f"at most {limits.others:.0%}"
        )
        yield Refusal("others", said, others, limits.others)
