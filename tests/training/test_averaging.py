import pytest
import torch
from torch import nn

from mindface.errors import WeightsError
from mindface.training.averaging import WeightAverage


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def train(module, steps, start=0):
    """Moves weights and statistics as training does."""
    for step in range(start, start + steps):
        generator = torch.Generator().manual_seed(step)
        loss = module(torch.randn(8, 3, generator=generator)).square().sum()
        gradients = torch.autograd.grad(loss, list(module.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(module.parameters(), gradients, strict=True):
                parameter -= 0.01 * gradient
        yield step


def snapshot(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.9999])
def test_the_average_is_that_of_the_formula(decay):
    module = network()
    average = WeightAverage(module, decay)
    expected = {name: value.double() for name, value in snapshot(module).items()}
    for step in train(module, 6):
        average.update(module)
        kept = min(decay, (1 + step) / (10 + step))
        for name, value in module.state_dict().items():
            expected[name] = kept * expected[name] + (1 - kept) * value.double()
    expected["1.num_batches_tracked"] = torch.tensor(6)
    for name, value in average.values.items():
        torch.testing.assert_close(value, expected[name].to(value.dtype))
    assert average.updates == 6


def test_what_is_frozen_stays_to_the_bit():
    module = network()
    average = WeightAverage(module)
    before = snapshot(module)["0.weight"]
    for _ in range(5):
        average.update(module)
    assert torch.equal(average.values["0.weight"], before)


def test_the_average_is_lent_and_taken_back():
    module = network()
    average = WeightAverage(module, 0.9)
    for _ in train(module, 3):
        average.update(module)
    own = snapshot(module)
    places = [parameter.data_ptr() for parameter in module.parameters()]

    def evaluate():
        with average.swapped(module):
            for name, value in module.state_dict().items():
                assert torch.equal(value, average.values[name])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate()
    for name, value in module.state_dict().items():
        assert torch.equal(value, own[name])
    assert [parameter.data_ptr() for parameter in module.parameters()] == places
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_the_average_can_be_applied():
    module, other = network(), network(1)
    average = WeightAverage(module)
    average.apply_to(other)
    for name, value in other.state_dict().items():
        assert torch.equal(value, module.state_dict()[name])
    list(train(other, 1))
    assert torch.equal(average.values["0.weight"], module.state_dict()["0.weight"])


def test_it_resumes_exactly(tmp_path):
    module = network()
    whole = WeightAverage(module, 0.99)
    for _ in train(module, 4):
        whole.update(module)
    torch.save(whole.state_dict(), tmp_path / "average.pt")
    resumed = WeightAverage(network(7), 0.99)
    resumed.load_state_dict(torch.load(tmp_path / "average.pt"))
    for _ in train(module, 4, start=4):
        whole.update(module)
        resumed.update(module)
    assert resumed.updates == 8
    for name, value in whole.values.items():
        assert torch.equal(value, resumed.values[name])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"0.weight": torch.ones(4, 4)}, r"'0.weight' is \(4, 4\), and should be \(4, 3\)"),
        ({"0.weight": None}, r"'0.weight' is None, and should be \(4, 3\)"),
        ({"updates": None}, r"'updates' is None, and should be \(\)"),
        ({"9.weight": torch.ones(1)}, r"'9.weight' is \(1,\), and should be None"),
    ],
)
def test_averages_of_other_networks_change_nothing(change, message):
    average = WeightAverage(network())
    before = {name: value.clone() for name, value in average.values.items()}
    state = {**WeightAverage(network(1)).state_dict(), **change}
    state = {name: value for name, value in state.items() if value is not None}
    with pytest.raises(WeightsError, match=message):
        average.load_state_dict(state)
    assert all(torch.equal(value, before[name]) for name, value in average.values.items())


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_decays_that_cannot_be(decay):
    with pytest.raises(ValueError, match="at least 0 and below 1, not"):
        WeightAverage(network(), decay)
