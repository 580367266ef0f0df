"""Logits of every margin against the papers' formulas, at the places where they are hard."""

import importlib
import math
import sys

import naive_losses as naive
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mindface.errors import MissingExtraError
from mindface.recognition.losses import LOSSES
from mindface.recognition.losses.arcface import pool_sub_centers
from mindface.recognition.losses.filtering import filter_interclass
from mindface.recognition.losses.margin import cosine_of_wider

# Angles to the own class: near 0, ordinary, on both sides of pi - m for these margins, near pi.
ANGLES = [1e-3, 0.3, 1.2, 2.0, 2.1, 2.4, 2.6, 2.63, 2.65, 2.8, 2.85, 3.0, math.pi - 1e-3]
LABELS = [0, 2, 1, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0]
NORMS = [2.0, 9.0, 15.0, 20.0, 25.0, 30.0, 40.0, 60.0, 80.0, 95.0, 105.0, 120.0, 33.0]
BIAS = 3.0
CM2 = {"m1": 0.9, "m2": 0.4, "m3": 0.15}
WIDE = {"m1": 3.9, "m2": 0.2, "m3": 0.1}


def thetas():
    """Angles (13, 4) in float64, the own ones as above, and one row whose class is absent."""
    generator = torch.Generator().manual_seed(1)
    angles = 0.4 + 2.3 * torch.rand(14, 4, generator=generator, dtype=torch.float64)
    for row, (label, angle) in enumerate(zip(LABELS, ANGLES, strict=True)):
        angles[row, label] = angle
    return angles


def batch():
    angles = thetas()
    labels = torch.tensor([*LABELS, -1])
    return angles, labels, torch.tensor([*NORMS, 50.0], dtype=torch.float64)


def drawn(m):
    torch.manual_seed(5)
    return (m + 0.05 * torch.randn(14, 1, dtype=torch.float64))[:, 0].tolist()


def curricularface(cosines, labels, norms):
    t = naive.curricularface_t(naive_cosines(), labels)
    return naive.curricularface(cosines, labels, norms, t=t)


def naive_cosines():
    return thetas().cos().tolist()


# Name, arguments, what the paper says.
CASES = [
    ("softmax", {}, naive.softmax),
    ("arcface", {}, naive.arcface),
    ("arcface", {"margin": 1.1, "scale": 30}, lambda *x: naive.arcface(*x, s=30, m=1.1)),
    ("cosface", {}, naive.cosface),
    ("sphereface", {}, naive.sphereface),
    ("sphereface", {"margin": 4.0}, lambda *x: naive.sphereface(*x, m=4)),
    ("sphereface", {"version": "revived"}, naive.sphereface_revived),
    ("combined", {}, naive.combined),
    ("combined", CM2, lambda *x: naive.combined(*x, **CM2)),
    ("combined", WIDE, lambda *x: naive.combined(*x, **WIDE)),
    ("combined", {"m1": 1, "m2": 0.5, "m3": 0}, naive.arcface),
    ("combined", {"m1": 1, "m2": 0, "m3": 0.35}, naive.cosface),
    ("subcenter_arcface", {}, naive.arcface),
    ("curricularface", {}, curricularface),
    ("adaface", {}, naive.adaface),
    ("magface", {}, naive.magface),
    ("elastic_arcface", {}, lambda *x: naive.elastic_arcface(*x, drawn(0.5))),
    ("elastic_cosface", {}, lambda *x: naive.elastic_cosface(*x, drawn(0.35))),
    ("uniface", {}, lambda *x: naive.uniface(*x, BIAS)),
]
NAMES = [f"{name}-{'-'.join(map(str, arguments.values()))}" for name, arguments, _ in CASES]


def build(name, arguments):
    margin = LOSSES[name](**arguments).double()
    if name == "uniface":
        torch.nn.init.constant_(margin.bias, BIAS)
    torch.manual_seed(5)
    return margin


def test_every_loss_is_compared():
    assert {name for name, _, _ in CASES} == set(LOSSES)


@pytest.mark.parametrize(("name", "arguments", "paper"), CASES, ids=NAMES)
def test_logits_are_the_papers(name, arguments, paper):
    angles, labels, norms = batch()
    logits = build(name, arguments)(angles.cos(), labels, norms)
    expected = paper(naive_cosines(), labels.tolist(), norms.tolist())
    exact = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(logits, exact, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("name", "arguments", "paper"), CASES, ids=NAMES)
