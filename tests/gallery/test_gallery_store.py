"""The embedded gallery's files: what is refused, what follows what, and what is rebuilt."""

import os
import shutil
import sqlite3
import stat

import numpy as np
import pytest
from gallery_faces import CONTRACT, SIZE, everything, sample, unit

from mindface.errors import GalleryError, IntegrityError
from mindface.gallery import Gallery, matrix, schema
from mindface.gallery.rows import PersonRow


@pytest.fixture
def path(tmp_path):
    return tmp_path / "people.db"


@pytest.fixture
def filled(path):
    with Gallery(path, CONTRACT, SIZE) as gallery:
        gallery.add_many((f"person {number}", unit(1, seed=number)) for number in range(20))
        gallery.identify(unit(1))
    return path


def who(gallery, count=20):
    probes = np.concatenate([unit(1, seed=number) for number in range(count)])
    return [match.person for match in gallery.identify(probes)]


EVERYBODY = [f"person {number}" for number in range(20)]


def change(path, statement, *values):
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute(statement, values)
    connection.commit()
    connection.close()


def test_a_new_gallery_needs_to_know_whose_embeddings_it_holds(path):
    with pytest.raises(GalleryError, match="no such gallery: to make one"):
        Gallery(path)
    assert not path.exists()
    with pytest.raises(GalleryError, match="contract and the size"):
        Gallery(path, CONTRACT)


def test_a_newer_schema_is_refused(filled):
    newest = len(schema.migrations())
    change(filled, f"PRAGMA user_version = {newest + 1}")
    before = filled.read_bytes()
    with pytest.raises(GalleryError, match=f"has schema {newest + 1}, and this MindFace knows"):
        Gallery(filled)
    assert filled.read_bytes() == before


def test_migrations_are_numbered_without_gaps():
    numbers = [int(script.name[:4]) for script in schema.migrations()]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_migration_that_fails_changes_nothing(filled, tmp_path, monkeypatch):
    scripts = tmp_path / "migrations"
    shutil.copytree(schema.MIGRATIONS, scripts)
    (scripts / "0002_next.sql").write_text("CREATE TABLE more (a); -- a; b\nINSERT INTO none;\n")
    monkeypatch.setattr(schema, "MIGRATIONS", scripts)
    with pytest.raises(IntegrityError):
        Gallery(filled)
    (scripts / "0002_next.sql").write_text("CREATE TABLE more (a); -- a; b\nDROP TABLE gone;\n")
    with Gallery(filled) as gallery:
        assert gallery.backend.rows("PRAGMA user_version") == [(2,)]
    monkeypatch.undo()
    with pytest.raises(GalleryError, match="has schema 2"):
        Gallery(filled)


@pytest.mark.parametrize("kind", ["another program's", "a folder", "text"])
def test_what_is_no_gallery_is_refused(path, kind):
    if kind == "a folder":
        path.mkdir()
    elif kind == "text":
        path.write_text("people " * 1000)
    else:
        change(path, "CREATE TABLE mine (a)")
    with pytest.raises((GalleryError, IntegrityError), match=r"folder|no gallery|another program"):
        Gallery(path, CONTRACT, SIZE)


def test_a_closed_gallery_says_so(filled):
    gallery = Gallery(filled)
    gallery.close()
    with pytest.raises(GalleryError, match="closed"):
        gallery.people()


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_only_the_owner_can_read_the_files(filled):
    with Gallery(filled) as gallery:
        gallery.enroll("one more", unit(1))
        gallery.identify(unit(1))
        secret = [each for each in filled.parent.iterdir() if not each.name.endswith("-lock")]
        assert len(secret) == 5
        assert {stat.S_IMODE(each.stat().st_mode) for each in secret} == {0o600}


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("UPDATE people SET name = 'Eve' WHERE id = 3", "person 3"),
        ("UPDATE people SET valid_until = 1e12 WHERE id = 3", "person 3"),
        ("UPDATE faces SET person = 4 WHERE id = 3", "face 3"),
        ("UPDATE faces SET quality = 2 WHERE id = 3", "face 3"),
        ("UPDATE faces SET embedding = zeroblob(128) WHERE id = 3", "face 3"),
        ("UPDATE crops SET jpeg = x'00' WHERE face = 21", "the crop of face 21"),
        ("UPDATE journal SET payload = '{}' WHERE id = 1", "entry 1"),
    ],
)
def test_a_changed_row_is_named(filled, statement, named):
    with Gallery(filled) as gallery:
        gallery.enroll("with a crop", [sample(unit(1, seed=50)[0])])
    change(filled, statement)
    with Gallery(filled) as gallery:
        (fault,) = gallery.integrity()
        assert f"{named} " in fault
        with pytest.raises(IntegrityError, match=f"{named} .*is damaged: restore a backup"):
            everything(gallery), gallery.entries()


