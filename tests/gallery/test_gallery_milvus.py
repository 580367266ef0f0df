"""What a gallery in Milvus does beyond what all do."""

import fcntl
from contextlib import suppress
from threading import Thread

import numpy as np
import pytest
from gallery_faces import CONTRACT, SIZE, everything, recalled, sample, unit

from mindface.errors import ContractError, GalleryError, IntegrityError
from mindface.gallery import Gallery
from mindface.gallery.milvus import backend, changes
from mindface.gallery.milvus.records import BATCH, Records, among, between
from mindface.gallery.milvus.texts import joined, text_rows
from mindface.gallery.rows import PersonRow


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(changes, "PATIENCE", 0)


@pytest.fixture
def url(milvus_url):
    return milvus_url


@pytest.fixture
def gallery(url):
    with Gallery(url, CONTRACT, SIZE) as gallery:
        yield gallery


class Dying:
    """Writes row by row, and dies after so many rows."""

    def __init__(self, monkeypatch, rows):
        self.left, self.write = rows, Records.write
        monkeypatch.setattr(Records, "write", lambda records, some: self._each(records, some))

    def _each(self, records, some):
        for each in [*some]:
            if not self.left:
                raise Killed
            self.left -= 1
            self.write(records, [each])


def _names(gallery):
    return [name for person in gallery.people() for name in (person.name, *person.aliases)]


@pytest.mark.parametrize(
    ("act", "done"),
    [
        (
            lambda it, name: it.enroll(f"{name} II", [sample(unit(1)[0])]),
            lambda it, name: f"{name} II" in _names(it),
        ),
        (lambda it, name: it.merge("Ada", name), lambda it, _: len(it.people()) == 1),
        (lambda it, _: it.undo(), lambda it, name: name not in _names(it)),
        (lambda it, name: it.forget(name), lambda it, name: name not in _names(it)),
    ],
    ids=["enroll", "merge", "undo", "forget"],
)
def test_a_write_that_is_killed_anywhere_is_done_wholly_or_not_at_all(
    url, gallery, act, done, monkeypatch
):
    gallery.enroll("Ada", unit(1, seed=5))
    for rows in range(30):
        name = f"person {rows}"
        gallery.enroll(name, [sample(unit(1, seed=rows)[0], rows)])
        with monkeypatch.context() as patch:
            dying = Dying(patch, rows)
            with suppress(Killed):
                act(gallery, name)
        with Gallery(url) as again:
            assert done(again, name) == (rows > 0), "the log is one row: what it says is done"
            assert again.integrity() == []
            assert again.backend.text_records.find(among("kind", ["log"])) == []
        if dying.left:
            break
        while len(_names(gallery)) > 1:
            gallery.undo()
    assert rows > 4


def test_a_log_that_was_not_completed_is_dropped(url, gallery):
    gallery.enroll("Ada", unit(1))
    before = everything(gallery)
    pieces = text_rows("log", 9, "x" * 40_000)
    assert len(pieces) == 3
    assert joined(pieces[1:]) == {}
    gallery.backend.text_records.write((row["id"], row) for row in pieces[1:])
    with Gallery(url) as again:
        assert everything(again) == before
        assert again.backend.text_records.find(among("kind", ["log"])) == []


def test_a_log_that_another_completes_meanwhile_is_left_to_it(gallery):
    log = gallery.backend.text_records
    text = '{"people": [[1, null]]}'
    rows = text_rows("log", 9, text)
    gallery.enroll("Ada", unit(1))
    log.write((row["id"], row) for row in rows)
    changes.finish(
        gallery.backend.collections, log, lambda _: log.write((row["id"], None) for row in rows)
    )
    assert [person.name for person in gallery.people()] == ["Ada"]


def test_threads_see_nothing_of_what_is_pending(gallery):
    seen = []
    with gallery.backend.writing():
        gallery.backend.add_people([PersonRow(1, "Ada", (), None, None, 0.0)], 1)
        reader = Thread(target=lambda: seen.extend(gallery.backend.people()))
        reader.start()
        assert [person.name for person in gallery.backend.people()] == ["Ada"]
        gallery.backend.delete_people([1], 1)
    reader.join()
    assert seen == []


def test_batches_of_many_people(gallery, monkeypatch):
    monkeypatch.setattr(backend, "WINDOW", 100)
    monkeypatch.setattr("mindface.gallery.milvus.records.LISTED", 50)
    vectors = unit(BATCH + 30)
    gallery.add_many((f"p{number}", vectors[number : number + 1]) for number in range(len(vectors)))
    assert [person.name for person in gallery.people()] == [f"p{n}" for n in range(len(vectors))]
    assert [face.id for face in gallery.backend.scan()] == [*range(1, len(vectors) + 1)]
    queries = unit(70, seed=3)
    found = gallery.backend.search(queries, 3)
    expected = 1 + np.argsort(-(queries.astype(float) @ vectors.T), kind="stable")[:, :3]
    np.testing.assert_array_equal(found.people, expected)
    assert gallery.backend.counts() == dict.fromkeys(range(1, len(vectors) + 1), 1)


