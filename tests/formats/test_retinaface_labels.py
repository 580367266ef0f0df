"""label.txt: what Pytorch_Retinaface reads, read alike; and what it must not be."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mindface.errors import IntegrityError
from mindface.formats.retinaface_labels import LabelledFaces, read_labels, write_labels

TRAIN = """\
# 0--Parade/0_Parade_marchingband_1_849.jpg
449 330 122 149 488.906 373.643 0.0 542.089 376.442 0.0 515.031 412.83 0.0 \
485.174 425.893 0.0 538.357 431.491 0.0 0.82
# 0--Parade/0_Parade_Parade_0_904.jpg
361 98 263 339 424.143 251.656 0.0 547.134 232.571 0.0 494.121 325.875 1.0 \
453.83 368.286 0.0 561.978 342.839 0.0 0.89
78 221 7 8 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 0.2
# nobody here.jpg
"""
FACE = "1 2 3 4" + " 5 6 0" * 5 + " 0.5"


def test_the_lists_of_training_and_validation(tmp_path):
    path = tmp_path / "label.txt"
    path.write_text(TRAIN + "# val.jpg\r\n10 20 30 40\r\n\r\n")
    faces = read_labels(path)
    first, second, third, fourth = faces.values()
    assert list(faces)[2:] == ["nobody here.jpg", "val.jpg"]
    assert first.boxes.tolist() == [[449, 330, 122, 149]]
    assert first.points[0, 4].tolist() == [538.357, 431.491]
    assert np.isfinite(second.points).all((1, 2)).tolist() == [True, False]
    assert second.sharpness.tolist() == [0.89, 0.2]
    assert third.boxes.shape == (0, 4)
    assert third.points.shape == (0, 5, 2)
    assert fourth.boxes.tolist() == [[10, 20, 30, 40]]
    assert np.isnan(fourth.points).all()


@pytest.mark.parametrize(
    ("landmarks", "labelled"),
    [
        ("5 6 0 " * 5, True),
        ("-5 6 1 " * 5, True),
        ("5 6 0 " * 4 + "-1 -1 -1", False),
        ("5 6 0 " * 4 + "-1 -1 0", False),
        ("5 6 0 " * 4 + "3 3 -1", False),
        ("0 0 0 " * 5, True),
    ],
)
def test_a_face_has_five_landmarks_or_none(landmarks, labelled, tmp_path):
    (tmp_path / "label.txt").write_text(f"# a\n1 2 3 4 {landmarks} 0.5\n")
    points = read_labels(tmp_path / "label.txt")["a"].points
    assert np.isfinite(points).all() == np.isfinite(points).any() == labelled


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the list is empty"),
        ("\n\n", "the list is empty"),
        ("1 2 3 4\n", "line 1: a face before the first picture"),
        ("# a\n# b\n# a\n", "line 3: the picture 'a' comes twice"),
        ("# a\n#  \n", "line 2: a picture without a name"),
        ("# a\n1 2 3\n", "line 2: a face of 3 numbers, not 4 or 20"),
        (f"# a\n{FACE} 1\n", "line 2: a face of 21 numbers"),
        ("# a\n1 2 3 four\n", "line 2: could not convert string to float: 'four'"),
        ("# a\n1 2 3 nan\n", "line 2: a number that is no place in a picture"),
        ("# a\n1 2 3 1e30\n", "line 2: a number that is no place"),
    ],
)
def test_what_is_wrong_is_named_by_its_line(text, reason, tmp_path):
    (tmp_path / "label.txt").write_text(text)
    with pytest.raises(IntegrityError, match=reason) as caught:
        read_labels(tmp_path / "label.txt")
    assert str(tmp_path / "label.txt") in str(caught.value)


def test_a_file_that_is_none(tmp_path):
    with pytest.raises(IntegrityError, match="cannot be read: No such file"):
        read_labels(tmp_path / "label.txt")
    with pytest.raises(IntegrityError, match="a folder, not a file"):
        read_labels(tmp_path)


def test_what_was_read_is_written_alike(tmp_path):
    path, again = tmp_path / "label.txt", tmp_path / "again.txt"
    path.write_text(TRAIN + "# val.jpg\n10 20 30 40\n")
    write_labels(again, read_labels(path))
    assert again.read_text() == path.read_text().replace(".0 ", " ")
    assert [each.name for each in tmp_path.glob("*again*")] == ["again.txt"]


numbers = st.floats(-1e9, 1e9)
rows = st.lists(st.lists(numbers, min_size=20, max_size=20), max_size=4)
names = st.text(min_size=1).filter(lambda n: n == n.strip() and "\n" not in n and "\r" not in n)


@given(st.dictionaries(names, rows, min_size=1, max_size=4))
def test_any_faces_survive_writing(tmp_path_factory, faces):
    tables = {name: np.reshape(np.array(found, float), (-1, 20)) for name, found in faces.items()}
    path = tmp_path_factory.mktemp("labels") / "label.txt"
    write_labels(
        path,
        {
            name: LabelledFaces(t[:, :4], t[:, 4:19].reshape(-1, 5, 3), t[:, 19])
            for name, t in tables.items()
        },
    )
    found = read_labels(path)
    assert list(found) == list(faces)
    for name, table in tables.items():
        again = np.hstack(
            [
                found[name].boxes,
                found[name].landmarks.reshape(-1, 15),
                found[name].sharpness[:, None],
            ]
        )
        np.testing.assert_array_equal(again, table)


@pytest.mark.parametrize(
    ("name", "box"), [("", 1), (" a", 1), ("a\nb", 1), ("a", np.nan), ("a", np.inf)]
)
def test_nothing_is_written_that_could_not_be_read(name, box, tmp_path):
    path = tmp_path / "label.txt"
    path.write_text("before")
    faces = LabelledFaces(np.full((1, 4), box), np.zeros((1, 5, 3)), np.zeros(1))
    with pytest.raises(ValueError, match=r"cannot be the name|no place in a picture"):
        write_labels(path, {name: faces})
    assert [each.read_text() for each in tmp_path.iterdir()] == ["before"]
