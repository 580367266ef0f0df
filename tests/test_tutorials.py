"""The tutorials: run block by block as a reader would, and true to the code in what they list."""

import importlib.util
import inspect
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from page_commands import carried_out

from mindface import create_model
from mindface.recognition.losses import LOSSES
from mindface.training.recognition.config import RECOGNIZERS

DOCS = Path(__file__).parents[1] / "docs"
TUTORIALS = DOCS / "tutorials"
RECOGNITION = TUTORIALS / "recognition"
DETECTION = TUTORIALS / "detection"

# What a page makes, and what its commands must say.
PAGES = {
    "dataset": (
        ["messy_faces/build.json", "train.rec", "shards/faces-00003.tar", "runs/mixture"],
        [
            "broken.jpg: not an image",
            "sea.jpg: no face found",
            "person_0002/wrong.jpg: wrong",
            "person_0001/twice.jpg: duplicates",
            "grace of more is person_0006 of held_out",
            "exclude: leave_out.txt",
            "180 pictures of 20 people",
        ],
    ),
    "config": (
        ["runs/mine/metrics.jsonl", "runs/stopped/checkpoints/step-00000010"],
        ["did you mean data.batch?", "refused", "resumes     at step"],
    ),
    "finetune": (
        ["tuned.onnx", "runs/frozen/checkpoints", "runs/distill/checkpoints/step-00000010"],
        ["verification at step 0", "verification at step 24", "layers. frozen", "distillation"],
    ),
    "loss": (["runs/adaface/checkpoints"], ["AdaFace", "LiArcFace", "{'held_out/auc': "]),
    "model": (
        ["tiny.onnx", "runs/listed/checkpoints/step-00000032"],
        ["mobilefacenet_112x96: 1.0 million, 0.2 GFLOPs", "arcface_tiny on folder: 780 pairs"],
    ),
    "inference": (
        ["model.json", "people.npz"],
        ["licence CC0-1.0", "at which 0.01 of strangers match", "rgb (1, 128)"],
    ),
}

DETECTION_PAGES = {
    "inference": (
        ["marked", "crowd.png", "mine.json"],
        ["640 pixels: ", "broken.jpg not an image", "scales (2.0, 1.0, 0.25): ", "bgr "],
    ),
    "finetune": (
        ["labels.json", "runs/finetune/checkpoints", "tuned.onnx"],
        [
            "unreadable: 1",
            "no area: 1",
            "mirrored: 1",
            "faces in 24 photos",
            "validation at step 0: held_out/ap",
            "validation at step 16: held_out/ap",
        ],
    ),
    "evaluation": (
        ["report/index.html", "report/precision_recall.png", "figures.json"],
        [
            *(f"average precision  {figure}% " for figure in ("90.70", "88.16", "73.83")),
            "scales vga640: 6 photos",
            "refused",
            "of the boxes are faces",
        ],
    ),
}


@pytest.fixture(scope="session")
def started(exported, tmp_path_factory):
    """The folder of get_started.md, in which the other pages go on, and what was said."""
    folder = tmp_path_factory.mktemp("get_started")
    cache = {"MINDFACE_CACHE": str(folder / "cache")}
    said = carried_out(
        RECOGNITION / "get_started.md", folder, DETECTOR=str(exported.detector), **cache
    )
    return folder, said


@pytest.mark.shared
def test_the_evaluation_tutorial(exported, shared, tmp_path):
    people = tmp_path / "people"
    for source in sorted((shared / "data" / "celeba200" / "photos").iterdir())[:40]:
        (people / source.name).mkdir(parents=True)
        for photo in sorted(source.iterdir())[:2]:
            (people / source.name / photo.name).symlink_to(photo)
    said = carried_out(
        TUTORIALS / "evaluation.md",
        tmp_path,
        PHOTOS=str(people),
        DETECTOR=str(exported.detector),
        MODEL=str(exported.recognizer),
        MINDFACE_CACHE=str(tmp_path / "cache"),
    )
    assert (tmp_path / "report" / "index.html").is_file()
    for sentence in ("AUC", "accuracy", "is better", "people enrolled", "of strangers match"):
        assert sentence in said.replace("may be chance", "is better")


