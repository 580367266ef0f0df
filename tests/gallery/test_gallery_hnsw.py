"""Search by a graph: in step with the matrix, filtered, its answers scored exactly, forgotten."""

import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from threading import Thread

import numpy as np
import pytest
from conformance import Conformance
from gallery_faces import CONTRACT, SIZE, calibration, recalled, unit

from mindface.errors import GalleryError, MissingExtraError
from mindface.gallery import Gallery, Key, forgetting, hnsw
from mindface.gallery.quantised import encode

pytestmark = pytest.mark.skipif(
    find_spec("usearch") is None, reason="search by HNSW needs the extra search"
)

COUNT = 300
EVERYBODY = [f"person {number}" for number in range(COUNT)]
VECTORS = unit(COUNT)


@pytest.fixture(autouse=True)
def _by_graph(monkeypatch):
    """However few the people are."""
    monkeypatch.setattr(hnsw, "SMALL", 0)
    monkeypatch.setattr(hnsw, "UNSAVED", 8)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "people.db"


@pytest.fixture
def file(path):
    return path.with_name("people.db-hnsw")


@pytest.fixture
def filled(path):
    with Gallery(path, CONTRACT, SIZE, search="hnsw") as gallery:
        gallery.add_many(zip(EVERYBODY, VECTORS[:, None], strict=True))
        gallery.identify(unit(1))
    return path


@pytest.fixture
def added(monkeypatch):
    """How many vectors each change puts into the graph."""
    counts = []
    add = hnsw.Graph._add
    monkeypatch.setattr(
        hnsw.Graph, "_add", lambda self, *new: (counts.append(len(new[0])), add(self, *new))
    )
    return counts


class TestHnsw(Conformance):
    @pytest.fixture
    def url(self, tmp_path):
        return tmp_path / "people.db"

    @pytest.fixture
    def gallery(self, url):
        with Gallery(url, CONTRACT, SIZE, calibration=calibration(), search="hnsw") as gallery:
            yield gallery


def test_engines_can_be_loaded_after_it():
    code = "from mindface.gallery import hnsw; hnsw.usearch(); import onnxruntime, openvino"
    subprocess.run([sys.executable, "-c", code], check=True)


def who(gallery, vectors=VECTORS):
    return [match.person for match in gallery.identify(vectors)]


def codes_in(file, vectors):
    """Whether the graph's file has any window of these rows."""
    data = file.read_bytes() if file.exists() else b""
    rows = [row.tobytes() for row in encode(vectors, "int8").codes]
    return any(row[start : start + 16] in data for row in rows for start in (0, 8, 16))


def scanned(monkeypatch):
    """Makes every exact search through all rows fail."""
    monkeypatch.setattr(hnsw.ExactSearch, "_scan", None)


