"""Tar shards: as `tarfile` writes them, as others label them, damaged, changed, shuffled."""

import gc
import io
import json
import os
import pickle
import tarfile
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mindface.datasets import TarSet, tars
from mindface.errors import IntegrityError

Members = dict[str, bytes]


def shard(path: Path, members: Members, **options) -> Path:
    """A tar as anyone writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", **options) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def numbered(count: int, first: int = 0) -> Members:
    """Samples whose pictures hold their number and whose person is half of it."""
    members = {}
    for number in range(first, first + count):
        members[f"{number:06d}.jpg"] = b"%d" % number
        members[f"{number:06d}.cls"] = b"%d" % (number // 2)
    return members


def labelled(**members: bytes) -> Members:
    return {name.replace("_", "."): content for name, content in members.items()}


def test_classes_are_numbered_without_gaps(tmp_path: Path) -> None:
    members = labelled(a_cls=b"12\n", a_jpg=b"A", b_PNG=b"B", b_cls=b" 3", c_jpeg=b"C", c_cls=b"12")
    faces = TarSet(shard(tmp_path / "x.tar", members))
    assert faces.labels.tolist() == [1, 0, 1]
    assert faces.labels.dtype == np.int64
    assert faces.class_names == ("3", "12")
    assert [faces.read(index) for index in range(3)] == [b"A", b"B", b"C"]
    assert faces.describe(1) == f"{tmp_path / 'x.tar'}, member b.PNG"


@pytest.mark.parametrize(
    ("labels", "classes", "names"),
    [
        ([b'{"label": 7}', b'{"label": 2}'], [1, 0], ("2", "7")),
        ([b'{"label": 10}', b'{"label": "9"}'], [1, 0], ("9", "10")),
        ([b'{"label": "bea"}', b'{"label": "ada", "name": "x"}'], [1, 0], ("ada", "bea")),
        ([b'{"name": "\\u00e9ve"}', b'{"name": "ada"}'], [1, 0], ("ada", "éve")),
        ([b'{"label": 1, "name": "ada"}', b'{"name": "bea"}'], [0, 1], ("1", "bea")),
        ([b'{"label": -1}', b'{"label": 5}'], [-1, 0], ("5",)),
    ],
)
def test_json_gives_numbers_or_names(labels, classes, names, tmp_path: Path) -> None:
    members = {}
    for key, label in zip("ab", labels, strict=True):
        members |= {f"{key}.json": label, f"{key}.webp": b"picture"}
    faces = TarSet(shard(tmp_path / "x.tar", members))
    assert faces.labels.tolist() == classes
    assert faces.class_names == names


def test_a_cls_goes_before_a_json(tmp_path: Path) -> None:
    both = labelled(a_json=b'{"label": 9}', a_cls=b"4", a_jpg=b"", b_jpg=b"", b_cls=b"5")
    other = {"b.json": b'{"caption": "x"}', "c.cls": b"6", "c.json": b'{"label": 1}', "c.jpg": b""}
    assert TarSet(shard(tmp_path / "x.tar", both | other)).class_names == ("4", "5", "6")


def test_other_members_are_left_alone(tmp_path: Path) -> None:
    members = numbered(1) | {
        "README": b"",
        "000000.txt": b"",
        "._a.jpg": b"",
        "000000.seg.png": b"",
    }
    path = shard(tmp_path / "x.tar", members)
    with tarfile.open(path, "a") as archive:
        for name, kind in (("folder.jpg", tarfile.DIRTYPE), ("link.jpg", tarfile.SYMTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "000000.jpg"
            archive.addfile(member)
    assert len(TarSet(path)) == 1


def test_keys_have_folders_and_names_of_any_length(tmp_path: Path) -> None:
    long = "folder.v1/" * 20 + "x"
    members = {"./a/1.jpg": b"1", "./a/1.cls": b"0", "./b/1.jpg": b"2", "./b/1.cls": b"1"}
    for style in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        more = {f"{long}.jpg": b"3", f"{long}.cls": b"1"}
        faces = TarSet(shard(tmp_path / f"{style}.tar", members | more, format=style))
        assert [faces.read(index) for index in range(3)] == [b"1", b"2", b"3"]
        assert faces.labels.tolist() == [0, 1, 1]
        assert "member folder.v1/" in faces.describe(2)


def test_labels_may_be_left_aside(tmp_path: Path) -> None:
    members = {"a.jpg": b"A", "b.jpg": b"B", "b.cls": b"7", "c.cls": b"1"}
    faces = TarSet(shard(tmp_path / "x.tar", members), labelled=False)
    assert faces.labels.tolist() == [-1, -1]
    assert faces.class_names == ()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (
            labelled(a_jpg=b"", b_jpg=b"", c_jpg=b"", c_cls=b"1"),
            r"2 of 3 pictures have no .cls or .json .*\(the first: .*x.tar, member a.jpg\)",
        ),
        (
            labelled(a_cls=b"1", b_jpg=b"", b_cls=b"1", c_cls=b"2"),
            r"x.tar: 2 labels have no picture \(the first: .*x.tar, key a\)",
        ),
        (
            labelled(a_cls=b"1", b_jpg=b"", c_jpg=b"", c_json=b"{}"),
            r"2 of 2 pictures .*, and 1 labels have no picture",
        ),
        (labelled(a_jpg=b"", a_png=b"", a_cls=b"1"), "a.png is the second picture of its key"),
        (labelled(a_jpg=b"", a_cls=b"ada"), "a.cls: b'ada' names nobody: a .cls holds a number"),
        (labelled(a_jpg=b"", a_cls=b""), "b'' names nobody"),
        (labelled(a_jpg=b"", a_cls=b"9" * 5000), "names nobody"),
        (labelled(a_jpg=b"", a_json=b"[1]"), r"b'\[1\]' names nobody"),
        (labelled(a_jpg=b"", a_json=b"{"), "b'{' names nobody"),
        (labelled(a_jpg=b"", a_json=b"[" * 100_000), "names nobody"),
        (labelled(a_jpg=b"", a_json=b'{"label": true}'), "True names nobody"),
        (labelled(a_jpg=b"", a_json=b'{"label": 1.5}'), "1.5 names nobody"),
        (labelled(a_txt=b""), "no member is a picture"),
        ({}, "no member is a picture"),
    ],
)
def test_what_is_no_labelled_set_is_refused(members: Members, message: str, tmp_path: Path) -> None:
    path = shard(tmp_path / "x.tar", members)
    for _ in range(2):  # the second time perhaps from the index
        with pytest.raises(IntegrityError, match=message):
            TarSet(path)


def test_shards_are_a_folder_a_pattern_or_a_file(tmp_path: Path) -> None:
    for number in (0, 1, 2, 10):
        shard(tmp_path / "set" / f"s-{number:02d}.tar", numbered(2, 2 * number))
    (tmp_path / "set" / "._s-00.tar").write_bytes(b"of a Mac")
    for name, people in {
        "set": ("0", "1", "2", "10"),
        "set/s-{01..10}.tar": None,
        "set/s-{00..02}.tar": ("0", "1", "2"),
        "set/s-0{1..2}.tar": ("1", "2"),
        "set/s-{0..1}{0..0}.tar": ("0", "10"),
        "set/s-10.tar": ("10",),
    }.items():
        if people is None:
            with pytest.raises(IntegrityError, match=r"s-03.tar: cannot be read: No such file"):
                TarSet(tmp_path / name)
        else:
            assert TarSet(tmp_path / name).class_names == people
    for name in ("absent", "set/s-{2..1}.tar"):
        with pytest.raises(IntegrityError, match=r"cannot be read|there is no .tar"):
            TarSet(tmp_path / name)


@pytest.mark.parametrize(
    ("classes", "names"),
    [
        (["ada", "bea", "eve"], ("ada", "eve")),
        (None, ("0", "2")),
        (["ada", "bea"], "up to number 2"),
        (["ada", "bea", "ada"], "no list of different names"),
        (["ada", "bea", 7], "no list"),
        ({"ada": 0}, "no list"),
    ],
)
def test_names_stand_beside_the_shards(classes, names, tmp_path: Path) -> None:
    shard(tmp_path / "x.tar", labelled(a_jpg=b"", a_cls=b"0", b_jpg=b"", b_cls=b"2"))
    if classes is not None:
        (tmp_path / "classes.json").write_text(json.dumps(classes))
    if isinstance(names, str):
        with pytest.raises(IntegrityError, match=f"classes.json: .*{names}.*: mend or remove it"):
            TarSet(tmp_path)
    else:
        assert TarSet(tmp_path).class_names == TarSet(tmp_path / "x.tar").class_names == names


def test_names_that_are_no_json_are_refused(tmp_path: Path) -> None:
    shard(tmp_path / "x.tar", numbered(1))
    (tmp_path / "classes.json").write_bytes(b"\xff")
    with pytest.raises(IntegrityError, match=r"classes.json: cannot be read: "):
        TarSet(tmp_path)


def opened_without_headers(path: Path, monkeypatch: pytest.MonkeyPatch) -> TarSet:
    with monkeypatch.context() as patch:
        patch.setattr(tars, "_scanned", lambda shards: pytest.fail("the headers were read"))
        return TarSet(path)


@pytest.mark.parametrize("name", ["", "s-0.tar", "s-{0..1}.tar"])
def test_headers_are_read_once(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shard(tmp_path / "s-0.tar", numbered(3) | {"e.json": b'{"name": "eve"}', "e.jpg": b"E"})
    shard(tmp_path / "s-1.tar", numbered(2, 3))
    path = tmp_path / name
    first, second = TarSet(path), opened_without_headers(path, monkeypatch)
    assert second.labels.tolist() == first.labels.tolist()
    assert second.class_names == first.class_names
    assert [second.read(n) for n in range(len(second))] == [
        first.read(n) for n in range(len(first))
    ]
    assert sum(1 for file in tmp_path.iterdir() if file.suffix != ".tar") == 1


def test_an_index_is_thrown_away_when_a_shard_changed(tmp_path: Path) -> None:
    for change in ("size", "time", "a new shard", "another name"):
        folder = tmp_path / change
        path = shard(folder / "s.tar", numbered(3))
        assert len(TarSet(folder)) == 3
        if change == "size":
            shard(path, numbered(30))
            assert len(TarSet(folder)) == 30
        elif change == "time":
            shard(path, numbered(3, 7))
            os.utime(path, ns=(1, 1))
            assert TarSet(folder).read(0) == b"7"
        elif change == "a new shard":
            shard(folder / "t.tar", numbered(2, 3))
            assert len(TarSet(folder)) == 5
        else:
            path.rename(folder / "u.tar")
            assert TarSet(folder).describe(0).startswith(str(folder / "u.tar"))


def empty_zip() -> bytes:
    return b"PK\5\6" + bytes(18)


def pickled_index() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, facts=np.array([object], object), allow_pickle=True)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content", [b"", b"no zip", empty_zip(), pickled_index(), b"PK\3\4" + bytes(30) + empty_zip()]
)
def test_a_damaged_index_is_written_anew(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard(tmp_path / "s.tar", numbered(3))
    (tmp_path / "index.npz").write_bytes(content)
    assert len(TarSet(tmp_path)) == 3
    assert len(opened_without_headers(tmp_path, monkeypatch)) == 3


@given(place=st.integers(0, 5000), value=st.integers(0, 255))
@settings(max_examples=100, deadline=None)
def test_a_mutated_index_does_no_harm(place, value, tmp_path_factory) -> None:
    folder = tmp_path_factory.mktemp("set")
    shard(folder / "s.tar", numbered(3))
    TarSet(folder)
    content = bytearray((folder / "index.npz").read_bytes())
    content[place % len(content)] = value
    (folder / "index.npz").write_bytes(content)
    assert TarSet(folder).labels.tolist() == [0, 0, 1]


def test_an_index_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    shard(tmp_path / "s.tar", numbered(3))
    (tmp_path / "index.npz").mkdir()
    assert len(TarSet(tmp_path)) == 3
    assert sorted(file.name for file in tmp_path.iterdir()) == ["index.npz", "s.tar"]


BLOCK = tarfile.BLOCKSIZE


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(lambda tar: b"", "cannot be read: empty", id="empty"),
        pytest.param(lambda tar: b"x" * 2000, "cannot be read: ", id="no tar"),
        pytest.param(lambda tar: tar[:300], "cannot be read: ", id="cut in the first header"),
        pytest.param(lambda tar: tar[: 4 * BLOCK], "neither a member nor the end", id="no end"),
        pytest.param(lambda tar: tar[: BLOCK + 1], "unexpected end of data", id="cut"),
        pytest.param(
            lambda tar: tar[: 4 * BLOCK] + b"x" + tar[4 * BLOCK + 1 :],
            f"neither a member nor the end is at byte {4 * BLOCK}",
            id="a damaged header",
        ),
        pytest.param(
            lambda tar: huge(tar, b"\xff" * 12), "goes on after the end", id="a negative size"
        ),
        pytest.param(
            lambda tar: huge(tar, b"77777777777\0"), "goes on after the end", id="a huge size"
        ),
    ],
)
def test_a_damaged_shard_is_named(damage, message: str, tmp_path: Path) -> None:
    path = shard(tmp_path / "x.tar", {"000000.jpg": b"long", **numbered(3)})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(IntegrityError, match=f"x.tar: .*{message}"):
        TarSet(path)


def huge(tar: bytes, size: bytes) -> bytes:
    """The tar with another size in its first header, whose sum is right."""
    header = tar[:124] + size + tar[136:148] + b" " * 8 + tar[156:BLOCK]
    return header[:148] + b"%06o\0 " % sum(header) + header[156:] + tar[BLOCK:]


@given(edits=st.lists(st.tuples(st.integers(0, 4000), st.binary(max_size=4)), max_size=4))
@settings(max_examples=100, deadline=None)
def test_mutated_shards_raise_named_errors_only(edits, tmp_path_factory) -> None:
    path = shard(tmp_path_factory.mktemp("set") / "x.tar", numbered(2))
    content = bytearray(path.read_bytes())
    for place, bytes_ in edits:
        content[place : place + len(bytes_)] = bytes_
    path.write_bytes(content)
    with suppress(IntegrityError):
        faces = TarSet(path)
        assert all(faces.describe(index).startswith(str(path)) for index in range(len(faces)))


def test_a_shard_that_changed_is_not_read_on(tmp_path: Path) -> None:
    path = shard(tmp_path / "x.tar", numbered(3))
    faces = TarSet(path)
    pickled = pickle.dumps(faces)
    assert faces.read(0) == b"0"
    os.truncate(path, 600)
    with pytest.raises(IntegrityError, match=r"x.tar: cut since it was opened"):
        faces.read(1)
    copy = pickle.loads(pickled)
    with pytest.raises(IntegrityError, match=r"x.tar: changed since it was opened"):
        copy.read(0)
    assert "member at byte 512" in copy.describe(0)
    path.unlink()
    with pytest.raises(IntegrityError, match=r"x.tar: cannot be read: No such file"):
        copy.read(0)


def test_other_processes_and_threads_can_read_it(tmp_path: Path) -> None:
    for number in range(5):
        shard(tmp_path / f"{number}.tar", numbered(20, 20 * number))
    faces = TarSet(tmp_path)
    assert faces.read(99) == b"99"
    for method in ("fork", "spawn"):
        if method == "fork" and not hasattr(os, "fork"):
            continue
        with ProcessPoolExecutor(1, mp_context=get_context(method)) as pool:
            assert pool.submit(faces.read, 42).result() == b"42"
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(faces.read, range(100))) == [b"%d" % number for number in range(100)]


def test_few_shards_are_open_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(8):
        shard(tmp_path / f"{number}.tar", numbered(1, number))
    monkeypatch.setattr(tars, "OPEN_SHARDS", 2)
    open_files = Path("/proc/self/fd")
    if not open_files.is_dir():
        pytest.skip("the system does not list a process's open files")
    faces = TarSet(tmp_path)
    gc.collect()  # what other tests left
    before = len(list(open_files.iterdir()))
    assert [faces.read(index) for index in range(8)] == [b"%d" % number for number in range(8)]
    assert len(list(open_files.iterdir())) == before + 2
    del faces
    assert len(list(open_files.iterdir())) == before


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of 40, 1, 0 and 59 samples."""
    folder = tmp_path_factory.mktemp("many")
    for number, (first, count) in enumerate([(0, 40), (40, 1), (41, 0), (41, 59)]):
        shard(folder / f"{number}.tar", numbered(count, first))
    return folder


