"""Box voting against the loop that RetinaFace's authors describe, and where it ends."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mindface.detection import voting
from mindface.detection.voting import vote
from mindface.geometry import iou


def naive(boxes, scores, threshold):
    rest = sorted(range(len(boxes)), key=lambda row: -scores[row])
    out = []
    while rest:
        first = rest[0]
        group = [
            row
            for row in rest
            if row == first or iou(boxes[[first]], boxes[[row]])[0, 0] >= threshold
        ]
        rest = [row for row in rest if row not in group]
        if len(group) > 1:
            total = sum(float(scores[row]) for row in group)
            mean = sum(boxes[row].astype(float) * float(scores[row]) for row in group) / total
            out.append((mean, scores[first]))
    return out


rows = st.lists(
    st.tuples(*[st.integers(0, 12)] * 2, *[st.integers(1, 8)] * 2, st.integers(1, 20)), max_size=12
)


@given(rows=rows)
def test_like_the_loop(rows):
    table = np.array(rows, np.float32).reshape(-1, 5)
    boxes, scores = (
        np.concatenate([table[:, :2], table[:, :2] + table[:, 2:4]], 1),
        table[:, 4] / 20,
    )
    found, best = vote(boxes, scores, 0.4)
    expected = naive(boxes, scores, 0.4)
    assert found.shape == (len(expected), 4)
    assert best.tolist() == [score for _, score in expected]
    assert (np.diff(best) <= 0).all()
    if expected:
        np.testing.assert_allclose(found, [mean for mean, _ in expected], rtol=1e-5)


def test_a_mean_weighted_by_scores():
    boxes = np.array([[0, 0, 10, 10], [2, 0, 12, 10], [50, 50, 60, 60]], np.float32)
    found, best = vote(boxes, np.array([0.75, 0.25, 0.9], np.float32), 0.4)
    assert found.tolist() == [[0.5, 0, 10.5, 10]], "the third has no support"
    assert best.tolist() == [0.75]


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_to_join(count):
    boxes, scores = vote(np.zeros((count, 4), np.float32), np.ones(count, np.float32), 0.4)
    assert (boxes.shape, scores.shape) == ((0, 4), (0,))


def test_the_best_are_kept(monkeypatch):
    monkeypatch.setattr(voting, "MOST", 3)
    left = np.repeat(np.arange(5) * 100, 2)
    boxes = np.stack([left, left, left + 10, left + 10], 1).astype(np.float32)
    scores = np.repeat([0.2, 0.9, 0.5, 0.7, 0.3], 2).astype(np.float32)
    assert vote(boxes, scores, 0.4)[1].tolist() == pytest.approx([0.9, 0.7, 0.5])
