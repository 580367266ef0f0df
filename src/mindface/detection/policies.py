"""At which scales a detector looks at the photos of a benchmark, by name.

Figures of one detector differ by ten points and more between policies, so each belongs to one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice

import numpy as np

from mindface.detection.detector import Candidates, Detector, Look, Opened
from mindface.detection.voting import vote
from mindface.errors import ImageError
from mindface.geometry import nms
from mindface.imaging import Source, open_image, or_error
from mindface.pipeline import batches_ahead
from mindface.results import Array

SCORE, SUPPRESSION = 0.02, 0.4
"""Least score and IoU of suppression in the evaluators of Pytorch_Retinaface and MindFace."""

BATCH = 8


@dataclass(frozen=True)
class ScalePolicy:
    """How a photo is shown to the network.

    Attributes:
        sides: for each look the pixels that the shorter and the longer side may have: the photo is
            scaled until one of them does. Empty: one look at the photo as it is.
        mirror: whether each look is taken of the mirrored photo too.
        vote: join boxes by voting, not by suppression.
    """

    sides: tuple[tuple[int, int], ...] = ()
    mirror: bool = False
    vote: bool = False

    def ratios(self, width: int, height: int) -> list[float]:
        """What the sides of a photo of this size are multiplied by, a number a look."""
        short, long = sorted((width, height))
        return [min(shorter / short, longer / long) for shorter, longer in self.sides] or [1.0]


POLICIES = {
    "original": ScalePolicy(),
    "vga640": ScalePolicy(((640, 640),)),
    "mxnet": ScalePolicy(((1600, 2150),)),
    "multiscale": ScalePolicy(
        ((500, 750), (800, 1200), (1100, 1650), (1400, 2100), (1700, 2550)), mirror=True, vote=True
    ),
}
"""Named policies.

`original` and `mxnet` are those of Pytorch_Retinaface's `test_widerface.py`, `vga640` that of its
successor Face-Detector-1MB; `multiscale` is that of RetinaFace's authors (InsightFace,
`detection/retinaface/test_widerface.py`, mode 1). MindFace takes the same shorter sides, but longer
sides of up to 2160, no mirrored photos and suppression.
"""


def stream(
    detector: Detector, sources: Iterable[Source], policy: ScalePolicy
) -> Iterator[Array | ImageError]:
    """Finds the faces of any number of photos by a policy, decoding ahead.

    Yields:
        For each photo, in input order, `(N, 5)`: x1 y1 x2 y2 in pixels of the photo and score,
        best first; or why the photo cannot be read.
    """
    opening = partial(or_error, _opened)
    for batch in batches_ahead(opening, sources, BATCH, detector.options.thread_count):
        found = iter(_detect(detector, [x for x in batch if isinstance(x, Opened)], policy))
        yield from (item if isinstance(item, ImageError) else next(found) for item in batch)


def _opened(source: Source) -> Opened:
    photo = open_image(source)
    return Opened(photo, photo.read())


def _detect(detector: Detector, photos: list[Opened], policy: ScalePolicy) -> list[Array]:
    looks = [_looks(photo, policy) for photo in photos]
    found = iter(detector.candidates(list(chain(*looks))))
    overlap = detector.thresholds.overlap
    return [
        _joined(list(islice(found, len(each))), photo.photo.width, policy, overlap)
        for photo, each in zip(photos, looks, strict=True)
    ]


def _looks(photo: Opened, policy: ScalePolicy) -> list[Look]:
    """The photo at each size, then its mirror image if the policy has it."""
    shown = [photo]
    if policy.mirror:
        shown.append(Opened(photo.photo, np.ascontiguousarray(photo.pixels[:, ::-1])))
    ratios = policy.ratios(photo.photo.width, photo.photo.height)
    return [Look.enlarged(each, ratio) for each in shown for ratio in ratios]


def _joined(found: Sequence[Candidates], width: int, policy: ScalePolicy, overlap: float) -> Array:
    """The faces of one photo `(N, 5)`, from what its looks found."""
    first_mirrored = len(found) // 2 if policy.mirror else len(found)
    boxes = np.concatenate(
        [each.boxes for each in found[:first_mirrored]]
        + [mirrored(each.boxes, width) for each in found[first_mirrored:]]
    )
    scores = np.concatenate([each.scores for each in found])
    if policy.vote:
        boxes, scores = vote(boxes, scores, overlap)
    else:
        kept = nms(boxes, scores, overlap)
        boxes, scores = boxes[kept], scores[kept]
    return np.column_stack([boxes, scores])


def mirrored(boxes: Array, width: int) -> Array:
    """Boxes `(N, 4)` in the mirror image of a photo of this width."""
    left, top, right, bottom = boxes.T
    return np.stack([width - right, top, width - left, bottom], 1)
