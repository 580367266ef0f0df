import numpy as np
import pytest
from pictured_people import CONTRACT, FACE, SIZE, Reader, calibration, face, photo, recognizer
from PIL import Image

from mindface.enrolment import (
    Limits,
    Portrait,
    crop_landmarks,
    crop_with_margin,
    enroll_photos,
    face_of,
    in_folders,
    in_list,
    photo_hash,
)
from mindface.errors import ConfigError, ContractError, GalleryError, ImageError, NoFaceError
from mindface.gallery import Gallery
from mindface.imaging import open_image
from mindface.results import Face


@pytest.fixture
def gallery(tmp_path):
    with Gallery(tmp_path / "people.db", CONTRACT, SIZE, calibration=calibration()) as opened:
        yield opened


@pytest.fixture
def reader():
    return Reader(recognizer=recognizer())


@pytest.fixture
def enrolled(gallery, reader):
    """Enrols photos and returns what became of them."""

    def run(*portraits, **options):
        return list(enroll_photos(gallery, reader, portraits, **options))

    return run


def test_a_photo_becomes_a_person_with_a_crop(gallery, enrolled, tmp_path):
    path = photo(tmp_path / "ada.jpg", face(1))
    (outcome,) = enrolled(Portrait("Ada", path))
    assert (outcome.status, outcome.refusals, outcome.entry) == ("enrolled", (), 1)
    (person,) = gallery.people()
    (kept,) = gallery.faces("Ada")
    assert (person.name, person.embeddings) == ("Ada", 1)
    assert (kept.path, kept.quality) == (str(path), 20)
    assert kept.content == f"{photo_hash(path)}:0"
    np.testing.assert_array_equal(kept.box, [60, 40, 140, 120])
    assert gallery.crop(kept.id).startswith(b"\xff\xd8")
    assert "note" not in gallery.entries()[0].payload


@pytest.mark.parametrize(
    ("faces", "check", "said"),
    [
        ([], "face", "no face found"),
        ([face(1, side=30)], "side", "too small: 30 pixels, at least 50"),
        ([face(1, sharpness=12.4)], "sharpness", "blurred: sharpness 12, at least 40"),
        ([face(1, yaw=-61)], "yaw", "turned to the side by 61 degrees, at most 45"),
        ([face(1, pitch=40)], "pitch", "turned up by 40 degrees, at most 35"),
        ([face(1, pitch=-40)], "pitch", "turned down by 40 degrees, at most 35"),
        ([face(1, truncation=0.25)], "truncation", "25% of the face lies outside, at most 10%"),
        ([face(1, score=0.55)], "score", "confidence 0.55, at least 0.70"),
        ([face(1, x=10), face(2, x=130, side=60)], "others", "another has 75% of the largest"),
    ],
)
def test_the_gate_says_what_it_refuses(gallery, enrolled, tmp_path, faces, check, said):
    portrait = Portrait("Ada", photo(tmp_path / "a.jpg", *faces))
    (outcome,) = enrolled(portrait)
    assert (outcome.status, [refusal.check for refusal in outcome.refusals]) == ("refused", [check])
    assert said in outcome.reason
    assert gallery.people() == []
    (forced,) = enrolled(portrait, force=True)
    if check == "face":
        assert forced.status == "refused"
        return
    assert (forced.status, forced.refusals) == ("enrolled", outcome.refusals)
    (refusal,) = outcome.refusals
    assert gallery.entries()[-1].payload["note"] == {
        "forced": [[check, refusal.figure, refusal.limit]]
    }


def test_limits_can_be_others_and_every_fault_is_named(enrolled, tmp_path):
    portrait = Portrait("Ada", photo(tmp_path / "a.jpg", face(1, side=60, yaw=40)))
    (outcome,) = enrolled(portrait, limits=Limits(side=70, yaw=30))
    assert [refusal.check for refusal in outcome.refusals] == ["side", "yaw"]
    assert outcome.to_dict()["reasons"][1] == {
        "check": "yaw",
        "sentence": "turned to the side by 40 degrees, at most 30",
        "figure": 40,
        "limit": 30,
    }


