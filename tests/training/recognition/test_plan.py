"""What a training says before it begins, and what it refuses to begin."""

import math
import shutil
from types import SimpleNamespace

import pytest
import torch
from tiny import TinyFaces, settings, tiny_network, trained
from torch import nn

from mindface.errors import PlanError
from mindface.models import create_model
from mindface.recognition.losses.arcface import SubcenterArcFace
from mindface.recognition.losses.cosface import CosFace
from mindface.recognition.models.vit import VisionTransformer
from mindface.training.checkpoint import size_on_disk
from mindface.training.distributed import World
from mindface.training.recognition import plan, train
from mindface.training.recognition.plan import activations_of, make_plan

ALONE = World(0, 1, torch.device("cpu"))
GIGABYTE = 10**9


def planned(*changes, network=None, margin=None, faces=None, steps=100, start=0, world=ALONE):
    config = settings("unused", *changes)
    return make_plan(config, faces or TinyFaces(), network, margin, steps, start, world)


def test_it_says_what_will_be_done():
    lines = planned(
        "network={name: arcface_r50, freeze: [fc], weights: r.pth}",
        "verification=[{path: lfw.bin}]",
        "data.batch=64",
        "accumulation=2",
        "head.rate=0.1",
        "distillation.teachers=[a.onnx, b.onnx]",
        "precision=bf16",
        "schedule.epochs=20",
        margin=CosFace(),
        start=40,
        world=World(1, 4, torch.device("cpu"), 2),
    ).text.splitlines()
    assert lines[:6] == [
        "network     arcface_r50, 43.6 million parameters from r.pth, fc frozen, in bf16 on cpu",
        "data        48 pictures of 8 people",
        "loss        CosFace, 10% of the classes a step + distillation from a.onnx, b.onnx",
        "steps       2,000: 20 epochs of 100, batch 64 over 4 process(es) in 2 part(s)",
        "resumes     at step 40",
        "output      unused",
    ]
    assert [line.split()[0] for line in lines[6:]] == ["memory", "disk"]


def real_activations(network, pictures):
    """Bytes of what a forward pass on the CPU saves, its parameters aside."""
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = network.train()(torch.randn(pictures, 3, 112, 112))
    for parameter in network.parameters():
        kept.pop(parameter.untyped_storage().data_ptr(), None)
    assert output.requires_grad
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("name", ["arcface_mobilefacenet", "arcface_vit_t"])
def test_activations_are_those_of_a_real_forward_pass(name):
    config = settings("unused", f"network={{name: {name}, embedding_size: 512}}")
    with torch.device("meta"):
        sketch = create_model(name)
    found, real = activations_of(sketch, config), real_activations(create_model(name), 4) / 4
    assert real / 2 < found < real * 2
    half = settings("unused", f"network={{name: {name}, embedding_size: 512}}", "precision=bf16")
    assert activations_of(sketch, half) == found // 2


def test_recomputing_keeps_the_inputs_of_blocks_and_one_block():
    network = VisionTransformer(width=64, depth=6, embedding_size=16)
    plain = settings("unused", "network.name=arcface_vit_t")
    recomputed = settings("unused", "network.name=arcface_vit_t", "recompute=true")
    tokens = 144 * 64 * 4
    whole, less = activations_of(network, plain), activations_of(network, recomputed)
    alone = activations_of(VisionTransformer(width=64, depth=2, embedding_size=16), plain)
    block = (whole - alone) / 4
    assert less == pytest.approx(whole - 5 * block + 6 * tokens, rel=0.1)
    assert less < 0.5 * whole
    assert not network.blocks[0]._forward_hooks


def test_a_network_of_ones_own_is_left_as_it_was():
    network = tiny_network(nn.BatchNorm2d(8))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    planned(network=network)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])


@pytest.mark.parametrize(
    ("changes", "margin", "floats"),
    [
        (["optimizer.name=sgd"], None, 3 * 12_456),
        (["optimizer.name=adamw"], None, 4 * 12_456),
        (["average=0.9"], None, 4 * 12_456),
        ([], CosFace(), 3 * (12_456 + 8 * 16) + 4 * 12 * 8),
        ([], SubcenterArcFace(sub_centers=2), 3 * (12_456 + 16 * 16) + 4 * 12 * 16),
        (["head.rate=0.25"], CosFace(), 3 * (12_456 + 8 * 16) + 4 * 12 * 2),
        (["accumulation=3"], CosFace(), 3 * (12_456 + 8 * 16) + 4 * 4 * 8),
    ],
)
def test_memory_is_that_of_weights_centres_logits_and_activations(changes, margin, floats):
    network = tiny_network()
    part = 4 if "accumulation=3" in changes else 12
    kept = part * activations_of(network, settings("unused", *changes))
    found = planned(*changes, network=network, margin=margin)
    assert sum(p.numel() for p in network.parameters()) == 12_456
    assert found.memory == 4 * floats + kept


