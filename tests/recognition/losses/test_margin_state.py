"""What margins learn, remember and draw."""

import math

import naive_losses as naive
import pytest
import torch

from mindface.recognition.losses import LOSSES

COSINES = torch.tensor([[0.6, 0.1], [0.3, -0.2], [0.5, 0.9]])
LABELS = torch.tensor([0, 1, -1])
NORMS = torch.tensor([10.0, 20.0, 36.0])


def test_curricularface_follows_the_mean_own_cosine_in_training():
    margin = LOSSES["curricularface"]()
    expected = 0.0
    for _ in range(3):
        margin(COSINES, LABELS, NORMS)
        expected = naive.curricularface_t(COSINES.tolist(), LABELS.tolist(), expected)
        assert margin.t.item() == pytest.approx(expected)
    assert expected == pytest.approx(0.2 * (1 - 0.99**3))  # the mean of 0.6 and -0.2
    margin(COSINES, torch.tensor([-1, -1, -1]), NORMS)
    margin.eval()(COSINES, LABELS, NORMS)
    assert margin.t.item() == pytest.approx(expected)
    assert set(margin.state_dict()) == {"t"}


def test_adaface_follows_the_norms_in_training():
    margin = LOSSES["adaface"](alpha=0.7)
    expected = (20.0, 100.0)
    for _ in range(3):
        margin(COSINES, LABELS, NORMS)
        expected = naive.adaface_statistics(NORMS.tolist(), *expected, alpha=0.7)
        assert (margin.batch_mean.item(), margin.batch_std.item()) == pytest.approx(expected)
    margin.eval()(COSINES, LABELS, NORMS)
    assert (margin.batch_mean.item(), margin.batch_std.item()) == pytest.approx(expected)
    assert set(margin.state_dict()) == {"batch_mean", "batch_std"}


def test_adaface_has_no_deviation_of_one_sample():
    margin = LOSSES["adaface"](alpha=1.0)
    logits = margin(COSINES[:1], LABELS[:1], NORMS[:1])
    assert (margin.batch_mean.item(), margin.batch_std.item()) == (10, 100)
    assert logits.isfinite().all()


def test_adaface_sends_no_gradient_through_the_norms_and_magface_does():
    for name, flows in (("adaface", False), ("magface", True)):
        norms = NORMS.clone().requires_grad_()
        logits = LOSSES[name]()(COSINES.clone().requires_grad_(), LABELS, norms)
        logits.sum().backward()
        assert (norms.grad is not None and bool(norms.grad.any())) == flows


def test_magface_penalty_by_hand():
    margin = LOSSES["magface"](l_a=10, u_a=100, lambda_g=2)
    # g(10) = 0.001 + 0.1 (also for 5), g(50) = 0.005 + 0.02.
    penalty = margin.penalty(torch.tensor([5.0, 10.0, 50.0]))
    assert penalty.item() == pytest.approx(2 * (0.101 + 0.101 + 0.025) / 3)


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "magface"])
def test_others_have_no_penalty(name):
    assert LOSSES[name]().penalty(NORMS).item() == 0


@pytest.mark.parametrize("name", ["elastic_arcface", "elastic_cosface"])
def test_elastic_margins_repeat_with_the_seed_and_rest_in_evaluation(name):
    margin = LOSSES[name]()

    def seeded(seed):
        torch.manual_seed(seed)
        return margin(COSINES, LABELS, NORMS)

    assert torch.equal(seeded(1), seeded(1))
    assert not torch.equal(seeded(1), seeded(2))
    fixed = LOSSES[name.removeprefix("elastic_")](margin=margin.margin)
    margin.eval()
    assert torch.equal(seeded(1), fixed(COSINES, LABELS, NORMS))


def test_elastic_margins_are_normal():
    margin = LOSSES["elastic_cosface"](scale=1.0)
    torch.manual_seed(3)
    drawn = -margin(torch.zeros(20_000, 1), torch.zeros(20_000, dtype=torch.long))
    assert drawn.mean().item() == pytest.approx(0.35, abs=2e-3)
    assert drawn.std().item() == pytest.approx(0.05, abs=2e-3)


def test_uniface_starts_from_the_number_of_classes():
    margin = LOSSES["uniface"]()
    margin.initialise(1000)
    assert margin.bias.item() == pytest.approx(math.log(10_000))


def test_uniface_losses_of_shards_add_up():
    margin = LOSSES["uniface"]().double()
    margin.initialise(5)
    cosines = torch.rand(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    labels = torch.tensor([0, 4, 2, 1])
    whole = margin.losses(margin(cosines, labels), labels)
    parts = []
    for start, stop in ((0, 2), (2, 5)):
        own = torch.where((labels >= start) & (labels < stop), labels - start, -1)
        parts.append(margin.losses(margin(cosines[:, start:stop], own), own))
    torch.testing.assert_close(sum(parts), whole)