@given(buffer=st.integers(1, 200), seed=st.integers(0, 2**32))
@settings(deadline=None, max_examples=50)
def test_the_order_is_a_permutation_that_moves_little(many: Path, buffer: int, seed: int) -> None:
    row = TarSet(many, buffer=1).order(np.random.default_rng(seed))
    firsts = row[np.flatnonzero(np.diff(row, prepend=-2) != 1)].tolist()
    assert set(firsts) <= {0, 40, 41}  # whole shards one after the other
    order = TarSet(many, buffer=buffer).order(np.random.default_rng(seed))
    assert sorted(order.tolist()) == list(range(100))
    assert np.abs(np.argsort(order) - np.argsort(row)).max() < buffer
    assert np.array_equal(order, TarSet(many, buffer=buffer).order(np.random.default_rng(seed)))


def test_a_buffer_of_all_pictures_mixes_them(many: Path) -> None:
    rng = np.random.default_rng(0)
    faces = TarSet(many, buffer=1000)
    places = np.mean([np.argsort(faces.order(rng)) for _ in range(300)], axis=0)
    assert places.min() > 40
    assert places.max() < 60


def test_a_buffer_holds_something(many: Path) -> None:
    with pytest.raises(ValueError, match="1 picture at least, not 0"):
        TarSet(many, buffer=0)