def test_the_disk_is_enough_for_the_checkpoints_that_are_written(tmp_path):
    changes = ("average=0.9", "optimizer.name=adamw", "keep=2", "save_every=2")
    trained(tmp_path, *changes)
    kept = size_on_disk(tmp_path / "checkpoints")
    expected = planned(*changes, network=tiny_network(), margin=CosFace()).disk
    assert kept < expected * 2 / 4 * 1.5  # of a tiny network the headers are a part
    assert kept > expected * 2 / 4


@pytest.fixture
def unbuilt(monkeypatch):
    """Nothing may be built: a training that cannot fit would end in building it."""

    def build(*arguments):
        raise AssertionError

    monkeypatch.setattr(train, "build_state", build)


def test_what_does_not_fit_in_memory_is_refused_with_nothing_written(
    tmp_path, monkeypatch, unbuilt, capsys
):
    monkeypatch.setattr(plan, "free_memory", lambda world: 10_000)
    with pytest.raises(PlanError) as error:
        trained(tmp_path)
    assert "needs about 2.0 MB of memory a process, and 0.0 MB are free: try" in str(error.value)
    assert str(error.value).endswith("try more processes or a smaller network or fewer people")
    assert not [*tmp_path.iterdir()]
    assert "memory      about 2.0 MB of 0.0 MB a process" in capsys.readouterr().err


def test_too_many_classes_are_refused_with_a_smaller_rate_first(tmp_path, monkeypatch, unbuilt):
    monkeypatch.setattr(plan, "free_memory", lambda world: 3 * GIGABYTE)
    faces = TinyFaces()
    faces.class_names = range(10_000_000)
    with pytest.raises(PlanError, match=r"about 9\.\d GB .* try head\.rate=0\.1 or accumulation=8"):
        trained(tmp_path, "data.batch=48", faces=faces)


def test_what_does_not_fit_on_the_disk_is_refused_with_nothing_written(
    tmp_path, monkeypatch, unbuilt
):
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=1000))
    with pytest.raises(PlanError, match=r"checkpoints need 0\.4 MB, and 0\.0 MB are free: lower"):
        trained(tmp_path)
    assert not [*tmp_path.iterdir()]


def test_checkpoints_that_are_there_leave_room_for_those_that_replace_them(tmp_path, monkeypatch):
    trained(tmp_path, "schedule.epochs=2")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=200_000))
    assert trained(tmp_path).step == 12


@pytest.mark.parametrize(
    ("changes", "share", "proposals"),
    [
        (["data.batch=48"], 0.6, ("precision=bf16", "accumulation=2")),
        (["data.batch=48"], 0.3, ("accumulation=4",)),
        (["data.batch=48", "accumulation=3"], 0.8, ("precision=bf16", "accumulation=4")),
        (["data.batch=48", "precision=bf16"], 0.6, ("accumulation=2",)),
        (
            ["network.name=arcface_vit_t", "data.batch=48"],
            0.6,
            ("precision=bf16", "recompute=true", "accumulation=2"),
        ),
    ],
)
def test_what_is_proposed_would_fit(monkeypatch, changes, share, proposals):
    free = int(share * planned(*changes, network=None).memory)
    monkeypatch.setattr(plan, "free_memory", lambda world: free)
    found = planned(*changes, network=None)
    assert found.proposals == proposals
    for proposal in found.proposals:
        assert planned(*changes, proposal, network=None).memory <= free


def test_nothing_is_proposed_where_it_fits():
    assert planned().proposals == ()


def test_memory_of_a_machine_is_shared_by_its_processes():
    alone, shared = (
        planned(network=tiny_network(), world=World(0, 4, torch.device("cpu"), here)).free_memory
        for here in (1, 4)
    )
    assert alone > 10**8
    assert math.isclose(alone, 4 * shared, rel_tol=0.2)
