"""Saving what is not damaged."""

import sqlite3

import pytest
from gallery_faces import CONTRACT, SIZE, everything, sample, unit

from mindface.errors import GalleryError, IntegrityError
from mindface.gallery import Gallery, recover


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "people.db"
    with Gallery(path, CONTRACT, SIZE) as gallery:
        for number, vector in enumerate(unit(4)):
            gallery.enroll(f"person {number}", [sample(vector, number)], tags=[str(number)])
        gallery.merge("person 0", "person 1")
        gallery.reject("person 2", "photo")
        gallery.enroll("gone", unit(1, seed=9))
        gallery.undo()
    return path


def change(path, *statements):
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def test_all_is_saved_where_nothing_is_damaged(path, tmp_path):
    with Gallery(path) as gallery:
        before, entries = everything(gallery), gallery.entries()
        saved = gallery.recover(tmp_path / "saved.db")
        assert (saved.people, saved.faces, saved.crops, saved.entries) == (4, 4, 4, 8)
        assert (saved.unnamed, saved.lost) == (0, ())
        last = gallery.backend.last_person()
    with Gallery(tmp_path / "saved.db", CONTRACT, SIZE) as gallery:
        assert everything(gallery) == before
        assert gallery.entries() == entries
        assert gallery.integrity() == []
        assert gallery.backend.last_person() == last
        gallery.undo(5)  # the merge
        assert len(gallery.people()) == 4


def test_the_rest_is_saved(path, tmp_path):
    change(
        path,
        "UPDATE people SET name = 'x' WHERE id = 1",  # whose alias is person 2
        "UPDATE faces SET embedding = zeroblob(128) WHERE id = 3",
        "UPDATE crops SET jpeg = x'00' WHERE face = 4",
        "UPDATE journal SET kind = 'confirm' WHERE id = 6",
    )
    saved = recover(path, tmp_path / "saved.db")
    assert (saved.people, saved.faces, saved.crops, saved.entries) == (3, 3, 2, 7)
    assert [each.split(":")[0] for each in saved.lost] == [
        "people 1",
        "faces 3",
        "crops 4",
        "journal 6",
    ]
    with Gallery(tmp_path / "saved.db") as gallery:
        counts = {person.name: person.embeddings for person in gallery.people()}
        assert counts == {"recovered person 1": 1, "person 1": 1, "person 2": 0, "person 3": 1}
        assert gallery.identify(unit(1))[0].person == "recovered person 1"
        assert gallery.integrity() == []


def test_a_torn_page_costs_its_rows(path, tmp_path):
    with Gallery(path) as gallery:
        gallery.add_many((f"more {number}", unit(1, seed=20 + number)) for number in range(200))
    connection = sqlite3.connect(path)
    statement = "SELECT rootpage FROM sqlite_master WHERE name = 'faces'"
    root = connection.execute(statement).fetchone()[0]
    page = connection.execute("PRAGMA page_size").fetchone()[0]
    connection.close()
    data = bytearray(path.read_bytes())
    start = (root - 1) * page
    assert data[start] == 5, "the table has more than one page"
    child = int.from_bytes(data[start + 8 : start + 12], "big")  # the rightmost child
    data[(child - 1) * page : child * page] = bytes(page)
    path.write_bytes(data)
    with Gallery(path) as gallery:
        assert gallery.integrity()
    saved = recover(path, tmp_path / "saved.db")
    assert saved.people == 204
    assert 100 < saved.faces < 204
    assert saved.lost
    with Gallery(tmp_path / "saved.db") as gallery:
        assert gallery.integrity() == []


def test_what_cannot_be_saved_says_so(path, tmp_path):
    with pytest.raises(GalleryError, match="is there already"):
        recover(path, path)
    with pytest.raises(GalleryError, match="no such gallery"):
        recover(tmp_path / "none.db", tmp_path / "saved.db")
    change(path, "UPDATE meta SET value = '1' WHERE key = 'checksum'")
    with pytest.raises(IntegrityError, match="whose embeddings"):
        recover(path, tmp_path / "saved.db")
    path.write_bytes(b"SQLite format 3\x00" + bytes(5000))
    with pytest.raises(IntegrityError, match="restore a backup"):
        recover(path, tmp_path / "saved.db")