def test_a_small_face_behind_does_not_matter(gallery, enrolled, tmp_path):
    path = photo(tmp_path / "a.jpg", face(2, side=30, x=5), face(1, side=90))
    (outcome,) = enrolled(Portrait("Ada", path))
    assert outcome.status == "enrolled"
    assert gallery.faces("Ada")[0].content.endswith(":1")


def test_a_photo_is_enrolled_once(gallery, enrolled, reader, tmp_path):
    path = photo(tmp_path / "a.jpg", face(1))
    copy = tmp_path / "copy.jpg"
    copy.write_bytes(path.read_bytes())
    first, twice, same = enrolled(*[Portrait("Ada", each) for each in (path, copy, path)])
    assert [first.status, twice.status, same.status] == ["enrolled", "refused", "present"]
    assert "the same photo is enrolled already" in twice.reason
    assert str(path) in twice.reason
    gallery.rename("Ada", "Ada King")
    reader.seen.clear()
    (again,) = enrolled(Portrait("Ada King", path), force=True)
    assert (again.status, reader.seen) == ("present", [])
    assert len(gallery.faces("Ada King")) == 1


def test_what_was_taken_back_can_be_enrolled_again(gallery, enrolled, tmp_path):
    portrait = Portrait("Ada", photo(tmp_path / "a.jpg", face(1)))
    for undo in (
        gallery.undo,
        lambda: gallery.forget("Ada"),
        lambda: gallery.remove([each.id for each in gallery.faces("Ada")]),
    ):
        assert enrolled(portrait)[0].status == "enrolled"
        assert len(gallery.faces("Ada")) == 1
        undo()
    assert enrolled(portrait)[0].status == "enrolled"


def test_a_face_that_looks_like_somebody_else_is_refused(gallery, enrolled, tmp_path):
    enrolled(Portrait("Ada", photo(tmp_path / "a.jpg", face(1))))
    stranger = Portrait("Grace", photo(tmp_path / "b.jpg", face(1, look=1, likeness=0.9)))
    (outcome,) = enrolled(stranger)
    (refusal,) = outcome.refusals
    assert refusal.check == "conflict"
    assert refusal.figure == pytest.approx(0.72, abs=0.2)
    assert refusal.limit == 0.6
    assert "looks like 'Ada'" in refusal.sentence
    assert enrolled(stranger, force=True)[0].status == "enrolled"
    assert gallery.entries()[-1].payload["note"]["forced"][0][0] == "conflict"
    (more,) = enrolled(Portrait("Ada", photo(tmp_path / "c.jpg", face(1, look=2))), force=True)
    assert more.status == "enrolled"


def test_one_face_of_one_photo_is_not_two_people_even_uncalibrated(tmp_path, reader):
    path = photo(tmp_path / "a.jpg", face(1))
    with Gallery(tmp_path / "people.db", CONTRACT, SIZE) as gallery:
        outcomes = list(
            enroll_photos(gallery, reader, [Portrait("Ada", path), Portrait("Grace", path)])
        )
    assert [outcome.status for outcome in outcomes] == ["enrolled", "refused"]
    assert outcomes[1].reason == "this face is enrolled as 'Ada'"


def test_a_rejected_face_is_refused_for_good(gallery, enrolled, tmp_path):
    enrolled(Portrait("Ada", photo(tmp_path / "a.jpg", face(1))))
    wrong = photo(tmp_path / "b.jpg", face(2))
    gallery.reject("Ada", f"{photo_hash(wrong)}:0")
    (outcome,) = enrolled(Portrait("Ada", wrong), force=True)
    assert (outcome.status, outcome.refusals[0].check) == ("refused", "rejected")


