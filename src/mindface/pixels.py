"""What lens, sensor and file do to pixels: the augmentations that faces and scenes share."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

INTERPOLATIONS = (
    cv2.INTER_LINEAR,
    cv2.INTER_CUBIC,
    cv2.INTER_AREA,
    cv2.INTER_NEAREST_EXACT,
    cv2.INTER_LANCZOS4,
)


def blurred(
    image: Image,
    rng: np.random.Generator,
    deviation: tuple[float, float],
    length: tuple[float, float],
) -> Image:
    """Blurs as a lens out of focus or as a movement does, by chance.

    Args:
        image: `(H, W, 3)`.
        rng: draws which, how strong and, of a movement, the direction.
        deviation: of the Gaussian of a lens out of focus, in pixels.
        length: of a movement, in pixels.
    """
    if rng.random() < 0.5:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(*deviation)), np.uint8)
    kernel = _motion(rng.uniform(*length), rng.uniform(0, math.pi))
    return np.asarray(cv2.filter2D(image, -1, kernel), np.uint8)


def _motion(length: float, angle: float) -> NDArray[np.float32]:
    """A line of a sum of 1 through the middle of a square with odd sides."""
    reach = np.array([math.cos(angle), math.sin(angle)]) * (length - 1) / 2
    middle = math.ceil((length - 1) / 2)
    start, end = np.rint((middle + np.array([-reach, reach])) * 256).astype(int).tolist()
    line = np.zeros((2 * middle + 1, 2 * middle + 1), np.uint8)
    cv2.line(line, start, end, (255,), lineType=cv2.LINE_AA, shift=8)
    return np.asarray(line / line.sum(), np.float32)


def gray(image: Image) -> Image:
    """The picture `(H, W, 3)` RGB without its colours, in as many channels."""
    levels = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.cvtColor(levels, cv2.COLOR_GRAY2RGB), np.uint8)


def jpeg(image: Image, quality: int) -> Image:
    """The picture `(H, W, 3)` RGB written as a JPEG of a quality, 0 to 100, and read again."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, written = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    bgr = np.asarray(cv2.imdecode(written, cv2.IMREAD_COLOR), np.uint8)
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
