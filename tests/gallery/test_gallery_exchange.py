"""Galleries written as folders of open files and read back, whole, altered and interrupted."""

import hashlib
import json
import os
import random
import shutil
from contextlib import contextmanager
from datetime import UTC, datetime

import numpy as np
import pytest
from gallery_faces import CONTRACT, SIZE, everything, jpeg, sample, unit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from killing import killed

from mindface.errors import ContractError, GalleryError, MindFaceError
from mindface.gallery import Gallery
from mindface.gallery.backend import Capabilities
from mindface.gallery.embedded import Embedded
from mindface.gallery.exchange import Export, export_gallery, fill, import_gallery
from mindface.gallery.exchange.lines import FaceLine, face_line
from mindface.gallery.rows import FaceRow


def rows(gallery):
    """Every row, bit by bit."""
    backend = gallery.backend
    return {
        "people": backend.people(),
        "faces": [
            {name: _plain(value) for name, value in vars(face).items()} for face in backend.scan()
        ],
        "crops": [backend.crop(face.id) for face in backend.scan()],
        "entries": list(backend.entries()),
        "last": backend.last_person(),
    }


def _plain(value):
    return value.tobytes() if isinstance(value, np.ndarray) else value


def lived(path, name="Zoë \x00 王\u2028小明"):
    """A gallery in which everything was done that can be."""
    with Gallery(path, CONTRACT, SIZE) as gallery:
        vectors = unit(12)
        until = datetime(2030, 1, 1, tzinfo=UTC)
        gallery.enroll("Ada", [sample(row, n) for n, row in enumerate(vectors[:4])], tags=["b"])
        gallery.enroll(name, vectors[4:6], valid_until=until)
        gallery.enroll("Bob", [sample(vectors[6], 6, path="/p/\udcff.jpg", crop=None)])
        gallery.enroll("Eve", [sample(vectors[7], 7, box=None, landmarks=None, path=None)])
        gallery.enroll("gone", vectors[8:10])
        gallery.merge("Ada", "Bob")
        gallery.split("Ada", [2, 3], "Countess")
        gallery.rename("Eve", "Eva")
        gallery.undo()
        gallery.reject("Ada", "photo:1")
        gallery.confirm("Eve", "photo:2")
        gallery.edit("Eve", tags=["x", "y"])
        gallery.remove([4])
        gallery.forget("gone")
        gallery.enroll("last", vectors[10:])
        gallery.undo()
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A gallery and its export, made once; tests work on copies."""
    made = tmp_path_factory.mktemp("made")
    with Gallery(lived(made / "source.db")) as gallery:
        export_gallery(gallery, made / "export")
    return made


@pytest.fixture
def source(made, tmp_path):
    return shutil.copy(made / "source.db", tmp_path)


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made / "export", tmp_path / "export")


def test_a_round_trip_gives_an_equal_gallery(source, folder, tmp_path):
    manifest = import_gallery(folder, tmp_path / "copy.db")
    assert manifest.counts.model_dump() == {"people": 5, "faces": 7, "crops": 4, "entries": 16}
    with Gallery(source) as before, Gallery(tmp_path / "copy.db") as after:
        assert rows(after) == rows(before)
        assert everything(after) == everything(before)
        assert after.integrity() == []
        probes = unit(12)
        names = [match.to_dict() for match in before.identify(probes)]
        assert [match.to_dict() for match in after.identify(probes)] == names
        for gallery in (before, after):  # undo state, and ids that go on where they were
            gallery.undo(7)
            gallery.enroll("new", unit(1, seed=5), operation="new")
        ids = [[(each.id, each.name) for each in gallery.people()] for gallery in (before, after)]
        assert ids[0] == ids[1]
        assert before.faces("new")[0].id == after.faces("new")[0].id == 13
        assert list(everything(after)) == list(everything(before))


@pytest.mark.parametrize("server", ["postgres_url", "milvus_url"])
def test_a_round_trip_between_backends(tmp_path, request, server):
    url = request.getfixturevalue(server)
    with Gallery(lived(tmp_path / "source.db", name="Zoë 王\u2028小明")) as gallery:
        expected = rows(gallery)
        export_gallery(gallery, tmp_path / "there")
    import_gallery(tmp_path / "there", url)
    with Gallery(url) as gallery:
        assert rows(gallery) == expected
        export_gallery(gallery, tmp_path / "back")
        gallery.undo(7)
        gallery.enroll("new", unit(1, seed=5))
        assert gallery.faces("new")[0].id == 13
        (match,) = gallery.identify(unit(1, seed=5))
        assert match.similarity == pytest.approx(1)
    import_gallery(tmp_path / "back", tmp_path / "copy.db")
    with Gallery(tmp_path / "copy.db") as gallery:
        assert rows(gallery) == expected


def test_an_empty_gallery_and_one_without_a_journal(tmp_path):
    with Gallery(tmp_path / "a.db", CONTRACT, SIZE) as gallery:
        export_gallery(gallery, tmp_path / "a")
    with Gallery(tmp_path / "b.db", CONTRACT, SIZE) as gallery:
        gallery.enroll("Ada", unit(1))
        gallery.backend.run("DELETE FROM journal WHERE id = ?", [(1,)])  # as after a recovery
        export_gallery(gallery, tmp_path / "b")
    import_gallery(tmp_path / "a", tmp_path / "copy.db")
    import_gallery(tmp_path / "b", tmp_path / "copy.db")
    with Gallery(tmp_path / "copy.db") as gallery:
        assert [person.name for person in gallery.people()] == ["Ada"]
        assert gallery.identify(unit(1))[0].similarity == pytest.approx(1)


def test_an_export_is_what_the_page_says(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["format"], manifest["version"]) == ("mindface-gallery", 1)
    assert (manifest["contract"], manifest["size"]) == (CONTRACT, SIZE)
    assert folder.stat().st_mode & 0o077 == 0
    for name, facts in manifest["files"].items():
        data = (folder / name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (facts["bytes"], facts["sha256"])
    faces = list(map(json.loads, (folder / "faces.jsonl").read_bytes().splitlines()))
    with np.load(folder / "embeddings" / "00000.npz") as arrays:
        assert arrays["ids"].tolist() == [face["id"] for face in faces]
        np.testing.assert_array_equal(arrays["embeddings"][0], unit(12)[0])
    assert (folder / faces[0]["crop"]["file"]).read_bytes() == jpeg(0)
    assert faces[0]["box"] == [1, 2, 3, 4]
    assert [face.get("path_hex") for face in faces if face["path"] is None][-2:] == [
        b"/p/\xff.jpg".hex(),
        None,
    ]


FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(
    number=st.integers(1, 2**63 - 1),
    quality=st.floats(1e-30, 1e30),
    created=st.floats(allow_nan=False, allow_infinity=False),
    path=st.none() | st.binary().map(lambda data: data.decode("utf-8", "surrogateescape")),
    box=st.none() | st.lists(FINITE, min_size=4, max_size=4),
    landmarks=st.none() | st.lists(FINITE, min_size=10, max_size=10),
    content=st.text(),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_a_face_survives_its_line(number, quality, created, path, box, landmarks, content):
    face = FaceRow(
        id=number,
        person=1,
        embedding=unit(1)[0],
        quality=quality,
        path=path,
        content=content,
        box=None if box is None else np.array(box, "<f4"),
        landmarks=None if landmarks is None else np.array(landmarks, "<f4").reshape(5, 2),
        created=created,
    )
    line = face_line(face, None)
    assert line.count(b"\n") == 1
    read = FaceLine.model_validate_json(line).row(face.embedding)
    assert {key: _plain(value) for key, value in vars(read).items()} == {
        key: _plain(value) for key, value in vars(face).items()
    }


def rewritten(folder, name, change):
    """A file of the export after a change, the manifest agreeing."""
    path = folder / name
    path.write_bytes(change(path.read_bytes()))
    manifest = json.loads((folder / "manifest.json").read_text())
    data = path.read_bytes()
    manifest["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def flipped(data):
    return data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]


def swapped(old, new, count=1):
    return lambda data: data.replace(old, new, count)


def pickled(data):
    path = os.fspath(pickled.path)
    arrays = {"ids": np.array([1], object), "embeddings": unit(1)}
    with open(path, "wb") as file:
        np.savez(file, **arrays)
    with open(path, "rb") as file:
        return file.read()


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        ("people.jsonl", flipped, "sha256 differs"),
        ("faces.jsonl", flipped, "sha256 differs"),
        ("journal.jsonl", flipped, "sha256 differs"),
        ("embeddings/00000.npz", flipped, "sha256 differs"),
        ("crops/000000/1.jpg", flipped, "sha256 differs"),
        ("crops/000000/1.jpg", None, "belongs to the export and cannot be read"),
        ("people.jsonl", None, "belongs to the export and cannot be read"),
        ("manifest.json", None, "not a gallery's export"),
        ("manifest.json", lambda _: b"{", "no format and version"),
        ("manifest.json", lambda _: b"[" * 100_000, "no format and version"),
        ("manifest.json", swapped(b'"version": 1', b'"version": 2'), "pip install --upgrade"),
        ("manifest.json", swapped(b'"size": 32', b'"size": 0'), "size"),
        ("manifest.json", swapped(b"mindface-gallery", b"another"), "the format 'another'"),
        ("manifest.json", swapped(b'"people.jsonl"', b'"../people.jsonl"'), "does not belong"),
        ("manifest.json", swapped(b'"crops": 4', b'"crops": 5'), "other numbers of rows"),
    ],
)
def test_missing_and_altered_files_are_refused(folder, tmp_path, name, change, sentence):
    path = folder / name
    if change is None:
        path.unlink()
    else:
        before = path.read_bytes()
        path.write_bytes(change(before))
        assert path.read_bytes() != before
    refused(folder, tmp_path, sentence)


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        ("faces.jsonl", swapped(b"crops/000000/1.jpg", b"../outside.jpg"), "would lie outside"),
        ("faces.jsonl", swapped(b"crops/000000/1.jpg", b"/etc/hostname"), "would lie outside"),
        ("faces.jsonl", swapped(b"crops/000000/1.jpg", b"crops/link.jpg"), "would lie outside"),
        ("faces.jsonl", swapped(b"crops/000000/1.jpg", b"crops"), "a folder, not a file"),
        ("faces.jsonl", swapped(b'"id": 1,', b'"id": 99,'), "no embedding in its place"),
        ("faces.jsonl", swapped(b'"person": 1,', b'"person": 9,'), "is of nobody"),
        ("faces.jsonl", swapped(b'"id": 1,', b'"id": 1, "more": 2,'), "more: Extra inputs"),
        ("faces.jsonl", swapped(b"{", b"["), "line 1: Invalid JSON"),
        ("faces.jsonl", lambda data: data.partition(b"\n")[2], "no embedding in its place"),
        ("faces.jsonl", lambda data: data[: data[:-1].rindex(b"\n") + 1], "more embeddings"),
        ("people.jsonl", swapped(b'"Ada"', b'"Bob"'), "the name or id of 'Bob'"),
        ("people.jsonl", swapped(b'"Ada"', b'" "'), "no name"),
        ("people.jsonl", swapped(b'"merged_into": null', b'"merged_into": 3'), "alias of nobody"),
        ("people.jsonl", lambda data: data + data, "do not ascend"),
        ("journal.jsonl", swapped(b'"enroll"', b'"exec"'), "line 1: kind"),
        ("journal.jsonl", lambda data: b"", "other numbers of rows"),
        ("embeddings/00000.npz", pickled, "not embeddings with their ids"),
        ("embeddings/00000.npz", lambda _: b"PK no zip", "not embeddings with their ids"),
    ],
)
def test_rows_that_cannot_be_are_refused(folder, tmp_path, name, change, sentence):
    (tmp_path / "outside.jpg").write_bytes(jpeg(0))
    (folder / "crops" / "link.jpg").symlink_to(tmp_path / "outside.jpg")
    pickled.path = tmp_path / "pickled.npz"
    rewritten(folder, name, change)
    refused(folder, tmp_path, sentence)


def refused(folder, tmp_path, sentence):
    with pytest.raises(MindFaceError, match=sentence):
        import_gallery(folder, tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()


def test_a_shard_that_would_not_fit_in_memory_is_refused(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("mindface.gallery.exchange.folder.MAX_SHARD", 1)
    monkeypatch.setattr("mindface.gallery.exchange.folder.MAX_CROP", 10)
    with pytest.raises(GalleryError, match=r"larger than 1 embeddings|larger than 10 bytes"):
        import_gallery(folder, tmp_path / "copy.db")
    monkeypatch.setattr("mindface.gallery.exchange.lines.MAX_LINE", 100)
    with pytest.raises(GalleryError, match="line 1: longer than 100 bytes"):
        import_gallery(folder, tmp_path / "copy.db")


def test_galleries_are_not_joined_nor_overwritten(source, folder, tmp_path):
    with Gallery(tmp_path / "other.db", CONTRACT, SIZE) as gallery:
        gallery.enroll("Ada", unit(1))
        before = rows(gallery)
        with pytest.raises(GalleryError, match="is not empty: import into a new gallery"):
            import_gallery(folder, tmp_path / "other.db")
        assert rows(gallery) == before
        with pytest.raises(GalleryError, match="is there already: name a new folder"):
            export_gallery(gallery, folder)
    with Gallery(tmp_path / "model.db", "b" * 64, SIZE), pytest.raises(ContractError):
        import_gallery(folder, tmp_path / "model.db")
    import_gallery(folder, tmp_path / "copy.db")
    import_gallery(folder, tmp_path / "copy.db")  # done: nothing to do
    with Gallery(tmp_path / "copy.db") as copy:
        copy.undo()
    with pytest.raises(GalleryError, match="is not empty"):
        import_gallery(folder, tmp_path / "copy.db")


def test_a_failed_export_leaves_nothing(source, tmp_path):
    def stops(items, total):
        assert total == 7
        yield next(iter(items))
        raise KeyboardInterrupt

    with Gallery(source) as gallery:
        with pytest.raises(KeyboardInterrupt):
            export_gallery(gallery, tmp_path / "export", watch=stops)
        assert [each.name for each in tmp_path.iterdir() if each.is_dir()] == []
        unfinished = tmp_path / "export.unfinished"
        unfinished.mkdir()
        (unfinished / "people.jsonl").touch()  # of one that was killed
        (unfinished / "diary.txt").touch()
        with pytest.raises(GalleryError, match="is in the way"):
            export_gallery(gallery, tmp_path / "export")
        (unfinished / "diary.txt").unlink()
        export_gallery(gallery, tmp_path / "export")
    assert not unfinished.exists()


class WithoutTransactions(Embedded):
    """A backend whose writes stand one by one, and which fails at some of them."""

    capabilities = Capabilities(False, True, True)
    left = 10**9

    @contextmanager
    def writing(self):
        yield

    def run(self, statement, values):
        for each in values:
            if WithoutTransactions.left <= 0:
                raise KeyboardInterrupt
            WithoutTransactions.left -= 1
            super().run(statement, [each])


def test_without_transactions_an_import_goes_on_where_it_was(source, folder, tmp_path, long):
    with Gallery(source) as gallery:
        expected = rows(gallery)
    export = Export(folder)
    for moment in range(4, 45, 1 if long else 12):
        path = tmp_path / f"{moment}.db"
        WithoutTransactions.left = 10**9
        backend = WithoutTransactions(path, CONTRACT, SIZE)
        WithoutTransactions.left = moment
        try:
            fill(backend, export)
        except KeyboardInterrupt:
            WithoutTransactions.left = 10**9
            fill(backend, export)
        backend.close()
        with Gallery(path) as gallery:
            found = rows(gallery)
            lost = [each for each in range(7) if found["crops"][each] != expected["crops"][each]]
            assert len(lost) <= 4
            assert found | {"crops": 0} == expected | {"crops": 0}, moment


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_an_import_that_is_killed_is_given_again(tmp_path, long):
    with Gallery(tmp_path / "source.db", CONTRACT, SIZE) as gallery:
        gallery.add_many(
            (f"person {n}", [sample(row, n)]) for n, row in enumerate(unit(300, seed=1))
        )
        gallery.merge("person 1", "person 2")
        export_gallery(gallery, tmp_path / "export")
        expected = rows(gallery)
    moments = random.Random(5)
    for number in range(200 if long else 3):
        path = tmp_path / f"{number}.db"
        killed(lambda path=path: import_gallery(tmp_path / "export", path), 0.4 * moments.random())
        if path.exists():
            with Gallery(path, CONTRACT, SIZE) as gallery:
                assert len(gallery.people()) in (0, 299)
                assert gallery.integrity() == []
        import_gallery(tmp_path / "export", path)
        with Gallery(path) as gallery:
            assert rows(gallery) == expected
        path.unlink()
