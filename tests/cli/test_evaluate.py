"""The commands that measure: evaluate and calibrate, and what verify makes of a calibration."""

import io
import json
import pickle
import sys
from pathlib import Path

import pytest
from PIL import Image

from mindface import golden
from mindface.geometry import TEMPLATES
from mindface.zoo.record import read_record

sys.path.insert(0, str(Path(__file__).parents[1] / "recognition"))
import ijb_sample

pytestmark = pytest.mark.shared


@pytest.fixture(autouse=True)
def _cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MINDFACE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def people(shared, tmp_path):
    """40 people with two photos each, one photo without a face, and one that is broken."""
    folder = tmp_path / "people"
    sources = sorted((shared / "data" / "celeba200" / "photos").iterdir())[:40]
    for source in sources:
        (folder / source.name).mkdir(parents=True)
        for photo in sorted(source.iterdir())[:2]:
            (folder / source.name / photo.name).symlink_to(photo)
    Image.new("RGB", (200, 200), "gray").save(folder / sources[0].name / "wall.jpg")
    (folder / sources[1].name / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    return folder


@pytest.fixture
def evaluate(mindface, exported):
    """Runs `mindface evaluate verification` with the exported models; returns the JSON."""

    def run(*arguments, kind="verification", model=None):
        detector = ["--detector", exported.detector] if "--aligned" not in arguments else []
        result = mindface(
            "evaluate", kind, model or exported.recognizer, *arguments, *detector, "--json"
        )
        assert result.code == 0, result.err
        return json.loads(result.out)

    return run


def test_a_folder_is_every_photo_against_every_other(evaluate, people, tmp_path):
    run = evaluate("--folder", people, "--report", tmp_path / "report")
    assert (run["protocol"], run["model"]) == ("folder", "mobilefacenet_112x96")
    assert (run["genuine"], run["impostor"]) == (44, 82 * 81 // 2 - 44)
    assert run["people_pairs"] == 40 * 39 // 2
    assert list(run["tar_at_far"]) == ["1e-2", "1e-3", "1e-4", "1e-5", "1e-6"]
    assert run["tar_at_far"]["1e-3"] is None, "780 pairs of people cannot support it"
    assert run["accuracy_mean"] is None
    assert run["auc"] > 0.85
    assert run["failure_to_acquire"] == {"photos": 82, "failed": 2, "rate": 2 / 82}
    assert {Path(skip["path"]).name: skip["reason"] for skip in run["skipped"]}.keys() == {
        "wall.jpg",
        "broken.jpg",
    }
    assert run["without_failures"]["auc"] > run["auc"]
    assert run["manifest"]["model"]["precision"] == "fp32"
    assert run["manifest"]["lists"].keys() == {"paths"}
    page = (tmp_path / "report" / "index.html").read_text()
    assert "mobilefacenet_112x96" in page
    assert page.count("data:image/jpeg") > 20, "the faces of the worst pairs"


def test_what_was_computed_is_kept(evaluate, people, monkeypatch):
    first = evaluate("--folder", people, "--flip")
    monkeypatch.setattr("mindface.recognition.recognizer.Recognizer._run", None)
    again = evaluate("--folder", people, "--flip")
    assert again == first


def test_drawn_pairs_have_folds_and_runs_are_compared(evaluate, mindface, people, tmp_path):
    a, b = tmp_path / "a.json", tmp_path / "b.json"
    run = evaluate("--folder", people, "--draw", "60", "--output", a)
    assert run["pairs"] == 60
    assert 0.8 < run["accuracy_mean"] <= 1
    evaluate("--folder", people, "--draw", "60", "--flip", "--output", b)
    differences = json.loads(mindface("evaluate", "compare", a, b, "--json").out)
    assert {difference["figure"] for difference in differences} >= {"auc", "accuracy"}
    same = json.loads(mindface("evaluate", "compare", a, a, "--json").out)
    assert all(each["difference"]["value"] == 0 and each["better"] is None for each in same)
    table = mindface("evaluate", "compare", a, b).out.splitlines()
    assert len(table) == 3 + len(differences)
    c = tmp_path / "c.json"
    evaluate("--folder", people, "--draw", "60", "--seed", "1", "--output", c)
    pairs_differ = mindface("evaluate", "compare", a, c)
    assert pairs_differ.code == 1
    assert "different lists" in pairs_differ.err


def crops():
    """Pictures of aligned faces: two of Collins and two of Hopper, in JPEG."""
    pictures = []
    for crop in golden.crops("arcface_112x112"):
        file = io.BytesIO()
        Image.fromarray(crop).save(file, "JPEG", quality=95)
        pictures.append(file.getvalue())
    return [pictures[index] for index in (0, 2, 1, 3)]


def test_a_bin_of_insightface(evaluate, tmp_path):
    collins, collins2, hopper, hopper2 = crops()
    pairs = [(collins, collins2, True), (collins, hopper, False)] * 6
    pairs += [(hopper, hopper2, True), (hopper2, collins2, False)] * 4
    path = tmp_path / "toy.bin"
    content = [picture for a, b, _ in pairs for picture in (a, b)], [same for *_, same in pairs]
    path.write_bytes(pickle.dumps(content))
    run = evaluate("--bin", path, "--aligned", "--flip")
    assert (run["protocol"], run["pairs"], run["accuracy_mean"]) == ("toy.bin", 20, 1.0)
    assert (run["auc"], run["eer"]) == (1.0, 0.0)
    second = tmp_path / "second.bin"
    second.write_bytes(path.read_bytes())
    runs = evaluate("--bin", path, second, "--aligned", "--flip")
    assert [run["protocol"] for run in runs] == ["toy.bin", "second.bin"]


def test_lists_of_pairs(evaluate, mindface, exported, tmp_path):
    for name, picture in zip(("A", "A", "B", "B"), crops(), strict=True):
        folder = tmp_path / "lfw" / name
        folder.mkdir(parents=True, exist_ok=True)
        number = len(list(folder.iterdir())) + 1
        (folder / f"{name}_{number:04d}.jpg").write_bytes(picture)
    lfw = tmp_path / "pairs.txt"
    lfw.write_text("2\t1\nA\t1\t2\nA\t1\tB\t1\nB\t1\t2\nA\t2\tB\t2\n")
    run = evaluate("--pairs", lfw, "--images", tmp_path / "lfw", "--aligned")
    assert (run["protocol"], run["pairs"], run["folds"]) == ("LFW pairs.txt", 4, 2)
    assert run["auc"] == 1.0
    table = tmp_path / "pairs.csv"
    table.write_text("a,b,same\nA/A_0001.jpg,A/A_0002.jpg,1\nA/A_0001.jpg,B/B_0001.jpg,0\n")
    run = evaluate("--pairs", table, "--images", tmp_path / "lfw", "--aligned")
    assert (run["protocol"], run["pairs"]) == ("pairs.csv", 2)
    text = mindface(
        *("evaluate", "verification", exported.recognizer, "--aligned"),
        *("--pairs", lfw, "--images", tmp_path / "lfw"),
    ).out
    assert "(2 folds)" in text
    assert "too few people to measure it" in text


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ([], 2, "one of --pairs, --bin and --folder"),
        (["--folder", "x", "--bin", "y"], 2, "one of --pairs, --bin and --folder"),
        (["--folder", "missing"], 4, "missing"),
        (["--bin", "missing.bin"], 5, "missing.bin"),
        (["--pairs", "missing.txt", "--images", "."], 5, "missing.txt"),
        (["--pairs", "missing.txt"], 2, "folder"),
    ],
)
def test_what_cannot_be_evaluated_is_one_sentence(
    mindface, exported, tmp_path, monkeypatch, arguments, code, sentence
):
    monkeypatch.chdir(tmp_path)
    result = mindface("evaluate", "verification", exported.recognizer, "--aligned", *arguments)
    assert result.code == code
    assert sentence in result.err


