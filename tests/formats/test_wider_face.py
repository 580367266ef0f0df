"""WIDER FACE's files: what is read from them, and what is said where they are wrong."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wider_sample import cells, write_list, write_mats

from mindface.errors import IntegrityError
from mindface.formats.wider_face import (
    prediction_path,
    read_annotations,
    read_ground_truth,
    read_predictions,
    write_prediction,
)

IMAGES = ["0--Parade/a_1", "0--Parade/a_2", "5--Car/b_1"]
TEXTS = {
    "0--Parade/a_1": "a_1\n2\n1 2 30 40 0.9 \n5 6.5 7 8 1e-2 \n",
    "0--Parade/a_2": "0--Parade/a_2.jpg\n0\n",
    "5--Car/b_1": "b_1.jpg\r\n1\r\n0 0 10 10 0.5\r\n\r\n",
}
LABELS = {
    "0--Parade/a_1": (
        [[1, 2, 30, 40], [5, 6, 7, 8], [0, 0, 0, 3]],
        {"easy": [1], "medium": [1, 2], "hard": [1, 2]},
    ),
    "0--Parade/a_2": ([], {"easy": [], "medium": [], "hard": []}),
    "5--Car/b_1": ([[10, 10, 5, 5]], {"easy": [], "medium": [], "hard": [1]}),
}


def folder_of(path: Path, texts: dict[str, str | bytes]) -> Path:
    for name, text in texts.items():
        file = path / f"{name}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def zip_of(path: Path, texts: dict[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in texts.items():
            archive.writestr(f"some/where/{name}.txt", text)
        archive.writestr("some/where/mindface.json", "{}")
        archive.writestr("__MACOSX/0--Parade/._a_1.txt", b"\0\1")
    return path


def test_the_four_files(tmp_path):
    truth = read_ground_truth(write_mats(tmp_path, LABELS))
    assert truth.images == tuple(IMAGES)
    assert [boxes.tolist() for boxes in truth.boxes] == [LABELS[name][0] for name in IMAGES]
    assert truth.boxes[1].shape == (0, 4)
    assert {name: [each.tolist() for each in rows] for name, rows in truth.counted.items()} == {
        "easy": [[True, False, False], [], [False]],
        "medium": [[True, True, False], [], [False]],
        "hard": [[True, True, False], [], [True]],
    }


@pytest.mark.shared
def test_the_official_files(shared):
    truth = read_ground_truth(shared / "data" / "widerface")
    assert len(truth.images) == 3226
    assert truth.images[0] == "0--Parade/0_Parade_marchingband_1_465"
    assert sum(map(len, truth.boxes)) == 39708
    counts = {name: sum(int(each.sum()) for each in rows) for name, rows in truth.counted.items()}
    assert counts == {"easy": 7211, "medium": 13319, "hard": 31958}


@pytest.mark.parametrize(
    ("labels", "changes", "message"),
    [
        (LABELS | {IMAGES[2]: ([[1, 1, 1, 1]], {s: [2] for s in ("easy", "medium", "hard")})}, {},
         "wider_easy_val.mat: .* counts face 2 of an image with 1"),
        (LABELS | {IMAGES[0]: ([[1, 1, 1, 1]], {s: [0] for s in ("easy", "medium", "hard")})}, {},
         "counts face 0"),
        (LABELS, {"event_list": cells(["0--Parade"])}, "not WIDER FACE's ground truth"),
        (LABELS, {"event_list": cells(["0--Parade", np.eye(2)])}, "a name is no text"),
        (LABELS, {"face_bbx_list": np.eye(2)}, "an array stands where cells must"),
        (LABELS, {"face_bbx_list": cells([cells([np.eye(4)])])}, "1 arrays for 3 images"),
        (LABELS, {"face_bbx_list": cells([cells([np.eye(3)] * 3)])}, "rows of four numbers"),
        (LABELS, {"face_bbx_list": cells([cells([np.full((1, 4), np.nan)] * 3)])}, "rows of four"),
        (LABELS, {"file_list": cells([cells(["a_1", "a_1"]), cells(["b_1"])])}, "listed twice"),
        (LABELS, {"event_list": cells(["..", "5--Car"])}, "no name of an image"),
        ({IMAGES[2]: LABELS[IMAGES[2]]}, {}, "no face counts in the subset easy"),
    ],
)  # fmt: skip
def test_ground_truth_that_does_not_fit(tmp_path, labels, changes, message):
    write_mats(tmp_path, labels, **changes)
    with pytest.raises(IntegrityError, match=message):
        read_ground_truth(tmp_path)


def test_a_file_of_the_ground_truth_is_missing(tmp_path):
    write_mats(tmp_path, LABELS)
    (tmp_path / "wider_medium_val.mat").unlink()
    with pytest.raises(IntegrityError, match=r"wider_medium_val.mat: cannot be read: No such file"):
        read_ground_truth(tmp_path)


def test_a_list(tmp_path):
    path = write_list(
        tmp_path / "val.txt",
        {
            "0--Parade/a_1": ([[1, 2, 30, 40], [5, 6, 7, 8]], [True, False]),
            "0--Parade/a_2": ([], []),
        },
    )
    rows = read_annotations(path)
    assert rows["0--Parade/a_1"].tolist() == [
        [1, 2, 30, 40, 0, 0, 0, 0, 0, 0],
        [5, 6, 7, 8, 0, 0, 0, 1, 0, 0],
    ]
    assert rows["0--Parade/a_2"].shape == (0, 10)
    truth = read_ground_truth(path)
    assert truth.images == ("0--Parade/a_1", "0--Parade/a_2")
    assert truth.boxes[0].tolist() == [[1, 2, 30, 40], [5, 6, 7, 8]]
    assert [each.tolist() for each in truth.counted["all"]] == [[True, False], []]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the list is empty"),
        ("e/a.jpg\n", "invalid literal"),
        ("e/a.jpg\n1\n", "face 1 has 0 numbers, not 10"),
        ("e/a.jpg\n1000000000000\n1 1 2 2 0 0 0 0 0 0\n", "face 2 has 0 numbers"),
        (f"e/a.jpg\n1\n{10**20} 1 2 2 0 0 0 0 0 0\n", "'e/a.jpg': .* too large"),
        ("e/a.jpg\n1\n1 1 2 2\n", "'e/a.jpg': face 1 has 4 numbers"),
        ("e/a.jpg\n1\n1 1 2 2 0 0 0 0 0 x\n", "invalid literal"),
        ("e/a.jpg\n1\n1 1 2 2 0 0 0 0 0 0\n" * 2, "'e/a.jpg': it comes twice"),
        ("a.jpg\n1\n1 1 2 2 0 0 0 0 0 0\n", "no name of an image: EVENT/NAME"),
        ("../a.jpg\n1\n1 1 2 2 0 0 0 0 0 0\n", "no name of an image"),
        ("e/a.jpg\n1\n1 1 2 2 0 0 0 1 0 0\n", "no face counts in the subset all"),
        (b"\xff\xfe", "not a text in UTF-8"),
    ],
)
def test_a_list_that_makes_no_sense(tmp_path, text, message):
    path = tmp_path / "val.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(IntegrityError, match=message):
        read_ground_truth(path)


@pytest.mark.parametrize("make", [folder_of, zip_of])
def test_predictions_are_read_in_the_order_of_the_images(tmp_path, make):
    path = make(tmp_path / "predictions", TEXTS)
    found = read_predictions(path, IMAGES[::-1])
    assert [boxes.tolist() for boxes in found] == [
        [[0, 0, 10, 10, 0.5]],
        [],
        [[1, 2, 30, 40, 0.9], [5, 6.5, 7, 8, 0.01]],
    ]
    assert all(boxes.shape[1:] == (5,) for boxes in found)


def test_events_may_lie_deeper(tmp_path):
    folder_of(tmp_path / "out" / "widerface_txt", TEXTS)
    (tmp_path / "out" / ".hidden.txt").write_text("nothing")
    assert len(read_predictions(tmp_path / "out", IMAGES)[0]) == 2


@pytest.mark.parametrize("make", [folder_of, zip_of])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"0--Parade/a_1": ""}, "0--Parade/a_1: its first line says that it is of ''"),
        ({"0--Parade/a_1": "a_11\n0\n"}, "a_1: its first line says that it is of 'a_11'"),
        ({"0--Parade/a_1": "a_1\n"}, "its second line is '', but it has 0 boxes"),
        ({"0--Parade/a_1": "a_1\n-1\n"}, "its second line is '-1'"),
        ({"0--Parade/a_1": "a_1\n2\n1 1 2 2 0.5\n"}, "'2', but it has 1 boxes"),
        ({"0--Parade/a_1": "a_1\n1\n1 1 2 2\n"}, "'1 1 2 2' must be x y width height score"),
        ({"0--Parade/a_1": "a_1\n1\n1 1 2 2 0.5 1\n"}, "must be x y width height score"),
        ({"0--Parade/a_1": "a_1\n1\n1 1 2 2 high\n"}, "could not convert .* 'high'"),
        ({"0--Parade/a_1": "a_1\n1\n1 1 2 2 nan\n"}, "a_1: a box or a score is not a finite"),
        ({"0--Parade/a_1": "a_1\n1\n1 1 inf 2 0.5\n"}, "not a finite number"),
        ({"0--Parade/a_1": "a_1\n1\n9 9 -2 2 0.5\n"}, "width or height is negative"),
        ({"0--Parade/a_1": "a_1\n2\n1 1 2 2 0.5\n1 1 2 2 0.6\n"}, "not in the order of their sc"),
        ({"0--Parade/a_1": b"a_1\n1\n\xff"}, "can't decode byte 0xff"),
        ({"0--Parade/a_9": "a_9\n0\n"}, "0--Parade/a_9: no such image is in the ground truth"),
        ({"more/0--Parade/a_1": TEXTS["0--Parade/a_1"]}, "0--Parade/a_1: .* are there twice"),
        ({"0--Parade/a_2": None}, "0--Parade/a_2: its predictions are missing"),
    ],
)  # fmt: skip
def test_predictions_that_are_wrong_are_named(tmp_path, make, changes, message):
    texts = {name: text for name, text in (TEXTS | changes).items() if text is not None}
    path = make(tmp_path / "predictions", texts)
    with pytest.raises(IntegrityError, match=f"1 predictions are wrong:\n  .*{message}"):
        read_predictions(path, IMAGES)


def test_all_that_are_wrong_are_counted_and_ten_named(tmp_path):
    images = [f"e/{number:02d}" for number in range(30)]
    texts = {image: f"{image}\n0\n" for image in images[:10]}
    texts |= dict.fromkeys(images[10:17], "another\n0\n")
    with pytest.raises(IntegrityError) as error:
        read_predictions(folder_of(tmp_path, texts), images)
    lines = str(error.value).splitlines()
    assert lines[0] == f"{tmp_path}: 20 predictions are wrong:"
    assert lines[-1] == "  and 10 more"
    assert [line.split(":")[0].strip() for line in lines[1:-1]] == images[10:20]
    assert "another" in lines[1]
    assert "missing" in lines[10]


def test_an_entry_that_stands_twice_in_a_zip(tmp_path):
    path = tmp_path / "p.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("e/a.txt", "a\n0\n")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("e/a.txt", "a\n1\n1 1 2 2 0.5\n")
    with pytest.raises(IntegrityError, match="e/a: its predictions are there twice"):
        read_predictions(path, ["e/a"])


def broken_zip(path: Path, damage) -> Path:
    content = bytearray(zip_of(path, TEXTS).read_bytes())
    path.write_bytes(damage(content))
    return path


def encrypted(content: bytearray) -> bytearray:
    """The zip with its entries said to be encrypted."""
    for mark, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = content.find(mark)
        while at >= 0:
            content[at + flags] |= 1
            at = content.find(mark, at + 1)
    return content


def flipped(content: bytearray) -> bytearray:
    content[60] ^= 0xFF
    return content


@pytest.mark.parametrize("damage", [lambda x: x[:-30], lambda x: x[40:], encrypted, flipped])
def test_a_damaged_zip(tmp_path, damage):
    with pytest.raises(IntegrityError):
        read_predictions(broken_zip(tmp_path / "p.zip", damage), IMAGES)


@pytest.mark.parametrize("name", ["missing", "empty", "text.txt"])
def test_no_predictions(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("a_1\n0\n")
    with pytest.raises(IntegrityError, match=name):
        read_predictions(tmp_path / name, IMAGES)


def test_a_zip_that_would_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("mindface.formats.wider_face._MAX_BYTES", 50)
    with pytest.raises(IntegrityError, match="over 50 bytes"):
        read_predictions(zip_of(tmp_path / "p.zip", TEXTS), IMAGES)


boxes = st.lists(
    st.tuples(*[st.floats(-50, 2000, width=32)] * 2, *[st.floats(0, 500, width=32)] * 2,
              st.floats(2**-10, 1, width=32)),
    max_size=5,
)  # fmt: skip


@given(rows=boxes)
def test_what_was_written_is_read(tmp_path_factory, rows):
    folder = tmp_path_factory.getbasetemp() / "written"
    shutil.rmtree(folder, ignore_errors=True)
    rows.sort(key=lambda row: -row[4])
    found = np.array(rows, np.float32).reshape(-1, 5)
    found[:, 2:4] += found[:, :2]
    write_prediction(folder, "0--Parade/a_1", found)
    assert [path.name for path in (folder / "0--Parade").iterdir()] == ["a_1.txt"]
    assert prediction_path(folder, "0--Parade/a_1").read_text().startswith("a_1\n")
    (read,) = read_predictions(folder, ["0--Parade/a_1"])
    corners = np.trunc(found[:, :4])
    assert np.array_equal(read[:, :2], corners[:, :2])
    assert np.array_equal(read[:, 2:4], corners[:, 2:] - corners[:, :2])
    assert np.array_equal(read[:, 4].astype(np.float32), found[:, 4])
