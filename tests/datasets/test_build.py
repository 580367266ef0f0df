"""From photos per person to aligned faces, with the shared models on portraits."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from mindface import golden
from mindface.datasets.build import build
from mindface.datasets.cut import Cut
from mindface.errors import ConfigError, ImageError
from mindface.imaging import read

pytestmark = pytest.mark.shared


@pytest.fixture(autouse=True)
def _cache(monkeypatch, photos):
    monkeypatch.setenv("MINDFACE_CACHE", str(photos.parent / "cache"))


@pytest.fixture
def models(analyzer):
    return analyzer.detector, analyzer.recognizer


COLLINS, HOPPER = (Image.fromarray(portrait.image) for portrait in golden.portraits())


def variant(portrait: Image.Image, number: int) -> Image.Image:
    """The portrait turned, brightened and mirrored: another photo, but not another person."""
    turned = portrait.rotate(6 * number - 9, Image.Resampling.BICUBIC)
    bright = ImageEnhance.Brightness(turned).enhance(0.8 + 0.15 * number)
    return bright.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if number % 2 else bright


def placed(folder: Path, photos: dict[str, Image.Image]) -> Path:
    for name, photo in photos.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        photo.save(folder / name)
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two people of four photos each and, of each kind, a photo with something wrong."""
    tmp_path = tmp_path_factory.mktemp("build")
    people = {"collins": COLLINS, "hopper": HOPPER}
    folder = placed(
        tmp_path / "photos",
        {f"{name}/{n}.png": variant(photo, n) for name, photo in people.items() for n in range(4)},
    )
    both = Image.new("RGB", (1200, 700))
    both.paste(HOPPER, (0, 0))
    both.paste(COLLINS.resize((330, 330)), (700, 100))
    placed(
        folder,
        {
            "collins/both.png": both,
            "collins/wrong.png": variant(HOPPER, 2).rotate(5),
            "hopper/again.jpg": variant(HOPPER, 1),
            "hopper/nobody.png": Image.new("RGB", (300, 200), "gray"),
            "lonely/deep/1.png": Image.new("RGB", (300, 200), "gray"),
        },
    )
    (folder / "hopper" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    (folder / "lonely" / "notes.txt").write_text("no photo")
    return folder


def files(folder):
    """Path and time of change of all that lies in a folder."""
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file()
    }


CROPS = [f"collins/{n}.jpg" for n in (0, 1, 2, 3, "both", "wrong")]
CROPS += [f"hopper/{n}.jpg" for n in (0, 1, 2, 3, "again")]


def test_a_build_finds_what_is_wrong(models, photos, tmp_path):
    target = tmp_path / "faces"
    report = build(photos, target, *models)
    assert sorted(files(target)) == ["build.json", "build.jsonl", *CROPS]
    assert json.loads((target / "build.json").read_text()) == report
    assert [report[name] for name in ("people", "photos", "faces")] == [3, 14, 11]
    assert [row["photo"] for row in report["unreadable"]] == ["hopper/broken.jpg"]
    assert [row["photo"] for row in report["no_face"]] == ["hopper/nobody.png", "lonely/deep/1.png"]
    assert report["few"] == [{"person": "lonely", "faces": 0}]
    assert report["dropped"] == report["gone"] == []
    (several,) = report["several_faces"]
    assert (several["photo"], several["faces"]) == ("collins/both.png", 2)
    assert several["why"] == "most like the person's other photos"
    check = report["check"]
    assert [row["picture"] for row in check["wrong_labels"]] == ["collins/wrong.png"]
    assert check["wrong_labels"][0]["nearest"] == "hopper"
    twice = {row["picture"]: row["earlier"] for row in check["duplicates"]}
    assert twice["hopper/again.jpg"] == "hopper/1.png"
    assert "hopper/1.png" not in twice, "a mirrored photo is another"
    assert check["set"] == str(photos)
    assert all(read(target / crop).shape == (112, 112, 3) for crop in CROPS)


