"""A gallery whose embeddings another model makes anew, beside the old ones."""

import os
import random
import shutil
import time
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from gallery_faces import CONTRACT, SIZE, jpeg, sample, unit
from killing import killed
from PIL import Image

from mindface.enrolment import crop_with_margin, photo_hash
from mindface.enrolment.reindex import reindex
from mindface.errors import GalleryError, ModelError
from mindface.gallery import Gallery
from mindface.gallery.rows import face_content
from mindface.imaging import open_image
from mindface.results import Face

NEW, NEW_SIZE = "d" * 64, 12
BOX = np.array([60, 40, 140, 120])
POINTS = np.array([[84, 68], [116, 68], [100, 84], [88, 100], [112, 100]], np.float32)


class Model:
    """Sees of an aligned face what a dozen coarse pixels show; `seen` counts the faces."""

    template = "arcface_112x112"
    embedding_size = NEW_SIZE
    record = SimpleNamespace(contract=NEW)

    def __init__(self):
        self.seen = 0

    def features(self, images, *, aligned):
        assert aligned
        self.seen += len(images)
        return np.array([self.look(image) for image in images])

    @staticmethod
    def look(image):
        assert image.shape == (112, 112, 3)
        small = cv2.resize(image, (2, 2), interpolation=cv2.INTER_AREA).astype(np.float32)
        return (small.ravel() - 128) / 8


def photo(path, seed):
    """A picture of coloured blocks, a dozen colours a person."""
    blocks = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), np.uint8)
    pixels = cv2.resize(blocks, (240, 200), interpolation=cv2.INTER_CUBIC)
    Image.fromarray(pixels).save(path, quality=95)
    return path


def shown(path, number, **others):
    """The sample of a photo's face, as an enrolment keeps it."""
    crop = crop_with_margin(open_image(path), Face(BOX, 0.9, POINTS))
    facts = {"path": str(path), "content": face_content(photo_hash(path), 0), "crop": crop}
    return sample(
        unit(1, seed=number)[0], number, **(facts | {"box": BOX, "landmarks": POINTS} | others)
    )


def filled(path, people=6):
    """A gallery with a past: the second face of each person has no crop, only its photo."""
    with Gallery(path, CONTRACT, SIZE) as gallery:
        for number in range(people):
            pictures = [photo(path.parent / f"{number}-{look}.jpg", number) for look in range(2)]
            samples = [
                shown(pictures[0], 2 * number),
                shown(pictures[1], 2 * number + 1, crop=None),
            ]
            gallery.enroll(f"person {number}", samples, tags=[f"tag {number}"])
        gallery.merge("person 0", "person 1")
        gallery.reject("person 2", "a photo:0")
        gallery.rename("person 3", "Ada")
        gallery.undo()
        gallery.forget(f"person {people - 1}")
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return filled(tmp_path_factory.mktemp("made") / "people.db")


@pytest.fixture
def path(made, tmp_path):
    return shutil.copy(made, tmp_path)


def facts(gallery):
    """Everything that a model has no part in."""
    backend = gallery.backend
    return (
        backend.people(),
        [
            (each.id, each.person, each.path, each.content, each.created, backend.crop(each.id))
            for each in backend.scan()
        ],
        [entry for entry in backend.entries() if entry.kind != "remove"],
        backend.last_person(),
    )


def test_ids_names_and_journal_stay_and_embeddings_are_the_new_models(path, tmp_path):
    with Gallery(path) as gallery:
        before = facts(gallery)
    shown_as = []

    def watch(items, total):
        shown_as.append(total)
        return items

    model = Model()
    done = reindex(path, model, watch=watch)
    assert (done.switched, done.faces, done.missing, model.seen) == (True, 10, (), 10)
    assert shown_as == [10, 10]
    with Gallery(path) as gallery:
        assert (gallery.backend.contract, gallery.backend.size) == (NEW, NEW_SIZE)
        assert facts(gallery) == before
        assert gallery.integrity() == []
        for person in (2, 3, 4):
            from_crop, from_photo = gallery.faces(f"person {person}")
            assert from_crop.embedding @ from_photo.embedding > 0.98
            assert from_crop.quality == pytest.approx(from_photo.quality, rel=0.1)
            (match,) = gallery.identify(from_photo.embedding[None])
            assert match.similarity > 0.98
        gallery.undo(7)
        assert [person.name for person in gallery.people()][:2] == ["person 0", "person 1"]
        assert gallery.enroll("new", unit(1, NEW_SIZE)).payload["created"] == [7]
        assert gallery.faces("new")[0].id == 13
    left = {each.name for each in tmp_path.iterdir()}
    assert left <= {"people.db"} | {f"people.db-{each}" for each in KEPT}
    again = reindex(path, model)
    assert (again.switched, again.faces, model.seen) == (True, 11, 10)


KEPT = ("lock", "matrix", "rows", "reindexing")


@pytest.fixture
def lacking(path, tmp_path):
    """A gallery with faces that no model can see again, and their reasons."""
    changed, gone = (photo(tmp_path / f"{name}.jpg", 77) for name in ("changed", "gone"))
    with Gallery(path) as gallery:
        gallery.enroll("vector", unit(1, seed=50))
        samples = [shown(changed, 51, crop=None), shown(gone, 52, crop=jpeg(1), content="x")]
        gallery.enroll("person 4", samples)
        gallery.enroll("person 3", [shown(changed, 53, landmarks=None, crop=None)])
    gone.unlink()
    photo(changed, 78)
    return path