def test_a_changed_contract_is_noticed(filled):
    change(filled, "UPDATE meta SET value = ? WHERE key = 'contract'", "b" * 64)
    with pytest.raises(IntegrityError, match="what the gallery is"):
        Gallery(filled)


@pytest.mark.parametrize("damage", ["absent", "half", "header", "row", "rows", "other", "swapped"])
def test_the_matrix_is_rebuilt_from_the_store(filled, damage):
    vectors = filled.with_name("people.db-matrix")
    records = filled.with_name("people.db-rows")
    data = bytearray(vectors.read_bytes())
    if damage == "absent":
        vectors.unlink()
    elif damage == "half":
        vectors.write_bytes(data[: len(data) // 2])
    elif damage == "rows":
        records.write_bytes(records.read_bytes()[:-1])
    elif damage == "swapped":
        with Gallery(filled) as gallery:
            gallery.backend.rebuild()
        vectors.write_bytes(data)  # of another generation than the records
    elif damage == "other":
        other = filled.with_name("other.db")
        with Gallery(other, CONTRACT, SIZE) as gallery:
            gallery.add_many((f"other {number}", unit(1, seed=30 + number)) for number in range(20))
        for suffix in ("matrix", "rows"):
            other.with_name(f"other.db-{suffix}").replace(filled.with_name(f"people.db-{suffix}"))
    else:
        place = 20 if damage == "header" else matrix.START + 5 * SIZE * 4 + 3
        data[place] ^= 0x10
        vectors.write_bytes(data)
    with Gallery(filled) as gallery:
        assert who(gallery) == EVERYBODY
        assert gallery.integrity() == []


def test_the_matrix_grows_by_what_changed(filled, monkeypatch):
    written = []
    parts = Gallery(filled).backend.__class__.parts

    def counting(self, ids):
        for rows in parts(self, ids):
            written.extend(rows[1]["person"].tolist())
            yield rows

    monkeypatch.setattr("mindface.gallery.embedded.Embedded.parts", counting)
    with Gallery(filled) as gallery:
        generation = gallery.backend.matrix.header().generation
        gallery.enroll("new", unit(1, seed=70))
        assert who(gallery) == EVERYBODY
        gallery.merge("person 1", "person 2")
        who(gallery)
        gallery.remove([5])
        assert gallery.identify(unit(1, seed=4))[0].person != "person 4"
        assert written == [21, 2]
        assert gallery.backend.matrix.header().generation == generation
        assert gallery.integrity() == []


def test_the_matrix_is_compacted_when_much_of_it_is_dead(filled, monkeypatch):
    monkeypatch.setattr(matrix, "WASTE", 5)
    monkeypatch.setattr(matrix, "BLOCK", 7)
    with Gallery(filled) as gallery:
        for number in range(12):
            gallery.enroll("person 7", unit(1, seed=100 + number))
            view = gallery.backend.view()
            assert (view.people == 0).sum() <= 6
        assert gallery.integrity() == []
        assert sorted(view.people[view.people > 0]) == list(range(1, 21))


def test_opening_maps_the_vectors(filled):
    with Gallery(filled) as gallery:
        vectors = gallery.backend.view().vectors
        assert isinstance(vectors, np.memmap)
        assert vectors.shape == (20, SIZE)
        assert not vectors.flags.writeable


def test_ids_are_never_given_again(filled):
    with Gallery(filled) as gallery:
        gallery.enroll("last", unit(1))
        person, face = gallery.people()[-1].id, gallery.faces("last")[-1].id
        gallery.undo()
        gallery.enroll("next", unit(1))
        assert gallery.people()[-1].id > person
        assert gallery.faces("next")[-1].id > face


def test_what_fails_halfway_is_taken_back(filled):
    with Gallery(filled) as gallery:
        before = everything(gallery)
        row = PersonRow(21, "half", (), None, None, 0.0)
        with pytest.raises(IntegrityError), gallery.backend.writing():
            gallery.backend.add_people([row, row], 2)
        assert everything(gallery) == before
