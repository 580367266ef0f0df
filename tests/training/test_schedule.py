import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch.optim.lr_scheduler import CosineAnnealingLR, MultiStepLR, PolynomialLR

from mindface.training.schedule import Schedule, learning_rate, scaled_rate

PEAK, TOTAL, WARMUP = 0.3, 40, 8


def by_torch(scheduler, steps, **arguments):
    """The rates that a scheduler of torch gives to so many steps."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    schedule = scheduler(optimizer, **arguments)
    for _ in range(steps):
        yield schedule.get_last_lr()[0]
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize("warmup", [0, WARMUP])
@pytest.mark.parametrize(
    ("arguments", "scheduler", "theirs"),
    [
        ({"shape": "cosine"}, CosineAnnealingLR, {"T_max": None}),
        ({"shape": "cosine", "floor": 0.1}, CosineAnnealingLR, {"T_max": None, "eta_min": 0.03}),
        ({"shape": "polynomial"}, PolynomialLR, {"total_iters": None, "power": 2.0}),
        (
            {"shape": "polynomial", "power": 0.9},
            PolynomialLR,
            {"total_iters": None, "power": 0.9},
        ),
    ],
)
def test_what_follows_the_warm_up_is_as_torch_has_it(warmup, arguments, scheduler, theirs):
    length = TOTAL - warmup
    theirs = {name: length if value is None else value for name, value in theirs.items()}
    for step, expected in enumerate(by_torch(scheduler, length, **theirs), warmup):
        found = learning_rate(step, total=TOTAL, peak=PEAK, warmup=warmup, **arguments)
        assert found == pytest.approx(expected, rel=1e-9)


def test_steps_are_as_torch_has_them():
    milestones = [10, 11, 30]
    found = [
        learning_rate(step, total=TOTAL, peak=PEAK, shape="step", milestones=milestones, gamma=0.5)
        for step in range(TOTAL)
    ]
    theirs = by_torch(MultiStepLR, TOTAL, milestones=milestones, gamma=0.5)
    assert found == pytest.approx(list(theirs), rel=1e-9)


def test_arcface_torch_schedule():
    """PolyScheduler of InsightFace's arcface_torch, from its formula."""
    for step in range(TOTAL):
        if step < WARMUP:
            expected = PEAK * step / WARMUP
        else:
            expected = PEAK * (1 - (step - WARMUP) / (TOTAL - WARMUP)) ** 2
        found = learning_rate(step, total=TOTAL, peak=PEAK, warmup=WARMUP, shape="polynomial")
        assert found == pytest.approx(expected)


shapes = st.sampled_from(["cosine", "polynomial", "step", "constant"])


@given(shapes, st.integers(1, 60), st.integers(0, 60), st.floats(0, 1))
def test_every_shape_rises_to_the_peak_and_never_again(shape, total, warmup, floor):
    arguments = {"shape": shape, "floor": floor, "milestones": [5, 20]}
    rates = [
        learning_rate(step, total=total, peak=PEAK, warmup=warmup, **arguments)
        for step in range(total + 5)
    ]
    up, down = rates[:warmup], rates[warmup:]
    assert up == sorted(up)
    assert down == sorted(down, reverse=True)
    assert all(floor * PEAK - 1e-12 <= rate for rate in down)
    assert all(0 <= rate <= PEAK for rate in rates)


@pytest.mark.parametrize(("shape", "end"), [("cosine", 0.03), ("polynomial", 0.03)])
def test_the_floor_is_met_at_the_end_and_kept(shape, end):
    for step in (TOTAL, TOTAL + 7):
        found = learning_rate(step, total=TOTAL, peak=PEAK, warmup=3, shape=shape, floor=0.1)
        assert found == pytest.approx(end)


@pytest.mark.parametrize(
    ("optimizer", "batch", "expected"),
    [
        ("sgd", 512, 0.1),
        ("sgd", 1024, 0.2),
        ("sgd", 128, 0.025),
        ("adamw", 512, 0.1),
        ("adamw", 2048, 0.2),
        ("adamw", 128, 0.05),
    ],
)
def test_the_rate_follows_the_batch(optimizer, batch, expected):
    assert scaled_rate(0.1, batch, 512, optimizer) == pytest.approx(expected)


def test_a_schedule_counts_in_epochs():
    schedule = Schedule(
        epochs=4, warmup_epochs=0.5, shape="step", milestones=(2, 3), gamma=0.1, floor=0
    )
    assert schedule.steps(10) == 40
    rates = [schedule.rate(step, 1.0, 10) for step in (0, 1, 5, 19, 20, 29, 30, 39)]
    assert rates == pytest.approx([0, 0.2, 1, 1, 0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize(("epochs", "steps"), [(0.5, 5), (0.01, 1), (2, 20), (1.26, 13)])
def test_a_training_may_be_a_part_of_an_epoch(epochs, steps):
    schedule = Schedule(epochs=epochs, warmup_epochs=epochs / 2)
    assert schedule.steps(10) == steps
    assert math.isfinite(schedule.rate(steps - 1, 1.0, 10))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 5, "warmup_epochs": 5}, "warmup_epochs=5 must be less than epochs=5"),
        ({"shape": "step"}, "milestones must be given for shape=step"),
        ({"shape": "cosine", "milestones": (1.0,)}, "and for no other shape"),
        ({"shape": "step", "milestones": (8.0, 8.0)}, r"\[8.0, 8.0\] must rise between 0 and"),
        ({"shape": "step", "milestones": (8.0, 20.0)}, "must rise between 0 and epochs=20"),
        ({"shape": "linear"}, "'cosine', 'polynomial', 'step' or 'constant'"),
        ({"epochs": 0}, "greater than 0"),
        ({"floor": 1.5}, "less than or equal to 1"),
    ],
)
def test_schedules_that_cannot_be(arguments, message):
    with pytest.raises(ValidationError, match=message):
        Schedule(**arguments)
