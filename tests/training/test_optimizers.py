import math
from copy import deepcopy

import pytest
import torch
from clip_worker import CENTERS, LIMITS, NETWORK, clipped, gradient, spawn, with_gradients
from pydantic import ValidationError
from torch import nn

from mindface.models import MODELS
from mindface.recognition.losses import LOSSES, MarginHead
from mindface.training.optimizers import (
    Optimizer,
    build_optimizer,
    clip_gradients,
    parameter_groups,
)


def expected(limit):
    """Length and gradients as torch has them for all parameters in one process."""
    parameters = with_gradients([*NETWORK, CENTERS])
    length = nn.utils.clip_grad_norm_(parameters, math.inf if limit is None else limit)
    return float(length), [parameter.grad for parameter in parameters]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return spawn(tmp_path_factory.mktemp("pair"))


@pytest.mark.parametrize("limit", LIMITS)
def test_one_process_clips_as_torch_does(limit):
    length, gradients = clipped(with_gradients(NETWORK), with_gradients([CENTERS]), limit)
    assert length == pytest.approx(expected(limit)[0])
    torch.testing.assert_close(gradients, expected(limit)[1])


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("kind", ["shard", "fsdp"])
def test_two_processes_clip_as_one(pair, kind, limit):
    length, (*network, centers) = expected(limit)
    for rank, found in enumerate(pair):
        assert found[kind, limit][0] == pytest.approx(length)
        shards = [*network, centers.tensor_split(2)[rank]]
        torch.testing.assert_close(found[kind, limit][1], shards)
    assert pair[0][kind, limit][0] == pair[1][kind, limit][0]


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_gradients_that_are_not_finite_stay(value):
    parameters = with_gradients([torch.tensor([3.0, value]), torch.ones(2)])
    assert not math.isfinite(clip_gradients(parameters, [], 1.0))
    assert parameters[1].grad.tolist() == [1, 1]


def test_parameters_without_a_gradient_are_passed_over():
    idle = nn.Parameter(torch.ones(2))
    assert clip_gradients([idle], [idle], 1.0) == 0
    assert clip_gradients([idle, *with_gradients([torch.tensor([3.0, 4.0])])], [], None) == 5


class Token(nn.Module):
    def __init__(self):
        super().__init__()
        self.pos_embed = nn.Parameter(torch.ones(1, 3, 4))
        self.cls_token = nn.Parameter(torch.ones(1, 1, 4))
        self.blocks = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm((3, 4)), nn.PReLU(4))
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.tied = self.blocks[0]


def test_which_parameters_decay():
    decayed, others = parameter_groups(Token(), 0.1)
    assert (decayed["weight_decay"], decayed["param_names"]) == (0.1, ["blocks.0.weight"])
    assert others["weight_decay"] == 0
    assert others["param_names"] == [
        "pos_embed",
        "cls_token",
        "blocks.0.bias",
        "blocks.1.weight",
        "blocks.1.bias",
        "blocks.2.weight",
    ]


def test_a_head_decays_but_not_what_its_margin_learns():
    decayed, others = parameter_groups(MarginHead(8, 3, LOSSES["uniface"]()), 0.1)
    assert decayed["param_names"] == ["centers"]
    assert all(name.startswith("margin.") for name in others["param_names"])


@pytest.mark.parametrize("name", [name for name in MODELS if "vit_l" not in name])
def test_every_network_is_parted_whole(name):
    with torch.device("meta"):
        network = MODELS[name]()
    groups = parameter_groups(network, 0.1)
    pairs = [pair for g in groups for pair in zip(g["param_names"], g["params"], strict=True)]
    trained = [pair for pair in network.named_parameters() if pair[1].requires_grad]
    assert {name: id(p) for name, p in pairs} == {name: id(p) for name, p in trained}
    assert len(pairs) == len(trained)
    types = (nn.Conv2d, nn.Linear)
    weights = {f"{n}.weight" for n, m in network.named_modules() if isinstance(m, types)}
    assert set(groups[0]["param_names"]) == weights


def test_a_frozen_module_has_no_groups():
    assert parameter_groups(nn.Linear(2, 2).requires_grad_(False), 0.1) == []


@pytest.mark.parametrize(
    ("config", "theirs", "arguments"),
    [
        (Optimizer(lr=0.1, momentum=0.8), torch.optim.SGD, {"lr": 0.1, "momentum": 0.8}),
        (
            Optimizer(name="adamw", lr=0.01, betas=(0.8, 0.95)),
            torch.optim.AdamW,
            {"lr": 0.01, "betas": (0.8, 0.95)},
        ),
    ],
)
def test_steps_are_those_of_torch(config, theirs, arguments):
    ours, reference = (nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)) for _ in range(2))
    reference.load_state_dict(ours.state_dict())
    groups = parameter_groups(ours, 0.3)
    optimizer = build_optimizer(groups, config)
    weight, *others = reference.parameters()
    parameters = [{"params": [weight], "weight_decay": 0.3}, {"params": others, "weight_decay": 0}]
    expected = theirs(parameters, foreach=False, fused=False, **arguments)
    for step in range(3):
        for network, each in ((ours, optimizer), (reference, expected)):
            each.zero_grad()
            network(gradient(6, 4, seed=step)).square().sum().backward()
            each.step()
    torch.testing.assert_close(ours.state_dict(), reference.state_dict())


def test_an_optimizer_resumes_exactly():
    def start():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.PReLU(4))
        return network, build_optimizer(parameter_groups(network, 0.1), Optimizer(name="adamw"))

    def step(network, optimizer, number):
        optimizer.zero_grad()
        network(gradient(2, 3, 8, 8, seed=number)).square().mean().backward()
        optimizer.step()

    network, optimizer = start()
    resumed, other = start()
    step(network, optimizer, 1)
    resumed.load_state_dict(network.state_dict())
    other.load_state_dict(deepcopy(optimizer.state_dict()))
    for each in ((network, optimizer), (resumed, other)):
        step(*each, 2)
    for name, value in network.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name])
    names = [group["param_names"] for group in other.param_groups]
    assert names == [group["param_names"] for group in optimizer.param_groups]


@pytest.mark.parametrize(
    ("config", "peak"),
    [
        (Optimizer(lr=0.1), 0.1),
        (Optimizer(lr=0.1, reference_batch=512), 0.2),
        (Optimizer(name="adamw", lr=0.1, reference_batch=256), 0.2),
    ],
)
def test_the_peak_for_a_batch_of_1024(config, peak):
    assert config.peak(1024) == pytest.approx(peak)


@pytest.mark.parametrize(
    "arguments",
    [{"lr": 0}, {"momentum": 1}, {"betas": (0.9, 1)}, {"weight_decay": -1}, {"max_norm": 0}],
)
def test_optimizers_that_cannot_be(arguments):
    with pytest.raises(ValidationError):
        Optimizer(**arguments)
