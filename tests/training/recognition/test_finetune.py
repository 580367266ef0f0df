"""From weights that exist: measured before, and the better of before and after is kept."""

import os
import signal

import pytest
import torch
from compared import differing, everything
from processes import apart
from tiny import TinyFaces, metrics, settings, tiny_network, trained, write_faces
from torch import nn

from mindface.errors import WeightsError
from mindface.formats import write_weights
from mindface.models import create_model
from mindface.training.checkpoint import Checkpoints
from mindface.training.distributed import World
from mindface.training.recognition.setup import build_state
from mindface.training.recognition.train import train
from mindface.weights import network_arrays

ALONE = World(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """The state of a network that has learnt, and the settings to go on from it."""
    folder = tmp_path_factory.mktemp("finetune")
    state = trained(folder / "before").tensors("network")
    held_out = write_faces(folder / "held_out", people=6)
    # With a network of one's own, its weights are its own too; the name says that there are some.
    return state, ("network.weights=mine.pth", f"verification=[{{path: '{held_out}'}}]")


def copy_of(state):
    network = tiny_network(seed=9)
    network.load_state_dict(state)
    return network


class Forgetful(nn.Module):
    """A network that training makes blind."""

    def __init__(self, layers):
        super().__init__()
        self.layers = layers
        self.register_buffer("steps", torch.tensor(0))

    def forward(self, x):
        self.steps += self.training
        embeddings = self.layers(x)
        return embeddings if self.training or self.steps < 5 else torch.ones_like(embeddings)


def test_what_got_worse_is_not_returned(tmp_path, pretrained, capsys):
    state, changes = pretrained
    network = Forgetful(copy_of(state))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    found = trained(tmp_path, *changes, "keep=1", network=network)
    assert found.step == 0
    assert differing(found.tensors("network"), before) == []
    areas = metrics(tmp_path, "held_out/auc")
    assert [*areas] == [0, 12]
    assert areas[12] < areas[0] == found.facts["score"]
    steps = [each.step for each in Checkpoints(tmp_path / "checkpoints").all()]
    assert steps == [0, 12]
    said = capsys.readouterr().err
    assert said.index("verification at step 0: ") < said.index("verification at step 12: ")


def test_what_got_better_is_returned(tmp_path, pretrained):
    found = trained(tmp_path, *pretrained[1], "verify_every=4", network=tiny_network())
    areas = metrics(tmp_path, "held_out/auc")
    assert [*areas] == [0, 4, 8, 12]
    assert found.step > 0
    assert areas[found.step] == max(areas.values()) > areas[0]


def killed_in_the_second_step(output, state, changes):
    network, steps = copy_of(state), []

    def kill(module, inputs):
        steps.append(len(inputs[0]) == 12)
        if sum(steps) == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    network.register_forward_pre_hook(kill)
    train(settings(output, *changes), network=network, faces=TinyFaces())


def test_the_start_is_measured_once(tmp_path, pretrained):
    state, changes = pretrained
    whole = trained(tmp_path / "whole", *changes, network=copy_of(state))
    output = tmp_path / "killed"
    assert apart(killed_in_the_second_step, output, state, changes) == -signal.SIGKILL
    assert [*metrics(output, "held_out/auc")] == [0]
    # Resumed, the network's own weights do not matter any more.
    again = trained(output, *changes, network=tiny_network(seed=3))
    assert metrics(output, "held_out/auc") == metrics(tmp_path / "whole", "held_out/auc")
    assert differing(everything(again), everything(whole)) == []


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".ckpt"])
def test_weights_of_any_format_are_the_start(tmp_path, suffix):
    torch.manual_seed(4)
    network = create_model("arcface_mobilefacenet", embedding_size=16)
    path = tmp_path / f"weights{suffix}"
    write_weights(path, network_arrays(network))
    given = (f"network.weights='{path}'", "verification=[{path: x.bin}]")
    state = build_state(settings("unused", *given), TinyFaces(), ALONE, None, None)
    loaded, expected = state.network.state_dict(), network.state_dict()
    assert [name for name in expected if not torch.equal(loaded[name], expected[name])] == []


def test_weights_of_another_size_are_refused(tmp_path, pretrained):
    network = create_model("arcface_mobilefacenet", embedding_size=32)
    write_weights(tmp_path / "weights.safetensors", network_arrays(network))
    changes = (*pretrained[1], f"network.weights='{tmp_path}/weights.safetensors'")
    with pytest.raises(WeightsError, match=r"weights\.safetensors: not the weights of"):
        trained(tmp_path / "run", *changes, network=None)
    assert not (tmp_path / "run").exists()
