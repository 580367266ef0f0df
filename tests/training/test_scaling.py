import math

import pytest

from mindface.training.scaling import LossScale


@pytest.mark.parametrize("norm", [math.inf, math.nan])
def test_an_overflow_halves_it_and_forbids_the_step(norm):
    scale = LossScale(value=8.0, good=3)
    assert not scale.update(norm)
    assert (scale.value, scale.good) == (4.0, 0)


def test_it_doubles_after_enough_good_steps_in_a_row():
    scale = LossScale(value=8.0, growth_interval=3)
    assert [scale.update(norm) for norm in (1.0, 1.0, math.inf)] == [True, True, False]
    assert [(scale.update(1.0), scale.value) for _ in range(4)] == [
        (True, 4.0),
        (True, 4.0),
        (True, 8.0),
        (True, 8.0),
    ]


def test_it_is_exhausted_when_it_cannot_be_the_reason():
    scale = LossScale()
    for _ in range(16):
        scale.update(math.nan)
    assert (scale.value, scale.exhausted) == (1.0, False)
    scale.update(math.nan)
    assert scale.exhausted
