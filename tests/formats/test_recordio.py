"""InsightFace's training sets: by hand, as MXNet itself wrote them, and hostile ones."""

import pickle
import struct
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mindface.errors import IntegrityError
from mindface.formats.insightface_rec import Faults, IdentityRecords, write_records
from mindface.formats.recordio import RecordFile

MAGIC = b"\x0a\x23\xd7\xce"
JPEG, PNG = b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n"
SHARED_SETS = ("pins90", "celebs6", "celeba_small", "utk_adults")


def part(data: bytes, kind: int = 0) -> bytes:
    return MAGIC + struct.pack("<I", kind << 29 | len(data)) + data + bytes(-len(data) % 4)


def packed(label: float | list[float], key: int = 0, content: bytes = b"") -> bytes:
    if isinstance(label, list):
        return struct.pack(f"<IfQQ{len(label)}f", len(label), 0, key, 0, *label) + content
    return struct.pack("<IfQQ", 0, label, key, 0) + content


def stored(folder: Path, *records: bytes, index: bytes | None = None) -> Path:
    """A `.rec` of framed records, with an index that fits where none is given."""
    path = folder / "train.rec"
    path.write_bytes(b"".join(records))
    if index is None:
        offsets = np.cumsum([0, *map(len, records[:-1])])
        index = b"".join(b"%d\t%d\n" % line for line in enumerate(offsets))
    path.with_suffix(".idx").write_bytes(index)
    return path


def layout(folder: Path, images: list[bytes], *ranges: list[float]) -> Path:
    first = 1 + len(images)
    header = packed([first, first + len(ranges)])
    people = [packed(sides, first + row) for row, sides in enumerate(ranges)]
    return stored(folder, *map(part, [header, *images, *people]))


def people_of(records: IdentityRecords) -> Iterator[tuple[int, Iterator[bytes]]]:
    label = dict(zip(records.keys.tolist(), records.labels.tolist(), strict=True))
    for first, stop in records.people.tolist():
        yield label[first], (records.file.read(key).content for key in range(first, stop))