def test_without_usearch_it_says_what_to_install(path, monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(hnsw, "import_module", absent)
    with pytest.raises(MissingExtraError, match=r"mindface\[search\]"):
        Gallery(path, CONTRACT, SIZE, search="hnsw")
    assert not path.exists()


def test_the_nearest_are_found_by_the_graph_alone(filled, monkeypatch):
    with Gallery(filled) as exact:
        expected = exact.backend.search(unit(100, seed=1), 5)
    with Gallery(filled, search="hnsw") as gallery:
        scanned(monkeypatch)
        assert who(gallery) == EVERYBODY
        found = gallery.backend.search(unit(100, seed=1), 5)
    assert recalled(expected, found) > 0.99
    same = expected.people == found.people
    np.testing.assert_array_equal(expected.scores[same], found.scores[same])


def test_one_change_adds_and_removes_one_row(filled, file, added, monkeypatch):
    before = file.read_bytes()
    with Gallery(filled, search="hnsw") as gallery:
        assert who(gallery) == EVERYBODY
        assert added == []  # read from the file
        gallery.enroll("new", unit(1, seed=1))
        assert gallery.identify(unit(1, seed=1))[0].person == "new"
        gallery.enroll("new", unit(1, seed=2))  # another template
        gallery.identify(unit(1))
        gallery.remove([5])
        assert gallery.identify(VECTORS[4:5])[0].person != "person 4"
        assert added == [1, 1, 1]  # the last is what replaces person 4
        assert file.read_bytes() == before
        gallery.enroll("newer", unit(1, seed=3))
        gallery.identify(unit(1))
        assert len(gallery.backend._graph._index) == COUNT + 1
        assert added == [1, 1, 1, 1]
    with Gallery(filled, search="hnsw") as gallery:  # what the file lacks is made up for
        assert gallery.identify(unit(1, seed=3))[0].person == "newer"
        gallery.add_many((f"more {number}", unit(1, seed=100 + number)) for number in range(8))
        gallery.identify(unit(1))
        assert file.read_bytes() != before
        assert not codes_in(file, VECTORS[4:5])


def test_when_much_has_changed_it_is_made_anew(filled, monkeypatch, added):
    monkeypatch.setattr(hnsw, "wasteful", lambda dead, rows: dead > rows // 4)
    with Gallery(filled, search="hnsw") as gallery:
        gallery.remove(range(1, 101))
        assert who(gallery, VECTORS[100:]) == EVERYBODY[100:]
        assert added == [200]


def test_filters_are_kept_and_the_few_are_scanned(filled, monkeypatch):
    with Gallery(filled, search="hnsw") as gallery:
        for number in range(40):
            gallery.edit(f"person {number}", tags=["staff"])
        found = gallery.backend.search(VECTORS, 3, tags=["staff"])
        assert found.compared == 40
        with Gallery(filled) as exact:
            expected = exact.backend.search(VECTORS, 3, tags=["staff"])
        assert set(found.people.ravel()) <= set(range(1, 41))
        assert recalled(expected, found) > 0.99
        monkeypatch.setattr(hnsw, "SMALL", 40)
        monkeypatch.setattr(hnsw.Graph, "find", None)
        found = gallery.backend.search(VECTORS, 3, tags=["staff"])
        np.testing.assert_array_equal(found.people, expected.people)
        np.testing.assert_array_equal(found.scores, expected.scores)


def test_where_the_graph_finds_too_few_all_are_scanned(filled, monkeypatch):
    nobody = np.zeros(0, np.int64), np.zeros(0, np.uint64)
    monkeypatch.setattr(hnsw.Graph, "find", lambda *_: nobody)
    with Gallery(filled, search="hnsw") as gallery:
        assert who(gallery) == EVERYBODY


def test_up_to_some_people_there_is_no_graph(path, file, monkeypatch):
    monkeypatch.setattr(hnsw, "SMALL", 20)
    with Gallery(path, CONTRACT, SIZE, search="hnsw") as gallery:
        gallery.add_many(zip(EVERYBODY[:20], VECTORS[:20, None], strict=True))
        assert who(gallery, VECTORS[:20]) == EVERYBODY[:20]
        assert not file.exists()
        gallery.enroll("person 20", VECTORS[20:21])
        assert who(gallery, VECTORS[:21]) == EVERYBODY[:21]
        assert file.exists()


@pytest.mark.parametrize("damage", ["absent", "empty", "half", "flip", "other", "of another size"])
def test_the_graph_is_made_anew_where_the_file_does_not_fit(filled, file, damage, added):
    data = bytearray(file.read_bytes())
    if damage == "absent":
        file.unlink()
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "half":
        file.write_bytes(data[: len(data) // 2])
    elif damage == "flip":
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    else:
        size = SIZE if damage == "other" else 2 * SIZE
        other = filled.with_name("other.db")
        with Gallery(other, CONTRACT, size, search="hnsw") as gallery:
            gallery.add_many(zip(EVERYBODY, unit(COUNT, size, seed=9)[:, None], strict=True))
            gallery.identify(unit(1, size))
        other.with_name("other.db-hnsw").replace(file)
        added.clear()
    with Gallery(filled, search="hnsw") as gallery:
        assert who(gallery) == EVERYBODY
        assert added[0] == COUNT
        assert gallery.integrity() == []


def test_a_file_that_cannot_be_written_says_so(filled, file, monkeypatch):
    file.unlink()
    monkeypatch.setattr(hnsw, "_aside", lambda _: filled.with_name("full"))
    monkeypatch.setattr(hnsw, "created", lambda path: path.symlink_to("/dev/full") or path.open())
    with (
        Gallery(filled, search="hnsw") as gallery,
        pytest.raises(GalleryError, match=r"people\.db-hnsw: not written"),
    ):
        gallery.identify(unit(1))
    assert not file.exists()


@pytest.mark.parametrize("search", ["hnsw", "float32"])
def test_a_forgetting_leaves_nothing_in_the_graph_and_keeps_the_rest(filled, file, search, added):
    with (
        Gallery(filled, search=search) as gallery,
        Gallery(filled, search="hnsw") as reader,
    ):
        assert who(reader) == EVERYBODY
        assert codes_in(file, VECTORS[7:8])
        receipt = gallery.forget("person 7")
        assert receipt.clean
        assert "people.db-hnsw" in receipt.files
        assert not codes_in(file, VECTORS[7:8])
        assert codes_in(file, VECTORS[8:9])
        assert who(reader, VECTORS[7:8]) != ["person 7"]
        assert who(reader, VECTORS[8:]) == EVERYBODY[8:]
        assert set(added) == {1}  # what takes its place, in each graph
    with Gallery(filled, search="hnsw") as gallery:
        assert who(gallery, np.delete(VECTORS, 7, 0)) == EVERYBODY[:7] + EVERYBODY[8:]
        assert set(added) == {1}


def test_a_forgetting_takes_out_all_who_were_removed(filled, file, monkeypatch):
    with Gallery(filled, search="hnsw") as gallery:
        monkeypatch.setattr(hnsw, "UNSAVED", 1000)
        gallery.remove(range(11, 61))
        gallery.enroll("new", VECTORS[:1])
        gallery.identify(unit(1))
        assert codes_in(file, VECTORS[10:60])
        assert gallery.forget("person 7").clean
        assert not codes_in(file, VECTORS[10:60])
        assert not codes_in(file, VECTORS[7:8])
        assert who(gallery, VECTORS[60:]) == EVERYBODY[60:]


def test_what_is_left_in_a_graph_is_found(filled, file, monkeypatch):
    monkeypatch.setattr(hnsw, "forget", lambda *_: None)
    with Gallery(filled, search="hnsw") as gallery:
        (left,) = gallery.forget("person 7").residue
    assert (left.file, left.what) == ("people.db-hnsw", "vector")


def test_a_forgetting_that_was_killed_leaves_no_graph_with_the_person(filled, file, monkeypatch):
    gallery = Gallery(filled, search="hnsw")

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(forgetting.hnsw, "forget", killed)
    with pytest.raises(KeyboardInterrupt):
        gallery.forget("person 7")
    crashed = filled.parent / "crashed"
    shutil.copytree(filled.parent, crashed)
    monkeypatch.undo()
    gallery.close()
    assert codes_in(crashed / file.name, VECTORS[7:8])
    Gallery(crashed / filled.name).close()
    assert not codes_in(crashed / file.name, VECTORS[7:8])


def test_without_usearch_a_forgetting_removes_the_graph(filled, file, monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(hnsw, "import_module", absent)
    with Gallery(filled) as gallery:
        assert gallery.forget("person 7").clean
    assert not file.exists()


def test_an_encrypted_gallery_keeps_its_graph_in_memory(path, file):
    pytest.importorskip("sqlcipher3", reason="encryption needs the extra encrypt")
    with Gallery(path, CONTRACT, SIZE, search="hnsw", key=Key(bytes(range(32)))) as gallery:
        gallery.add_many(zip(EVERYBODY, VECTORS[:, None], strict=True))
        assert who(gallery) == EVERYBODY
        gallery.forget("person 7")
        assert who(gallery, VECTORS[7:9]) != EVERYBODY[7:9]
        assert who(gallery, VECTORS[8:]) == EVERYBODY[8:]
        assert gallery.backend._graph._index is not None
        assert not file.exists()


def test_a_rebuild_makes_the_graph_anew(filled, added):
    with Gallery(filled, search="hnsw") as gallery:
        assert who(gallery) == EVERYBODY
        gallery.backend.rebuild()
        assert who(gallery) == EVERYBODY
    assert added == [COUNT]


def test_threads_search_while_another_enrolls(filled):
    with Gallery(filled, search="hnsw") as gallery:
        wrong = []

        def search():
            for _ in range(30):
                wrong.extend(set(who(gallery, VECTORS[:20])) - {*EVERYBODY[:20]})

        threads = [Thread(target=search) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number in range(20):
            gallery.enroll(f"new {number}", unit(1, seed=100 + number))
            gallery.identify(unit(1))
        for thread in threads:
            thread.join()
        assert wrong == []


KILLED = """
import sys
import numpy as np
from mindface.gallery import Gallery, hnsw
hnsw.SMALL, hnsw.UNSAVED = 0, 2
random = np.random.default_rng(int(sys.argv[2]))
with Gallery(sys.argv[1], search="hnsw") as gallery:
    for number in range(10_000):
        row = random.standard_normal((1, 32)).astype(np.float32)
        gallery.enroll(f"{sys.argv[2]} {number}", row / np.linalg.norm(row))
        gallery.identify(row / np.linalg.norm(row))
        print(number, flush=True)
"""


def test_a_writer_may_be_killed_at_any_moment(filled):
    for seed in range(3):
        command = [sys.executable, "-c", KILLED, filled, str(seed)]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE)
        for _ in range(10):
            assert writer.stdout.readline()
        time.sleep(0.017 * seed)
        os.kill(writer.pid, signal.SIGKILL)
        writer.communicate()
        with Gallery(filled, search="hnsw") as gallery:
            assert who(gallery) == EVERYBODY
            assert gallery.integrity() == []
