"""Folders of faces, and what all sets share: opening by name, decoding, renumbering."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pictures import PHOTO, difference, exif, saved
from PIL import Image

from mindface.datasets import FolderSet, RecordSet, TarSet, decode, open_faces, pack_tars
from mindface.datasets.faceset import numbered
from mindface.errors import ImageError
from mindface.formats.insightface_rec import write_records

JPEG = saved(Image.fromarray(PHOTO), "JPEG", quality=95)


def placed(folder: Path, *names: str) -> Path:
    """A folder with files that hold their own names."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_people_are_the_folders_of_the_first_level(tmp_path: Path) -> None:
    names = ["bea/2.png", "bea/1.jpg", "ada/b/3.webp", "ada/4.JPG", "ada/.5.jpg", "ada/notes.txt"]
    faces = FolderSet(placed(tmp_path, *names, "no pictures/6.txt", ".hidden/7.jpg"))
    found = ["ada/4.JPG", "ada/b/3.webp", "bea/1.jpg", "bea/2.png"]
    assert len(faces) == 4
    assert [faces.read(index).decode() for index in range(4)] == found
    assert [faces.describe(index) for index in range(4)] == [str(tmp_path / name) for name in found]
    assert faces.labels.tolist() == [0, 0, 1, 1]
    assert faces.labels.dtype == np.int64
    assert faces.class_names == ("ada", "bea")
    assert faces.source == str(tmp_path)


@pytest.mark.parametrize("path", ["faces", "faces/", "./faces", "."])
def test_any_spelling_of_a_path_will_do(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = placed(tmp_path / "faces", "ada/1.jpg", "bea/1.jpg")
    monkeypatch.chdir(folder if path == "." else tmp_path)
    faces = FolderSet(path)
    assert faces.class_names == ("ada", "bea")
    assert faces.read(1) == b"bea/1.jpg"
    assert Path(faces.describe(1)) == Path(path, "bea", "1.jpg")


def test_names_need_not_be_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(b"ad\xe0")
    try:
        (tmp_path / name).mkdir()
    except OSError:
        pytest.skip("the file system wants UTF-8")
    (tmp_path / name / "é.jpg").write_bytes(b"1")
    faces = FolderSet(tmp_path)
    assert faces.class_names == (name,)
    assert faces.read(0) == b"1"


def test_pictures_of_nobody_may_lie_anywhere(tmp_path: Path) -> None:
    faces = FolderSet(placed(tmp_path, "1.jpg", "ada/2.jpg"), labelled=False)
    assert faces.labels.tolist() == [-1, -1]
    assert faces.class_names == ()
    assert faces.read(0) == b"1.jpg"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "no such folder, or no picture in it: give FOLDER/person/picture.jpg"),
        (["ada/notes.txt"], "no picture in it"),
        (["1.jpg", "ada/2.jpg"], r"1.jpg: the picture lies in no person's folder"),
    ],
)
def test_other_layouts_are_refused(names: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=message):
        FolderSet(placed(tmp_path / "faces", *names))


def test_a_picture_that_is_gone_is_named(tmp_path: Path) -> None:
    faces = FolderSet(placed(tmp_path, "ada/1.jpg"))
    (tmp_path / "ada" / "1.jpg").unlink()
    with pytest.raises(ImageError, match=r"ada/1.jpg: cannot be read: No such file"):
        faces.read(0)


def test_the_order_is_a_permutation_that_repeats(tmp_path: Path) -> None:
    faces = FolderSet(placed(tmp_path, *(f"ada/{number:02d}.jpg" for number in range(50))))
    order = faces.order(np.random.default_rng(5))
    assert sorted(order.tolist()) == list(range(50))
    assert order.tolist() != list(range(50))
    again = pickle.loads(pickle.dumps(faces)).order(np.random.default_rng(5))
    assert np.array_equal(order, again)


def test_a_set_is_known_by_its_name_and_content(tmp_path: Path) -> None:
    folder = FolderSet(placed(tmp_path / "faces", "ada/1.jpg"))
    (tmp_path / "faces" / "ada" / "1.jpg").write_bytes(JPEG)
    pack_tars(folder, tmp_path / "tars")
    (tmp_path / "records").mkdir()
    for name in ("other", "train"):
        write_records(tmp_path / "records" / f"{name}.rec", [(7, [JPEG])])
    for name, kind in {
        "faces": FolderSet,
        "records": RecordSet,
        "records/other.rec": RecordSet,
        "tars": TarSet,
        "tars/faces-00000.tar": TarSet,
        "tars/faces-{00000..00000}.tar": TarSet,
    }.items():
        faces = open_faces(tmp_path / name)
        assert type(faces) is kind
        assert faces.labels.tolist() == [0]
        assert faces.read(0) == JPEG
        unlabelled = open_faces(str(tmp_path / name), labelled=False)
        assert type(unlabelled) is kind
        assert unlabelled.labels.tolist() == [-1]
        assert unlabelled.class_names == ()


@pytest.mark.parametrize("name", ["absent", "absent.tar.gz", "file"])
def test_what_is_no_set_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ImageError, match=f"{name}: no such folder"):
        open_faces(tmp_path / name)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
def test_pictures_are_decoded_as_they_are_stored(kind: str) -> None:
    options = {"quality": 95} if kind in ("JPEG", "WEBP") else {}
    pixels = decode(saved(Image.fromarray(PHOTO), kind, exif=exif(6), **options), "here")
    assert pixels.dtype == np.uint8
    assert difference(pixels, PHOTO) < 4


def test_a_grey_picture_gets_three_channels() -> None:
    pixels = decode(saved(Image.fromarray(PHOTO[..., 0]), "PNG"), "here")
    assert np.array_equal(pixels, np.repeat(PHOTO[..., :1], 3, axis=2))


@pytest.mark.parametrize("content", [b"", b"no picture", JPEG[:20], JPEG[:-40]])
def test_a_damaged_picture_is_named(content: bytes) -> None:
    with pytest.raises(ImageError, match=r"train.rec, record 17: .+") as raised:
        decode(content, "train.rec, record 17")
    assert raised.value.path == "train.rec, record 17"


@given(arrays(np.int64, st.integers(1, 20), elements=st.integers(-3, 6)))
def test_people_are_renumbered_without_gaps(values: np.ndarray) -> None:
    labels, people = numbered(values)
    assert people.tolist() == sorted({value for value in values.tolist() if value >= 0})
    known = values >= 0
    assert np.array_equal(people[labels[known]], values[known])
    assert (labels[~known] == -1).all()
    assert labels.dtype == np.int64