def test_names_and_tags_that_are_too_long_are_refused(gallery):
    with pytest.raises(GalleryError, match="Milvus stores names with their tags up to 65535"):
        gallery.enroll("x" * 65_500, unit(1))
    with pytest.raises(GalleryError, match="4096 tags"):
        gallery.enroll("Ada", unit(1), tags=[str(number) for number in range(5000)])
    with pytest.raises(GalleryError, match="what is known of a face up to 65535"):
        gallery.enroll("Ada", [sample(unit(1)[0], content="x" * 70_000)])
    assert gallery.people() == []


@pytest.mark.parametrize(
    ("collection", "row", "change", "fault"),
    [
        ("people", 1, {"name": "0" * 64}, "person 1 is damaged"),
        ("people", 1, {"body": "[]"}, "person 1 is damaged"),
        ("people", 1, {"since": 7.0}, "the template of person 1 is damaged"),
        ("faces", 1, {"person": 2}, "face 1 is damaged"),
        ("faces", 1, {"vector": unit(1, seed=9)[0].tolist()}, "face 1 of person 1 is damaged"),
        ("texts", "entry/0000000000000001/00000000", {"body": "{"}, "entry 1 of the journal is"),
        ("texts", "crop/0000000000000001/00000000", {"body": "[1]"}, "the crop of face 1 is"),
    ],
)
def test_damage_is_found(gallery, collection, row, change, fault):
    gallery.enroll("Ada", [sample(unit(1)[0])])
    records = gallery.backend.collections[collection]
    (found,) = records.find(among("id", [row]))
    records.write([(row, found | change)])
    try:
        faults = gallery.integrity()
    except IntegrityError as error:
        faults = [str(error)]
    assert fault in faults[0]


def test_a_newer_schema_is_refused(url, gallery):
    with gallery.backend.writing():
        gallery.backend._put_facts(schema=9)
    with pytest.raises(GalleryError, match="has schema 9, and this MindFace knows up to 1"):
        Gallery(url)


def test_an_index_is_made_where_the_url_says_so(url, gallery):
    vectors = unit(1000)
    gallery.add_many((f"p{number}", vectors[number : number + 1]) for number in range(1000))
    queries = unit(50, seed=3)
    exact = gallery.backend.search(queries, 10)
    with Gallery(f"{url}&index=hnsw") as indexed:
        found = indexed.backend.search(queries, 10)
        recall = recalled(exact, found)
        assert recall >= 0.95, recall
        names = indexed.backend.people_records.name
        assert indexed.backend.server.client.describe_index(names, "vector")["index_type"] == "HNSW"
    with Gallery(url) as again:
        np.testing.assert_array_equal(again.backend.search(queries, 10).people, exact.people)


def test_a_receipt_says_what_cannot_be_promised(gallery):
    gallery.enroll("Ada", [sample(unit(1)[0])])
    gallery.rename("Ada", "Ada Lovelace")
    gallery.reject("Ada Lovelace", "photo")
    receipt = gallery.forget("Ada Lovelace")
    assert (receipt.people, receipt.names, receipt.faces, receipt.crops) == (1, 2, 1, 1)
    assert receipt.entries == 2
    assert not receipt.clean
    assert "segments hold them until it compacts" in receipt.unpromised[0]
    assert len(receipt.compacted) == 3
    rows = gallery.backend.text_records.find(between("number", 0, 99))
    assert len(rows) == 5  # what it is, and four entries
    assert "Lovelace" not in str(rows)
    assert gallery.people() == []


def test_no_server_is_a_clear_error(monkeypatch):
    monkeypatch.setattr("mindface.gallery.milvus.server.WAIT", 1.0)
    with pytest.raises(GalleryError, match=r"milvus://localhost:1/\?gallery=mindface: ") as refused:
        Gallery("milvus://me:secret@localhost:1/", CONTRACT, SIZE)
    assert "secret" not in str(refused.value)


def test_a_folder_of_milvus_lite(tmp_path):
    folder = tmp_path / "deep" / "people.milvus"
    url = f"milvus+lite://{folder}"
    with pytest.raises(GalleryError, match="no such gallery: to make one"):
        Gallery(url)
    with Gallery(url, CONTRACT, SIZE) as gallery:
        gallery.enroll("Ada", [sample(unit(1)[0])])
        before = everything(gallery)
        with pytest.raises(ContractError):
            Gallery(url, "b" * 64, SIZE)
        with Gallery(f"{url}?gallery=other", CONTRACT, 2 * SIZE) as other:
            assert other.people() == []
        assert everything(gallery) == before
    with Gallery(url) as gallery:
        assert everything(gallery) == before
        assert gallery.identify(unit(1))[0].similarity == pytest.approx(1)
    with (folder / "LOCK").open("r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(GalleryError, match="another process has it open"):
            Gallery(url)
    (tmp_path / "file.db").touch()
    with pytest.raises(GalleryError, match="a file: name a folder"):
        Gallery(f"milvus+lite://{tmp_path / 'file.db'}", CONTRACT, SIZE)
