"""Who is kept back for validation."""

import numpy as np
import pytest
from stand_ins import Faces

from mindface.datasets import held_out


def people(count, pictures=2, first=0):
    labels = np.repeat(np.arange(count), pictures)
    names = tuple(f"person {number}" for number in range(first, first + count))
    return Faces([b""] * len(labels), labels, names)


def test_who_is_added_changes_nothing_for_the_others():
    few, many = held_out(people(50), 0.3), held_out(people(400), 0.3)
    assert few == tuple(name for name in many if int(name.split()[1]) < 50)
    later = held_out(people(100, first=50), 0.3)
    assert later == tuple(name for name in many if 50 <= int(name.split()[1]) < 150)


@pytest.mark.parametrize(("share", "low", "high"), [(0, 0, 0), (0.2, 360, 440), (1, 2000, 2000)])
def test_the_share_is_kept_about(share, low, high):
    assert low <= len(held_out(people(2000), share)) <= high


def test_a_larger_share_adds_people():
    assert set(held_out(people(300), 0.2)) < set(held_out(people(300), 0.4))


def test_seeds_choose_apart():
    a, b = (set(held_out(people(1000), 0.5, seed=seed)) for seed in (0, 1))
    assert 200 < len(a & b) < 300


def test_people_with_few_pictures_are_not_chosen():
    faces = Faces([b""] * 7, [0, 0, 0, 1, 1, 2, -1], ("ada", "bea", "cyd"))
    assert held_out(faces, 1) == ("ada", "bea")
    assert held_out(faces, 1, least=3) == ("ada",)
    assert held_out(Faces([b""], [-1], ()), 1) == ()


def test_the_choice_is_for_ever():
    assert held_out(people(20), 0.2) == ("person 3", "person 6", "person 13", "person 15")
