"""Matching against the loops of the papers, and by hand."""

import naive_multibox as naive
import numpy as np
import pytest
import torch
from crowds import crowd, grid
from hypothesis import given, settings
from hypothesis import strategies as st

from mindface.detection import anchors as inference
from mindface.detection.losses import diou, match, match_adaptively
from mindface.detection.losses.matching import encode_boxes, encode_landmarks, lattices


def one(boxes, ignored=None, size=(96, 96), method=match, **options):
    """The targets of one picture."""
    boxes = torch.tensor(boxes, dtype=torch.float64).view(-1, 4)
    ignored = [False] * len(boxes) if ignored is None else ignored
    landmarks = torch.full((len(boxes), 5, 2), torch.nan)
    return method([boxes], [landmarks], [torch.tensor(ignored, dtype=bool)], grid(*size), **options)


def check(targets, boxes, landmarks, matches, anchors):
    """The targets are those of the loops."""
    assert targets.classes.tolist() == [classes for classes, _ in matches]
    rows = [
        (i, a, owners[a])
        for i, (classes, owners) in enumerate(matches)
        for a, label in enumerate(classes)
        if label == 1
    ]
    assert targets.positives.tolist() == [i * len(anchors) + a for i, a, _ in rows]
    assert torch.equal(targets.anchors, anchors[[a for _, a, _ in rows]])
    for k, (i, _, j) in enumerate(rows):
        assert torch.equal(targets.boxes[k], boxes[i][j])
        torch.testing.assert_close(
            targets.landmarks[k], landmarks[i][j], rtol=0, atol=0, equal_nan=True
        )


SIZES = [(96, 96), (64, 160), (33, 70)]


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**32 - 1), st.sampled_from(SIZES), st.sampled_from([0.35, 0.5, 0.1]))
def test_matching_is_that_of_the_reference(seed, size, threshold):
    anchors = grid(*size)
    boxes, landmarks, ignored = crowd(seed, (0, 1, 6), max(size))
    targets = match(boxes, landmarks, ignored, anchors, threshold)
    rows = [(b.tolist(), i.tolist()) for b, i in zip(boxes, ignored, strict=True)]
    matches = [naive.match(b, i, anchors.tolist(), threshold) for b, i in rows]
    check(targets, boxes, landmarks, matches, anchors)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**32 - 1), st.sampled_from(SIZES))
def test_adaptive_matching_is_that_of_the_paper(seed, size):
    anchors = grid(*size)
    boxes, landmarks, ignored = crowd(seed, (0, 1, 6), max(size))
    targets = match_adaptively(boxes, landmarks, ignored, anchors)
    rows = [(b.tolist(), i.tolist()) for b, i in zip(boxes, ignored, strict=True)]
    matches = [naive.atss(b, i, anchors.tolist()) for b, i in rows]
    check(targets, boxes, landmarks, matches, anchors)


@pytest.mark.parametrize(
    ("side", "positives"),
    [
        (7, 0),  # 49 / 256 < 0.2
        (8, 1),  # 64 / 256: less than the threshold, but its best
        (10, 1),  # 100 / 256, and the neighbours share too little
        (16, 1),  # the anchor itself: its neighbours overlap by a third
        (24, 6),  # an anchor of 16 and five of 32
    ],
)
def test_what_a_face_gets_by_its_size(side, positives):
    centre = 44.0
    box = [centre - side / 2, centre - side / 2, centre + side / 2, centre + side / 2]
    targets = one(box)
    classes, _ = naive.match([box], [False], grid(96, 96).tolist())
    assert len(targets.positives) == classes.count(1)
    assert len(targets.positives) == positives


def test_of_faces_that_want_one_anchor_the_last_learns():
    small, other = [39.5, 39.5, 48.5, 48.5], [40, 40, 48, 48]
    for faces in ([small, other], [other, small]):
        targets = one(faces)
        assert targets.boxes.tolist() == [faces[1]]


def test_a_face_too_small_takes_no_anchor_from_another():
    face, speck = [36, 36, 52, 52], [43, 43, 45, 45]
    assert one([face, speck]).boxes.tolist() == [face]


@pytest.mark.parametrize("method", [match, match_adaptively])
def test_an_anchor_that_an_ignored_box_wins_is_neither(method):
    face, ignored = [36, 36, 52, 52], [4, 4, 20, 20]
    targets = one([face, ignored], [False, True], method=method)
    wins = one([ignored], method=method).classes == 1
    assert wins.any()
    assert (targets.classes[wins] == -1).all()
    assert torch.equal(targets.boxes.unique(dim=0), torch.tensor([face]).double())


@pytest.mark.parametrize("side", [2, 5, 40, 90])
def test_nothing_in_an_ignored_box_is_background(side):
    box = [44 - side / 2, 44 - side / 2, 44 + side / 2, 44 + side / 2]
    targets, anchors = one(box, [True]), grid(96, 96)
    low, high = anchors[:, :2] - anchors[:, 2:] / 2, anchors[:, :2] + anchors[:, 2:] / 2
    within = (low >= box[0]).all(1) & (high <= box[2]).all(1)
    assert (targets.classes[0][within] == -1).all()
    nearest = ((anchors[:, 2] == 16) & ((anchors[:, :2] - 44).abs() < 1).all(1)).nonzero()
    assert targets.classes[0, nearest].item() == -1
    assert (targets.classes == 0).any()
    assert len(targets.positives) == 0


def test_an_ignored_box_takes_no_face_its_best_anchor():
    box = [36, 36, 52, 52]
    targets = one([[37, 36, 53, 52], box], [False, True])
    assert [44, 44, 16, 16] in targets.anchors.tolist()
    assert [44, 44, 16, 16] not in one([[30, 36, 46, 52], box], [False, True]).anchors.tolist()


@pytest.mark.parametrize("method", [match, match_adaptively])
def test_boxes_without_area_and_outside_match_nothing(method):
    boxes = [[40, 40, 40, 60], [40, 40, 40, 40], [600, 600, 640, 640], [60, 60, 40, 40]]
    for ignored in (False, True):
        targets = one(boxes, [ignored] * 4, method=method)
        assert len(targets.positives) == 0
        assert (targets.classes[0] == 0).all()


@given(st.integers(0, 2**32 - 1))
def test_decoding_undoes_encoding(seed):
    generator = torch.Generator().manual_seed(seed)
    anchors = grid(64, 64)[torch.randint(168, (9,), generator=generator)]
    (boxes,), (landmarks,), _ = crowd(seed, (9,), 64)
    encoded = encode_boxes(boxes, anchors)
    torch.testing.assert_close(diou.decode_boxes(encoded, anchors), boxes)
    decoded = inference.decode_boxes(encoded.numpy(), anchors.numpy())
    np.testing.assert_allclose(decoded, boxes, rtol=1e-5, atol=1e-4)
    decoded = inference.decode_landmarks(
        encode_landmarks(landmarks, anchors).numpy(), anchors.numpy()
    )
    np.testing.assert_allclose(decoded, landmarks, rtol=1e-5, atol=1e-4)


def test_anchors_that_are_no_grid_are_refused():
    with pytest.raises(ValueError, match="31 anchors of side 16 do not fill 4 rows and 8 columns"):
        lattices(torch.cat([grid(32, 64)[:8], grid(32, 64)[10:]]))
