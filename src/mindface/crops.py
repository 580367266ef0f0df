"""Faces cut out of photos: which can be aligned, in how many pixels, and how good they are."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mindface.detection.detector import Opened
from mindface.errors import AlignmentError
from mindface.geometry import (
    TEMPLATES,
    align,
    aligned_landmarks,
    check_landmarks,
    similarity_transform,
)
from mindface.quality import assess
from mindface.results import Array, Detections, Face, Quality

Image = NDArray[np.uint8]


def plausible(faces: Detections) -> tuple[Detections, tuple[str, ...]]:
    """Parts the faces whose landmarks can be aligned from the others.

    Returns:
        Those that can, and the reasons why the others cannot (`geometry.check_landmarks`).
    """
    kept, reasons = [], []
    for index, landmarks in enumerate(faces.landmarks):
        try:
            check_landmarks(landmarks)
            kept.append(index)
        except AlignmentError as error:
            reasons.append(str(error))
    return faces.select(kept), tuple(reasons)


def in_detail(
    opened: Opened, landmarks: Array, template: str, size: tuple[int, int] | None = None
) -> Opened:
    """The photo decoded anew if one of its faces deserves more pixels than were read.

    Args:
        opened: the photo as the detector read it.
        landmarks: `(N, 5, 2)`, N at least 1, in pixels of the photo at full size.
        template: a name of `mindface.geometry.TEMPLATES`.
        size: (height, width) of the crops that will be cut, if not the template's own.

    Raises:
        ImageError: the photo changed since it was opened.
    """
    photo, pixels = opened
    points = aligned_landmarks(size or TEMPLATES[template][0])
    matrices = similarity_transform(landmarks, points)
    full = max(photo.width, photo.height)
    scale = float(np.hypot(matrices[:, 0, 0], matrices[:, 1, 0]).max())
    wanted = min(full, math.ceil(full * scale))
    return opened if max(pixels.shape[:2]) >= wanted else Opened(photo, photo.read(wanted))


def cut_faces(
    opened: Opened,
    landmarks: Array,
    template: str = "arcface_112x112",
    size: tuple[int, int] | None = None,
) -> list[Image]:
    """Aligns faces of a photo.

    Args:
        opened: the photo, from `in_detail`.
        landmarks: `(N, 5, 2)` in pixels of the photo at full size.
        template: a name of `mindface.geometry.TEMPLATES`.
        size: (height, width) of the crops, if not the template's own.

    Raises:
        AlignmentError: landmarks that no face can have.
    """
    return [align(opened.pixels, points * opened.ratio, template, size) for points in landmarks]


def measure(opened: Opened, face: Face) -> Quality:
    """The quality of a face, lengths in pixels of the photo at full size.

    Raises:
        AlignmentError: landmarks that no face can have.
    """
    ratio = opened.ratio
    found = assess(opened.pixels, face.box * np.tile(ratio, 2), face.landmarks * ratio, face.score)
    scale = float(ratio.mean())
    return replace(found, side=found.side / scale, eye_distance=found.eye_distance / scale)