def test_a_set_is_written_byte_for_byte(tmp_path: Path) -> None:
    path = tmp_path / "train.rec"
    write_records(path, [(3, [JPEG]), (-1, iter([PNG, JPEG + b"x"]))], size=(96, 80))
    assert path.read_bytes() == b"".join(
        [
            MAGIC + b"\x20\0\0\0" + b"\2\0\0\0" + bytes(20) + b"\0\0\x80\x40" + b"\0\0\xc0\x40",
            MAGIC + b"\x1c\0\0\0" + bytes(4) + b"\0\0\x40\x40\1" + bytes(15) + JPEG,
            MAGIC + b"\x20\0\0\0" + bytes(4) + b"\0\0\x80\xbf\2" + bytes(15) + PNG,
            MAGIC + b"\x1d\0\0\0" + bytes(4) + b"\0\0\x80\xbf\3" + bytes(15) + JPEG + b"x\0\0\0",
            part(packed([1, 2], 4)),
            part(packed([2, 4], 5)),
        ]
    )
    assert path.with_suffix(".idx").read_bytes() == b"0\t0\n1\t40\n2\t76\n3\t116\n4\t156\n5\t196\n"
    assert (tmp_path / "property").read_text() == "2,96,80\n"
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(
    ("tail", "lengths"),
    [
        pytest.param(b"abc", [(0, 31)], id="none"),
        pytest.param(b"ab" + MAGIC, [(0, 34)], id="not at a multiple of four"),
        pytest.param(MAGIC, [(1, 28), (3, 0)], id="at the end"),
        pytest.param(MAGIC + b"abcd" + MAGIC + b"e", [(1, 28), (2, 4), (3, 1)], id="two"),
        pytest.param(MAGIC * 3, [(1, 28), (2, 0), (2, 0), (3, 0)], id="in a row"),
        pytest.param(b"abcd" + MAGIC[:3], [(0, 35)], id="cut"),
    ],
)
def test_pictures_are_split_where_they_hold_the_magic(
    tail: bytes, lengths: list[tuple[int, int]], tmp_path: Path
) -> None:
    path = tmp_path / "train.rec"
    write_records(path, [(0, [JPEG + tail, JPEG])])
    content, position, found = path.read_bytes(), 40, []
    while not found or found[-1][0] in (1, 2):
        magic, word = struct.unpack_from("<4sI", content, position)
        assert magic == MAGIC
        found.append((word >> 29, word & (1 << 29) - 1))
        position += 8 + -(-found[-1][1] // 4) * 4
    assert found == lengths
    assert RecordFile(path).read(1).content == JPEG + tail
    assert RecordFile(path).read(2).content == JPEG
    path.with_suffix(".idx").unlink()
    assert RecordFile(path).keys.tolist() == [0, 1, 2, 3]
    assert RecordFile(path).read(1).content == JPEG + tail


def test_headers_are_read_whole_split_and_with_many_labels(tmp_path: Path) -> None:
    number = int.from_bytes(MAGIC, "little")
    records = [
        part(packed(1.5, 7, JPEG)),
        part(packed([4, 5, 6], 8, JPEG)),
        part(packed(0, 0)[:8], 1) + part(packed(0, 0)[12:], 3),
        part(b"", 1) + part(struct.pack(f"<fQQ{number % 5}f", 0, 9, 0, *range(number % 5)), 3),
        part(packed([2, 3])[:24], 1) + part(b"\0\0\x40\x40", 3),
    ]
    file = RecordFile(stored(tmp_path, *records))
    assert len(file) == 5
    read = [file.read(key) for key in (0, 1, 2, 4)]
    assert [record.label.tolist() for record in read[:3]] == [[1.5], [4, 5, 6], [0]]
    assert [record.id for record in read] == [7, 8, number, 0]
    assert [record.content for record in read] == [JPEG, JPEG, b"", b""]
    assert all(record.label.dtype == np.float32 for record in read)
    assert file.labels(np.array([4, 1, 2, 0])).tolist() == [read[3].label[0], 4, 0, 1.5]
    with pytest.raises(IntegrityError, match=r"record 3 .* labels"):
        file.read(3)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (b"", "names no record"),
        (b"0\t0\n1\n", r"b'1' is no line"),
        (b"0\t0\n-1\t40\n", "is no line"),
        (b"0\t0\n1\t4e1\n", "is no line"),
        (b"0\t0\n1\t9999999999999999999\n", "is no line"),
        (b"\x80\x04", "is no line"),
        (b"0\t0\n0\t40\n", "the key 0 stands in it twice"),
        (b"0\t0\n1\t0\n", "the offset 0 stands in it twice"),
        (b"0\t0\n1\t80\n", r"key 1 has the offset 80, where no record of train.rec \(80 bytes\)"),
        (b"0\t0\n1\t76\n", "offset 76"),
        (b"0\t0\n1\t42\n", "offset 42"),
        (b"0\t0\n1\t44\n", "offset 44, where no record"),
    ],
)
def test_an_index_that_does_not_fit_is_refused(index: bytes, message: str, tmp_path: Path) -> None:
    path = stored(tmp_path, part(packed([1, 2])), part(packed([1, 1])), index=index)
    with pytest.raises(IntegrityError, match=message) as raised:
        RecordFile(path)
    assert str(path.with_suffix(".idx")) in str(raised.value)


def test_an_index_may_skip_records_in_any_order(tmp_path: Path) -> None:
    records = [part(packed(label, label)) for label in range(3)]
    path = stored(tmp_path, *records, index=b"9\t64\r\n4\t0")
    file = RecordFile(path)
    assert file.keys.tolist() == [4, 9]
    assert [file.read(key).id for key in (4, 9)] == [0, 2]
    for key in (-1, 0, 5, 10):
        with pytest.raises(IntegrityError, match=f"no record has the key {key}"):
            file.read(key)
    with pytest.raises(IntegrityError, match="no record has the key 5"):
        file.labels(np.array([4, 5]))


SOUND = part(packed([1, 1]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (SOUND[:-1], "at offset 0: at 0"),
        (SOUND[:20], "at 0"),
        (part(packed(0)[:4]), "has 4 bytes, too few"),
        (part(packed(0)[:23]), "has 23 bytes"),
        (part(struct.pack("<IfQQ", 2**32 - 1, 0, 0, 0)), "4294967295 labels"),
        (part(packed(0), 2), "next in turn"),
        (part(packed(0), 3), "next in turn"),
        (part(packed(0), 7), "next in turn"),
        (part(packed(0), 1), "at 32"),
        (part(packed(0), 1) + SOUND, "at 32"),
        (part(packed(0), 1) + part(b"", 1) + part(b"", 3), "at 32"),
        (part(packed(0), 1) + part(b"", 2) + SOUND, "at 40"),
        (part(packed(0), 1) + bytes(8) + part(b"", 3), "at 32"),
    ],
)
def test_damaged_records_are_named(content: bytes, message: str, tmp_path: Path) -> None:
    path = stored(tmp_path, content)
    file = RecordFile(path)
    with pytest.raises(IntegrityError, match=message) as raised:
        file.read(0)
    assert str(path) in str(raised.value)
    with pytest.raises(IntegrityError):
        IdentityRecords(path)


