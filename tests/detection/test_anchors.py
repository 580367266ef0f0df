import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mindface.detection.anchors import anchors, decode_boxes, decode_landmarks


def naive_anchors(height, width):
    """The loops of the original, in float64."""
    rows = []
    for stride, sizes in zip((8, 16, 32), ((16, 32), (64, 128), (256, 512)), strict=True):
        for i in range(math.ceil(height / stride)):
            for j in range(math.ceil(width / stride)):
                for size in sizes:
                    rows.append(((j + 0.5) * stride, (i + 0.5) * stride, size, size))
    return np.array(rows)


@pytest.mark.parametrize("shape", [(32, 32), (160, 192), (100, 37), (640, 448)])
def test_anchors_are_the_naive_ones(shape):
    np.testing.assert_array_equal(anchors(*shape), naive_anchors(*shape))


def test_anchors_are_shared_and_cannot_be_changed():
    assert anchors(64, 64) is anchors(64, 64)
    with pytest.raises(ValueError, match="read-only"):
        anchors(64, 64)[0] = 0


@given(st.integers(0, 2**32 - 1))
def test_decoding_is_the_naive_one(seed):
    rng = np.random.default_rng(seed)
    grid = naive_anchors(32, 64)[:7].astype(np.float32)
    boxes = rng.normal(0, 2, (7, 4)).astype(np.float32)
    points = rng.normal(0, 2, (7, 10)).astype(np.float32)
    for row, (cx, cy, w, h) in enumerate(grid.astype(float)):
        a, b, c, d = boxes[row].astype(float)
        x, y = cx + a * 0.1 * w, cy + b * 0.1 * h
        wide, high = w * math.exp(c * 0.2), h * math.exp(d * 0.2)
        expected = [x - wide / 2, y - high / 2, x + wide / 2, y + high / 2]
        np.testing.assert_allclose(decode_boxes(boxes, grid)[row], expected, rtol=1e-4, atol=1e-3)
        naive = [
            (cx + points[row, 2 * i] * 0.1 * w, cy + points[row, 2 * i + 1] * 0.1 * h)
            for i in range(5)
        ]
        np.testing.assert_allclose(decode_landmarks(points, grid)[row], naive, rtol=1e-4, atol=1e-3)


def test_a_wild_encoding_does_not_overflow():
    grid = anchors(32, 32)[:1]
    assert np.isfinite(decode_boxes(np.full((1, 4), 1e9, np.float32), grid)).all()
