"""COCO JSON of faces."""

import copy
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mindface.errors import IntegrityError
from mindface.formats import coco
from mindface.formats.coco import CocoImage, read_coco, write_coco

POINTS = [10, 11, 2, 20, 11, 2, 15, 16, 1, 11, 20, 2, 19, 20, 2]
CONTENT = {
    "images": [
        {"id": 7, "file_name": "b/2.jpg", "width": 64, "height": 48},
        {"id": 3, "file_name": "1.jpg"},
        {"id": 9, "file_name": "nobody.jpg", "width": 10, "height": 10},
    ],
    "annotations": [
        {"id": 1, "image_id": 3, "bbox": [1, 2, 3, 4], "iscrowd": 1},
        {"id": 2, "image_id": 7, "bbox": [8, 9, 14, 15.5], "keypoints": POINTS, "score": 0.75},
        {"id": 3, "image_id": 3, "bbox": [5, 6, 7, 8], "keypoints": [*POINTS[:14], 0], "ignore": 1},
        {"id": 4, "image_id": 3, "bbox": [5, 6, 0, -8], "keypoints": None, "category_id": 1},
    ],
}


def read(tmp_path, content):
    path = tmp_path / "faces.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_coco(path)


def test_faces_come_with_their_pictures(tmp_path):
    second, first, nobody = read(tmp_path, CONTENT)
    assert [second.name, first.name, nobody.name] == ["b/2.jpg", "1.jpg", "nobody.jpg"]
    assert (second.size, first.size) == ((64, 48), None)
    assert second.boxes.tolist() == [[8, 9, 14, 15.5]]
    assert second.landmarks[0].tolist() == [[10, 11], [20, 11], [15, 16], [11, 20], [19, 20]]
    assert second.scores.tolist() == [0.75]
    assert first.boxes.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8], [5, 6, 0, -8]]
    assert first.ignored.tolist() == [True, True, False]
    assert np.isnan(first.landmarks).all()
    assert np.isnan(first.scores).all()
    assert nobody.boxes.shape == (0, 4)
    assert nobody.landmarks.shape == (0, 5, 2)


CHANGES = [
    ("images", 0, {"id": 3}, r"images\[1\]: the id 3 comes twice"),
    ("images", 0, {"id": None}, "id is None, no whole number"),
    ("images", 0, {"file_name": "1.jpg"}, "the file '1.jpg' comes twice"),
    ("images", 0, {"file_name": ""}, "file_name is '', no name"),
    ("images", 0, {"file_name": 5}, "file_name is 5"),
    ("images", 0, {"width": 0}, "it is 0 x 48 pixels"),
    ("images", 0, {"width": None}, "width is None"),
    ("annotations", 1, {"image_id": 99}, r"annotations\[1\]: there is no image 99"),
    ("annotations", 1, {"image_id": True}, "image_id is True"),
    ("annotations", 1, {"id": 1}, "the id 1 comes twice"),
    ("annotations", 1, {"bbox": [1, 2, 3]}, "bbox has 3 numbers, not 4"),
    ("annotations", 1, {"bbox": [1, 2, 3, "4"]}, "bbox holds '4', no number"),
    ("annotations", 1, {"bbox": [1, 2, 3, 10**400]}, "bbox holds 1000.*no place in a picture"),
    ("annotations", 1, {"keypoints": [*POINTS, 1, 2, 2]}, "keypoints has 18 numbers, not 15"),
    ("annotations", 1, {"keypoints": [*POINTS[:14], 3]}, "a keypoint is marked 3, not 0, 1 or 2"),
    ("annotations", 1, {"score": "high"}, "score holds 'high'"),
    ("annotations", 1, {"iscrowd": 2}, "iscrowd is 2, not 0 or 1"),
    ("annotations", 1, {"ignore": "no"}, "ignore is 'no'"),
    ("annotations", 1, {"category_id": 2}, "of the categories 1, 2: keep that of faces alone"),
]


@pytest.mark.parametrize(("part", "number", "change", "reason"), CHANGES)
def test_a_wrong_entry_is_named(part, number, change, reason, tmp_path):
    content = copy.deepcopy(CONTENT)
    content[part][number] |= change
    with pytest.raises(IntegrityError, match=reason):
        read(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "no sound JSON"),
        ("[" * 100_000, "no sound JSON"),
        ('{"images": [], "annotations": [NaN]}', "NaN is no number"),
        ("[]", "it has no list 'images'"),
        ({"images": []}, "it has no list 'annotations'"),
        ({"images": {}, "annotations": []}, "it has no list 'images'"),
        ({"images": [], "annotations": []}, "it lists no image"),
        ({"images": [3], "annotations": []}, r"images\[0\]: 3 is no object"),
        (
            {"images": CONTENT["images"], "annotations": [{"image_id": 0}] * 13},
            "13 entries are wrong:(.*\n){11}  and 3 more",
        ),
    ],
)
def test_what_is_no_coco(content, reason, tmp_path):
    with pytest.raises(IntegrityError, match=reason):
        read(tmp_path, content)


def test_files_that_cannot_be_read(tmp_path, monkeypatch):
    with pytest.raises(IntegrityError, match="No such file"):
        read_coco(tmp_path / "missing.json")
    monkeypatch.setattr(coco, "MAX_BYTES", 20)
    with pytest.raises(IntegrityError, match="over the limit of 20 bytes"):
        read(tmp_path, CONTENT)


coordinates = st.floats(-1e6, 1e6)
faces = st.lists(
    st.tuples(
        st.lists(coordinates, min_size=4, max_size=4),
        st.none() | st.lists(coordinates, min_size=10, max_size=10),
        st.booleans(),
        st.none() | st.floats(0, 1),
    ),
    max_size=3,
)
pictures = st.dictionaries(
    st.text(min_size=1), st.tuples(st.none() | st.just((30, 40)), faces), min_size=1, max_size=3
)


@given(pictures)
def test_what_was_written_is_read(tmp_path_factory, content):
    images = []
    for name, (size, found) in content.items():
        boxes, points, ignored, scores = zip(*found, strict=True) if found else ((),) * 4
        images.append(
            CocoImage(
                name,
                size,
                np.reshape(np.array(boxes, float), (-1, 4)),
                np.reshape([each or [np.nan] * 10 for each in points], (-1, 5, 2)).astype(float),
                np.array(ignored, bool),
                np.array([np.nan if each is None else each for each in scores], float),
            )
        )
    path = tmp_path_factory.mktemp("coco") / "faces.json"
    write_coco(path, iter(images), {"from": "a test"})
    assert json.loads(path.read_text())["info"] == {"from": "a test"}
    for found, image in zip(read_coco(path), images, strict=True):
        assert found[:2] == image[:2]
        for a, b in zip(found[2:], image[2:], strict=True):
            np.testing.assert_array_equal(a, b)


def test_nothing_half_is_written(tmp_path):
    path = tmp_path / "faces.json"
    path.write_text("before")

    def broken():
        yield CocoImage(
            "a", None, np.zeros((1, 4)), np.zeros((1, 5, 2)), np.zeros(1, bool), np.ones(1)
        )
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_coco(path, broken())
    assert [each.read_text() for each in tmp_path.iterdir()] == ["before"]
