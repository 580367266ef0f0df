import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mindface.errors import AlignmentError
from mindface.geometry import (
    TEMPLATES,
    align,
    check_landmarks,
    iou,
    nms,
    similarity_transform,
)

TEMPLATE = TEMPLATES["arcface_112x112"][1]
corner = st.floats(-50, 50, width=32)
side = st.floats(0, 40, width=32)
box = st.builds(lambda x, y, w, h: (x, y, x + w, y + h), corner, corner, side, side)
boxes = st.lists(box, min_size=1, max_size=12).map(lambda rows: np.array(rows, np.float64))


def naive_iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union if union > 0 else 0.0


def naive_nms(rows, scores, threshold):
    kept = []
    for index in sorted(range(len(rows)), key=lambda i: (-scores[i], i)):
        if all(naive_iou(rows[index], rows[other]) <= threshold for other in kept):
            kept.append(index)
    return kept


def moved(points, scale=1.0, degrees=0.0, shift=(0.0, 0.0)):
    angle = math.radians(degrees)
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return scale * points @ rotation.T + np.array(shift)


@given(boxes, boxes)
def test_iou_is_the_naive_one(a, b):
    expected = [[naive_iou(x, y) for y in b] for x in a]
    np.testing.assert_allclose(iou(a, b), expected, atol=1e-9)


@given(boxes, st.data())
def test_nms_is_the_naive_one(rows, data):
    count = len(rows)
    scores = np.array(
        data.draw(st.lists(st.sampled_from([0.1, 0.5, 0.9]), min_size=count, max_size=count))
    )
    assert nms(rows, scores, 0.4).tolist() == naive_nms(rows, scores, 0.4)


def test_nms_of_nothing_is_nothing():
    assert nms(np.zeros((0, 4)), np.zeros(0), 0.4).shape == (0,)


@given(st.floats(0.05, 20), st.floats(-180, 180), corner, corner)
def test_similarity_is_recovered(scale, degrees, x, y):
    source = moved(TEMPLATE, scale, degrees, (x, y))
    matrix = similarity_transform(source, TEMPLATE)
    back = source @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(back, TEMPLATE, atol=1e-3)
    assert math.isclose(math.hypot(matrix[0, 0], matrix[1, 0]), 1 / scale, rel_tol=1e-5)


@given(st.integers(0, 2**32 - 1))
def test_similarity_is_the_least_squares_one(seed):
    """Umeyama's closed form against a generic solver of the same four unknowns."""
    source = np.random.default_rng(seed).normal(0, 10, (5, 2))
    rows = [[[x, -y, 1, 0], [y, x, 0, 1]] for x, y in source]
    solution = np.linalg.lstsq(np.reshape(rows, (10, 4)), TEMPLATE.reshape(10), rcond=None)[0]
    a, b, x, y = solution
    expected = [[a, -b, x], [b, a, y]]
    np.testing.assert_allclose(similarity_transform(source, TEMPLATE), expected, atol=1e-6)


def test_similarity_of_many_is_that_of_each():
    many = np.stack([moved(TEMPLATE, 2, 10), moved(TEMPLATE, 0.3, -40, (5, 9))])
    expected = np.stack([similarity_transform(points, TEMPLATE) for points in many])
    np.testing.assert_allclose(similarity_transform(many, TEMPLATE), expected)


@pytest.mark.parametrize(
    ("landmarks", "reason"),
    [
        (np.zeros((5, 2)), "within"),
        (np.full((5, 2), np.nan), "not finite"),
        (np.array([[i, 2 * i] for i in range(0, 50, 10)]), "on one line"),
        (TEMPLATE * [-1, 1], "mirrored"),
        (TEMPLATE[[1, 0, 2, 4, 3]], "mirrored"),
        (TEMPLATE[[3, 4, 2, 0, 1]], "mirrored"),
        (TEMPLATE[[4, 1, 2, 3, 0]], "mirrored|eye distances"),
        (TEMPLATE[:4], "shape"),
    ],
)
def test_landmarks_that_no_face_has_are_refused(landmarks, reason):
    with pytest.raises(AlignmentError, match=reason):
        check_landmarks(landmarks)
    with pytest.raises(AlignmentError):
        align(np.zeros((60, 60, 3), np.uint8), landmarks)


@pytest.mark.parametrize("degrees", [0, 30, 90, 180, -120])
def test_faces_at_any_angle_are_accepted(degrees):
    check_landmarks(moved(TEMPLATE, 3, degrees, (40, 70)))


@pytest.mark.parametrize("name", TEMPLATES)
def test_align_lays_the_landmarks_on_the_template(name):
    """Dots painted at the landmarks are found again at the template's points."""
    (height, width), template = TEMPLATES[name]
    landmarks = moved(template, 1.7, 25, (120, 60))
    image = np.zeros((400, 400, 3), np.uint8)
    for x, y in landmarks:
        cv2.circle(image, (round(x), round(y)), 5, (255, 255, 255), -1)
    crop = align(image, landmarks, name)
    assert crop.shape == (height, width, 3)
    for x, y in template:
        assert crop[round(float(y)), round(float(x))].min() > 200


def test_align_to_another_size_scales_the_template():
    landmarks = moved(TEMPLATE, 1.5, 10, (80, 30))
    image = np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8)
    image = cv2.GaussianBlur(image, (0, 0), 9)
    small = cv2.resize(align(image, landmarks, size=(224, 224)), (112, 112))
    np.testing.assert_allclose(small.astype(int), align(image, landmarks), atol=3)


def test_align_of_a_large_face_does_not_alias():
    """Stripes of one pixel, shrunk eightfold, are gray and not a moire."""
    image = np.zeros((1200, 1200, 3), np.uint8)
    image[:, ::2] = 255
    crop = align(image, moved(TEMPLATE, 8, 0, (100, 100)))[20:90, 20:90]
    assert abs(float(crop.mean()) - 127.5) < 3
    assert float(crop.std()) < 12


@pytest.mark.parametrize("scale", [2.5, 3, 4.7, 11])
def test_shrinking_first_does_not_move_the_face(scale):
    landmarks = moved(TEMPLATE, scale, 15, (150, 40))
    size = int(150 * scale) + 400
    image = np.zeros((size, size, 3), np.uint8)
    for x, y in landmarks:
        cv2.circle(image, (round(x), round(y)), round(2 * scale), (255, 255, 255), -1)
    crop = align(image, landmarks)[..., 0] > 127
    _, _, _, centres = cv2.connectedComponentsWithStats(crop.astype(np.uint8))
    found = centres[1:][np.argsort(centres[1:, 1])]
    expected = TEMPLATE[np.argsort(TEMPLATE[:, 1])]
    assert np.abs(np.sort(found[:, 1]) - np.sort(expected[:, 1])).max() < 0.6