def test_weights_are_evaluated_through_onnx(evaluate, shared, tmp_path):
    collins, collins2, hopper, _ = crops()
    path = tmp_path / "toy.bin"
    path.write_bytes(pickle.dumps(([collins, collins2, collins, hopper], [True, False])))
    data = shared / "data"
    run = evaluate(
        "--bin", path, "--aligned", model=data / "weights" / "mobilefacenet_casia_112x96.pth"
    )
    assert (run["model"], run["auc"]) == ("mobilefacenet_112x96", 1.0)
    run = evaluate("--bin", path, "--aligned", model=data / "mindface_ckpt" / "mobilefacenet.ckpt")
    assert run["model"] == "arcface_mobilefacenet", "random weights of MindFace itself"
    assert len(list((tmp_path / "cache" / "exported").glob("*.onnx"))) == 2


def test_groups(evaluate, people, tmp_path):
    table = tmp_path / "groups.csv"
    names = sorted(path.name for path in people.iterdir())
    rows = [f"{name},{'odd' if index % 2 else 'even'}" for index, name in enumerate(names)]
    table.write_text("\n".join(["person,group", *rows]))
    groups = evaluate("--folder", people, "--groups", table)["groups"]
    assert [row["group"] for row in groups["rows"]] == ["even", "odd"]
    assert all(row["warning"] for row in groups["rows"]), "20 people are too few to tell"


