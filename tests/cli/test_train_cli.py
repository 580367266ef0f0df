"""`mindface train recognition`: from folders of faces to an ONNX file."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mindface import Recognizer
from mindface.training.config import load_config, parse_config
from mindface.training.networks import network_of
from mindface.training.recognition.config import RecognitionConfig

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
        (["finetune"], 2, "data.sets is empty"),
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