def test_gradients_are_the_papers(name, arguments, paper):
    """The slope of every logit over every angle of its row, by central differences."""
    angles, labels, norms = batch()
    angles.requires_grad_()
    logits = build(name, arguments)(angles.cos(), labels, norms)
    weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(2)).double()
    (slopes,) = torch.autograd.grad((logits * weights).sum(), angles)
    step = 1e-6
    for column in range(4):
        moved = []
        for sign in (-1, 1):
            there = angles.detach().clone()
            there[:, column] += sign * step
            rows = paper(there.cos().tolist(), labels.tolist(), norms.tolist())
            moved.append((torch.tensor(rows, dtype=torch.float64) * weights).sum(1))
        expected = (moved[1] - moved[0]) / (2 * step)
        torch.testing.assert_close(slopes[:, column], expected, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_a_row_without_its_class_is_only_scaled(name):
    angles, _, norms = batch()
    margin = build(name, {})
    logits = margin(angles.cos(), torch.full((14,), -1), norms)
    shift = BIAS if name == "uniface" else 0
    torch.testing.assert_close(logits, margin.scale * angles.cos() - shift)


@pytest.mark.parametrize("name", LOSSES)
def test_a_shard_has_the_columns_of_the_whole(name):
    angles, labels, norms = batch()
    labels[-1] = 0
    margin = build(name, {})
    whole = margin(angles.cos(), labels, norms)
    given = {"own": angles.cos()[range(14), labels]} if margin.needs_own else {}
    for columns in (slice(0, 1), slice(1, 4)):
        here = (labels >= columns.start) & (labels < columns.stop)
        own = torch.where(here, labels - columns.start, -1)
        shard = build(name, {})
        part = shard(angles.cos()[:, columns], own, norms, **given)
        torch.testing.assert_close(part, whole[:, columns])
        for mine, theirs in zip(shard.buffers(), margin.buffers(), strict=True):
            torch.testing.assert_close(mine, theirs)


def test_only_curricularface_needs_own_cosines_and_only_uniface_is_binary():
    assert [name for name, loss in LOSSES.items() if loss().needs_own] == ["curricularface"]
    assert [name for name, loss in LOSSES.items() if loss().binary] == ["uniface"]


@pytest.mark.parametrize("name", LOSSES)
def test_logits_are_float32_under_autocast(name):
    angles, labels, norms = batch()
    with torch.autocast("cpu", torch.bfloat16):
        for dtype in (torch.float32, torch.bfloat16):
            logits = LOSSES[name]()(angles.cos().to(dtype), labels, norms.to(dtype))
            assert logits.dtype == torch.float32


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("cosine", [-1.0, 1.0])
def test_gradients_are_finite_at_the_ends(name, cosine):
    cosines = torch.full((4, 3), cosine, requires_grad=True)
    norms = torch.tensor([0.0, 1.0, 10.0, 110.0], requires_grad=True)
    labels = torch.tensor([0, 1, 2, 0])
    margin = LOSSES[name]()
    logits = margin(cosines, labels, norms)
    (margin.losses(logits, labels).mean() + margin.penalty(norms)).backward()
    assert logits.isfinite().all()
    assert cosines.grad.isfinite().all()
    assert norms.grad is None or norms.grad.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_the_cosines_given_are_left_as_they_were(name):
    angles, labels, norms = batch()
    cosines = angles.cos()
    LOSSES[name]()(cosines, labels, norms)
    assert torch.equal(cosines, angles.cos())


@settings(max_examples=60, deadline=None)
@given(st.floats(0.5, 4), st.floats(0, 1.2))
def test_the_guarded_cosine_always_falls(factor, shift):
    theta = torch.linspace(0.001, math.pi - 0.001, 500, dtype=torch.float64)
    values = cosine_of_wider(theta.cos()[:, None], shift, factor)[:, 0]
    assert (values.diff() <= 1e-9).all()


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("arcface", {"scale": 0}, "scale of a margin must be above 0, not 0"),
        ("softmax", {"scale": math.nan}, "not nan"),
        ("combined", {"m1": 0}, "m1 of the combined margin must be above 0, not 0"),
        ("sphereface", {"margin": 0.5}, "at least 1, not 0.5"),
        ("sphereface", {"version": "v3"}, "original or revived, not 'v3'"),
        ("magface", {"l_a": 110}, "l_a = 110 and u_a = 110"),
    ],
)
def test_impossible_arguments_are_refused(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        LOSSES[name](**arguments)


@pytest.mark.parametrize("name", ["adaface", "magface"])
def test_a_margin_that_needs_norms_says_so(name):
    with pytest.raises(TypeError, match="norms"):
        LOSSES[name]()(torch.zeros(2, 3), torch.zeros(2, dtype=torch.long))


def test_sub_centers_are_pooled_to_the_nearest():
    cosines = torch.tensor([[[0.1, 0.7], [-0.4, -0.9]]], requires_grad=True)
    pooled = pool_sub_centers(cosines)
    pooled.sum().backward()
    assert torch.equal(pooled, torch.tensor([[0.7, -0.4]]))
    assert torch.equal(cosines.grad, torch.tensor([[[0.0, 1], [1, 0]]]))


def test_filtering_spares_the_own_class_and_nothing_else():
    cosines = torch.tensor([[0.9, 0.5, 0.3], [0.9, 0.4, 0.41]], requires_grad=True)
    filtered = filter_interclass(cosines, torch.tensor([0, -1]), 0.4)
    filtered.sum().backward()
    assert torch.equal(filtered, torch.tensor([[0.9, 0, 0.3], [0, 0.4, 0]]))
    assert torch.equal(cosines.grad, torch.tensor([[1.0, 0, 1], [0, 1, 0]]))


def test_without_torch_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "mindface.recognition.losses")
    with pytest.raises(MissingExtraError, match=r"mindface\[train\]"):
        importlib.import_module("mindface.recognition.losses")