def test_identification(evaluate, people):
    run = evaluate("--folder", people, "--non-mated", "0.5", kind="identification")
    assert (run["enrolled"], run["mated"] + run["non_mated"]) == (20, 82 - 20)
    assert 0.5 < run["rank1"] <= run["rank5"] <= 1
    assert run["fnir_at_fpir"]["1e-2"] is None, "20 strangers cannot support it"
    both = evaluate("--gallery", people, "--probes", people, kind="identification")
    assert (both["enrolled"], both["rank1"]) == (40, pytest.approx(80 / 82))


def test_ijb(mindface, exported, tmp_path, monkeypatch):
    """The official lists over crops of two portraits; one image is missing."""
    folder = ijb_sample.write(tmp_path / "IJBC")
    points = " ".join(f"{value:.3f}" for value in TEMPLATES["arcface_112x112"][1].reshape(-1))
    (folder / "meta" / "ijbc_name_5pts_score.txt").write_text(
        "".join(f"{i}.jpg {points} {row[2]}\n" for i, row in enumerate(ijb_sample.IMAGES, 1))
    )
    (folder / "loose_crop").mkdir()
    collins, collins2, hopper, _ = crops()
    subject = {1: collins, 4: collins2, 2: hopper, 6: hopper, 3: hopper, 5: hopper}
    for number, (template, *_) in enumerate(ijb_sample.IMAGES, 1):
        if number != 8:
            (folder / "loose_crop" / f"{number}.jpg").write_bytes(subject[template])
    result = mindface("evaluate", "ijb", exported.recognizer, "--folder", folder, "--json")
    assert result.code == 0, result.err
    run = json.loads(result.out)
    assert (run["images"], run["templates"], run["pairs"]) == (9, 6, 8)
    assert run["skipped"] == [
        {"path": "8.jpg", "reason": "cannot be read: No such file or directory"}
    ]
    assert run["rank1"] == 1.0
    monkeypatch.setattr("mindface.recognition.recognizer.Recognizer._run", None)
    command = ("evaluate", "ijb", exported.recognizer, "--folder", folder)
    assert json.loads(mindface(*command, "--json").out) == run, "what was computed is kept"
    assert "rank 1 100.00%" in mindface(*command).out


