"""RecordIO as a set of faces."""

import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from mindface.datasets import RecordSet, decode
from mindface.errors import IntegrityError
from mindface.formats.insightface_rec import write_records
from mindface.formats.recordio import framed, packed

JPEG = b"\xff\xd8\xff"


def written(path: Path, *people: tuple[int, int]) -> Path:
    """Records of people: the number of each, and how many pictures."""
    pictures = [(person, [JPEG + b"%d-%d" % (person, n) for n in range(c)]) for person, c in people]
    write_records(path, pictures)
    return path


def test_people_are_numbered_without_gaps(tmp_path: Path) -> None:
    path = written(tmp_path / "train.rec", (9, 1), (4, 2), (-1, 1))
    faces = RecordSet(path)
    assert len(faces) == 4
    assert faces.labels.tolist() == [1, 0, 0, -1]
    assert faces.labels.dtype == np.int64
    assert faces.class_names == ("4", "9")
    assert [faces.read(index) for index in (0, 2, 3)] == [
        JPEG + n for n in (b"9-0", b"4-1", b"-1-0")
    ]
    assert faces.describe(2) == f"{path}, record 3"


def test_labels_may_be_left_aside(tmp_path: Path) -> None:
    faces = RecordSet(written(tmp_path / "train.rec", (0, 3)), labelled=False)
    assert faces.labels.tolist() == [-1, -1, -1]
    assert faces.class_names == ()


def test_the_order_is_a_permutation_that_repeats(tmp_path: Path) -> None:
    faces = RecordSet(written(tmp_path / "train.rec", (0, 30), (1, 20)))
    order = faces.order(np.random.default_rng(3))
    assert sorted(order.tolist()) == list(range(50))
    assert np.array_equal(order, faces.order(np.random.default_rng(3)))


def test_a_new_process_can_read_it(tmp_path: Path) -> None:
    faces = RecordSet(written(tmp_path / "train.rec", (5, 2), (7, 1)))
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(faces.read, 2).result() == JPEG + b"7-0"
    copy = pickle.loads(pickle.dumps(faces))
    assert copy.labels.tolist() == [0, 0, 1]
    assert copy.describe(0) == faces.describe(0)


def test_a_file_without_pictures_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.rec"
    path.write_bytes(framed(packed(0, [1, 1])))
    with pytest.raises(IntegrityError, match=r"train.rec: there is no picture"):
        RecordSet(path)


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "train.rec", (0, 3))
    content = bytearray(path.read_bytes())
    content[44:48] = b"\xff\xff\xff\x1f"  # the length of record 1
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match="no sound record at offset 40"):
        RecordSet(path)
    faces = RecordSet(path, labelled=False)
    with pytest.raises(IntegrityError, match="no sound record at offset 40"):
        faces.read(0)
    assert faces.read(1) == JPEG + b"0-1"


@pytest.mark.shared
def test_a_set_that_mxnet_wrote_is_opened(shared: Path) -> None:
    path = shared / "data" / "faces112" / "pins90.rec"
    faces = RecordSet(path)
    assert len(faces) == 14_949
    assert len(faces.class_names) == 90
    assert np.array_equal(np.unique(faces.labels), np.arange(90))
    for index in (0, 7_000, 14_948):
        assert decode(faces.read(index), faces.describe(index)).shape == (112, 112, 3)
