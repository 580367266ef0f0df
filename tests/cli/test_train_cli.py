"""`mindface train`: from folders of faces, and from labelled photos, to an ONNX file."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mindface import Detector, Recognizer
from mindface.datasets.scene_synth import synth_scenes
from mindface.training.config import load_config, parse_config
from mindface.training.detection.config import DetectionConfig
from mindface.training.networks import network_of
from mindface.training.recognition.config import RecognitionConfig

SMALL = ("data.batch=2", "data.size=64", "validation_size=64", "device=cpu")
FEW_STEPS = ("network.embedding_size=64", "data.batch=8", "schedule.epochs=4", "device=cpu")


@pytest.fixture
def faces(tmp_path):
    """Four people, of whom each has two pictures of one colour."""
    rng = np.random.default_rng(0)
    for person in range(4):
        color = rng.integers(0, 256, 3)
        for number in range(2):
            face = np.clip(color + rng.normal(0, 20, (112, 112, 3)), 0, 255).astype(np.uint8)
            path = tmp_path / "faces" / f"person {person}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), face)
    return tmp_path / "faces"


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_from_a_folder_of_faces_to_a_recogniser(mindface, faces, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = (f"data.sets=[{{path: '{faces}'}}]", f"verification=[{{path: '{faces}'}}]")
    trained = mindface("train", "recognition", "quick", *data, *FEW_STEPS, "--json")
    assert trained.code == 0, trained.err
    result = json.loads(trained.out)
    assert result["checkpoint"] == "runs/quick/checkpoints/step-00000004"
    assert (result["step"], [*result["verification"]]) == (4, ["faces/auc"])
    for part in ("data        8 pictures of 4 people", "steps       4: 4 epochs of 1", "step 4 of"):
        assert part in trained.err

    exported = mindface("export", "runs/quick", "--output", "model.onnx", "--licence", "MIT")
    assert exported.code == 0, exported.err
    recognizer = Recognizer("model.onnx", engine="onnxruntime", precision="fp32")
    assert (recognizer.embedding_size, recognizer.record.name) == (64, "arcface_mobilefacenet")
    crops = [cv2.imread(str(path))[..., ::-1] for path in sorted(faces.glob("*/*.png"))]
    with torch.inference_mode():
        inputs = torch.from_numpy((np.stack(crops) - np.float32(127.5)) / 127.5).permute(0, 3, 1, 2)
        expected = network_of("runs/quick")(inputs.float()).numpy()
    found = recognizer.features(crops, aligned=True)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_the_configuration_is_shown_whole_and_is_a_preset(mindface, tmp_path):
    shown = mindface("train", "recognition", "casia_r50", "optimizer.lr=0.05", "--show")
    assert shown.code == 0
    (tmp_path / "mine.yaml").write_text(shown.out)
    config = load_config(RecognitionConfig, tmp_path / "mine.yaml")
    assert config == parse_config(RecognitionConfig, shown.out, "shown")
    assert (config.network.name, config.optimizer.lr) == ("arcface_r50", 0.05)
    again = mindface("train", "recognition", tmp_path / "mine.yaml", "--show")
    assert again.out == shown.out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["casia_r51"], 2, "'casia_r51' is no preset; did you mean casia_r50?"),
        (["_cnn"], 2, "is no preset"),
        (["nowhere.yaml"], 2, "nowhere.yaml cannot be read"),
        (["quick", "optimiser.lr=0.1"], 2, "optimiser: no such key, did you mean optimizer?"),
        (["quick", "optimizer.lr=fast"], 2, 'optimizer.lr="fast": should be a valid number'),
        (["quick", "optimizer.lr"], 2, "write KEY=VALUE"),
        (["quick"], 2, "data.sets is empty"),
        (["finetune"], 2, "network.weights must be given"),
        (["quick", "data.sets=[{path: nowhere}]"], 4, "nowhere: no such folder"),
        (["quick", "device=abacus"], 6, "device 'abacus' is not here"),
    ],
)
def test_errors_are_one_message_and_an_exit_code(
    mindface, tmp_path, monkeypatch, arguments, code, message
):
    monkeypatch.chdir(tmp_path)
    result = mindface("train", "recognition", *arguments)
    assert result.code == code
    assert message in result.err.replace("\n", " ")
    assert "Traceback" not in result.err
    assert not (tmp_path / "runs").exists()


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    """Four pictures with synthetic faces: their label.txt."""
    folder = tmp_path_factory.mktemp("data") / "scenes"
    synth_scenes(folder, pictures=4, size=96)
    return folder / "label.txt"


@pytest.mark.usefixtures("one_thread")
def test_from_labelled_photos_to_a_detector(mindface, labels, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = (f"data.sets=[{{path: '{labels}'}}]", f"validation=[{{path: '{labels}'}}]")
    command = ("train", "detection", "quick", *data, *SMALL)
    trained = mindface(*command, "schedule.epochs=1", "--json")
    assert trained.code == 0, trained.err
    result = json.loads(trained.out)
    assert result["checkpoint"] == "runs/quick_detection/checkpoints/step-00000002"
    assert result["step"] == 2
    assert "scenes/ap" in result["verification"]
    for part in ("data        4 photos, at 64x64 pixels", "steps       2: 1 epochs of 2"):
        assert part in trained.err

    longer = mindface(*command, "schedule.epochs=2", "save_every=1")
    assert (longer.code, "resumes     at step 2" in longer.err) == (0, True)
    assert longer.out == "runs/quick_detection/checkpoints/step-00000004: step 4\n"

    exported = mindface("export", "runs/quick_detection", "--output", "model.onnx")
    assert exported.code == 0, exported.err
    detector = Detector("model.onnx", engine="onnxruntime", input_size=96, score_threshold=0)
    found = detector.detect(labels.parent / "images" / "00000.jpg")
    assert found.model == detector.record.name == "retinaface_mobilenet025"
    assert len(found)


def test_the_configuration_of_a_detector_is_shown_whole(mindface, tmp_path):
    shown = mindface("train", "detection", "retinaface_resnet50", "loss.regression=diou", "--show")
    assert shown.code == 0
    (tmp_path / "mine.yaml").write_text(shown.out)
    config = load_config(DetectionConfig, tmp_path / "mine.yaml")
    assert (config.network.name, config.loss.regression) == ("retinaface_resnet50", "diou")
    again = mindface("train", "detection", tmp_path / "mine.yaml", "--show")
    assert again.out == shown.out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["retinaface_resnet5"], 2, "is no preset; did you mean retinaface_resnet50?"),
        (["_widerface"], 2, "is no preset"),
        (["quick"], 2, "data.sets is empty"),
        (["quick", "data.sise=320"], 2, "data.sise: no such key, did you mean data.size?"),
        (["quick", "data.size=100"], 2, "data.size=100 is no multiple of 32"),
        (["quick", "data.augmentation.selfi=1"], 2, "did you mean data.augmentation.selfie?"),
        (["quick", "loss.threshold=0"], 2, "loss.threshold=0: should be greater than 0"),
        (["quick", "network.name=arcface_r50"], 2, "arcface_r50: no detector; there are"),
        (["finetune"], 2, "network.weights must be given"),
        (["finetune", "network.weights=a.pth"], 2, "validation must name a set"),
        (["quick", "data.sets=[{path: nowhere/label.txt}]"], 4, "say where the pictures are"),
        (["quick", "data.sets=[{path: missing.txt}]"], 5, "missing.txt: cannot be read"),
        (["quick", "data.sets=[{path: scenes}]"], 2, "scenes: no labels of faces"),
        (["quick", "{labels}", "data.batch=5"], 2, "an epoch of 4 samples has no batch of 5"),
        (["quick", "{labels}", "validation=[{path: no.txt}]"], 5, "no.txt: cannot be read"),
        (["quick", "{labels}", "network.backbone=no.pth"], 5, "no.pth"),
        (["quick", "{labels}", "network.freeze=[head]"], 2, "no parameter begins with 'head'"),
        (["quick", "{labels}", "device=abacus"], 6, "device 'abacus' is not here"),
    ],
)
def test_errors_of_a_detectors_training(
    mindface, labels, tmp_path, monkeypatch, arguments, code, message
):
    monkeypatch.chdir(tmp_path)
    sets = f"data.sets=[{{path: '{labels}'}}]"
    arguments = [sets if argument == "{labels}" else argument for argument in arguments]
    result = mindface("train", "detection", arguments[0], "data.batch=2", *arguments[1:])
    assert result.code == code
    assert message in result.err.replace("\n", " ")
    assert "Traceback" not in result.err
    assert not (tmp_path / "runs").exists()


def test_torchrun_starts_several(faces, tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += ["-m", "mindface", "train", "recognition", "quick", *FEW_STEPS]
    command += [f"data.sets=[{{path: '{faces}'}}]", "schedule.epochs=2", f"output={tmp_path}/run"]
    run = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == f"{tmp_path}/run/checkpoints/step-00000002: step 2\n"
    facts = json.loads(Path(tmp_path, "run/checkpoints/step-00000002/checkpoint.json").read_text())
    assert facts["processes"] == 2
    lines = Path(tmp_path, "run/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2]
