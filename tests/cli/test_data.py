"""mindface data: from photos to packed sets, as a user types it."""

import json
import shutil

import pytest
from typer.main import get_command

from mindface.cli.data import app
from mindface.datasets import open_faces
from mindface.datasets.scene_synth import synth_scenes
from mindface.datasets.synth import synth_faces

PEOPLE = [f"person_{number:04d}" for number in range(6)]


@pytest.fixture(autouse=True)
def _cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MINDFACE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    """Photos of six people who do not exist; they are no aligned faces, but read like some."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    synth_faces(folder, people=6, pictures=3, size=112)
    return folder


def commands(group, before=()):
    for name, command in group.commands.items():
        nested = hasattr(command, "commands")
        yield from commands(command, (*before, name)) if nested else [(*before, name)]


@pytest.mark.parametrize("words", list(commands(get_command(app))), ids=" ".join)
def test_every_command_helps_with_an_example(mindface, words):
    code, out, _ = mindface("data", *words, "--help")
    assert code == 0
    assert "Example:" in out


def test_synthetic_people(mindface, tmp_path):
    folder = tmp_path / "photos"
    command = ("data", "synth", "faces", folder, "--people", "2", "--pictures", "2")
    code, out, _ = mindface(*command)
    assert (code, out) == (0, f"{folder}: 4 photos of 2 people\n")
    assert len(open_faces(folder)) == 4
    again = mindface(*command)
    assert again.code == 12
    assert "not empty" in again.err


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """A folder of synthetic pictures with faces, and their label.txt."""
    folder = tmp_path_factory.mktemp("data") / "scenes"
    synth_scenes(folder, pictures=3)
    return folder


def test_synthetic_scenes(mindface, tmp_path, scenes):
    folder = tmp_path / "scenes"
    command = ("data", "synth", "scenes", folder, "--pictures", "3")
    code, out, _ = mindface(*command)
    assert (code, out) == (0, f"{folder}: 3 pictures, and label.txt\n")
    assert (folder / "label.txt").read_bytes() == (scenes / "label.txt").read_bytes()
    again = mindface(*command)
    assert again.code == 12
    assert "not empty" in again.err


def test_labels_of_scenes_are_checked(mindface, scenes, tmp_path):
    labels = scenes / "label.txt"
    code, out, _ = mindface("data", "check", labels)
    assert code == 0
    assert f"{labels}: " in out
    assert "faces in 3 pictures" in out
    assert out.count(": 0\n") >= 8
    damaged = tmp_path / "label.txt"
    damaged.write_text(labels.read_text() + "1 2 0 4\n# missing.jpg\n")
    code, out, err = mindface("data", "check", damaged, "--images", scenes / "images")
    assert code == 5
    assert "unreadable: 1" in out
    assert "no area: 1\n" in out
    assert "face" in out.split("no area")[1].splitlines()[1]
    assert f"{damaged}: pictures or faces cannot be" in err
    both = ("data", "check", labels, damaged, "--images", scenes / "images", "--json")
    code, out, _ = mindface(*both)
    assert code == 5
    assert [len(report["no_area"]) for report in json.loads(out)["sets"]] == [0, 1]
    damaged.write_text("# 00000.jpg\n")
    suspicious = ("data", "check", damaged, "--images", scenes / "images")
    assert mindface(*suspicious).code == 0
    code, out, err = mindface(*suspicious, "--strict")
    assert code == 5
    assert "in the folder, but not labelled: 2" in out
    assert "--strict" in err


@pytest.mark.shared
def test_photos_are_labelled_by_a_detector(mindface, models, scenes, tmp_path):
    folder, output = tmp_path / "photos", tmp_path / "labels.json"
    shutil.copytree(scenes / "images", folder)
    (folder / "broken.jpg").write_bytes(b"no")
    options = (*models[:2], "--engine", "onnxruntime", "--precision", "fp32", "--scales", "1,2")
    code, out, err = mindface("data", "label", folder, output, *options)
    assert code == 0, err
    assert out.startswith(f"{output}: ")
    assert "1 of 4 photos skipped" in err
    assert mindface("data", "check", output, "--images", folder).code == 0
    again = mindface("data", "label", folder, output, *options)
    assert (again.code, "already" in again.err) == (12, True)
    other = mindface("data", "label", folder, tmp_path / "b.json", *options, "--json", "--strict")
    assert other.code == 10
    assert json.loads(other.out)["photos"] == 3


def test_split_and_pack(mindface, synthetic, tmp_path):
    names = tmp_path / "held_out.txt"
    split = ("data", "split", synthetic, "--share", "0.5", "--output", names, "--json")
    code, out, _ = mindface(*split)
    held = names.read_text().splitlines()
    assert code == 0
    assert json.loads(out) == {"output": str(names), "people": 6, "held_out": len(held)}
    assert 0 < len(held) < 6
    assert set(held) < set(PEOPLE)
    rest = tmp_path / "rest"
    pack = ("data", "pack", synthetic, rest, "--without", names, "--shard-size", "5")
    assert (
        mindface(*pack).out == f"{rest}: {3 * (6 - len(held))} pictures of {6 - len(held)} people\n"
    )
    assert open_faces(rest).class_names == tuple(sorted(set(PEOPLE) - set(held)))
    assert len(list(rest.glob("*.tar"))) == -(-3 * (6 - len(held)) // 5)
    records = tmp_path / "held" / "train.rec"
    records.parent.mkdir()
    code, out, _ = mindface("data", "pack", synthetic, records, "--people", names, "--json")
    assert json.loads(out) == {
        "output": str(records),
        "pictures": 3 * len(held),
        "people": len(held),
    }
    assert len(open_faces(records)) == 3 * len(held)


def test_a_sound_set_and_a_damaged_one(mindface, synthetic, tmp_path):
    check = ("data", "check", "--recognizer", "none")
    code, out, _ = mindface(*check, synthetic)
    assert code == 0
    assert f"{synthetic}: 18 pictures\n  6 people with 3 to 3 pictures" in out
    assert out.count("not looked for: no recogniser") == 3
    folder = shutil.copytree(synthetic, tmp_path / "damaged")
    (folder / PEOPLE[0] / "00.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    code, out, err = mindface(*check, synthetic, folder, "--json")
    result = json.loads(out)
    assert code == 5
    assert f"{folder}: damaged" in err
    assert [len(report["damaged"]) for report in result["sets"]] == [0, 1]
    assert result["shared_people"] is result["against"] is result["recognizer"] is None


def test_without_weights_noise_is_not_looked_for(mindface, synthetic, monkeypatch):
    monkeypatch.setattr("mindface.cli.data.shared.DEFAULT_RECOGNIZER", "edgeface_xs_gamma_06")
    code, out, err = mindface("data", "check", synthetic, "--recognizer", "edgeface_xs_gamma_06")
    assert code == 0
    assert "no recogniser: edgeface_xs_gamma_06 is not on this machine" in err
    assert "not looked for: no recogniser" in out
    named = mindface("data", "check", synthetic, "--recognizer", "edgeface_s_gamma_05")
    assert named.code == 5, "a model that was named must be there"


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["check", "missing"], 4, "missing"),
        (["check", "{set}", "--exclude-list", "x.txt"], 2, "--against"),
        (["check", "{set}", "--against", "{set}"], 2, "needs a recogniser"),
        (["check", "{set}", "--unlabelled", "other"], 2, "--unlabelled"),
        (["check", "{set}", "labels.json"], 2, "not both"),
        (["check", "{set}", "--images", "{set}"], 2, "goes with labels"),
        (["check", "labels.json"], 5, "labels.json: cannot be read"),
        (["check", "names.txt", "--images", "nowhere"], 4, "say where the pictures are"),
        (["label", "{set}", "x.json", "--scales", "1,0"], 2, "numbers above 0"),
        (["split", "{set}", "--output", "x.txt", "--share", "0"], 2, "nobody of 6 people"),
        (["pack", "{set}", "x.rec", "--people", "a", "--without", "b"], 2, "--people or --without"),
        (["pack", "{set}", "x.rec", "--people", "missing.txt"], 12, "missing.txt"),
        (["pack", "{set}", "x.rec", "--without", "{names}"], 2, "not in the set: 'Ada'"),
    ],
)
def test_errors_are_one_sentence(
    mindface, synthetic, tmp_path, monkeypatch, arguments, code, sentence
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "names.txt").write_text("Ada\n")
    places = {"{set}": str(synthetic), "{names}": "names.txt"}
    arguments = [places.get(argument, argument) for argument in arguments]
    if arguments[0] == "check":
        arguments += ["--recognizer", "none"]
    result = mindface("data", *arguments)
    assert result.code == code
    assert sentence in result.err.replace("\n", " ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["names.txt"]


@pytest.fixture(scope="module")
def celebrities(shared, tmp_path_factory):
    """Four photos each of three celebrities; one of the second stands with the first, too."""
    folder = tmp_path_factory.mktemp("celebrities")
    people = sorted((shared / "data" / "celeba200" / "photos").iterdir())
    for person in [each for each in people if len(list(each.iterdir())) >= 20][:3]:
        (folder / person.name).mkdir()
        for photo in sorted(person.iterdir())[:4]:
            shutil.copy(photo, folder / person.name / photo.name)
    first, second, *_ = sorted(folder.iterdir())
    shutil.copy(min(second.iterdir()), first / "wrong.jpg")
    return folder


@pytest.mark.shared
def test_from_photos_to_an_exclude_list(mindface, models, celebrities, tmp_path):
    engine = ("--engine", "onnxruntime", "--precision", "fp32")
    faces, recognizer = tmp_path / "faces", (*models[2:], *engine)
    build = ("data", "build", celebrities, faces, *models, *engine)
    code, out, err = mindface(*build, "--dry-run")
    assert code == 0, err
    assert out.startswith("nothing written: 13 faces of 13 photos of 3 people")
    assert not faces.exists()
    code, out, _ = mindface(*build, "--drop", "wrong", "--json")
    report = json.loads(out)
    assert code == 0
    assert report == json.loads((faces / "build.json").read_text())
    dropped = {row["photo"]: row["why"] for row in report["dropped"]}
    first, second, *_ = sorted(path.name for path in celebrities.iterdir())
    assert dropped[f"{first}/wrong.jpg"] == "wrong"
    assert report["faces"] == 13 - len(dropped)

    validation, excluded = tmp_path / "validation", tmp_path / "exclude.txt"
    shutil.copytree(faces / second, validation / "somebody")
    check = ("data", "check", faces, "--against", validation, "--exclude-list", excluded)
    code, out, _ = mindface(*check, *recognizer)
    assert code == 0
    assert "in the validation set, too: 1" in out
    assert excluded.read_text() == f"{second}\n"
    assert mindface(*check, *recognizer, "--strict").code == 5

    records = tmp_path / "train.rec"
    assert mindface("data", "pack", faces, records, "--without", excluded).code == 0
    both = ("data", "check", records, validation, *recognizer, "--json", "--same", "0.5")
    result = json.loads(mindface(*both).out)
    assert result["shared_people"] == []
    assert [report["people"] for report in result["sets"]] == [2, 1]
    unlabelled = (*check[:2], records, *check[3:], "--unlabelled", records, *recognizer)
    assert mindface(*unlabelled).code == 0
    assert excluded.read_text() == ""
