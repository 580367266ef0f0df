import pytest
import torch
from torch import nn

from mindface.errors import WeightsError
from mindface.training.optimizers import Optimizer, build_optimizer, parameter_groups
from mindface.training.tensors import fill, fill_optimizer, optimizer_state, state_of


def network():
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 5))
    return layers.to(memory_format=torch.channels_last)


def optimizer_of(module, name):
    return build_optimizer(parameter_groups(module, 1e-2), Optimizer(name=name, lr=0.1))


def trained(module, optimizer, steps):
    for step in range(steps):
        generator = torch.Generator().manual_seed(step)
        images = torch.randn(8, 3, 6, 6, generator=generator)
        module(images.to(memory_format=torch.channels_last)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("name", ["sgd", "adamw"])
@pytest.mark.parametrize("before", [0, 2])
def test_training_goes_on_bit_for_bit(name, before):
    first, second = network(), network()
    optimizer = optimizer_of(first, name)
    trained(first, optimizer, before)
    network_tensors = state_of(first.state_dict().items())
    learnt = optimizer_state(optimizer, first.named_parameters())
    assert len(learnt) == before // 2 * len([*first.parameters()]) * (3 if name == "adamw" else 1)

    fill(second.state_dict().items(), network_tensors)
    resumed = optimizer_of(second, name)
    fill_optimizer(resumed, second.named_parameters(), learnt)
    for module, its in ((first, optimizer), (second, resumed)):
        trained(module, its, 3)
    for name, tensor in first.state_dict().items():
        assert torch.equal(second.state_dict()[name], tensor), name


def test_what_an_optimiser_remembers_lies_in_memory_as_its_parameters_do():
    module = network()
    fill_optimizer(
        optimizer := optimizer_of(module, "sgd"),
        module.named_parameters(),
        {"0.weight.momentum_buffer": torch.randn(4, 3, 3, 3)},
    )
    momentum = optimizer.state[module[0].weight]["momentum_buffer"]
    assert momentum.stride() == module[0].weight.stride() == (27, 1, 9, 3)


def test_filling_keeps_the_tensors_and_copies_the_values():
    module = network()
    tensors = {name: torch.ones_like(tensor) for name, tensor in module.state_dict().items()}
    weight = module[0].weight
    fill(module.state_dict().items(), tensors)
    assert module[0].weight is weight
    assert weight.detach().eq(1).all()
    tensors["0.weight"].zero_()
    assert weight.detach().eq(1).all()


@pytest.mark.parametrize("wrong", [{}, {"0.weight": torch.ones(4, 3, 3, 2)}])
def test_tensors_of_another_network_are_refused(wrong):
    tensors = {k: v for k, v in network().state_dict().items() if k != "0.weight"} | wrong
    found = "none" if not wrong else r"\(4, 3, 3, 2\)"
    with pytest.raises(WeightsError, match=rf"0\.weight should be \(4, 3, 3, 3\), not {found}"):
        fill(network().state_dict().items(), tensors)
