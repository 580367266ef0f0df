"""What every backend of a gallery has to do; a backend's tests inherit from `Conformance`."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from gallery_faces import CONTRACT, SIZE, calibration, everything, jpeg, near, sample, unit

from mindface.errors import ContractError, GalleryError
from mindface.gallery import Gallery
from mindface.gallery.rows import face_content, photo_of
from mindface.results import Face

NAMES = [
    "Ada Lovelace",
    "Zoë e\u0301 \u05d0\u05d1 王小明 🦊",
    "Robert'); DROP TABLE people;--",
    "\"quoted\" 'name' % _ \\ \n",
    "a\x00b",
    "ü" * 10_000,
    " leading",
    "0",
]
NOW = datetime(2026, 5, 1, tzinfo=UTC)
DAY = timedelta(days=1)


class Conformance:
    """A subclass has a fixture `url`: of a gallery that is not there yet, and may have a key."""

    key = None

    @pytest.fixture
    def gallery(self, url):
        with Gallery(url, CONTRACT, SIZE, calibration=calibration(), key=self.key) as gallery:
            yield gallery

    def test_what_was_enrolled_is_there_when_opened_again(self, url):
        vectors = unit(3)
        with Gallery(url, CONTRACT, SIZE, key=self.key) as gallery:
            gallery.enroll("Ada", [sample(vectors[0], 0), sample(vectors[1], 1)], tags=["b", "a"])
            gallery.enroll("Bob", vectors[2:])
            before = everything(gallery)
        with Gallery(url, key=self.key) as gallery:
            assert everything(gallery) == before
            ada, bob = gallery.people()
            assert (ada.name, ada.embeddings, ada.tags) == ("Ada", 2, ("a", "b"))
            assert json.loads(json.dumps(bob.to_dict()))["embeddings"] == 1
            face = gallery.faces("Ada")[1]
            np.testing.assert_array_equal(face.embedding, vectors[1])
            np.testing.assert_array_equal(face.box, [1, 2, 4, 4])
            np.testing.assert_array_equal(face.landmarks, np.arange(10).reshape(5, 2) + 1)
            assert (face.quality, face.path, gallery.crop(face.id)) == (
                21,
                "/photos/1.jpg",
                jpeg(1),
            )
            assert gallery.crop(gallery.faces("Bob")[0].id) is None
            assert gallery.integrity() == []

    def test_names_are_any_text(self, gallery):
        any_text = gallery.backend.capabilities.any_text
        names = [name for name in NAMES if any_text or "\x00" not in name]
        vectors = unit(len(names))
        for name, vector in zip(names, vectors, strict=True):
            gallery.enroll(name, vector[None], tags=[name])
        for name in {*NAMES} - {*names}:
            with pytest.raises(GalleryError, match="NUL"):
                gallery.enroll(name, vectors[:1])
        assert [person.name for person in gallery.people()] == names
        assert [person.tags for person in gallery.people()] == [(name,) for name in names]
        assert [match.person for match in gallery.identify(vectors)] == names
        for number, name in enumerate(names):
            (match,) = gallery.identify(vectors[number : number + 1], tags=[name])
            assert match.person == name

    @pytest.mark.parametrize("name", ["", " \n", "\ud800"])
    def test_what_is_no_name_is_refused(self, gallery, name):
        with pytest.raises(GalleryError, match=r"no name|not Unicode"):
            gallery.enroll(name, unit(1))
        assert gallery.people() == []

    def test_faces_with_embeddings_can_be_enrolled(self, gallery):
        box, points = [0, 0, 9, 9], np.arange(10).reshape(5, 2)
        gallery.enroll("Ada", [Face(box, 0.9, points, unit(1)[0])])
        np.testing.assert_array_equal(gallery.faces("Ada")[0].landmarks, points)
        with pytest.raises(GalleryError, match="without an embedding"):
            gallery.enroll("Ada", [Face(box, 0.9, points)])

    @pytest.mark.parametrize(
        ("vectors", "error", "sentence"),
        [
            (unit(2, SIZE + 1), ContractError, "not of 33: they come from another model"),
            (2 * unit(2), GalleryError, "embedding 0 has the length 2"),
            (np.full((1, SIZE), np.nan, np.float32), GalleryError, "the length nan"),
            (unit(1)[0], GalleryError, r"the shape \(N, D\)"),
        ],
    )
    def test_embeddings_that_cannot_be_are_refused(self, gallery, vectors, error, sentence):
        with pytest.raises(error, match=sentence):
            gallery.enroll("Ada", vectors)
        with pytest.raises(error, match=sentence):
            gallery.identify(vectors)
        assert gallery.people() == []

    def test_another_models_embeddings_are_refused(self, url, gallery):
        for contract, size in [("b" * 64, SIZE), (CONTRACT, 2 * SIZE)]:
            with pytest.raises(ContractError, match="holds embeddings of another model"):
                Gallery(url, contract, size, key=self.key)
        with pytest.raises(ContractError, match="calibration was measured with another model"):
            Gallery(url, calibration=calibration(contract="b" * 64), key=self.key)

    def test_identification_is_open_set(self, gallery):
        vectors = np.eye(SIZE, dtype=np.float32)
        gallery.add_many([("Ada", vectors[:1]), ("Bob", vectors[1:2]), ("Eve", vectors[2:3])])
        probes = [
            near(vectors[0], 0.6),  # a match from 0.3 on
            near(vectors[0], 0.25),  # uncertain from 0.2 on
            near(vectors[5], 0.99),
            (0.72 * vectors[0] + 0.694 * vectors[1]) / np.hypot(0.72, 0.694),
        ]
        probes = np.array(probes, np.float32)
        match, doubt, stranger, twin = gallery.identify(probes)
        assert (match.decision, match.person) == ("match", "Ada")
        assert match.similarity == pytest.approx(0.6, abs=1e-5)
        assert match.threshold == pytest.approx(0.3)
        assert match.margin == pytest.approx(0.6 - max(probes[0][1], probes[0][2]), abs=1e-5)
        assert (doubt.decision, doubt.person) == ("uncertain", "Ada")
        assert (stranger.decision, stranger.person, stranger.runner_up) == ("unknown", None, None)
        assert -1 <= stranger.similarity < 0.2
        assert (twin.decision, twin.person, twin.runner_up) == ("uncertain", "Ada", "Bob")
        assert json.dumps([each.to_dict() for each in (match, doubt, stranger, twin)])

    def test_an_empty_gallery_knows_nobody(self, gallery):
        (match,) = gallery.identify(unit(1))
        assert (match.decision, match.person, match.similarity) == ("unknown", None, None)
        assert gallery.identify(unit(0)) == []
        gallery.enroll("Ada", unit(1))
        (match,) = gallery.identify(unit(1))
        assert (match.decision, match.margin, match.runner_up) == ("match", None, None)

    def test_templates_are_pooled_by_quality(self, gallery):
        a, b = np.eye(SIZE, dtype=np.float32)[:2]
        gallery.enroll("Ada", [sample(a, quality=3.0), sample(b, quality=1.0)])
        (match,) = gallery.identify(a[None])
        assert match.similarity == pytest.approx(3 / np.sqrt(10))

    def test_filters_by_tag_and_validity(self, gallery):
        a, b, c = np.eye(SIZE, dtype=np.float32)[:3]
        gallery.enroll("staff", a[None], tags=["staff", "day"])
        gallery.enroll("guest", b[None], valid_from=NOW, valid_until=NOW + DAY)
        gallery.enroll("all", c[None])
        probes = np.array([a, b])

        def who(**how):
            return [match.person for match in gallery.identify(probes, **how)]

        assert who(at=NOW) == ["staff", "guest"]
        assert who(at=NOW - DAY) == who(at=NOW + DAY) == ["staff", None]
        assert who(at=NOW, tags=["staff"]) == who(at=NOW, tags=["day", "staff"]) == ["staff", None]
        assert who(tags=["night"]) == [None, None]
        gallery.edit("guest", tags=["staff"])
        assert who(tags=["staff"]) == ["staff", "guest"]
        gallery.undo()
        assert who(at=NOW, tags=["staff"]) == ["staff", None]
        with pytest.raises(GalleryError, match="time zone"):
            gallery.identify(probes, at=datetime(2026, 5, 1))
        with pytest.raises(GalleryError, match="other tags or another time"):
            gallery.enroll("staff", a[None], tags=["day"])
        with pytest.raises(GalleryError, match="valid until before"):
            gallery.edit("guest", valid_from=NOW, valid_until=NOW)

    def test_an_operation_is_done_once(self, gallery):
        first = gallery.enroll("Ada", unit(2), operation="1")
        assert gallery.enroll("Ada", unit(2), operation="1") == first
        gallery.undo(operation="2")
        gallery.undo(operation="2")
        gallery.enroll("Ada", unit(2), operation="1")
        assert gallery.people() == []
        with pytest.raises(GalleryError, match="asked for something else"):
            gallery.enroll("Ada", unit(1), operation="1")
        assert [entry.kind for entry in gallery.entries()] == ["enroll", "undo"]

    def test_an_enrolment_keeps_its_note(self, gallery):
        entry = gallery.enroll("Ada", unit(1), operation="mine", note={"forced": [["yaw", 61, 45]]})
        assert gallery.entries() == [entry] == [gallery.journal.done("mine")]
        assert entry.payload["note"] == {"forced": [["yaw", 61, 45]]}
        assert gallery.journal.done("another") is None
        gallery.undo()
        assert gallery.people() == []

    def test_the_faces_of_a_photo_are_found(self, gallery):
        contents = [face_content(photo, n) for photo in ("a", "ab", "b") for n in (0, 10)]
        rows = [sample(row, content=each) for row, each in zip(unit(6), contents, strict=True)]
        gallery.enroll("Ada", rows[::2])
        gallery.enroll("Bob", rows[1::2])
        for photo in ("a", "ab", "b"):
            found = {face.content for face in gallery.backend.faces_in(photo)}
            assert found == {each for each in contents if photo_of(each) == photo}
        assert gallery.backend.faces_in("c") == []

    def test_a_batch_that_is_refused_leaves_nothing(self, gallery):
        gallery.enroll("Ada", unit(1))
        before = everything(gallery)
        with pytest.raises(GalleryError, match="no name"):
            gallery.add_many([("Bob", unit(1)), (" ", unit(1))])
        with pytest.raises(GalleryError, match="stopped"):
            _half_enrolled(gallery.backend)
        assert everything(gallery) == before
        assert gallery.identify(unit(1))[0].similarity == pytest.approx(1)
        assert gallery.integrity() == []

    def test_what_one_writes_another_sees(self, url, gallery):
        if not gallery.backend.capabilities.several_processes:
            with Gallery(
                url, calibration=calibration(), key=self.key
            ) as other:  # who opens it later does
                gallery.enroll("Ada", unit(1))
                assert other.identify(unit(1))[0].person == "Ada"
            return
        with Gallery(url, calibration=calibration(), key=self.key) as other:
            for number, name in enumerate(["Ada", "Bob", "Eve", "Zoe"]):
                (gallery, other)[number % 2].enroll(name, unit(1, seed=number))
                assert gallery.identify(unit(1, seed=number))[0].person == name
                assert other.identify(unit(1, seed=number))[0].person == name
            other.forget("Ada")
            assert gallery.identify(unit(1))[0].person is None
            assert [person.name for person in gallery.people()] == ["Bob", "Eve", "Zoe"]

    def test_of_equals_the_first_comes_first(self, gallery):
        vectors = unit(3)
        people = [(f"person {number:02}", vectors[:1]) for number in range(40)]
        gallery.add_many([("other", vectors[1:2]), *people])
        for _ in range(2):
            (match,) = gallery.identify(vectors[:1])
            assert (match.person, match.runner_up) == ("person 00", "person 01")
            assert match.similarity == pytest.approx(1)
        gallery.forget("person 00")
        (match,) = gallery.identify(vectors[:1])
        assert (match.person, match.runner_up) == ("person 01", "person 02")

    def test_answers_are_a_files_to_the_bit(self, gallery, tmp_path):
        people = [(f"person {number}", unit(3, seed=number)) for number in range(30)]
        gallery.add_many(people)
        with Gallery(tmp_path / "file.db", CONTRACT, SIZE) as file:
            file.add_many(people)
            expected = file.backend.search(unit(5, seed=99), 8)
        found = gallery.backend.search(unit(5, seed=99), 8)
        assert found.compared == expected.compared == 30
        np.testing.assert_array_equal(found.people, expected.people)
        np.testing.assert_array_equal(found.scores, expected.scores)

    def test_long_notes_and_large_crops_are_kept(self, gallery):
        crop, note = jpeg(1, pixels=150_000), {"text": "ü\n" * 60_000}
        gallery.enroll("Ada", [sample(unit(1)[0], crop=crop)], note=note)
        assert gallery.crop(gallery.faces("Ada")[0].id) == crop
        assert gallery.entries()[0].payload["note"] == note
        gallery.undo()
        assert gallery.entries()[0].undone_by == 2
        assert gallery.entries()[0].payload["note"] == note
        assert gallery.people() == []

    def test_a_rejected_face_is_never_that_person(self, gallery):
        a, b = np.eye(SIZE, dtype=np.float32)[:2]
        gallery.enroll("Ada", [sample(a, content="a1"), sample(a, content="a2")])
        gallery.enroll("Bob", b[None])
        probe = (0.9 * a + 0.43 * b) / np.hypot(0.9, 0.43)
        gallery.reject("Ada", "photo")
        (by_content,) = gallery.identify(probe[None], contents=["photo"])
        assert (by_content.person, by_content.runner_up) == ("Bob", None)
        assert gallery.identify(probe[None])[0].person == "Ada"
        gallery.reject("Ada", probe)
        assert gallery.identify(probe[None])[0].person == "Bob"
        gallery.confirm("Ada", probe)
        (match,) = gallery.identify(probe[None])
        assert (match.person, match.decision, match.confirmed) == ("Ada", "match", True)
        with pytest.raises(GalleryError, match="was rejected for this person"):
            gallery.enroll("Ada", [sample(probe, content="photo")])
        gallery.undo()
        assert gallery.identify(probe[None])[0].person == "Bob"

    def test_a_rejected_face_does_not_count_for_its_person(self, gallery):
        a, b = np.eye(SIZE, dtype=np.float32)[:2]
        gallery.enroll("Ada", [sample(a, content="right"), sample(b, content="wrong")])
        assert gallery.identify(a[None])[0].similarity == pytest.approx(np.sqrt(0.5), abs=0.02)
        gallery.reject("Ada", "wrong")
        assert gallery.identify(a[None])[0].similarity == pytest.approx(1)
        gallery.reject("Ada", "right")
        assert gallery.identify(a[None])[0].similarity is None
        gallery.undo()
        gallery.undo()
        assert gallery.identify(a[None])[0].similarity == pytest.approx(np.sqrt(0.5), abs=0.02)

    def test_a_confirmed_face_is_that_person(self, gallery):
        a, b = np.eye(SIZE, dtype=np.float32)[:2]
        gallery.enroll("Ada", a[None], valid_until=NOW)
        gallery.enroll("Bob", b[None])
        gallery.confirm("Ada", "photo")
        (match,) = gallery.identify(b[None], contents=["photo"], at=NOW - DAY)
        assert (match.decision, match.person, match.runner_up) == ("match", "Ada", "Bob")
        assert (match.similarity, match.margin) == pytest.approx((0, -1))
        (match,) = gallery.identify(b[None], contents=["photo"], at=NOW)
        assert (match.person, match.confirmed) == ("Bob", False)

    def test_merge_and_undo(self, gallery):
        a, b, c = np.eye(SIZE, dtype=np.float32)[:3]
        gallery.add_many([("Ada", a[None]), ("Ada L.", b[None]), ("Bob", c[None])])
        before = everything(gallery)
        merged = gallery.merge("Ada", "Ada L.")
        ada, _ = gallery.people()
        assert (ada.name, ada.aliases, ada.embeddings) == ("Ada", ("Ada L.",), 2)
        (match,) = gallery.identify(b[None])
        assert (match.person, match.similarity) == ("Ada", pytest.approx(np.sqrt(0.5)))
        with pytest.raises(GalleryError, match="one person already"):
            gallery.merge("Ada L.", "Ada")
        gallery.reject("Ada L.", "photo")
        assert gallery.identify(b[None], contents=["photo"])[0].person is None
        gallery.undo()
        gallery.merge("Bob", "Ada L.")  # the alias stands for Ada
        assert [(each.name, each.aliases) for each in gallery.people()] == [
            ("Bob", ("Ada", "Ada L."))
        ]
        gallery.undo()
        gallery.enroll("Ada L.", unit(1), operation="later")
        assert gallery.people()[0].embeddings == 3
        gallery.undo()
        gallery.undo(merged.id)
        assert everything(gallery) == before
        assert [each.person for each in gallery.identify(np.array([a, b]))] == ["Ada", "Ada L."]

    def test_split_and_undo(self, gallery):
        a, b = np.eye(SIZE, dtype=np.float32)[:2]
        gallery.enroll("Ada", [sample(a, 0), sample(b, 1)], tags=["x"])
        gallery.merge("Ada", _enrolled(gallery, "Bob", unit(1)))
        before = everything(gallery)
        faces = [face.id for face in gallery.faces("Ada")]
        split = gallery.split("Ada", faces[1:], "Eve")
        assert [face.id for face in gallery.faces("Eve")] == faces[1:]
        assert gallery.people()[1].tags == ("x",)
        assert gallery.identify(b[None])[0].person == "Eve"
        for wrong, sentence in (([], "0 of 1"), (faces[:1], "1 of 1"), (faces[1:], "no face")):
            with pytest.raises(GalleryError, match=sentence):
                gallery.split("Ada", wrong, "Zoe")
        with pytest.raises(GalleryError, match="somebody named 'Bob' already"):
            gallery.split("Eve", faces[1:2], "Bob")
        again = gallery.split("Eve", faces[1:2], "Zoe")
        with pytest.raises(GalleryError, match=f"face {faces[1]} went to another person since"):
            gallery.undo(split.id)
        gallery.undo(again.id)
        gallery.undo(split.id)
        assert everything(gallery) == before

    def test_rename_and_undo(self, gallery):
        gallery.enroll("Ada", unit(1))
        renamed = gallery.rename("Ada", "Ada Lovelace")
        assert gallery.identify(unit(1))[0].person == "Ada Lovelace"
        other = gallery.rename("Ada Lovelace", "Countess")
        with pytest.raises(GalleryError, match="was renamed since"):
            gallery.undo(renamed.id)
        gallery.undo(other.id)
        gallery.enroll("Ada", unit(1, seed=1))
        with pytest.raises(GalleryError, match="somebody named 'Ada' already"):
            gallery.undo(renamed.id)
        gallery.undo()
        gallery.undo()
        assert [person.name for person in gallery.people()] == ["Ada"]

    def test_undo_of_an_enrolment(self, gallery):
        gallery.enroll("Ada", unit(1))
        before = everything(gallery)
        entry = gallery.add_many([("Ada", unit(1, seed=1)), ("Bob", unit(2, seed=2))])
        gallery.enroll("Bob", unit(1, seed=3))
        gallery.undo(entry.id)
        assert [(each.name, each.embeddings) for each in gallery.people()] == [
            ("Ada", 1),
            ("Bob", 1),
        ]
        gallery.undo()
        assert [(each.name, each.embeddings) for each in gallery.people()] == [
            ("Ada", 1),
            ("Bob", 0),
        ]
        assert everything(gallery).items() >= before.items()
        gallery.undo()
        with pytest.raises(GalleryError, match="nothing to undo"):
            gallery.undo()
        for number, sentence in ((entry.id, "entry 4 did it"), (99, "no entry 99"), (4, "final")):
            with pytest.raises(GalleryError, match=sentence):
                gallery.undo(number)

    def test_removed_faces_are_gone(self, gallery):
        a, b = np.eye(SIZE, dtype=np.float32)[:2]
        gallery.enroll("Ada", [sample(a), sample(b)])
        first, second = (face.id for face in gallery.faces("Ada"))
        gallery.remove([first])
        assert gallery.identify(b[None])[0].similarity == pytest.approx(1)
        assert gallery.crop(first) is None
        gallery.remove([second])
        assert gallery.identify(b[None])[0].similarity is None
        assert gallery.people()[0].embeddings == 0
        with pytest.raises(GalleryError, match=f"no face {first}"):
            gallery.remove([first])

    def test_forgotten_people_are_gone(self, gallery):
        a, b, c = np.eye(SIZE, dtype=np.float32)[:3]
        gallery.add_many([("Ada Lovelace", a[None]), ("Countess", b[None]), ("Bob", c[None])])
        gallery.merge("Ada Lovelace", "Countess")
        gallery.rename("Bob", "Robert")
        receipt = gallery.forget("Countess")
        assert (receipt.people, receipt.names, receipt.faces) == (1, 2, 2)
        assert receipt.clean or not gallery.backend.capabilities.secure_forgetting
        assert [person.name for person in gallery.people()] == ["Robert"]
        assert gallery.identify(a[None])[0].person is None
        with pytest.raises(GalleryError, match="nobody named"):
            gallery.forget("Ada Lovelace")
        gallery.undo()
        assert [person.name for person in gallery.people()] == ["Bob"]
        with pytest.raises(GalleryError, match="people who are gone"):
            gallery.undo(2)
        assert gallery.integrity() == []

    def test_expired_people_are_purged(self, gallery):
        assert gallery.purge_expired() is None
        for number, name in enumerate(["yesterday", "tomorrow", "always"]):
            until = [NOW, NOW + 2 * DAY, None][number]
            gallery.enroll(name, unit(1, seed=number), valid_until=until)
        assert gallery.purge_expired(NOW - DAY) is None
        assert gallery.purge_expired(NOW + DAY).people == 1
        assert [person.name for person in gallery.people()] == ["tomorrow", "always"]

    def test_check_finds_the_highest_stranger(self, gallery):
        vectors = np.eye(SIZE, dtype=np.float32)
        gallery.enroll("Ada", [sample(vectors[0], 0), sample(near(vectors[1], 0.5), 1)])
        gallery.enroll("Bob", vectors[1:2])
        gallery.enroll("Eve", vectors[2:3])
        check = gallery.check()
        first = check.strangers[0]
        assert (first.person, first.other, first.path) == ("Ada", "Bob", "/photos/1.jpg")
        assert first.similarity == pytest.approx(0.5, abs=1e-5)
        assert check.threshold == pytest.approx(0.3)
        assert not check.passed
        assert len(gallery.check(1).strangers) == 1

    def test_audit(self, gallery):
        vectors = np.eye(SIZE, dtype=np.float32)
        gallery.enroll(
            "Ada",
            [sample(near(vectors[0], 0.9, seed), seed) for seed in range(3)]
            + [sample(vectors[7], 9)],
        )
        gallery.enroll("Ada again", near(vectors[0], 0.95, 5)[None])
        gallery.enroll("Eve", vectors[2:3])
        gallery.enroll("nobody", [])
        audit = gallery.audit(duplicate=0.5)
        assert [(each.person, each.path) for each in audit.outliers] == [("Ada", "/photos/9.jpg")]
        assert [pair[:2] for pair in audit.duplicates] == [("Ada", "Ada again")]
        assert (audit.single, audit.empty) == (("Ada again", "Eve"), ("nobody",))


def _half_enrolled(backend):
    with backend.writing():
        backend.add_faces([(1, sample(unit(1, seed=1)[0]))])
        backend.touch([1], 2)
        assert backend.counts() == {1: 2}
        raise GalleryError("stopped")


def _enrolled(gallery, name, faces):
    gallery.enroll(name, faces)
    return name
