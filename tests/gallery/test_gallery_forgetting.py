"""After a forgetting nothing is left in any file; and what is left would be found."""

import json
import shutil
import sqlite3

import numpy as np
import pytest
from gallery_faces import CONTRACT, SIZE, jpeg, sample, unit

from mindface.errors import GalleryError
from mindface.gallery import Gallery, forgetting, residue

NAME = 'Zoë "the fox" 🦊 Lovelace'
OLD = "Ada Byron, called earlier"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "people.db"


@pytest.fixture
def gallery(path):
    with Gallery(path, CONTRACT, SIZE) as gallery:
        yield gallery


def fill(gallery):
    """A person with everything that can be known of one, among others; returns the samples."""
    samples = [sample(vector, number) for number, vector in enumerate(unit(3))]
    alias = [sample(vector, 10 + number) for number, vector in enumerate(unit(2, seed=1))]
    gallery.enroll(OLD, samples, tags=["vip"])
    gallery.add_many((f"other {number}", unit(1, seed=20 + number)) for number in range(60))
    gallery.enroll("another name of hers", alias)
    gallery.rename(OLD, NAME)
    gallery.merge(NAME, "another name of hers")
    gallery.reject("other 3", samples[0].content)
    gallery.confirm(NAME, "a photo")
    gallery.identify(unit(4))
    return samples + alias


def leftovers(path, samples, names):
    """What stands in the files, by plain search."""
    data = b"".join(
        each.read_bytes() for each in path.parent.iterdir() if each.name.startswith(path.name)
    )
    found = [
        name for name in names for text in (name, json.dumps(name)[1:-1]) if text.encode() in data
    ]
    for face in samples:
        half = face.embedding.astype(np.float16)
        for blob in (
            face.embedding.tobytes(),
            half.tobytes(),
            face.crop[80:],
            face.content.encode(),
        ):
            starts = range(len(blob) - 31)
            found += [
                blob[start : start + 32] for start in starts if blob[start : start + 32] in data
            ]
    return found


def test_nothing_is_left_in_any_file(gallery, path):
    samples = fill(gallery)
    names = [NAME, OLD, "another name of hers", "/photos/1.jpg"]
    assert {*names} <= {*leftovers(path, samples, names)}
    receipt = gallery.forget(NAME)
    assert receipt.clean
    assert (receipt.people, receipt.names, receipt.faces, receipt.crops) == (1, 3, 5, 5)
    assert receipt.entries == 4
    assert receipt.windows > 5 * (SIZE * 4 - 31)
    assert receipt.files.keys() >= {"people.db", "people.db-wal", "people.db-matrix"}
    assert receipt.to_dict()["clean"] is True
    assert leftovers(path, samples, names) == []
    assert len(gallery.people()) == 60
    assert gallery.identify(unit(1, seed=23))[0].person == "other 3"
    assert gallery.integrity() == []
    gallery.close()
    assert leftovers(path, samples, names) == []


def test_a_forgetting_that_was_killed_is_finished_at_the_next_opening(path, monkeypatch):
    gallery = Gallery(path, CONTRACT, SIZE)
    samples = fill(gallery)

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(forgetting, "_cleaned", killed)
    with pytest.raises(KeyboardInterrupt):
        gallery.forget(NAME)
    crashed = path.parent / "crashed"
    shutil.copytree(path.parent, crashed)
    path = crashed / path.name
    assert leftovers(path, samples, [])
    monkeypatch.undo()
    gallery.close()
    with Gallery(path) as gallery:
        assert leftovers(path, samples, [NAME]) == []
        assert gallery.backend.meta("erasing") is None
        assert gallery.integrity() == []


def test_what_is_left_is_found_and_named(gallery, path):
    fill(gallery)
    vector = gallery.faces(NAME)[1].embedding
    parts = {
        "people.db-backup": b"xyz" + vector.tobytes()[36:68] + b"...",
        "people.db-half": bytes(1001) + vector.astype(np.float16).tobytes()[2:],
        "people.db-crop": b"1" * 77 + jpeg(1)[200:300],
        "people.db-name": b"{" + json.dumps(NAME).encode() + b"}",
        "people.db-short": vector.tobytes()[36:67],
        "unrelated.db": vector.tobytes(),
    }
    for name, content in parts.items():
        path.with_name(name).write_bytes(content)
    receipt = gallery.forget(NAME)
    assert not receipt.clean
    assert receipt.rewritten
    assert {(each.file, each.what, each.offset) for each in receipt.residue} >= {
        ("people.db-backup", "vector", 3),
        ("people.db-name", "name", 2),
    }
    assert {each.file for each in receipt.residue} == {*parts} - {"people.db-short", "unrelated.db"}


def test_what_others_have_too_is_said(gallery):
    vector = unit(1)[0]
    gallery.enroll("Ada Lovelace", [sample(vector)])
    gallery.enroll("Ada Lovelace II", [sample(vector), sample(unit(1, seed=1)[0], 1)])
    receipt = gallery.forget("Ada Lovelace")
    assert receipt.clean
    assert receipt.elsewhere == (
        "a name stands in 1 texts about others",
        "1 vectors that others were enrolled with too",
        "1 crops that others were enrolled with too",
    )
    assert gallery.people()[0].embeddings == 2
    receipt = gallery.forget("Ada Lovelace II")
    assert receipt.clean
    assert receipt.elsewhere == ()


@pytest.mark.parametrize("name", ["Al", "x" * 9000, "ü" * 300, "people", "enroll", "' OR 1=1"])
def test_odd_names_are_forgotten(gallery, path, name):
    gallery.add_many([(name, unit(1)), ("Robert", unit(1, seed=1))])
    receipt = gallery.forget(name)
    assert receipt.clean
    assert [person.name for person in gallery.people()] == ["Robert"]
    if len(name) > 6:
        assert name.encode() not in path.read_bytes()


def test_a_reader_that_keeps_an_old_state_is_reported(gallery, path, monkeypatch):
    fill(gallery)
    monkeypatch.setattr(forgetting, "PATIENCE", 50)
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM people").fetchone()
    receipt = gallery.forget(NAME)
    assert not receipt.checkpointed
    assert not receipt.clean
    reader.close()
    assert gallery.forget("other 1").clean


def test_files_that_cannot_be_searched_are_no_success(gallery, monkeypatch):
    fill(gallery)
    monkeypatch.setattr(residue, "__file__", "/nowhere.py")
    with pytest.raises(GalleryError, match="removed, but the files could not be searched"):
        gallery.forget(NAME)
    assert len(gallery.people()) == 60


def test_every_window_is_found_at_every_offset():
    blob = np.random.default_rng(0).integers(0, 256, 100, np.uint8).tobytes()
    windows = residue.Windows([bytes(64), blob])
    for start in range(len(blob) - 31):
        for offset in (0, 5, 13):
            data = b"\xff" * offset + blob[start : start + 32] + b"\xff" * 40
            assert (1, offset) in set(windows.find(data)), (start, offset)
            assert not list(windows.find(data[: offset + 31])), "31 bytes are no window"


def test_windows_are_found_across_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(residue, "CHUNK", 1000)
    blob = np.random.default_rng(0).integers(0, 256, 64, np.uint8).tobytes()
    file = tmp_path / "file"
    for start in (980, 995, 1990):
        file.write_bytes(bytes(start) + blob + b"a token" + bytes(5000))
        found = residue.search(file, residue.Windows([blob]), [b"a token"], [])
        assert [each.number for each in found["blobs"]] == [0]
        assert found["tokens"] == [(0, start + 64)]
