"""What lies on the disk of an encrypted gallery says nothing, and only its key opens it."""

import base64
import os
import random
import shutil
import signal
import sys
import time
import warnings
from contextlib import suppress

import numpy as np
import pytest
from gallery_faces import CONTRACT, SIZE, everything, recalled, sample, unit
from test_gallery_reindex import NEW, Model, filled

from mindface.enrolment.reindex import reindex
from mindface.errors import (
    ConfigError,
    GalleryError,
    GalleryKeyError,
    IntegrityError,
    MindFaceError,
    MissingExtraError,
)
from mindface.gallery import Gallery, Key, recover
from mindface.gallery.exchange import export_gallery, import_gallery
from mindface.gallery.matrix import Matrix
from mindface.gallery.quantised import encode

KEY = Key(bytes(range(32)))
OTHER = Key(bytes(range(1, 33)))
NAMES = ["Ada Lovelace, Countess", "Zoë Unfindable", "Robert the Third"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "people.db"


@pytest.fixture
def gallery(path):
    with Gallery(path, CONTRACT, SIZE, key=KEY) as gallery:
        yield gallery


def fill(gallery):
    samples = [sample(vector, number) for number, vector in enumerate(unit(3))]
    for name, face in zip(NAMES, samples, strict=True):
        gallery.enroll(name, [face], tags=["a secret tag"])
    gallery.reject(NAMES[0], samples[1].content)
    gallery.rename(NAMES[2], "Bob the Second")
    return samples


def leaks(folder, samples):
    """What of names, paths, tags, vectors and crops stands in any file."""
    blobs = [name.encode() for name in (*NAMES, "Bob the Second", "a secret tag", "/photos/")]
    for face in samples:
        codes = [encode(face.embedding[None], kind).codes for kind in ("float16", "int8")]
        long = face.embedding.tobytes(), *(each.tobytes() for each in codes), face.crop
        blobs += [blob[at : at + 16] for blob in long for at in range(len(blob) - 15)]
        blobs.append(face.content.encode())
    blobs += [KEY.secret, KEY.secret.hex().encode(), CONTRACT.encode()[:32]]
    files = [each for each in folder.rglob("*") if each.is_file()]
    assert files
    return {
        (each.name, blob)
        for each in files
        for data in [each.read_bytes()]
        for blob in blobs
        if blob in data
    }


@pytest.mark.parametrize("search", ["float32", "float16", "int8", "hnsw"])
def test_no_file_shows_names_vectors_or_crops(path, search, monkeypatch):
    monkeypatch.setattr("mindface.gallery.hnsw.SMALL", 2)
    monkeypatch.setattr("mindface.gallery.hnsw.UNSAVED", 0)
    with Gallery(path, CONTRACT, SIZE, key=KEY, search=search) as gallery:
        samples = fill(gallery)
        assert gallery.identify(unit(3))[0].person == NAMES[0]
        assert {each.name for each in path.parent.iterdir()} == {
            f"people.db{ending}" for ending in ("", "-lock", "-shm", "-wal")
        }
        assert leaks(path.parent, samples) == set()
        gallery.enroll("Eve", unit(1, seed=9))
        gallery.identify(unit(3))
        gallery.forget("Eve")
        assert leaks(path.parent, samples) == set()
    assert leaks(path.parent, samples) == set()


def test_the_same_search_finds_leaks_in_a_plain_gallery(path):
    with Gallery(path, CONTRACT, SIZE) as gallery:
        samples = fill(gallery)
        gallery.identify(unit(1))
        assert len(leaks(path.parent, samples)) > 300


def test_searching_in_memory_follows_as_files_do(path, tmp_path):
    encrypted = [
        Gallery(path, CONTRACT, SIZE, key=KEY, search=search)
        for search in ("float32", "float16", "int8")
    ]
    plain = Gallery(tmp_path / "plain.db", CONTRACT, SIZE)
    dice = np.random.default_rng(3)
    probes = unit(7, seed=99)
    there = []
    for step in range(10):
        if step % 5 == 4:
            gone = [there.pop(int(dice.integers(len(there))))]
        else:
            new = [(f"p {step} {each}", unit(2, seed=100 * step + each)) for each in range(20)]
            there += [name for name, _ in new]
        for gallery in (encrypted[step % 3], plain):
            if step % 5 == 4:
                for name in gone:
                    gallery.forget(name)
            else:
                gallery.add_many(new)
        right = plain.backend.search(probes, 5)
        for gallery in encrypted:
            found = gallery.backend.search(probes, 5)
            assert found.compared == right.compared
            assert recalled(right, found) == 1
            np.testing.assert_array_equal(found.scores, right.scores)
    for gallery in (*encrypted, plain):
        assert gallery.integrity() == []
        gallery.close()


def test_rows_of_a_view_stay_what_they_were(gallery):
    gallery.add_many((f"p {each}", unit(1, seed=each)) for each in range(50))
    view = gallery.backend.view()
    before = view.vectors.copy()
    gallery.forget("p 7")
    gallery.add_many((f"q {each}", unit(1, seed=100 + each)) for each in range(5000))
    gallery.identify(unit(1))
    np.testing.assert_array_equal(view.vectors, before)
    gallery.backend.matrix.forget(range(1000, 1011))
    assert len(gallery.backend.matrix.view().people) == 49 + 5000 - 11
    gallery.backend.rebuild()
    assert len(gallery.backend.view().people) == 5049


@pytest.mark.parametrize(
    ("made", "given", "sentence"),
    [
        (KEY, OTHER, "this key does not open it"),
        (KEY, None, "is encrypted: give its key"),
        (None, KEY, "is not encrypted, and a key was given"),
    ],
)
def test_another_key_is_refused_and_nothing_is_written(path, tmp_path, made, given, sentence):
    with Gallery(path, CONTRACT, SIZE, key=made) as gallery:
        fill(gallery)
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    for refused in (
        lambda: Gallery(path, key=given),
        lambda: Gallery(path, CONTRACT, SIZE, key=given),
        lambda: recover(path, tmp_path / "saved.db", given),
        lambda: reindex(path, Model(), key=given),
    ):
        with pytest.raises(GalleryKeyError, match=sentence):
            refused()
    after = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    assert after.pop("people.db-reindexing", b"") == b""
    assert after == before
    with Gallery(path, key=made) as gallery:
        assert len(gallery.people()) == 3


def test_a_key_is_for_files_only_and_needs_the_extra(path, monkeypatch):
    with pytest.raises(ConfigError, match="postgresql://: a key is for files"):
        Gallery("postgresql:///people", CONTRACT, SIZE, key=KEY)
    monkeypatch.setitem(sys.modules, "sqlcipher3.dbapi2", None)
    with pytest.raises(MissingExtraError, match=r"mindface\[encrypt\]"):
        Gallery(path, CONTRACT, SIZE, key=KEY)
    assert not path.exists()


def test_a_key_file_is_made_once_and_read_in_three_spellings(tmp_path):
    path = tmp_path / "people.key"
    key = Key.make(path)
    assert Key.read(path) == key != Key.make(tmp_path / "another.key")
    assert repr(key) == "Key()"
    assert os.name != "posix" or path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(GalleryKeyError, match="is there already"):
        Key.make(path)
    assert Key.read(path) == key
    for text in (key.secret, key.secret.hex().upper().encode(), base64.b64encode(key.secret)):
        path.write_bytes(text)
        assert Key.read(path) == key
        path.write_bytes(text + b"\n" if len(text) > 32 else text)
        assert Key.read(path) == key
    for wrong in (b"", key.secret[:31], key.secret * 2, b"secret", b"zz" * 32, b"\xff" * 64):
        path.write_bytes(wrong)
        with pytest.raises(GalleryKeyError, match=r"people\.key: no key") as refused:
            Key.read(path)
        assert "secret" not in str(refused.value)
    with pytest.raises(GalleryKeyError, match="cannot be read: No such file"):
        Key.read(tmp_path / "none.key")


@pytest.mark.skipif(os.name != "posix", reason="needs permissions")
def test_a_key_that_everybody_may_read_is_refused(tmp_path):
    path = tmp_path / "people.key"
    Key.make(path)
    path.chmod(0o640)
    Key.read(path)
    path.chmod(0o644)
    with pytest.raises(GalleryKeyError, match="chmod 600"):
        Key.read(path)


def test_the_receipt_promises_no_more_than_was_done(gallery, path):
    fill(gallery)
    receipt = gallery.forget(NAMES[0])
    assert (receipt.people, receipt.names, receipt.faces, receipt.crops) == (1, 1, 1, 1)
    assert (receipt.rewritten, receipt.checkpointed, receipt.clean) == (True, True, False)
    assert (receipt.files, receipt.windows) == ({}, 0)
    assert "not searched" in receipt.unpromised[0]
    assert "the same key opens them" in receipt.unpromised[1]
    assert gallery.backend.rows("PRAGMA freelist_count") == [(0,)]
    assert path.with_name("people.db-wal").stat().st_size == 0


def test_export_and_import_change_the_key(gallery, tmp_path):
    samples = fill(gallery)
    before = everything(gallery)
    export_gallery(gallery, tmp_path / "export")
    folder = tmp_path / "other"
    folder.mkdir()
    import_gallery(tmp_path / "export", folder / "copy.db", key=OTHER)
    assert leaks(folder, samples) == set()
    with Gallery(folder / "copy.db", key=OTHER) as copy:
        assert everything(copy) == before


def test_a_damaged_page_costs_its_rows_alone(path, tmp_path):
    with Gallery(path, CONTRACT, SIZE, key=KEY) as gallery:
        gallery.add_many(
            (f"person {number}", [sample(unit(1, seed=number)[0], number)]) for number in range(100)
        )
        right = everything(gallery)
    page = 8192
    data = bytearray(path.read_bytes())
    saved = []
    for number in range(len(data) // page // 2, len(data) // page, 9):
        broken = bytearray(data)
        broken[number * page + 100] ^= 1
        victim = tmp_path / f"{number}.db"
        victim.write_bytes(broken)
        with Gallery(victim, key=KEY) as gallery:
            assert gallery.integrity()
            with suppress(IntegrityError):
                assert everything(gallery) == right
        found = recover(victim, tmp_path / f"{number}-saved.db", KEY)
        saved.append(found.people + found.faces + found.crops)
        with Gallery(tmp_path / f"{number}-saved.db", key=KEY) as gallery:
            assert gallery.integrity() == []
            assert everything(gallery).items() <= right.items() or found.lost
    assert min(saved) > 100
    assert max(saved) > 250
    broken = bytearray(data)
    broken[5] ^= 1
    path.write_bytes(broken)
    with pytest.raises(MindFaceError, match="first page is damaged"):
        Gallery(path, key=KEY)


def test_reindexing_writes_nothing_in_the_clear(tmp_path, monkeypatch):
    plain = filled(tmp_path / "plain.db")
    with Gallery(plain) as gallery:
        export_gallery(gallery, tmp_path / "export")
        names = [person.name.encode() for person in gallery.people()]
    folder = tmp_path / "encrypted"
    folder.mkdir()
    path = folder / "people.db"
    import_gallery(tmp_path / "export", path, key=KEY)
    model = Model()
    vectors, seen = [], set()
    looked = model.features

    def features(images, *, aligned):
        found = looked(images, aligned=aligned)
        vectors.extend(row.astype("<f4").tobytes() for row in found)
        return found

    def watch(items, total):
        for item in items:
            check()
            yield item
        check()

    def check():
        for each in folder.iterdir():
            seen.add(each.name)
            data = each.read_bytes()
            assert not any(blob in data for blob in (*vectors, *names, b"SQLite format"))

    model.features = features
    done = reindex(path, model, watch=watch, key=KEY)
    check()
    assert (done.switched, len(vectors)) == (True, 10)
    assert {"people.db-reindex", "people.db-reindexed"} <= seen
    with Gallery(path, key=KEY) as gallery:
        assert gallery.backend.contract == NEW
        assert gallery.integrity() == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_what_was_acknowledged_survives_kills(path, long):
    with Gallery(path, CONTRACT, SIZE, key=KEY) as gallery:
        gallery.enroll("anchor", unit(1))
    moments, told = random.Random(3), {"anchor": 1}
    for turn in range(60 if long else 6):
        reading, writing = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # BLAS has threads
            process = os.fork()
        if process == 0:
            with Gallery(path, key=KEY) as gallery:
                for number in range(10_000):
                    faces = [sample(each, number) for each in unit(3, seed=1000 * turn + number)]
                    gallery.enroll(f"person {turn} {number}", faces)
                    os.write(writing, f"person {turn} {number}\n".encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as lines:
            told[lines.readline().strip()] = 3
            time.sleep(moments.random() * 0.3)
            os.kill(process, signal.SIGKILL)
            told |= {line.strip(): 3 for line in lines}
        os.waitpid(process, 0)
        with Gallery(path, key=KEY) as gallery:
            found = {person.name: person.embeddings for person in gallery.people()}
            assert found.items() >= told.items()
            assert len(found) <= len(told) + 1
            assert gallery.integrity() == []
            assert gallery.identify(unit(1))[0].similarity > 0.999
        told = found


def test_a_forgetting_that_was_killed_is_finished(path, tmp_path, monkeypatch):
    gallery = Gallery(path, CONTRACT, SIZE, key=KEY)
    fill(gallery)

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("mindface.gallery.forgetting._cleaned", killed)
    with pytest.raises(KeyboardInterrupt):
        gallery.forget(NAMES[0])
    crashed = tmp_path / "crashed"
    shutil.copytree(path.parent, crashed, ignore=lambda *_: {"crashed"})
    monkeypatch.undo()
    gallery.close()
    with Gallery(crashed / path.name, key=KEY) as gallery:
        assert gallery.backend.meta("erasing") is None
        assert len(gallery.people()) == 2


def test_the_matrix_is_made_when_it_is_needed(path):
    with Gallery(path, CONTRACT, SIZE, key=KEY) as gallery:
        assert not isinstance(gallery.backend.matrix, Matrix)
        with pytest.raises(GalleryError, match="not made yet"):
            gallery.backend.matrix.view()