def likeness(recognizer, *paths):
    a, b = recognizer.embed([read(path)[:, 8:104] for path in paths], aligned=True)
    return float(a @ b)


def test_of_several_faces_the_persons_own_is_taken(models, photos, tmp_path):
    build(photos, tmp_path / "largest", models[0])
    build(photos, tmp_path / "own", *models)
    collins = tmp_path / "own" / "collins"
    assert likeness(models[1], collins / "0.jpg", collins / "both.jpg") > 0.6
    largest = tmp_path / "largest" / "collins" / "both.jpg"
    assert likeness(models[1], collins / "0.jpg", largest) < 0.4
    report = build(photos, tmp_path / "largest", *models)
    assert report["several_faces"][0]["similarity"] > 0.6, "a recogniser that comes later decides"
    assert likeness(models[1], collins / "both.jpg", largest) > 0.99


def test_without_a_recogniser_the_largest_face_is_taken(models, photos, tmp_path):
    report = build(photos, tmp_path / "faces", models[0])
    (several,) = report["several_faces"]
    assert (several["why"], several["similarity"]) == ("largest", None)
    assert report["recognizer"] is None
    assert report["check"]["wrong_labels"] is None


def test_only_new_and_changed_photos_are_worked_on(models, photos, tmp_path):
    photos = shutil.copytree(photos, tmp_path / "photos")
    target = tmp_path / "faces"
    first = build(photos, target, *models)
    before = files(target)
    assert build(photos, target, *models) == first
    again = files(target)
    del before["build.json"], again["build.json"]
    assert again == before
    variant(COLLINS, 3).save(photos / "collins" / "0.png")
    placed(photos, {"collins/0.jpg": variant(COLLINS, 0), "new/1.png": HOPPER})
    (photos / "hopper" / "0.png").unlink()
    report = build(photos, target, *models)
    changed = {name for name, time in files(target).items() if before.get(name) != time}
    assert changed == {
        "build.json",
        "build.jsonl",
        *("collins/0.jpg", "collins/0.png.jpg", "new/1.jpg"),
    }
    assert set(before) - set(files(target)) == {"hopper/0.jpg"}
    assert report["gone"] == ["hopper/0.png"]
    Image.new("RGB", (300, 200)).save(photos / "hopper" / "1.png")
    report = build(photos, target, *models)
    assert report["gone"] == []
    assert not (target / "hopper" / "1.jpg").exists(), "it shows no face any more"


@pytest.mark.parametrize(
    ("drop", "wrong", "few"),
    [
        (["wrong"], True, []),
        (["wrong", "duplicates", "few"], True, ["lonely"]),
        (["few"], False, []),
    ],
)
def test_what_is_named_is_dropped_and_said(models, photos, tmp_path, drop, wrong, few):
    target = tmp_path / "faces"
    report = build(photos, target, *models, drop=drop)
    dropped = {row["photo"]: row["why"] for row in report["dropped"]}
    assert set(dropped.values()) == set(drop) - {"few"}
    assert dropped.get("collins/wrong.png") == ("wrong" if wrong else None)
    left = [name for name in files(target) if name.endswith(".jpg")]
    assert len(left) == report["faces"] == len(CROPS) - len(dropped)
    assert build(photos, target, *models, drop=drop) == report
    assert build(photos, target, *models)["faces"] == len(CROPS), "and comes back"


def test_people_with_few_faces_can_be_dropped(models, photos, tmp_path):
    report = build(photos, tmp_path / "faces", models[0], least=6, drop=["few"])
    assert report["few"] == [{"person": "hopper", "faces": 5}, {"person": "lonely", "faces": 0}]
    assert {row["why"] for row in report["dropped"]} == {"few"}
    assert report["faces"] == 6
    assert not list((tmp_path / "faces" / "hopper").iterdir())


