"""Average precision of detectors by the protocol of WIDER FACE.

Figures equal those of the Python evaluator in common use (wondervictor, WiderFace-Evaluation, as
in Pytorch_Retinaface's `widerface_evaluate`), its peculiarities included: scores are stretched to
0..1 over the whole set; a box is as wide as its pixels, `x2 - x1 + 1`; a box belongs to the one
face that it overlaps most, and is no second choice for another; on a face that the subset ignores
it does not count at all; of several on one face the first counts and the others are false alarms;
images without any face are left out; precision is looked at in 1,000 steps of the score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mindface.formats.wider_face import Floats, GroundTruth

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

OVERLAP = 0.5
STEPS = 1000
_LEVELS = 1 - np.arange(1, STEPS + 1) / STEPS  # of the stretched score, falling to 0
_NOBODY = -1


class Curve(NamedTuple):
    """Precision and recall over falling thresholds.

    Attributes:
        threshold: `(1000,)`, the least score of a box, as the detector gave it.
        precision: `(1000,)`, the share of boxes on faces; 0 where there is no box.
        recall: `(1000,)`, the share of faces found.
        faces: how many the subset counts.
    """

    threshold: Floats
    precision: Floats
    recall: Floats
    faces: int

    @property
    def average_precision(self) -> float:
        """The area below the curve, 0 to 1, with precision made to fall (PASCAL VOC 2010)."""
        envelope = np.maximum.accumulate(self.precision[::-1])[::-1]
        return float(np.diff(self.recall, prepend=0) @ envelope)

    def thinned(self, points: int) -> Curve:
        """About as many points, evenly spread over recall, first and last among them."""
        wanted = np.linspace(self.recall[0], self.recall[-1], points)
        rows = np.unique(np.searchsorted(self.recall, wanted))
        return Curve(self.threshold[rows], self.precision[rows], self.recall[rows], self.faces)


class Case(NamedTuple):
    """A face or a box to look at.

    Attributes:
        image: its name.
        box: `(4,)`, x y width height in pixels.
        score: the detector's; None for a face.
    """

    image: str
    box: Floats
    score: float | None = None


@dataclass(frozen=True, eq=False)
class Matches:
    """Which face each predicted box lies on; boxes and faces of all images stand in one row.

    Attributes:
        truth: the faces.
        image: `(P,)`, the number of each box's image.
        boxes: `(P, 5)` float64, x y width height score; within an image best score first.
        face: `(P,)`, the number of the face it overlaps most, or -1 where that is too little.
        scores: least and highest score, which become 0 and 1.
    """

    truth: GroundTruth
    image: Ints
    boxes: Floats
    face: Ints
    scores: tuple[float, float]

    def curve(self, subset: str) -> Curve:
        """Precision and recall on a subset, by its name in `truth.counted`."""
        proposed, found = self._outcome(subset)
        low, high = self.scores
        stretched = (self.boxes[:, 4] - low) / ((high - low) or 1)
        steps = np.searchsorted(-_LEVELS, -stretched)
        boxes, hits = (np.bincount(steps[w], minlength=STEPS).cumsum() for w in (proposed, found))
        faces = int(self._counted(subset).sum())
        precision = np.divide(hits, boxes, out=np.zeros(STEPS), where=boxes > 0)
        return Curve(low + _LEVELS * (high - low), precision, hits / faces, faces)

    def misses(self, subset: str, most: int) -> list[Case]:
        """Faces that no box lies on, the tallest first."""
        missed = self._counted(subset)
        missed[self.face[self.face != _NOBODY]] = False
        rows = np.flatnonzero(missed)
        rows = rows[np.argsort(-self._faces[rows, 3], kind="stable")][:most]
        images = np.repeat(np.arange(len(self.truth.boxes)), [len(b) for b in self.truth.boxes])
        return [Case(self.truth.images[images[row]], self._faces[row]) for row in rows]

    def false_alarms(self, subset: str, most: int) -> list[Case]:
        """Boxes on no face, or on one that a better box found, the highest score first."""
        proposed, found = self._outcome(subset)
        rows = np.flatnonzero(proposed & ~found)
        rows = rows[np.argsort(-self.boxes[rows, 4], kind="stable")][:most]
        return [
            Case(self.truth.images[self.image[row]], self.boxes[row, :4], float(self.boxes[row, 4]))
            for row in rows
        ]

    def _outcome(self, subset: str) -> tuple[Bools, Bools]:
        """Which boxes `(P,)` count at all, and which are the first on a face that counts."""
        counted = self._counted(subset)
        somewhere = self.face != _NOBODY
        hit = somewhere & counted[self.face]
        rows = np.flatnonzero(hit)
        found = np.zeros(len(hit), bool)
        found[rows[np.unique(self.face[rows], return_index=True)[1]]] = True
        return hit | ~somewhere, found

    def _counted(self, subset: str) -> Bools:
        return np.concatenate(self.truth.counted[subset])

    @cached_property
    def _faces(self) -> Floats:
        return np.concatenate(self.truth.boxes)


def match(truth: GroundTruth, predictions: Sequence[Floats]) -> Matches:
    """Finds the face that each predicted box lies on.

    Args:
        truth: the faces.
        predictions: per image `(N, 5)`, x y width height score, best score first.
    """
    offsets = np.cumsum([0, *map(len, truth.boxes)])
    images, boxes, faces = [np.zeros(0, np.int64)], [np.zeros((0, 5))], [np.zeros(0, np.int64)]
    for image, (labelled, predicted) in enumerate(zip(truth.boxes, predictions, strict=True)):
        if len(labelled) and len(predicted):
            overlap = overlaps(predicted, labelled)
            best = overlap.argmax(1)
            enough = overlap[np.arange(len(best)), best] >= OVERLAP
            images.append(np.full(len(best), image))
            boxes.append(predicted)
            faces.append(np.where(enough, offsets[image] + best, _NOBODY))
    scores = np.concatenate([np.zeros(0), *(predicted[:, 4] for predicted in predictions)])
    limits = float(scores.min(initial=1)), float(scores.max(initial=0))
    return Matches(
        truth, np.concatenate(images), np.concatenate(boxes), np.concatenate(faces), limits
    )


def overlaps(a: Floats, b: Floats) -> Floats:
    """Intersection over union `(N, M)` of boxes `(N, 4..)` and `(M, 4..)`, x y width height.

    Boxes reach from their first pixel to their last, and so are one pixel wider than they say.
    """
    left, top, right, bottom, area = _corners(a[:, None])
    other_left, other_top, other_right, other_bottom, other_area = _corners(b[None])
    width = np.minimum(right, other_right) - np.maximum(left, other_left) + 1
    height = np.minimum(bottom, other_bottom) - np.maximum(top, other_top) + 1
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    return np.asarray(shared / (area + other_area - shared))


def _corners(boxes: Floats) -> tuple[Floats, ...]:
    left, top = boxes[..., 0], boxes[..., 1]
    right, bottom = left + boxes[..., 2], top + boxes[..., 3]
    return left, top, right, bottom, (right - left + 1) * (bottom - top + 1)