def test_calibrated_verification_has_a_verdict(mindface, exported, people, tmp_path):
    models = ("--detector", exported.detector)
    calibration = tmp_path / "calibration.json"
    command = ("calibrate", exported.recognizer, "--folder", people, *models)
    result = mindface(*command, "--output", calibration)
    assert result.code == 0, result.err
    assert "40 people" in result.out
    assert "wall.jpg: no face found" in result.err
    refused = mindface(*command, "--output", calibration, "--rate", "1e-6")
    assert refused.code == 11
    assert "2450 people" in refused.err
    photos = sorted(next(iter(sorted(people.iterdir()))).glob("0*.jpg"))
    both = ("--recognizer", exported.recognizer, *models, "--calibration", calibration)
    unknown = mindface("verify", *photos, *both)
    assert unknown.code == 11
    assert "no threshold for the false match rate 0.001" in unknown.err
    result = mindface("verify", *photos, *both, "--false-match-rate", "0.01", "--json")
    answer = json.loads(result.out)
    assert answer["false_match_rate"] == 0.01
    assert answer["interval"][0] < 0.01 < answer["interval"][1]
    assert (answer["calibration"], answer["attack_check"]) == ("people", False)
    assert answer["same"] is (answer["similarity"] >= answer["threshold"])
    text = mindface("verify", *photos, *both, "--false-match-rate", "0.01").out
    assert "0.01 of strangers match" in text


def test_another_models_calibration_is_refused(mindface, exported, people, shared, tmp_path):
    calibration = tmp_path / "calibration.json"
    other = shared / "data" / "models" / "mobilefacenet_foamliu_128d.onnx"
    detector = ("--detector", exported.detector)
    assert (
        mindface("calibrate", other, "--folder", people, "--output", calibration, *detector).code
        == 0
    )
    photo = next(path for path in sorted(people.glob("*/*.jpg")) if path.name[0] == "0")
    result = mindface(
        *("verify", photo, photo, "--recognizer", exported.recognizer),
        *(*detector, "--calibration", calibration),
    )
    assert result.code == 5
    assert "another model" in result.err


def test_a_calibration_goes_into_the_record(mindface, exported, people, tmp_path):
    model = tmp_path / "model.onnx"
    model.write_bytes(exported.recognizer.read_bytes())
    record = tmp_path / "model.json"
    record.write_text(exported.recognizer.with_suffix(".json").read_text())
    before = read_record(record)
    detector = ("--detector", exported.detector)
    result = mindface("calibrate", model, "--folder", people, *detector, "--name", "a test")
    assert result.code == 0, result.err
    after = read_record(record)
    assert after.contract == before.contract
    assert after.calibration.name == "a test"


def test_an_output_that_cannot_be_written_is_one_line(mindface, exported, people, tmp_path):
    result = mindface(
        *("evaluate", "verification", exported.recognizer, "--detector", exported.detector),
        *("--folder", people, "--draw", "60", "--output", tmp_path / "missing" / "run.json"),
    )
    assert result.code == 12
    assert result.err.splitlines()[-1].endswith("No such file or directory")


def test_a_report_that_cannot_be_drawn_is_said_first(mindface, exported, people, monkeypatch):
    monkeypatch.setattr("mindface.cli.evaluate.shared.find_spec", lambda name: None)
    monkeypatch.setattr("mindface.features.extract", None)
    result = mindface(
        *("evaluate", "verification", exported.recognizer, "--detector", exported.detector),
        *("--folder", people, "--report", people / "report"),
    )
    assert result.code == 7
    assert "pip install 'mindface[evaluate]'" in result.err


def test_a_catalogued_model_brings_its_calibration(mindface, exported, shared):
    portraits = Path(golden.__file__).parent
    result = mindface(
        *("verify", portraits / "eileen_collins.jpg", portraits / "grace_hopper.jpg", "--json"),
        *("--recognizer", shared / "data" / "models" / "mobilefacenet_foamliu_128d.onnx"),
        *("--detector", exported.detector),
    )
    answer = json.loads(result.out)
    assert (answer["same"], answer["false_match_rate"]) == (False, 0.001)
    assert answer["calibration"].startswith("celeba200")