@pytest.mark.parametrize("content", [SOUND[:6], bytes(40), SOUND + b"\0", SOUND + bytes(8)])
def test_without_an_index_all_must_be_records(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "train.rec"
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match="no sound record at offset"):
        RecordFile(path)


@pytest.mark.parametrize("name", ["absent.rec", "folder.rec", "empty.rec", "train.idx"])
def test_what_is_no_file_of_records_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder.rec").mkdir()
    (tmp_path / "empty.rec").touch()
    with pytest.raises(IntegrityError, match=name):
        RecordFile(tmp_path / name)


def test_a_file_that_changed_is_not_taken_up_again(tmp_path: Path) -> None:
    path = stored(tmp_path, *map(part, [packed([2, 3]), packed(0, 1, JPEG), packed([1, 2])]))
    records = IdentityRecords(path)
    pickled = pickle.dumps(records)
    path.with_suffix(".idx").unlink()
    assert pickle.loads(pickled).file.read(1).content == JPEG
    assert pickle.loads(pickled).keys.tolist() == records.keys.tolist()
    path.rename(tmp_path / "old.rec")
    path.write_bytes(SOUND)
    with pytest.raises(IntegrityError, match="changed since it was opened"):
        pickle.loads(pickled)


IMAGES = [packed(5, 1, JPEG), packed(5, 2, PNG), packed([-2, 9], 3, JPEG)]


def test_people_come_from_their_records(tmp_path: Path) -> None:
    records = IdentityRecords(layout(tmp_path, IMAGES, [3, 4], [1, 3]))
    assert len(records) == 3
    assert records.keys.tolist() == [1, 2, 3]
    assert records.labels.tolist() == [5, 5, -2]
    assert records.classes.tolist() == [1, 1, 0]
    assert records.class_names == ("-2", "5")
    assert records.people.tolist() == [[3, 4], [1, 3]]
    for numbers in (records.keys, records.labels, records.classes, records.people):
        assert numbers.dtype == np.int64
    assert records.check() == Faults(gaps=True)


def test_without_their_records_people_come_from_the_labels(tmp_path: Path) -> None:
    images = [packed(label, key, JPEG) for key, label in enumerate([1, 1, 0, 1])]
    records = IdentityRecords(stored(tmp_path, *map(part, images)))
    assert records.keys.tolist() == [0, 1, 2, 3]
    assert records.people.tolist() == [[0, 2], [2, 3], [3, 4]]
    assert records.check() == Faults(split=(1,))


@pytest.mark.parametrize(
    ("labels", "contents", "ranges", "faults"),
    [
        ([0, 0, 1], [JPEG, PNG, JPEG], [[1, 3], [3, 4]], Faults()),
        ([0, 0, 2], [JPEG] * 3, [[1, 3], [3, 4]], Faults(gaps=True)),
        ([0, 0, 0], [JPEG] * 3, [[2, 2], [1, 4], [4, 1]], Faults(empty=(0, 2))),
        ([0, 0, 1], [JPEG] * 3, [[1, 4]], Faults(mixed=(0,))),
        ([0, 1, 0], [JPEG] * 3, [[1, 2], [2, 3], [3, 4]], Faults(split=(0,))),
        ([0, 0, 1], [JPEG] * 3, [[1, 2], [3, 4]], Faults(outside=(2,))),
        ([0, 0, 1], [JPEG] * 3, [[1, 3], [2, 4]], Faults(mixed=(1,), split=(0,), outside=(2,))),
        ([0, 0, 1], [JPEG, b"BM", b""], [[1, 3], [3, 4]], Faults(foreign=(2, 3))),
        ([0.5, np.nan, 1], [JPEG, JPEG, b"GIF"], [[1, 4]], Faults(damaged=(1, 2), foreign=(3,))),
        ([0, np.inf, 2**25], [JPEG] * 3, [[1, 4]], Faults(damaged=(2, 3))),
        ([], [], [], Faults()),
    ],
)
def test_check_lists_what_is_wrong(labels, contents, ranges, faults, tmp_path: Path) -> None:
    images = [packed(label, 0, content) for label, content in zip(labels, contents, strict=True)]
    records = IdentityRecords(layout(tmp_path, images, *ranges))
    assert records.check() == faults
    if faults.damaged:
        with pytest.raises(IntegrityError, match=f"record {faults.damaged[0]} has the label"):
            _ = records.labels