def test_a_stopped_build_goes_on_and_ends_equal(models, photos, tmp_path):
    def stop(items, total, what):
        for number in items:
            if number == 6:
                raise KeyboardInterrupt
            yield number

    with pytest.raises(KeyboardInterrupt):
        build(photos, tmp_path / "faces", *models, track=stop)
    cut = {name: time for name, time in files(tmp_path / "faces").items() if name in CROPS}
    assert len(cut) == 6
    stopped = build(photos, tmp_path / "faces", *models)
    whole = build(photos, tmp_path / "whole", *models)
    assert (
        files(tmp_path / "faces").items()
        >= {k: v for k, v in cut.items() if "both" not in k}.items()
    )
    for report in (stopped, whole):
        del report["target"]
    assert stopped == whole
    for crop in CROPS:
        assert (tmp_path / "faces" / crop).read_bytes() == (tmp_path / "whole" / crop).read_bytes()


def test_a_dry_run_writes_nothing_and_reports_the_same(models, photos, tmp_path):
    report = build(photos, None, *models, drop=["wrong"])
    assert os.listdir(tmp_path) == []
    assert report["target"] is None
    kept = build(photos, tmp_path / "faces", *models, drop=["wrong"])
    for each in (report, kept):
        del each["target"]
    assert report == kept


def test_png_of_any_size_is_lossless(models, photos, tmp_path):
    cut = Cut("arcface_112x96", 56, "png")
    build(photos, tmp_path / "faces", *models, cut=cut)
    pixels = read(tmp_path / "faces" / "collins" / "0.png")
    assert pixels.shape == (56, 48, 3)
    opened = models[0].open(photos / "collins" / "0.png")
    (face,) = models[0].detect_opened([opened])[0]
    np.testing.assert_array_equal(pixels, read(cut(opened, face.to_dict())))


@pytest.mark.parametrize(
    ("place", "arguments", "message"),
    [
        ("photos/faces", {}, "lies in the folder of the photos"),
        ("photos", {}, "lies in the folder of the photos"),
        (".", {}, "something in it that was not built"),
        ("faces", {"drop": ["wrong"], "recognizer": None}, "without a recogniser"),
        ("faces", {"drop": ["blurred"]}, "'blurred': name wrong, duplicates, few"),
    ],
)
def test_what_cannot_be_built_is_said_first(models, photos, place, arguments, message):
    detector, recognizer = models
    before = files(photos.parent)
    with pytest.raises(ConfigError, match=message):
        build(photos, photos.parent / place, detector, **({"recognizer": recognizer} | arguments))
    assert files(photos.parent) == before


def test_a_recogniser_of_wider_faces_is_refused(models, photos, tmp_path):
    class Wide:
        template = "arcface_112x112"
        record = models[1].record

    with pytest.raises(ConfigError, match="wider than those on arcface_112x96"):
        build(photos, tmp_path / "faces", models[0], Wide(), cut=Cut("arcface_112x96"))


def test_other_settings_want_another_folder(models, photos, tmp_path):
    build(photos, tmp_path / "faces", models[0])
    for cut in (Cut(kind="png"), Cut(height=128)):
        with pytest.raises(ConfigError, match="built with another"):
            build(photos, tmp_path / "faces", models[0], cut=cut)


def test_photos_without_any_face_are_an_error(models, tmp_path):
    placed(tmp_path, {"photos/ada/1.png": Image.new("RGB", (200, 200))})
    with pytest.raises(ImageError, match="no face in any of 1 photos"):
        build(tmp_path / "photos", tmp_path / "faces", *models)
    with pytest.raises(ImageError, match="no such folder"):
        build(tmp_path / "missing", tmp_path / "faces", *models)


@pytest.mark.parametrize("arguments", [{"template": "face"}, {"kind": "gif"}])
def test_a_cut_is_checked(arguments):
    with pytest.raises(ConfigError, match="choose one of"):
        Cut(**arguments)