@pytest.mark.shared
@pytest.mark.timeout(900)
def test_getting_started(started):
    folder, said = started
    assert "200 faces of 200 photos of 20 people" in said
    assert float(re.search(r"held_out/auc (\S+)", said)[1]) > 0.8
    assert "780 pairs of 4 people" in said
    assert said.count("similarity ") == 2
    assert json.loads((folder / "my.json").read_text())["architecture"] == "arcface_mobilefacenet"


@pytest.mark.shared
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", PAGES)
def test_a_tutorial_on_recognition(name, started, exported, tmp_path):
    made, told = PAGES[name]
    folder = tmp_path / "work"
    shutil.copytree(started[0], folder)
    said = carried_out(
        RECOGNITION / f"{name}.md",
        folder,
        DETECTOR=str(exported.detector),
        MINDFACE_CACHE=str(folder / "cache"),
    )
    assert [path for path in made if not (folder / path).exists()] == []
    assert [sentence for sentence in told if sentence not in said] == [], said


@pytest.fixture(scope="session")
def configured(tmp_path_factory):
    """The folder of the detector's config.md, in which the other pages go on, and what was said."""
    folder = tmp_path_factory.mktemp("configured")
    return folder, carried_out(DETECTION / "config.md", folder, OMP_NUM_THREADS="1")


@pytest.mark.timeout(900)
def test_configuring_a_detector(configured):
    folder, said = configured
    for sentence in ("did you mean data.size?", "refused", "validation at step 6: held_out/ap"):
        assert sentence in said
    assert (folder / "seen.png").is_file()
    assert (folder / "runs/mine/checkpoints/step-00000006").is_dir()


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "name",
    [
        "inference",
        pytest.param("finetune", marks=pytest.mark.shared),
        pytest.param("evaluation", marks=pytest.mark.shared),
    ],
)
def test_a_tutorial_on_detection(name, configured, request, tmp_path):
    made, told = DETECTION_PAGES[name]
    folder = tmp_path / "work"
    shutil.copytree(configured[0], folder)
    variables = {"OMP_NUM_THREADS": "1", "MINDFACE_CACHE": str(folder / "cache")}
    if name != "inference":
        data = request.getfixturevalue("shared") / "data"
        variables["WEIGHTS"] = str(data / "weights" / "retinaface_mobilenet025.pth")
        variables["WIDER"] = str(data / "widerface")
    said = carried_out(DETECTION / f"{name}.md", folder, **variables)
    assert [path for path in made if not (folder / path).exists()] == []
    assert [sentence for sentence in told if sentence not in said] == [], said


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_minute_of_training_finds_faces(tmp_path):
    said = carried_out(DETECTION / "README.md", tmp_path, MINDFACE_CACHE=str(tmp_path / "cache"))
    assert float(re.findall(r"held_out/ap (\S+),", said)[-1]) > 0.5
    assert len(list((tmp_path / "marked").glob("*.jpg"))) == 20


def test_the_table_of_losses_has_all_of_them_and_their_defaults():
    text = (RECOGNITION / "loss.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \|.*?\| `([^`]+)` \|", text, re.MULTILINE))
    listed = {name: yaml.safe_load(f"{{{arguments}}}") for name, arguments in rows.items()}
    parameters = {
        name: inspect.signature(constructor).parameters.values()
        for name, constructor in LOSSES.items()
    }
    assert listed == {
        name: {each.name: each.default for each in found if not isinstance(each.default, str)}
        for name, found in parameters.items()
    }


def test_the_table_of_networks_has_all_of_them_and_their_sizes():
    text = (RECOGNITION / "model.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", text, re.MULTILINE))
    with torch.device("meta"):
        networks = {name: create_model(name) for name in RECOGNIZERS}
    assert rows == {
        name: f"{sum(p.numel() for p in network.parameters()) / 1e6:.1f}"
        for name, network in networks.items()
    }


@pytest.mark.parametrize("page", sorted(TUTORIALS.rglob("*.md")), ids=lambda page: page.stem)
def test_the_links_of_a_tutorial_lead_somewhere(page):
    links = re.findall(r"\]\(([^):#]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).is_file()] == []


def test_the_page_of_configuration_keys_is_up_to_date():
    spec = importlib.util.spec_from_file_location("training_page", DOCS / "generate_training.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text(encoding="utf-8") == module.page(), (
        "run  python docs/generate_training.py"
    )
