from itertools import product
from pathlib import Path

import pytest
import torch

from mindface.errors import ConfigError
from mindface.models import create_model
from mindface.training import recognition
from mindface.training.config import dump_config, load_config, parse_config
from mindface.training.recognition.config import RecognitionConfig
from mindface.training.recognition.setup import margin_of

FOLDER = Path(recognition.__file__).parent / "presets"
NETWORKS = ("mobilefacenet", "r50", "r100", "vit_t", "vit_s", "vit_b", "vit_l")
MINDFACE = [f"{data}_{network}" for data, network in product(("casia", "ms1mv2"), NETWORKS)]
GIVEN = {
    "finetune": ("network.weights=r50.pth", "verification=[{path: held_out}]"),
    "distill": ("distillation.teachers=[r100.onnx]",),
}


def loaded(name):
    return load_config(RecognitionConfig, FOLDER / f"{name}.yaml", GIVEN.get(name, ()))


def test_they_are_the_fourteen_of_mindface_and_four():
    names = {path.stem for path in FOLDER.glob("[!_]*.yaml")}
    assert names == {*MINDFACE, "finetune", "distill", "quick", "scratch"}


@pytest.mark.parametrize("name", [*MINDFACE, *GIVEN, "quick", "scratch"])
def test_a_preset_is_whole_and_can_be_written_and_read_again(name):
    config = loaded(name)
    assert parse_config(RecognitionConfig, dump_config(config), name) == config
    assert config.output == f"runs/{name}"
    with torch.device("meta"):
        create_model(config.network.name, **config.network.arguments())
    assert (margin_of(config.head) is None) == (name == "distill")
    first = (FOLDER / f"{name}.yaml").read_text().splitlines()
    assert any("mindface train recognition " + name in line for line in first if line[0] == "#")


@pytest.mark.parametrize("name", MINDFACE)
def test_a_preset_of_mindface_trains_the_network_of_its_name_as_mindface_did(name):
    config = loaded(name)
    assert config.network.name == f"arcface_{name.partition('_')[2]}"
    vit = "vit" in name
    assert (config.optimizer.name, config.optimizer.lr) == (
        ("adamw", 1e-4) if vit else ("sgd", 0.08)
    )
    assert config.optimizer.weight_decay == (0.025 if vit else 1e-4)
    assert config.optimizer.peak(512) == config.optimizer.lr
    assert (config.head.loss, config.head.arguments) == ("arcface", {"margin": 0.5, "scale": 64})
    assert config.schedule.epochs == 25
    assert config.schedule.milestones == (10, 16, 21)
    assert config.channels_last != vit


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("finetune", (), r"network\.weights must be given"),
        ("finetune", ("network.weights=r50.pth",), "verification must name"),
        ("distill", (), "nothing is learnt"),
    ],
)
def test_some_presets_need_to_be_told_something(name, overrides, message):
    with pytest.raises(ConfigError, match=message):
        load_config(RecognitionConfig, FOLDER / f"{name}.yaml", overrides)
