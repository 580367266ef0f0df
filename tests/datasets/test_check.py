"""What is said of a set, with a recogniser and without."""

import json

import cv2
import numpy as np
import pytest
from stand_ins import ColorRecognizer, Faces, face, png

from mindface.datasets import open_faces
from mindface.datasets.check import check
from mindface.datasets.noise import Limits
from mindface.datasets.survey import survey
from mindface.errors import ImageError, IntegrityError
from mindface.formats.insightface_rec import write_records


@pytest.fixture(autouse=True)
def _cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MINDFACE_CACHE", str(tmp_path / "cache"))


def people(counts=(4, 3, 5)):
    """Pictures and labels of people."""
    labels = np.repeat(np.arange(len(counts)), counts)
    return [png(face(person, photo)) for photo, person in enumerate(labels)], labels


def test_a_set_above_suspicion():
    found = check(Faces(*people()), ColorRecognizer())
    assert not found.damaged
    assert not found.suspicious
    assert json.loads(json.dumps(found.report())) == {
        "set": "memory",
        "pictures": 12,
        "people": 3,
        "nobodys": 0,
        "pictures_per_person": {"min": 3, "median": 4, "max": 5},
        "people_with_one": 0,
        "sizes": {"112x112": 12},
        "gray": 0,
        "black_corners": 0,
        "damaged": [],
        "unfit": [],
        "faults": {},
        "wrong_labels": [],
        "duplicates": [],
        "same_people": [],
    }


def test_every_kind_of_fault_is_reported():
    pictures, labels = people((4, 4, 4, 1))
    pictures += [pictures[5][:60], None, png(face(0, 90, 96)), png(face(1, 91)[:, :80])]
    gray = png(np.repeat(face(2, 92).mean(2, keepdims=True), 3, 2).astype(np.uint8))
    dark = face(2, 93)
    dark[:20, :20] = 0
    jpeg = cv2.imencode(".jpg", cv2.imdecode(np.frombuffer(pictures[9], np.uint8), 1))[1].tobytes()
    pictures += [gray, png(dark), jpeg, png(face(1, 94))]
    labels = [*labels, 0, 0, 0, 1, -1, 2, 2, 0]
    called = [f"picture {n}" for n in range(len(pictures))]
    found = check(Faces(pictures, labels), ColorRecognizer())
    report = found.report(called.__getitem__)
    assert (report["nobodys"], report["people_with_one"]) == (1, 1)
    assert (report["gray"], report["black_corners"]) == (1, 1)
    assert report["sizes"] == {"112x112": 17, "96x96": 1, "112x80": 1}
    assert [row["picture"] for row in report["damaged"]] == ["picture 13", "picture 14"]
    assert report["damaged"][1]["reason"] == "cannot be read"
    assert [row["picture"] for row in report["unfit"]] == ["picture 16"]
    (wrong,) = report["wrong_labels"]
    assert [wrong[name] for name in ("number", "person", "nearest")] == [20, "a", "b"]
    assert wrong["similarity"] < 0.2 < 0.9 < wrong["nearest_similarity"]
    (twice,) = report["duplicates"]
    assert (twice["picture"], twice["earlier"]) == ("picture 19", "picture 9")
    assert found.damaged
    assert found.suspicious


def test_a_person_under_two_names_is_found():
    pictures, _ = people((4, 4))
    found = check(Faces(pictures, np.repeat([0, 1, 2], [4, 2, 2])), ColorRecognizer())
    (same,) = found.report()["same_people"]
    assert (same["person"], same["other"]) == ("b", "c")
    assert found.report()["wrong_labels"] == []


def test_without_a_recogniser_noise_is_not_looked_for():
    pictures, labels = people()
    found = check(Faces([*pictures, None], [*labels, 0]))
    report = found.report()
    assert [report[name] for name in ("wrong_labels", "duplicates", "same_people")] == [None] * 3
    assert len(report["damaged"]) == 1
    assert found.overlap(found, Limits(), nobodys=True) == []


def test_people_and_pictures_in_another_set():
    pictures, labels = people((3, 3, 3))
    mine = check(
        Faces([*pictures, None], [*np.where(labels == 2, -1, labels), -1]), ColorRecognizer()
    )
    others = Faces([png(face(person, 50)) for person in (2, 1)], [0, 1], ("c", "b"))
    other = check(others, ColorRecognizer())
    named = mine.overlap(other, Limits(), nobodys=False)
    assert [(match.name, match.other) for match in named] == [("b", "b")]
    every = mine.overlap(other, Limits(), nobodys=True)
    assert {match.name: match.other for match in every} == {
        "b": "b",
        "#6": "c",
        "#7": "c",
        "#8": "c",
    }


def test_embeddings_are_computed_once(tmp_path):
    pictures, labels = people()
    recognizer = ColorRecognizer()
    first = survey(Faces(pictures, labels), recognizer)
    assert recognizer.seen == 12
    moved = survey(Faces([png(face(4, 0)), *pictures[::-1], None], [0] * 14), recognizer)
    assert recognizer.seen == 13
    assert moved.embedded.tolist() == [True] * 13 + [False]
    numbers = np.arange(12)
    np.testing.assert_array_equal(moved.embeddings(12 - numbers), first.embeddings(numbers))
    np.testing.assert_array_equal(moved.thumbnails(12 - numbers), first.thumbnails(numbers))
    np.testing.assert_allclose(np.linalg.norm(first.embeddings(numbers), axis=1), 1, atol=1e-5)


def test_a_stopped_survey_goes_on(monkeypatch):
    monkeypatch.setattr("mindface.datasets.survey.BATCH", 4)
    pictures, labels = people()
    recognizer = ColorRecognizer()

    def stop(items, total, what):
        assert total == 12
        for number in items:
            if number == 9:
                raise KeyboardInterrupt
            yield number

    with pytest.raises(KeyboardInterrupt):
        survey(Faces(pictures, labels), recognizer, stop)
    assert recognizer.seen == 8
    assert survey(Faces(pictures, labels), recognizer).embedded.all()
    assert recognizer.seen == 12


def test_photos_that_were_never_aligned_are_refused():
    pictures = [png(face(0, photo)[:, :100]) for photo in range(3)]
    with pytest.raises(ImageError, match=r"100 x 112 .*run  mindface data build"):
        check(Faces(pictures, [0, 0, 0]), ColorRecognizer())


def test_faults_of_records(tmp_path):
    path = tmp_path / "train.rec"
    pictures, _ = people((2, 2))
    write_records(path, [(3, pictures[:2]), (8, pictures[2:])])
    found = check(open_faces(path))
    assert found.faults == {"gaps": True}
    assert (found.damaged, found.suspicious) == (False, True)
    assert check(open_faces(path, labelled=False)).faults == {}
    content = bytearray(path.read_bytes())
    at = content.index(pictures[3]) + 40
    content[at : at + 400] = bytes(400)
    path.write_bytes(content)
    found = check(open_faces(path))
    assert found.damaged
    assert [row["picture"] for row in found.report()["damaged"]] == [f"{path}, record 4"]


@pytest.mark.parametrize("error", [ImageError("no", "x"), IntegrityError("no")])
def test_a_picture_whose_file_is_damaged_is_listed(error):
    class Broken(Faces):
        def read(self, index):
            if index == 1:
                raise error
            return super().read(index)

    assert check(Broken(*people())).survey.damaged == {1: "no"}
