"""`mindface evaluate detection`: the official figures, and a detector from photos to figures."""

import json
import re
import zipfile

import numpy as np
import pytest
from PIL import Image
from wider_sample import write_list, write_mats

HIGH = 40
FIGURES = {"easy": 0.9069584244, "medium": 0.8815790551, "hard": 0.7382863255}


@pytest.fixture
def evaluate(mindface):
    """Runs `mindface evaluate detection` and returns the JSON."""

    def run(*arguments):
        result = mindface("evaluate", "detection", *arguments, "--json")
        assert result.code == 0, result.err
        return json.loads(result.out)

    return run


@pytest.fixture(scope="module")
def val20(shared, tmp_path_factory):
    """20 pictures of WIDER FACE in their own proportions, and their faces (x y width height)."""
    folder = tmp_path_factory.mktemp("val20")
    source = shared / "data" / "widerface" / "val200"
    facts = json.loads((source / "ground_truth.json").read_text())
    faces = {}
    for name in sorted(facts)[::10]:
        image = facts[name]["path"].removesuffix(".jpg")
        boxes = np.reshape(facts[name]["faces_orig"], (-1, 4)).astype(int)
        faces[image] = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1).tolist()
        path = folder / "images" / f"{image}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(source / "images" / name) as stretched:
            stretched.resize(facts[name]["orig_wh"]).save(path, quality=92)
    return folder / "images", faces


@pytest.mark.shared
def test_the_official_figures(evaluate, shared):
    data = shared / "data" / "widerface"
    archive = data / "retinaface_mobilenet025_val_predictions.zip"
    run = evaluate("--predictions", archive, "--ground-truth", data)
    assert {subset: run[subset] for subset in FIGURES} == pytest.approx(FIGURES, abs=1e-6)
    assert (run["photos"], run["precision_recall"]["hard"]["faces"]) == (3226, 31958)
    for curve in run["precision_recall"].values():
        recall, precision = curve["recall"], curve["precision"]
        assert 20 < len(recall) == len(precision) == len(curve["threshold"]) <= 101
        assert recall == sorted(recall)


@pytest.mark.shared
def test_a_detector_from_photos_to_figures(evaluate, mindface, exported, val20, tmp_path):
    images, faces = val20
    truth = write_list(
        tmp_path / "val_bbx_gt.txt",
        {image: (boxes, [box[3] > HIGH for box in boxes]) for image, boxes in faces.items()},
    )
    output = tmp_path / "predictions"
    command = [exported.detector, "--images", images, "--ground-truth", truth]
    command += ["--scales", "vga640", "--output", output, "--engine", "onnxruntime"]
    run = evaluate(*command, "--report", tmp_path / "report")
    assert run["all"] > 0.6
    assert (run["model"], run["photos"]) == ("retinaface_mobilenet025", 20)
    assert run["manifest"]["scales"]["policy"] == "vga640"
    assert run["manifest"]["precision"] == "fp32"
    page = (tmp_path / "report" / "index.html").read_text()
    cases = run["worst"]["misses"][:20] + run["worst"]["false_alarms"][:20]
    assert page.count("data:image/jpeg") == len(cases) > 20
    assert (tmp_path / "report" / "precision_recall.png").exists()

    (output / f"{min(faces)}.txt").unlink()
    assert evaluate(*command) == run, "one photo anew, the others from the disk"
    zipped = tmp_path / "predictions.zip"
    with zipfile.ZipFile(zipped, "w") as archive:
        for path in output.rglob("*.txt"):
            archive.write(path, path.relative_to(tmp_path))
    assert evaluate("--predictions", zipped, "--ground-truth", truth)["all"] == run["all"]
    other = mindface("evaluate", "detection", *command, "--scales", "original")
    assert other.code == 2
    assert "predictions with another scales" in other.err


@pytest.mark.shared
def test_subsets_of_the_four_files(mindface, exported, val20, tmp_path):
    images, faces = val20
    labels = {}
    for image in sorted(faces)[7:10]:
        every = range(1, len(faces[image]) + 1)
        high = [number for number in every if faces[image][number - 1][3] > HIGH]
        labels[image] = faces[image], {"easy": high, "medium": every, "hard": every}
    truth = write_mats(tmp_path / "truth", labels)
    result = mindface(
        *("evaluate", "detection", exported.detector, "--images", images, "--ground-truth", truth),
        *("--scales", "vga640", "--output", tmp_path / "out", "--engine", "onnxruntime"),
    )
    head, *rows = result.out.splitlines()
    assert head == "retinaface_mobilenet025 on WIDER FACE, scales vga640: 3 photos"
    names, figures, counts = zip(
        *(
            re.match(r"  (\w+) +average precision +([\d.]+)% \((\d+) faces\)", row).groups()
            for row in rows
        ),
        strict=True,
    )
    assert names == ("easy", "medium", "hard")
    assert float(figures[0]) > float(figures[1]) == float(figures[2])
    assert int(counts[0]) < int(counts[1])


TRUTH = {"e/a": ([[10, 10, 30, 30]], [True])}


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ([], 2, "give MODEL with --images and --output, or --predictions"),
        (["x.onnx"], 2, "give MODEL with --images and --output"),
        (["x.onnx", "--images", "i", "--output", "o", "--predictions", "p"], 2, "or --predictions"),
        (["--predictions", "p", "--scales", "huge"], 2, "original, vga640, mxnet, multiscale"),
        (["--predictions", "missing"], 5, "missing: cannot be read"),
        (["--predictions", "p"], 5, "e/a: its second line is '2', but it has 1 boxes"),
        (["missing.onnx", "--images", "i", "--output", "o"], 5, "missing.onnx"),
    ],
)
def test_what_cannot_be_evaluated_is_one_sentence(
    mindface, tmp_path, monkeypatch, arguments, code, sentence
):
    monkeypatch.chdir(tmp_path)
    write_list(tmp_path / "truth.txt", TRUTH)
    (tmp_path / "p" / "e").mkdir(parents=True)
    (tmp_path / "p" / "e" / "a.txt").write_text("a\n2\n1 1 2 2 0.5\n")
    result = mindface("evaluate", "detection", *arguments, "--ground-truth", "truth.txt")
    assert result.code == code
    assert sentence in " ".join(re.sub("[│╭╮╰╯─]", "", result.err).split())


def test_a_report_without_the_photos(evaluate, tmp_path):
    truth = write_list(tmp_path / "truth.txt", TRUTH)
    (tmp_path / "p" / "e").mkdir(parents=True)
    (tmp_path / "p" / "e" / "a.txt").write_text("a\n1\n80 80 9 9 0.5\n")
    report = tmp_path / "report"
    run = evaluate("--predictions", tmp_path / "p", "--ground-truth", truth, "--report", report)
    assert run["all"] == 0
    assert [case["a"] for case in run["worst"]["misses"]] == ["e/a [10 10 30 30]"]
    page = (report / "index.html").read_text()
    assert "data:image/jpeg" not in page
    assert "e/a [80 80 9 9]" in page