def test_check_lists_damaged_records_and_pictures_among_the_people(tmp_path: Path) -> None:
    path = layout(tmp_path, IMAGES, [1, 3], [3, 4])
    content = bytearray(path.read_bytes())
    content[40 + 4 : 40 + 8] = struct.pack("<I", 3 << 29 | 28)
    path.write_bytes(content)
    assert IdentityRecords(path).check() == Faults(damaged=(1,))

    people = [packed([1, 3], 4), packed(1, 5, JPEG)]
    images = [packed(0, 1, JPEG), packed(0, 2, JPEG), packed(1, 3, JPEG)]
    path = stored(tmp_path, *map(part, [packed([4, 6]), *images, *people]))
    records = IdentityRecords(path)
    assert records.keys.tolist() == [1, 2, 3, 5]
    assert records.check() == Faults(outside=(3, 5))


@pytest.mark.parametrize("header", [[4, 6], [0, 5], [5, 4], [np.nan, 5], [4, np.nan], [3.5, 5]])
def test_a_record_0_that_makes_no_sense_is_refused(header: list[float], tmp_path: Path) -> None:
    path = stored(tmp_path, *map(part, [packed(header), *IMAGES, packed([1, 4])]))
    with pytest.raises(IntegrityError, match="record 0 says"):
        IdentityRecords(path)


@pytest.mark.parametrize(
    "sides", [[1], [1, 2, 3], [0, 3], [1, 5], [np.nan, 1], [1e30, 1], [1.5, 2]]
)
def test_a_range_that_makes_no_sense_is_refused(sides: list[float], tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match=r"record 4 has .* not the range"):
        IdentityRecords(layout(tmp_path, IMAGES, sides))


def broken() -> Iterator[tuple[int, list[bytes]]]:
    yield 0, [JPEG]
    raise FileNotFoundError(2, "No such file or directory", "ada.jpg")


@pytest.mark.parametrize(
    ("people", "message"),
    [
        ([], "there are no people"),
        ([(0, [JPEG]), (1, [])], "person 1 has no picture"),
        ([(0, [])], "person 0 has no picture"),
        ([(0, [JPEG]), (0, [JPEG])], "person 0: .* each given once"),
        ([(2**24 + 1, [JPEG])], "up to 2"),
        ([(0.5, [JPEG])], "person 0.5: labels are whole numbers"),
        ([("ada", [JPEG])], "person 'ada': labels are whole"),
        ([(0, [JPEG, b""])], "picture 1 is no JPEG or PNG"),
        ([(0, [b"GIF89a"])], "picture 0 is no JPEG or PNG"),
        (broken(), "cannot be written: .*ada.jpg"),
    ],
)
def test_a_set_is_written_whole_or_not_at_all(people, message: str, tmp_path: Path) -> None:
    path = tmp_path / "train.rec"
    write_records(path, [(7, [JPEG])])
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(IntegrityError, match=message):
        write_records(path, people)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", ["absent/train.rec", "file/train.rec", "train.idx"])