def test_unreadable_photos_and_impossible_names_do_not_stop_the_others(enrolled, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8 no more")
    good = photo(tmp_path / "a.jpg", face(1))
    outcomes = enrolled(
        Portrait("Ada", broken),
        Portrait("Ada", tmp_path / "missing.jpg"),
        Portrait(" ", good),
        Portrait("\udcff", good),
        Portrait("Ada", good),
    )
    checks = [[refusal.check for refusal in outcome.refusals] for outcome in outcomes]
    assert checks == [["unreadable"], ["unreadable"], ["name"], ["name"], []]


def test_stopped_work_goes_on_where_it_was(gallery, reader, tmp_path):
    portraits = [
        Portrait(f"person {n // 3}", photo(tmp_path / f"{n}.jpg", face(n // 3, look=n)))
        for n in range(12)
    ]
    stream = enroll_photos(gallery, reader, portraits, batch_size=2)
    done = [next(stream) for _ in range(5)]
    stream.close()
    assert all(outcome.status == "enrolled" for outcome in done)
    reader.seen.clear()
    outcomes = list(enroll_photos(gallery, reader, portraits, batch_size=2))
    assert [outcome.status for outcome in outcomes] == ["present"] * 5 + ["enrolled"] * 7
    assert reader.seen == [portrait.path for portrait in portraits[5:]]
    assert [person.embeddings for person in gallery.people()] == [3, 3, 3, 3]


def test_photos_are_taken_as_they_are_needed(gallery, reader, tmp_path):
    taken = []

    def endless():
        path = photo(tmp_path / "a.jpg", face(1))
        while True:
            taken.append(path)
            yield Portrait("Ada", path)

    stream = enroll_photos(gallery, reader, endless(), batch_size=1)
    assert next(stream).status == "enrolled"
    assert len(taken) <= 16


def test_another_models_gallery_is_refused(tmp_path, reader):
    with (
        Gallery(tmp_path / "people.db", CONTRACT, SIZE + 1) as gallery,
        pytest.raises(ContractError, match=f"not of {SIZE}"),
    ):
        list(
            enroll_photos(
                gallery, reader, [Portrait("Ada", photo(tmp_path / "a.jpg", face(1)))], force=True
            )
        )


@pytest.mark.parametrize(
    ("box", "size"),
    [
        ([60, 40, 140, 120], (240, 200)),
        ([10, -20, 110, 80], (240, 200)),  # reaches out of the photo
        ([500, 300, 1500, 1400], (2000, 1600)),  # is scaled down
        ([0, 0, 3, 3], (3, 3)),
    ],
)
def test_a_crop_has_its_landmarks(tmp_path, box, size):
    """A dot at the nose is found where the crop's comment says it is."""
    box = np.array(box, np.float32)
    landmarks = FACE * (box[2:] - box[:2]) + box[:2]
    pixels = np.zeros((*size[::-1], 3), np.uint8)
    x, y = landmarks[2]
    radius = max(1, int((box[2] - box[0]) / 20))
    pixels[int(y) - radius : int(y) + radius + 1, int(x) - radius : int(x) + radius + 1] = 255
    path = tmp_path / "dot.png"
    Image.fromarray(pixels).save(path)
    jpeg = crop_with_margin(open_image(path), Face(box, 0.9, landmarks))
    crop = open_image(jpeg).read()
    assert max(crop.shape) <= 256
    rows, columns = np.nonzero(crop[..., 0] > 128)
    found = crop_landmarks(jpeg)[2]
    if size != (3, 3):
        np.testing.assert_allclose(found, [columns.mean(), rows.mean()], atol=1.5)


def test_other_pictures_are_no_crops(tmp_path):
    with pytest.raises(ImageError, match="not a crop"):
        crop_landmarks(photo(tmp_path / "a.jpg").read_bytes())


def test_folders_name_people(tmp_path):
    for name in ("Ada Lovelace", "Zoë 张"):
        photo(tmp_path / name / "more" / "1.jpg", face(1))
    found = list(in_folders([tmp_path]))
    assert [(each.name, each.path.name) for each in found] == [
        ("Ada Lovelace", "1.jpg"),
        ("Zoë 张", "1.jpg"),
    ]
    photo(tmp_path / "loose.jpg", face(1))
    with pytest.raises(ConfigError, match=r"loose\.jpg: lies in no person's folder"):
        list(in_folders([tmp_path]))
    with pytest.raises(ConfigError, match="no such folder"):
        list(in_folders([tmp_path / "nowhere"]))


def test_lists_name_people(tmp_path):
    table = tmp_path / "people.csv"
    table.write_text(
        "\ufeffname,path,tags,valid_until\n"
        '"Lovelace, ""Ada""",a.jpg,staff; day,2027-01-01T00:00Z\nZoë,/b.jpg,,\n',
        encoding="utf-8",
    )
    ada, zoe = in_list(table)
    assert (ada.name, ada.path) == ('Lovelace, "Ada"', tmp_path / "a.jpg")
    assert (ada.tags, ada.valid_until.isoformat()) == (
        ("staff", "day"),
        "2027-01-01T00:00:00+00:00",
    )
    assert (str(zoe.path), zoe.tags, zoe.valid_until) == ("/b.jpg", None, None)


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        (b"", ConfigError, "has the columns none"),
        (b"path;name\n", ConfigError, "path;name"),
        (b"path,name,age\n", ConfigError, "age"),
        (b"path,name\na.jpg\n", ConfigError, "line 2: has another number of values"),
        (b"path,name\na.jpg,Ada,x\n", ConfigError, "line 2: has another number of values"),
        (b"path,name\na.jpg, \n", ConfigError, "line 2: a path and a name"),
        (b"path,name,valid_until\na.jpg,Ada,soon\n", ConfigError, "'soon' is no ISO 8601 time"),
        (b"path,name,valid_until\na.jpg,Ada,2027-01-01\n", ConfigError, "no time zone"),
        (b"path,name\n\xff,Ada\n", ConfigError, "is not UTF-8"),
        (b'path,name\n"a.jpg,Ada\n', ConfigError, "line"),
        (None, ImageError, "No such file"),
    ],
)
def test_faulty_lists_are_refused(tmp_path, content, error, said):
    table = tmp_path / "people.csv"
    if content is not None:
        table.write_bytes(content)
    with pytest.raises(error, match=said):
        list(in_list(table))


def test_which_face_of_a_photo_is_meant(gallery, enrolled, reader, tmp_path):
    alone = photo(tmp_path / "a.jpg", face(1))
    both = photo(tmp_path / "b.jpg", face(2, x=10, side=60), face(1, x=130, look=1))
    enrolled(Portrait("Ada", alone), Portrait("Grace", photo(tmp_path / "g.jpg", face(2))))
    reader.seen.clear()

    def found(name, path, number=None):
        return face_of(gallery, lambda: reader, name, path, number)

    assert found("Ada", alone) == f"{photo_hash(alone)}:0"
    assert reader.seen == []
    assert found("Grace", alone) == f"{photo_hash(alone)}:0"
    assert found("Ada", both, 2) == f"{photo_hash(both)}:1"
    enrolled(Portrait("Ada", both), force=True)
    assert found("Ada", both) == f"{photo_hash(both)}:1"
    with pytest.raises(GalleryError, match="shows 2 faces: say which"):
        found("Grace", both)
    with pytest.raises(GalleryError, match="no face 3"):
        found("Grace", both, 3)
    with pytest.raises(NoFaceError, match="no face found"):
        found("Ada", photo(tmp_path / "n.jpg"))
    with pytest.raises(GalleryError, match="nobody named 'Alan'"):
        found("Alan", both)
    with pytest.raises(ImageError, match=r"missing\.jpg"):
        found("Ada", tmp_path / "missing.jpg")
