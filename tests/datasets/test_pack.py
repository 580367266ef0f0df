"""From a folder to records to shards and back: nothing is lost but what a format cannot hold."""

import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mindface.datasets import (
    FaceSet,
    FolderSet,
    Mixture,
    RecordSet,
    TarSet,
    open_faces,
    pack_records,
    pack_tars,
)
from mindface.errors import ImageError, IntegrityError


def picture(number: int, kind: str = "JPEG") -> bytes:
    """A picture of 8 rows and 6 columns that has its number at the end."""
    buffer = io.BytesIO()
    Image.new("RGB", (6, 8), (number, 0, 0)).save(buffer, kind)
    return buffer.getvalue() + b"%d" % number


def placed(folder: Path, pictures: dict[str, bytes]) -> FolderSet:
    for name, content in pictures.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return FolderSet(folder)


@pytest.fixture
def people(tmp_path: Path) -> FolderSet:
    names = ["zoé/1.jpg", "ada/1.png", "ada/2.jpg", "ada/3.jpg", "bob/1.jpg"]
    kinds = {"jpg": "JPEG", "png": "PNG"}
    pictures = {name: picture(n, kinds[name[-3:]]) for n, name in enumerate(names)}
    return placed(tmp_path / "people", pictures)


def contents(faces: FaceSet) -> Counter[tuple[bytes, str | int]]:
    """Every picture with the name of its person, or -1."""
    return Counter(
        (faces.read(index), faces.class_names[label] if label >= 0 else -1)
        for index, label in enumerate(faces.labels.tolist())
    )


def numbers(faces: FaceSet) -> Counter[tuple[bytes, int]]:
    return Counter((faces.read(index), int(label)) for index, label in enumerate(faces.labels))


def test_pictures_and_labels_survive_every_storage(people: FolderSet, tmp_path: Path) -> None:
    pack_records(people, tmp_path / "train.rec")
    records = open_faces(tmp_path / "train.rec")
    assert (tmp_path / "property").read_text() == "3,8,6\n"
    assert records.labels.tolist() == people.labels.tolist() == [0, 0, 0, 1, 2]
    assert [records.read(n) for n in range(5)] == [people.read(n) for n in range(5)]
    assert records.class_names == ("0", "1", "2")
    pack_tars(people, tmp_path / "tars", per_shard=2)
    shards = open_faces(tmp_path / "tars")
    assert contents(shards) == contents(people)
    assert shards.class_names == people.class_names == ("ada", "bob", "zoé")
    pack_records(shards, tmp_path / "again.rec")
    again = open_faces(tmp_path / "again.rec")
    assert numbers(again) == numbers(people)
    assert (np.diff(again.labels) >= 0).all()
    pack_tars(again, tmp_path / "numbers")
    assert contents(open_faces(tmp_path / "numbers")) == contents(again)