def test_a_place_that_cannot_be_written_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(IntegrityError, match=name):
        write_records(tmp_path / name, [(0, [JPEG])])
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_keys_are_no_greater_than_float32_is_exact(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "train.rec"
    people = [(0, [JPEG]), (1, [JPEG, PNG])]
    monkeypatch.setattr("mindface.formats.insightface_rec.EXACT", 6)
    write_records(path, people)
    with pytest.raises(IntegrityError, match="make several sets"):
        write_records(path, [*people, (2, [PNG])])
    with pytest.raises(IntegrityError, match="make several sets"):
        write_records(path, [(0, [JPEG]), (1, [JPEG, PNG, PNG])])
    records = IdentityRecords(path)
    monkeypatch.setattr("mindface.formats.insightface_rec.EXACT", 5)
    from_labels = IdentityRecords(path)
    assert records._ranges is not None
    assert from_labels._ranges is None
    assert from_labels.people.tolist() == records.people.tolist() == [[1, 2], [2, 4]]


PIECES = st.lists(st.sampled_from([MAGIC, JPEG, b"\0", MAGIC[:2]]) | st.binary(max_size=9))
PICTURES = st.builds(
    lambda head, rest: b"".join([head, *rest]), st.sampled_from([JPEG, PNG]), PIECES
)


@given(
    people=st.dictionaries(
        st.integers(-(2**24), 2**24), st.lists(PICTURES, min_size=1, max_size=3), min_size=1
    )
)
@settings(max_examples=50, deadline=None)
def test_any_set_is_read_back(people, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("set") / "train.rec"
    write_records(path, people.items())
    records = IdentityRecords(path)
    assert [(label, list(pictures)) for label, pictures in people_of(records)] == [*people.items()]
    assert records.check() == Faults(gaps=sorted(people) != list(range(len(people))))
    path.with_suffix(".idx").unlink()
    assert np.array_equal(IdentityRecords(path).labels, records.labels)


def used_up(path: Path) -> None:
    with suppress(IntegrityError):
        records = IdentityRecords(path)
        records.check()
        assert records.people.shape[1] == 2
        assert len(records.classes) == len(records.labels) == len(records)


WORDS = st.sampled_from(
    [MAGIC, bytes(4), b"\xff" * 4, *(struct.pack("<I", kind << 29 | 28) for kind in range(4))]
)
EDITS = st.lists(
    st.tuples(st.integers(0, 400), WORDS | st.binary(min_size=1, max_size=4)), max_size=4
)


@given(edits=EDITS, cut=st.integers(0, 60), index=st.none() | st.just(b"") | EDITS)
@settings(max_examples=200, deadline=None)
def test_mutated_files_raise_named_errors_only(
    edits, cut: int, index, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = layout(
        tmp_path_factory.mktemp("hostile"), [*IMAGES, packed(0, 4, MAGIC)], [1, 3], [3, 5]
    )
    for file, changes in ((path, edits), (path.with_suffix(".idx"), index or [])):
        content = bytearray(file.read_bytes())
        for place, word in changes:
            place = place // 4 * 4 if file is path else place % len(content)
            content[place : place + len(word)] = word
        file.write_bytes(content[: len(content) - (cut if file is path else 0)])
    if index is None:
        path.with_suffix(".idx").unlink()
    used_up(path)


def test_what_a_file_declares_is_not_allocated(tmp_path: Path) -> None:
    huge = struct.pack("<IfQQ", 2**32 - 1, 0, 0, 0)
    long = MAGIC + struct.pack("<I", 2**29 - 1) + bytes(24)
    labels = part(packed(2.0**24, 0, JPEG)) + part(packed(-(2.0**24), 0, JPEG))
    index = b"0\t0\n1\t36\n99999999999999999\t72\n999999999999999999\t104\n"
    path = stored(tmp_path, labels, part(huge), long, index=index)
    tracemalloc.start()
    assert IdentityRecords(path).check().damaged == (99999999999999999, 999999999999999999)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.shared
@pytest.mark.parametrize("name", SHARED_SETS)
def test_what_mxnet_wrote_is_written_again(name: str, shared: Path, tmp_path: Path) -> None:
    source = shared / "data" / "faces112" / f"{name}.rec"
    records = IdentityRecords(source)
    classes = int(source.with_suffix(".property").read_text().split(",")[0])
    assert records.check() == Faults()
    assert len(records.people) == len(records.class_names) == classes
    path = tmp_path / "train.rec"
    write_records(path, people_of(records))
    assert path.read_bytes() == source.read_bytes()
    assert path.with_suffix(".idx").read_bytes() == source.with_suffix(".idx").read_bytes()
    assert (tmp_path / "property").read_bytes() == source.with_suffix(".property").read_bytes()


@pytest.mark.shared
def test_threads_and_headers_read_the_same(shared: Path, tmp_path: Path) -> None:
    source = shared / "data" / "faces112" / "celebs6.rec"
    file = RecordFile(source)
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(file.read, file.keys.tolist()))
    assert [record.id for record in read] == file.keys.tolist()
    assert [record.label[0] for record in read] == file.labels(file.keys).tolist()
    (tmp_path / "set.rec").symlink_to(source)
    scanned = RecordFile(tmp_path / "set.rec")
    assert scanned.keys.tolist() == file.keys.tolist()
    assert scanned.read(2002).content == file.read(2002).content
