"""Labels that cannot be trusted."""

import json

import cv2
import numpy as np
import pytest

from mindface.datasets.scene_check import FAULTS, check_scenes, face_faults
from mindface.datasets.scenes import Labels, open_scenes

FACE = np.array([[14, 18], [26, 18], [20, 24], [15, 30], [25, 30]], np.float32)
BOX = (10, 10, 30, 35)
SWAPPED = FACE[[1, 0, 2, 4, 3]]
NONE = np.full((5, 2), np.nan, np.float32)


def labels(*faces, ignored=()):
    boxes = np.array([box for box, _ in faces], np.float32).reshape(-1, 4)
    points = np.array([points for _, points in faces], np.float32).reshape(-1, 5, 2)
    return Labels(boxes, points, np.isin(np.arange(len(faces)), ignored))


def turned(points, degrees):
    angle = np.radians(degrees)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (points - FACE.mean(0)) @ rotation.T + FACE.mean(0)


@pytest.mark.parametrize(
    ("box", "points", "fault"),
    [
        (BOX, FACE, None),
        (BOX, NONE, None),
        ((-15, 10, 16, 35), NONE, None),
        ((-15, 10, 14, 35), NONE, "outside"),
        ((10, 60, 30, 80), NONE, "outside"),
        ((10, 10, 10, 35), NONE, "no_area"),
        ((10, 10, 30, 8), NONE, "no_area"),
        (BOX, FACE + np.array([0, 8]), None),
        (BOX, FACE + np.array([0, 14]), "landmarks_outside"),
        (BOX, FACE - [12, 0], "landmarks_outside"),
        (BOX, SWAPPED, "mirrored"),
        (BOX, turned(SWAPPED, 30), "mirrored"),
        (BOX, turned(FACE, 40), None),
        (BOX, turned(FACE, 180), None),
        (BOX, FACE * [0.05, 1] + [20, 0], None),  # in profile
        (BOX, SWAPPED * [0.05, 1] + [20, 0], None),
    ],
)
def test_a_face(box, points, fault):
    found = face_faults(labels((box, points)), (50, 40))
    assert [name for name in FAULTS if found[name].any()] == ([fault] if fault else [])


def test_a_face_that_is_there_twice():
    near, other = (10.4, 10, 30.4, 35), (20, 10, 40, 35)
    found = face_faults(labels((BOX, FACE), (other, NONE), (near, FACE), (BOX, NONE)), (50, 40))
    assert found["twice"].tolist() == [False, False, True, True]


def test_ignored_faces_may_be_anything_that_has_an_area():
    faces = labels(((90, 90, 95, 95), NONE), (BOX, SWAPPED), (BOX, NONE), ignored=(0, 1, 2))
    assert not any(mask.any() for mask in face_faults(faces, (50, 40)).values())


def test_where_a_picture_cannot_be_read_nothing_lies_outside_of_it():
    found = face_faults(labels(((90, 90, 95, 95), NONE), (BOX, SWAPPED)), None)
    assert [name for name in FAULTS if found[name].any()] == ["mirrored"]


@pytest.mark.parametrize("ignored", [(), (0,)])
def test_no_face(ignored):
    assert all(mask.shape == (0,) for mask in face_faults(labels(), (50, 40)).values())


@pytest.fixture
def scenes(tmp_path):
    """Three sound pictures, one of them twice; a missing and a broken one; one without labels."""
    (tmp_path / "images").mkdir()
    for name, gray in (("1", 10), ("2", 20), ("3", 10), ("nobody", 40), ("unknown", 50)):
        cv2.imwrite(str(tmp_path / "images" / f"{name}.png"), np.full((50, 40, 3), gray, np.uint8))
    (tmp_path / "images" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    face = "10 10 20 25 " + " ".join(f"{x} {y} 0" for x, y in FACE.tolist()) + " 1"
    text = (
        f"# 1.png\n{face}\n-5 0 20 20\n# 2.png\n7 7 0 9\n{face}\n60 5 9 9\n# 3.png\n{face}\n"
        f"# nobody.png\n# missing.png\n{face}\n# broken.jpg\n"
    )
    (tmp_path / "label.txt").write_text(text)
    return open_scenes(tmp_path / "label.txt")


def test_everything_is_reported(scenes, tmp_path):
    seen = []

    def track(items, total, what):
        seen.append((total, what))
        yield from items

    found = check_scenes(scenes, track)
    place = f"{tmp_path / 'images'}/"
    text = json.dumps(found.report()).replace(place, "")
    report = json.loads(text)
    reasons = [row.pop("reason") for row in report["unreadable"]]
    assert reasons[0].startswith("cannot be read: No such file")
    assert report == {
        "labels": str(tmp_path / "label.txt"),
        "pictures": 6,
        "faces": 6,
        "with_landmarks": 4,
        "ignored": 1,
        "sides": {
            "0-8": 0,
            "8-16": 1,
            "16-32": 5,
            "32-64": 0,
            "64-128": 0,
            "128-256": 0,
            "256-": 0,
        },
        "reaching_out": 2,
        "unreadable": [{"picture": "missing.png"}, {"picture": "broken.jpg"}],
        "no_area": [{"picture": "2.png", "face": 0, "box": [7, 7, 7, 16]}],
        "outside": [{"picture": "2.png", "face": 2, "box": [60, 5, 69, 14]}],
        "landmarks_outside": [],
        "mirrored": [],
        "twice": [],
        "duplicates": [{"picture": "3.png", "earlier": "1.png"}],
        "without_faces": ["nobody.png", "broken.jpg"],
        "unlisted": ["unknown.png"],
    }
    assert seen == [(6, f"look at {tmp_path / 'label.txt'}")]
    assert found.damaged
    assert found.suspicious


def test_a_set_above_suspicion(scenes, tmp_path):
    (tmp_path / "label.txt").write_text("# 1.png\n10 10 20 25\n# 2.png\n1 1 9 9\n")
    for name in ("3.png", "nobody.png", "unknown.png", "broken.jpg"):
        (tmp_path / "images" / name).unlink()
    found = check_scenes(open_scenes(tmp_path / "label.txt"))
    assert not found.damaged
    assert not found.suspicious
    (tmp_path / "images" / "3.png").write_bytes(scenes.read(0))
    found = check_scenes(open_scenes(tmp_path / "label.txt"))
    assert (found.damaged, found.suspicious) == (False, True)
