"""RetinaFace's anchors and the decoding of what the network says about them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
STRIDES = (8, 16, 32)
MIN_SIZES = ((16, 32), (64, 128), (256, 512))
VARIANCES = (0.1, 0.2)


@lru_cache(maxsize=64)
def anchors(
    height: int,
    width: int,
    strides: tuple[int, ...] = STRIDES,
    min_sizes: tuple[tuple[int, ...], ...] = MIN_SIZES,
) -> Array:
    """Square anchors of an input, level by level, row by row (RetinaFace, section 3.3).

    Args:
        height: of the network's input, in pixels.
        width: likewise.
        strides: of the pyramid levels, in pixels.
        min_sizes: sides of the anchors of each level, in pixels.

    Returns:
        `(A, 4)` float32, read-only: centre x, centre y, width, height in pixels of the input.
    """
    levels = []
    for stride, sizes in zip(strides, min_sizes, strict=True):
        rows, columns = -(-height // stride), -(-width // stride)
        y, x, side = np.meshgrid(
            (np.arange(rows) + 0.5) * stride,
            (np.arange(columns) + 0.5) * stride,
            np.array(sizes, np.float64),
            indexing="ij",
        )
        levels.append(np.stack([x, y, side, side], -1).reshape(-1, 4))
    grid = np.concatenate(levels).astype(np.float32)
    grid.setflags(write=False)
    return grid


def decode_boxes(encoded: Array, grid: Array, variances: tuple[float, float] = VARIANCES) -> Array:
    """Boxes `(N, 4)` xyxy in pixels from encodings `(N, 4)` against anchors `(N, 4)`.

    SSD, section 2.2: centre = anchor + encoding * v0 * size; size = anchor size * exp(v1 * e).
    """
    centre = grid[:, :2] + encoded[:, :2] * variances[0] * grid[:, 2:]
    half = grid[:, 2:] * np.exp(np.minimum(encoded[:, 2:] * variances[1], 10)) / 2
    return np.concatenate([centre - half, centre + half], 1, dtype=np.float32)


def decode_landmarks(
    encoded: Array, grid: Array, variances: tuple[float, float] = VARIANCES
) -> Array:
    """Landmarks `(N, 5, 2)` in pixels from encodings `(N, 10)` against anchors `(N, 4)`."""
    offsets = encoded.reshape(-1, 5, 2) * np.float32(variances[0]) * grid[:, None, 2:]
    return np.asarray(grid[:, None, :2] + offsets, np.float32)
