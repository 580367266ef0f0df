"""Predictions on disk: whole files, in which stopped work goes on, of one model and policy."""

import json

import pytest
from finder import Finder, photo
from PIL import Image

from mindface.detection.policies import POLICIES
from mindface.detection.predictions import find_photo, manifest, predict
from mindface.errors import ConfigError, ImageError
from mindface.formats.wider_face import read_predictions

IMAGES = [f"{number % 3}--Event/{number:02d}" for number in range(20)]


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    for number, image in enumerate(IMAGES):
        path = folder / f"{image}{'.png' if number % 2 else '.jpg'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo(40 * number, 7)).save(path)
    return folder


def lefts(folder) -> list[float]:
    return [boxes[0, 0] for boxes in read_predictions(folder, IMAGES)]


def near(expected):
    return pytest.approx(expected, abs=8)  # JPEG blurs the square's edge


def test_predict(photos, tmp_path):
    output = tmp_path / "out" / "here"
    predict(Finder(), "original", IMAGES, photos, output)
    assert lefts(output) == near([40 * number for number in range(20)])
    assert manifest(output) == {
        "model": "finder",
        "sha256": "0" * 64,
        "licence": "MIT",
        "precision": "fp32",
        "scales": {"policy": "original", "sides": [], "mirror": False, "vote": False},
        "thresholds": {"score": 0.02, "overlap": 0.4},
    }
    assert not list(output.rglob("*.tmp"))


@pytest.mark.parametrize("policy", POLICIES)
def test_the_policy_is_written_down(photos, tmp_path, policy):
    predict(Finder(), policy, IMAGES[:1], photos, tmp_path / "out")
    facts = manifest(tmp_path / "out")["scales"]
    assert facts["policy"] == policy
    assert tuple(map(tuple, facts["sides"])) == POLICIES[policy].sides


def test_stopped_work_goes_on(photos, tmp_path):
    output, shown = tmp_path / "out", []

    def stops_after_nine(items, total):
        for done, item in enumerate(items):
            if done == 9:
                raise KeyboardInterrupt
            yield item

    def track(items, total):
        shown.append(total)
        yield from items

    with pytest.raises(KeyboardInterrupt):
        predict(Finder(), "original", IMAGES, photos, output, stops_after_nine)
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*.txt")}
    assert len(before) == 9
    (output / "0--Event" / ".00.txt.1.tmp").write_text("cut")
    finder = Finder()
    predict(finder, "original", IMAGES, photos, output, track)
    assert (len(finder.looks), shown) == (11, [11])
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert lefts(output) == near([40 * number for number in range(20)])
    predict(finder, "original", IMAGES, photos, output)
    assert len(finder.looks) == 11


@pytest.mark.parametrize(
    ("detector", "policy", "differs"),
    [(Finder("1" * 64), "original", "sha256"), (Finder(), "vga640", "scales")],
)
def test_other_predictions_are_not_mixed_in(photos, tmp_path, detector, policy, differs):
    predict(Finder(), "original", IMAGES[:1], photos, tmp_path / "out")
    with pytest.raises(ConfigError, match=f"with another {differs}: give another folder"):
        predict(detector, policy, IMAGES, photos, tmp_path / "out")


def test_predictions_of_nobody_knows_whom(photos, tmp_path):
    path = tmp_path / "out" / "0--Event" / "00.txt"
    path.parent.mkdir(parents=True)
    path.write_text("00\n0\n")
    with pytest.raises(ConfigError, match="with another model, sha256"):
        predict(Finder(), "original", IMAGES, photos, tmp_path / "out")


def test_a_photo_that_cannot_be_read_stops_it(photos, tmp_path):
    (photos / f"{IMAGES[10]}.jpg").write_bytes(b"\xff\xd8\xff no more")
    with pytest.raises(ImageError, match=IMAGES[10]):
        predict(Finder(), "original", IMAGES, photos, tmp_path / "out")
    assert len(list((tmp_path / "out").rglob("*.txt"))) == 10


def test_missing_photos_are_named_before_anything_is_done(photos, tmp_path):
    for image in IMAGES[2:16:2]:
        (photos / f"{image}.jpg").unlink()
    with pytest.raises(ImageError, match=f"7 photos are missing: {IMAGES[2]}, {IMAGES[4]}"):
        predict(Finder(), "original", IMAGES, photos, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert find_photo(photos, IMAGES[2]) is None


@pytest.mark.parametrize(("text", "reason"), [("{", "damaged"), ("[]", "no facts")])
def test_a_manifest_that_says_nothing(tmp_path, text, reason):
    assert manifest(tmp_path) == {}
    (tmp_path / "mindface.json").write_text(text)
    with pytest.raises(ConfigError, match=reason):
        manifest(tmp_path)
    (tmp_path / "mindface.json").write_text(json.dumps({"model": "x"}))
    assert manifest(tmp_path) == {"model": "x"}
