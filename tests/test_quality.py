import dataclasses
import itertools
import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mindface.errors import AlignmentError
from mindface.golden import portraits
from mindface.quality import assess, pose, sharpness, truncation

PORTRAITS = {face.name: face for face in portraits()}
# A mean head: eyes, nose tip, mouth corners; x right, y down, z towards the camera.
HEAD = np.array(
    [[-0.5, 0, 0], [0.5, 0, 0], [0, 0.6324, 0.5], [-0.4, 1.02, 0], [0.4, 1.02, 0]], np.float64
)


def seen(yaw: float = 0, pitch: float = 0, roll: float = 0) -> np.ndarray:
    """The head's five points from far away, turned by degrees; 60 pixels between the eyes."""
    y, p, r = (math.radians(angle) for angle in (yaw, pitch, roll))
    turn_y = [[math.cos(y), 0, math.sin(y)], [0, 1, 0], [-math.sin(y), 0, math.cos(y)]]
    turn_p = [[1, 0, 0], [0, math.cos(p), -math.sin(p)], [0, math.sin(p), math.cos(p)]]
    turn_r = [[math.cos(r), -math.sin(r), 0], [math.sin(r), math.cos(r), 0], [0, 0, 1]]
    points = HEAD @ np.array(turn_y).T @ np.array(turn_p).T @ np.array(turn_r).T
    return 60 * points[:, :2] + 200


def mirrored(points: np.ndarray, width: float) -> np.ndarray:
    return np.stack([width - 1 - points[:, 0], points[:, 1]], 1)[[1, 0, 2, 4, 3]]


@given(st.floats(-60, 60))
def test_yaw_and_pitch_of_the_mean_head(angle: float):
    assert pose(seen(yaw=angle)) == pytest.approx((angle, 0, 0), abs=0.01)
    assert pose(seen(pitch=angle)) == pytest.approx((0, angle, 0), abs=0.01)


@given(st.floats(-50, 50), st.floats(-30, 30), st.floats(-179, 179))
def test_roll_is_exact_and_leaves_the_rest_alone(yaw: float, pitch: float, roll: float):
    upright, turned = pose(seen(yaw, pitch)), pose(seen(yaw, pitch, roll))
    assert turned[:2] == pytest.approx(upright[:2], abs=1e-6)
    difference = (turned[2] - upright[2] - roll + 180) % 360 - 180
    assert difference == pytest.approx(0, abs=1e-6)


@given(st.floats(-50, 50), st.floats(-30, 30), st.floats(-80, 80), st.floats(0.1, 50))
def test_a_mirror_turns_yaw_and_roll_and_size_changes_nothing(yaw, pitch, roll, scale):
    points = seen(yaw, pitch, roll)
    y, p, r = pose(points)
    assert pose(mirrored(points, 640)) == pytest.approx((-y, p, -r), abs=1e-6)
    assert pose(points * scale) == pytest.approx((y, p, r), abs=1e-6)


@pytest.mark.parametrize("name", PORTRAITS)
def test_blur_lowers_sharpness_step_by_step(name: str):
    face = PORTRAITS[name]
    blurred = [cv2.GaussianBlur(face.image, (0, 0), sigma) for sigma in (0.5, 1, 2, 4, 8)]
    measured = [sharpness(image, face.landmarks) for image in (face.image, *blurred)]
    assert all(more > 1.2 * less for more, less in itertools.pairwise(measured))
    assert measured[-1] < measured[0] / 50


@pytest.mark.parametrize("name", PORTRAITS)
def test_a_small_face_is_less_sharp_than_the_same_face_large(name: str):
    face = PORTRAITS[name]
    small = cv2.resize(face.image, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    assert sharpness(small, face.landmarks / 4) < 0.5 * sharpness(face.image, face.landmarks)


@pytest.mark.parametrize("name", PORTRAITS)
def test_the_edge_of_the_image_is_no_detail(name: str):
    """A smooth face cut off by the image's border stays smooth: black beyond it is not counted."""
    face = PORTRAITS[name]
    smooth = cv2.GaussianBlur(face.image, (0, 0), 8)
    nose = round(float(face.landmarks[2, 0]))
    cut = np.ascontiguousarray(smooth[:, nose:])
    shifted = face.landmarks - np.array([nose, 0], np.float32)
    assert sharpness(cut, shifted) < 3 * sharpness(smooth, face.landmarks)
    assert sharpness(cut, shifted - 5000) == 0


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((10, 10, 50, 60), 0.0),
        ((0, 0, 100, 80), 0.0),
        ((-50, 0, 50, 80), 0.5),
        ((-10, -10, 10, 10), 0.75),
        ((200, 0, 300, 80), 1.0),
        ((-100, -80, 200, 160), 8 / 9),
        ((50, 50, 50, 60), 1.0),
        ((60, 60, 50, 50), 1.0),
    ],
)
def test_truncation(box, expected):
    assert truncation(np.array(box, np.float32), 100, 80) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "eye_distance", "roll"), [("eileen_collins", 42.3, 7.1), ("grace_hopper", 77.5, -3.6)]
)
def test_portraits(name: str, eye_distance: float, roll: float):
    face = PORTRAITS[name]
    x1, y1 = face.landmarks.min(0) - 20
    box = np.array([x1, y1, x1 + 90, y1 + 140], np.float32)
    quality = assess(face.image, box, face.landmarks, 0.9)
    assert quality.side == pytest.approx(90, abs=0.001)
    assert quality.eye_distance == pytest.approx(eye_distance, abs=0.1)
    assert quality.roll == pytest.approx(roll, abs=0.1)
    assert abs(quality.yaw) < 12  # both face the camera
    assert abs(quality.pitch) < 15
    assert quality.sharpness > 300
    assert quality.truncation == 0
    assert quality.score == pytest.approx(0.9)
    assert all(isinstance(value, float) for value in dataclasses.astuple(quality))


@pytest.mark.parametrize("name", PORTRAITS)
def test_turning_the_picture_turns_only_the_roll(name: str):
    face = PORTRAITS[name]
    height, width = face.image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -30, 1)  # clockwise
    turned = cv2.warpAffine(face.image, matrix, (width, height))
    points = face.landmarks @ matrix[:, :2].T + matrix[:, 2]
    box = np.array([0, 0, width, height], np.float32)
    before = assess(face.image, box, face.landmarks, 1)
    after = assess(turned, box, points, 1)
    assert after.roll - before.roll == pytest.approx(30, abs=0.01)
    assert (after.yaw, after.pitch) == pytest.approx((before.yaw, before.pitch), abs=0.01)
    assert after.eye_distance == pytest.approx(before.eye_distance, rel=1e-4)
    assert after.sharpness == pytest.approx(before.sharpness, rel=0.5)


def test_impossible_landmarks_are_refused():
    face = PORTRAITS["grace_hopper"]
    with pytest.raises(AlignmentError):
        assess(face.image, np.zeros(4, np.float32), np.zeros((5, 2), np.float32), 1)
