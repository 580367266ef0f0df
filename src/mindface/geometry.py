"""Boxes, overlap, suppression, and the alignment of a face onto a template.

Boxes are `xyxy` in pixels; landmarks are `(5, 2)`: left eye, right eye, nose, left mouth corner,
right mouth corner, as seen in the image.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mindface.errors import AlignmentError

Array = NDArray[np.float32]
Image = NDArray[np.uint8]

# The five points of ArcFace (InsightFace `face_align.py`) and of SphereFace and the original
# MobileFaceNet before it: the same face, 8 pixels less on either side.
_ARCFACE = [
    [38.2946, 51.6963],
    [73.5318, 51.5014],
    [56.0252, 71.7366],
    [41.5493, 92.3655],
    [70.7299, 92.2041],
]
TEMPLATES: dict[str, tuple[tuple[int, int], Array]] = {
    "arcface_112x112": ((112, 112), np.array(_ARCFACE, np.float32)),
    "arcface_112x96": ((112, 96), np.array(_ARCFACE, np.float32) - np.array([8, 0], np.float32)),
}
"""Name -> ((height, width) of the crop in pixels, landmarks `(5, 2)` in the crop)."""

MIN_EYE_DISTANCE = 1.5
MAX_MISFIT = 0.5


def areas(boxes: NDArray[Any]) -> NDArray[Any]:
    """Areas `(N,)` of boxes `(N, 4)` in square pixels; zero for boxes turned inside out."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    return np.asarray(sides[:, 0] * sides[:, 1])