def test_faces_that_cannot_be_recomputed_are_listed_and_the_user_decides(lacking):
    with Gallery(lacking) as gallery:
        before = facts(gallery)
        entries = gallery.backend.last_entry()
    model = Model()
    done = reindex(lacking, model)
    assert (done.switched, done.faces, model.seen) == (False, 10, 10)
    assert [(each.face, each.person) for each in done.missing] == [
        (13, "vector"),
        (14, "person 4"),
        (15, "person 4"),
        (16, "person 3"),
    ]
    reasons = [each.reason for each in done.missing]
    assert "no crop with landmarks" in reasons[0]
    assert "not the one that was enrolled" in reasons[1]
    assert "No such file" in reasons[2]
    assert reasons[3] == reasons[0]
    with Gallery(lacking) as gallery:
        assert (facts(gallery), gallery.backend.contract) == (before, CONTRACT)
    done = reindex(lacking, model, drop_missing=True)
    assert (done.switched, done.faces, len(done.missing), model.seen) == (True, 10, 4, 10)
    with Gallery(lacking) as gallery:
        people, faces, journal, last = facts(gallery)
        assert (people, journal, last) == (before[0], before[2], before[3])
        assert faces == [each for each in before[1] if each[0] < 13]
        (removed,) = gallery.backend.entries(entries + 1)
        assert (removed.kind, removed.payload) == ("remove", {"faces": [13, 14, 15, 16]})
        assert gallery.people()[-1].embeddings == 0
        gallery.undo(entries)
        assert gallery.integrity() == []


def test_what_is_written_meanwhile_is_not_lost(path, tmp_path):
    picture = photo(tmp_path / "late.jpg", 9)
    late = iter([shown(picture, 9)])

    def watch(items, total):
        yield from items
        for face in late:
            with Gallery(path) as gallery:
                gallery.enroll("late", [face])

    assert reindex(path, Model(), watch=watch).faces == 11
    with Gallery(path) as gallery:
        assert (gallery.people()[-1].name, gallery.backend.contract) == ("late", NEW)


def test_a_forgetting_removes_what_was_begun(lacking, tmp_path):
    model = Model()
    assert not reindex(lacking, model).switched
    begun = [tmp_path / f"people.db-{each}" for each in BEGUN]
    assert begun[0].exists()
    for file in begun[1:]:
        file.write_bytes(b"person 2, as the new model sees her")
    others = [tmp_path / f"people.db-{each}" for each in ("reindexing", "reindex2")]
    others[1].touch()
    with Gallery(lacking) as gallery:
        receipt = gallery.forget("person 2")
    assert receipt.clean
    assert not any(file.exists() for file in begun)
    assert all(file.exists() for file in others)
    assert reindex(lacking, model, drop_missing=True).faces == 8
    assert model.seen == 10 + 8


BEGUN = ("reindex", "reindex-journal", "reindexed", "reindexed-wal", "reindexed-matrix")


@pytest.mark.parametrize("phase", [0, 1])
def test_a_forgetting_meanwhile_is_obeyed(path, tmp_path, monkeypatch, phase):
    monkeypatch.setattr("mindface.gallery.forgetting.PATIENCE", 50)
    phases = []

    def watch(items, total):
        phases.append(total)
        yield from items
        if len(phases) == phase + 1:
            with Gallery(path) as gallery:
                gallery.forget("person 2")

    assert reindex(path, Model(), watch=watch).faces == 8
    assert len(phases) == phase + 3
    with Gallery(path) as gallery:
        assert "person 2" not in [person.name for person in gallery.people()]
        assert (gallery.backend.contract, gallery.integrity()) == (NEW, [])
    left = {each.name for each in tmp_path.iterdir()}
    assert not left & {f"people.db-{each}" for each in BEGUN}


def test_a_gallery_in_use_is_not_exchanged(path, monkeypatch):
    monkeypatch.setattr("mindface.enrolment.reindex.PATIENCE", 0.1)
    model = Model()
    with Gallery(path) as gallery:
        before = facts(gallery)
        with pytest.raises(GalleryError, match="another process has it open"):
            reindex(path, model)
        assert facts(gallery) == before
    assert reindex(path, model).switched
    assert model.seen == 10


def test_what_cannot_be_reindexed_is_refused(path, tmp_path):
    for url in ("postgresql://localhost/people", tmp_path / "none.db", tmp_path):
        with pytest.raises(GalleryError, match="no gallery file"):
            reindex(url, Model())

    class Blind(Model):
        @staticmethod
        def look(image):
            return np.zeros(NEW_SIZE)

    with pytest.raises(ModelError, match="zero or not finite"):
        reindex(path, Blind())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_it_goes_on_where_it_was(made, tmp_path, long):
    with Gallery(made) as gallery:
        before = facts(gallery)
    moments = random.Random(8)
    path = tmp_path / "people.db"

    class Slow(Model):
        def features(self, images, *, aligned):
            time.sleep(0.02)
            return super().features(images, aligned=aligned)

    for _ in range(200 if long else 5):
        shutil.copy(made, path)
        killed(lambda: reindex(path, Slow()), moments.random() * 0.6)
        with Gallery(path) as gallery:
            assert facts(gallery) == before
            assert gallery.backend.contract in (CONTRACT, NEW)
            assert gallery.integrity() == []
        assert reindex(path, Model()).switched
        with Gallery(path) as gallery:
            assert (facts(gallery), gallery.backend.contract) == (before, NEW)
        for each in tmp_path.iterdir():
            each.unlink()
