"""How good the picture of a face is: plain measures, each with its unit, none a verdict.

Where a limit lies depends on the recogniser and the use; the measures are for choosing among
photos of one person at enrolment, and for splitting results at evaluation.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mindface.geometry import TEMPLATES, align, similarity_transform
from mindface.results import Quality

_TEMPLATE = "arcface_112x112"

# A rigid head in eye distances: how far below the eyes the mouth's corners are; which share of
# that way down the nose tip is; how far the nose tip stands before the plane of eyes and mouth.
# The first two are medians over the 127 most frontal of 400 CelebA photos, with the landmarks of
# our RetinaFace; 3-D models of faces put the third at 0.4 to 0.55.
_MOUTH_BELOW_EYES = 1.02
_NOSE_SHARE = 0.62
_NOSE_DEPTH = 0.5


def assess(
    image: NDArray[np.uint8], box: NDArray[Any], landmarks: NDArray[Any], score: float
) -> Quality:
    """Measures one face.

    Args:
        image: `(H, W, 3)` RGB uint8.
        box: `(4,)`, x1 y1 x2 y2 in pixels of `image`; may reach beyond it.
        landmarks: `(5, 2)` in pixels of `image`.
        score: the detector's confidence.

    Raises:
        AlignmentError: landmarks that no face can have.
    """
    yaw, pitch, roll = pose(landmarks)
    x1, y1, x2, y2 = (float(side) for side in box)
    return Quality(
        sharpness=sharpness(image, landmarks),
        side=min(x2 - x1, y2 - y1),
        eye_distance=math.dist(landmarks[0], landmarks[1]),
        yaw=yaw,
        pitch=pitch,
        roll=roll,
        truncation=truncation(box, image.shape[1], image.shape[0]),
        score=float(score),
    )


def sharpness(image: NDArray[np.uint8], landmarks: NDArray[Any]) -> float:
    """Variance of the Laplacian of the aligned face, over what of it lies in the image.

    Args:
        image: `(H, W, 3)` RGB uint8.
        landmarks: `(5, 2)` in pixels of `image`.

    Raises:
        AlignmentError: landmarks that no face can have.
    """
    gray = cv2.cvtColor(align(image, landmarks, _TEMPLATE), cv2.COLOR_RGB2GRAY)
    edges = cv2.Laplacian(gray, cv2.CV_32F)
    inside = _inside(image.shape[:2], landmarks)
    return float(edges[inside].var()) if inside.any() else 0.0


def _inside(shape: tuple[int, ...], landmarks: NDArray[Any]) -> NDArray[np.bool_]:
    """Which pixels of the aligned face, and all their neighbours, lie in the image."""
    (height, width), template = TEMPLATES[_TEMPLATE]
    back = cv2.invertAffineTransform(similarity_transform(landmarks, template))
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)
    points = grid @ back[:, :2].T + back[:, 2]
    within = (points >= 0).all(-1) & (points <= (shape[1] - 1, shape[0] - 1)).all(-1)
    return np.asarray(cv2.erode(np.asarray(within, np.uint8), np.ones((5, 5), np.uint8)), bool)


def pose(landmarks: NDArray[Any]) -> tuple[float, float, float]:
    """Yaw, pitch and roll in degrees from five points; see `Quality` for their signs.

    The roll is that of the line through the eyes. In the frame of that line, and seen from far
    away, a head turned by an angle shows its eyes (or its eyes and mouth) closer by the angle's
    cosine, and moves the nose tip, which stands before them, by its sine: the ratio is the
    tangent. Yaw and pitch are therefore as good as one mean face fits everybody: good to tell
    frontal from half profile, not to measure.

    Args:
        landmarks: `(5, 2)` in pixels.
    """
    points = np.asarray(landmarks, np.float64)
    across = points[1] - points[0]
    eye_distance = math.hypot(*across)
    roll = math.atan2(across[1], across[0])
    turn = np.array([[math.cos(roll), math.sin(roll)], [-math.sin(roll), math.cos(roll)]])
    nose, mouth = (np.array([points[2], points[3:].mean(0)]) - points[:2].mean(0)) @ turn.T
    drift = nose[0] * mouth[1] - mouth[0] * nose[1]  # from the line between eyes and mouth
    yaw = math.atan2(drift, _NOSE_DEPTH * eye_distance * mouth[1])
    rise = _NOSE_SHARE * mouth[1] - nose[1]
    pitch = math.atan2(_MOUTH_BELOW_EYES * rise, _NOSE_DEPTH * mouth[1])
    return math.degrees(yaw), math.degrees(pitch), math.degrees(roll)


def truncation(box: NDArray[Any], width: int, height: int) -> float:
    """Share of a box that lies outside an image, 0 to 1; 1 for a box without area.

    Args:
        box: `(4,)`, x1 y1 x2 y2 in pixels.
        width: of the image, in pixels.
        height: likewise.
    """
    x1, y1, x2, y2 = (float(side) for side in box)
    area = max(x2 - x1, 0) * max(y2 - y1, 0)
    shown = max(min(x2, width) - max(x1, 0), 0) * max(min(y2, height) - max(y1, 0), 0)
    return 1 - shown / area if area > 0 else 1.0