def iou(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """Intersection over union `(N, M)` of boxes `(N, 4)` and `(M, 4)`; 0 where both are empty."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    sides = np.maximum(high - low, 0)
    shared = sides[..., 0] * sides[..., 1]
    union = areas(a)[:, None] + areas(b)[None, :] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def nms(boxes: NDArray[Any], scores: NDArray[Any], threshold: float) -> NDArray[np.intp]:
    """Greedy non-maximum suppression.

    Args:
        boxes: `(N, 4)`.
        scores: `(N,)`; of equal scores the earlier box wins.
        threshold: a box whose IoU with a better kept one is above this is dropped.

    Returns:
        Indices of the kept boxes, best first.
    """
    rest = np.argsort(-scores, kind="stable")
    kept = []
    while rest.size:
        best, rest = rest[0], rest[1:]
        kept.append(best)
        rest = rest[iou(boxes[best : best + 1], boxes[rest])[0] <= threshold]
    return np.array(kept, np.intp)


def similarity_transform(source: NDArray[Any], target: NDArray[Any]) -> NDArray[np.float64]:
    """The rotation, uniform scale and shift that best lays points on points (least squares).

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns",
    PAMI 1991, equations 40 to 43; never a reflection. In the plane the SVD has a closed form.

    Args:
        source: `(..., N, 2)`.
        target: `(N, 2)`, or of the shape of `source`.

    Returns:
        `(..., 2, 3)` matrices `M` with `M @ [x, y, 1]` near the target.

    Raises:
        AlignmentError: the source points coincide or are not finite.
    """
    points = np.asarray(source, np.float64)
    goal = np.broadcast_to(np.asarray(target, np.float64), points.shape)
    if not np.isfinite(points).all():
        raise AlignmentError("landmarks are not finite numbers: nothing can be aligned")
    centre, goal_centre = points.mean(-2, keepdims=True), goal.mean(-2, keepdims=True)
    p, q = points - centre, goal - goal_centre
    spread = (p**2).sum((-2, -1))
    if (spread < 1e-12).any():
        raise AlignmentError("landmarks coincide: nothing can be aligned")
    cos = (p * q).sum((-2, -1)) / spread
    sin = (p[..., 0] * q[..., 1] - p[..., 1] * q[..., 0]).sum(-1) / spread
    linear = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)
    shift = goal_centre[..., 0, :] - (linear @ centre[..., 0, :, None])[..., 0]
    return np.concatenate([linear, shift[..., None]], -1)


def check_landmarks(landmarks: NDArray[Any]) -> None:
    """Refuses landmarks that no face can have.

    A face in full profile passes: of 4,600 detections on photos of celebrities three are refused,
    and those are no faces.

    Args:
        landmarks: `(5, 2)` in pixels.

    Raises:
        AlignmentError: not finite, all within a pixel or two, on one line, mirrored, or far from
            every similarity image of a face.
    """
    points = np.asarray(landmarks, np.float64)
    if points.shape != (5, 2):
        raise AlignmentError(f"landmarks must have shape (5, 2), not {points.shape}")
    if not np.isfinite(points).all():
        raise AlignmentError("landmarks are not finite numbers")
    axes = np.linalg.svd(points - points.mean(0), compute_uv=False)
    if axes[0] < MIN_EYE_DISTANCE:
        raise AlignmentError(f"landmarks lie within {axes[0]:.2g} pixels: the face is too small")
    if axes[1] < 0.05 * axes[0]:
        raise AlignmentError("landmarks lie on one line")
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    across, down = points[1] - points[0] + points[4] - points[3], mouth - eyes
    if across[0] * down[1] - across[1] * down[0] <= 0:
        raise AlignmentError("landmarks are mirrored: left and right are exchanged")
    _, template = TEMPLATES["arcface_112x112"]
    matrix = similarity_transform(points, template)
    misfit = points @ matrix[:, :2].T + matrix[:, 2] - template
    error = math.sqrt((misfit**2).sum() / 5) / float(np.linalg.norm(template[1] - template[0]))
    if error > MAX_MISFIT:
        raise AlignmentError(f"landmarks are {error:.2f} eye distances away from those of a face")


def align(
    image: Image,
    landmarks: NDArray[Any],
    template: str = "arcface_112x112",
    size: tuple[int, int] | None = None,
) -> Image:
    """Cuts a face out of an image so that its landmarks lie on a template's.

    Faces more than twice as large as the crop are first shrunk by area, so that none of their
    detail aliases.

    Args:
        image: `(H, W, 3)` RGB uint8.
        landmarks: `(5, 2)` in pixels of `image`.
        template: a name of `TEMPLATES`.
        size: (height, width) of the crop, if not the template's own; the template is scaled by
            the height and centred.

    Returns:
        `(height, width, 3)` RGB uint8; black where the image ends.

    Raises:
        AlignmentError: `check_landmarks` refuses the landmarks.
    """
    check_landmarks(landmarks)
    rows, columns = size or TEMPLATES[template][0]
    matrix = similarity_transform(landmarks, aligned_landmarks((rows, columns)))
    image, matrix = _shrink(image, matrix, (rows, columns))
    return np.asarray(cv2.warpAffine(image, matrix, (columns, rows)), np.uint8)


def fit_crop(crop: Image, template: str) -> Image:
    """Brings an aligned face of another size onto a template: scaled, and its sides cut off.

    Args:
        crop: `(H, W, 3)` RGB uint8, square, or of the template's own proportions.
        template: a name of `TEMPLATES`.

    Raises:
        AlignmentError: the crop has other proportions.
    """
    (rows, columns), _ = TEMPLATES[template]
    height, width = crop.shape[:2]
    if width not in (height, round(height * columns / rows)):
        raise AlignmentError(
            f"{width} x {height} pixels are no aligned face: give {columns} x {rows} or a square"
        )
    wide = rows if width == height else columns
    if (height, width) != (rows, wide):
        how = cv2.INTER_AREA if height > rows else cv2.INTER_LINEAR
        crop = np.asarray(cv2.resize(crop, (wide, rows), interpolation=how), np.uint8)
    side = (wide - columns) // 2
    return np.ascontiguousarray(crop[:, side : side + columns])


def aligned_landmarks(shape: tuple[int, ...]) -> Array:
    """Where the landmarks `(5, 2)` lie in an aligned face of this (height, width).

    The template of 112x112 is scaled by the height and centred; that of 112x96 is the same face.
    """
    height, width = shape
    (rows, columns), points = TEMPLATES["arcface_112x112"]
    return points * (height / rows) + np.array(
        [(width - columns * height / rows) / 2, 0], np.float32
    )


def _shrink(
    image: Image, matrix: NDArray[np.float64], size: tuple[int, int]
) -> tuple[Image, NDArray[np.float64]]:
    """Halves and thirds the part of the image that the crop shows, as the scale allows."""
    factor = int(1 / max(math.hypot(matrix[0, 0], matrix[1, 0]), 1e-6))
    if factor < 2:
        return image, matrix
    inverse = cv2.invertAffineTransform(matrix)
    corners = np.array([[0, 0], [size[1], 0], [0, size[0]], [size[1], size[0]]], np.float64)
    shown = corners @ inverse[:, :2].T + inverse[:, 2]
    low = np.maximum(np.floor(shown.min(0)).astype(int) - factor, 0)
    high = np.minimum(np.ceil(shown.max(0)).astype(int) + factor, image.shape[1::-1])
    columns, rows = (high - low) // factor
    if columns < 1 or rows < 1:
        return image, matrix
    part = image[low[1] : low[1] + rows * factor, low[0] : low[0] + columns * factor]
    small = cv2.resize(part, (int(columns), int(rows)), interpolation=cv2.INTER_AREA)
    # Pixel centres: x = factor * x' + (factor - 1) / 2 + low.
    shift = low + (factor - 1) / 2
    moved = np.concatenate(
        [matrix[:, :2] * factor, (matrix[:, :2] @ shift + matrix[:, 2])[:, None]], axis=1
    )
    return np.asarray(small, np.uint8), moved