def test_shards_are_as_webdataset_wants_them(people: FolderSet, tmp_path: Path) -> None:
    pack_tars(people, tmp_path / "tars", per_shard=2)
    names = [f"faces-0000{number}.tar" for number in range(3)]
    assert sorted(file.name for file in (tmp_path / "tars").iterdir()) == ["classes.json", *names]
    assert json.loads((tmp_path / "tars" / "classes.json").read_text()) == ["ada", "bob", "zoé"]
    keys = []
    for name in names:
        with tarfile.open(tmp_path / "tars" / name) as archive:
            members = [(*member.name.split("."), member.size) for member in archive]
        assert {kind for _, kind, _ in members[::2]} <= {"jpg", "png"}
        assert [kind for _, kind, _ in members[1::2]] == ["cls"] * (len(members) // 2)
        assert [key for key, _, _ in members[::2]] == [key for key, _, _ in members[1::2]]
        keys += [key for key, _, _ in members[::2]]
    assert keys == [f"{number:09d}" for number in range(5)]


def test_shards_are_the_same_each_time_and_mixed(tmp_path: Path) -> None:
    faces = placed(tmp_path / "x", {f"p{n // 10}/{n:02d}.jpg": picture(n) for n in range(50)})
    for name in "ab":
        pack_tars(faces, tmp_path / name, per_shard=25)
    for name in ("faces-00000.tar", "faces-00001.tar", "classes.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    first = TarSet(tmp_path / "a" / "faces-00000.tar")
    assert len(first.class_names) == 5


def test_pictures_of_nobody_stay_nobodys(people: FolderSet, tmp_path: Path) -> None:
    nobodys = open_faces(people.source, labelled=False)
    mixture = Mixture([nobodys, people], [1, 3], names=["others", "people"])
    pack_records(mixture, tmp_path / "train.rec")
    assert numbers(RecordSet(tmp_path / "train.rec")) == numbers(mixture)
    pack_tars(mixture, tmp_path / "tars")
    assert contents(TarSet(tmp_path / "tars")) == contents(mixture)
    pack_tars(nobodys, tmp_path / "nobodys")
    assert contents(TarSet(tmp_path / "nobodys")) == contents(nobodys)


@given(owners=st.lists(st.integers(0, 3), min_size=1, max_size=12), per_shard=st.integers(1, 13))
@settings(max_examples=25, deadline=None)
def test_any_set_is_read_back(owners, per_shard, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("set")
    pictures = {f"p{owner}/{n}.jpg": picture(n) for n, owner in enumerate(owners)}
    faces = placed(folder / "people", pictures)
    pack_records(faces, folder / "train.rec")
    assert numbers(RecordSet(folder / "train.rec")) == numbers(faces)
    pack_tars(faces, folder / "tars", per_shard=per_shard)
    assert contents(TarSet(folder / "tars")) == contents(faces)


def test_progress_is_shown_picture_by_picture(people: FolderSet, tmp_path: Path) -> None:
    seen: list[int] = []

    def track(items: Iterable[int], total: int) -> Iterator[int]:
        assert total == 5
        for item in items:
            yield item
            seen.append(item)

    pack_records(people, tmp_path / "train.rec", track=track)
    assert seen == [0, 1, 2, 3, 4]
    pack_tars(people, tmp_path / "tars", track=track)
    assert sorted(seen[5:]) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("kind", ["WEBP", "BMP"])
def test_what_a_storage_does_not_take_is_named(kind: str, tmp_path: Path) -> None:
    faces = placed(tmp_path / "x", {"ada/1.jpg": picture(1), f"ada/2.{kind}": picture(2, kind)})
    with pytest.raises(ImageError, match=rf"2.{kind}: .* takes jpg, png only: convert it first"):
        pack_records(faces, tmp_path / "train.rec")
    if kind == "WEBP":
        pack_tars(faces, tmp_path / "tars")
        assert contents(TarSet(tmp_path / "tars")) == contents(faces)
    else:
        with pytest.raises(ImageError, match=r"2.BMP: .* takes jpg, png, webp only"):
            pack_tars(faces, tmp_path / "tars")
    assert not any(file.name.endswith(".tmp") for file in tmp_path.iterdir())


def test_nothing_is_left_of_what_was_stopped(people: FolderSet, tmp_path: Path) -> None:
    def stopped(items: Iterable[int], total: int) -> Iterator[int]:
        yield next(iter(items))
        raise KeyboardInterrupt

    for pack, name in ((pack_records, "train.rec"), (pack_tars, "tars")):
        with pytest.raises(KeyboardInterrupt):
            pack(people, tmp_path / name, track=stopped)
    assert [file.name for file in tmp_path.iterdir()] == ["people"]


def test_a_first_picture_that_is_none_is_named(tmp_path: Path) -> None:
    faces = placed(tmp_path / "x", {"ada/1.jpg": b"\xff\xd8\xffno picture"})
    with pytest.raises(ImageError, match=r"1.jpg: "):
        pack_records(faces, tmp_path / "train.rec")


def test_only_an_empty_folder_is_filled(people: FolderSet, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    pack_tars(people, tmp_path / "empty")
    pack_tars(people, tmp_path / "new" / "below")
    before = (tmp_path / "empty" / "faces-00000.tar").stat().st_mtime_ns
    for name, message in (("empty", "there is something in it"), ("empty/classes.json", "Not a")):
        with pytest.raises(IntegrityError, match=f"{name}: .*{message}"):
            pack_tars(people, tmp_path / name)
    assert (tmp_path / "empty" / "faces-00000.tar").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="1 picture at least, not 0"):
        pack_tars(people, tmp_path / "other", per_shard=0)
