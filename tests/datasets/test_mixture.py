"""Several sets as one: whose picture a number is, and how often an epoch visits it."""

import math
import pickle
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mindface.datasets import FaceSet, Mixture
from mindface.datasets.faceset import Ints
from mindface.errors import ConfigError


@dataclass
class Listed:
    """A set whose pictures say whose they are; its order begins anywhere and goes round."""

    source: str
    labels: Ints
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, index: int) -> bytes:
        return f"{self.source} {index}".encode()

    def describe(self, index: int) -> str:
        return f"{self.source}, picture {index}"

    def order(self, rng: np.random.Generator) -> Ints:
        return np.roll(np.arange(len(self)), rng.integers(len(self)))


def listed(source: str, *labels: int) -> FaceSet:
    names = tuple(f"p{number}" for number in range(max(labels) + 1))
    return Listed(source, np.array(labels), names)


def test_people_of_several_sets_are_different() -> None:
    mixture = Mixture([listed("x/a.rec", 1, 0, -1), listed("b", -1), listed("c.tar", 0, 0)])
    assert len(mixture) == 6
    assert mixture.labels.tolist() == [1, 0, -1, -1, 2, 2]
    assert mixture.labels.dtype == np.int64
    assert mixture.names == ("a", "b", "c")
    assert mixture.class_names == ("a/p0", "a/p1", "c/p0")
    assert mixture.source == "x/a.rec + b + c.tar"
    found = [mixture.read(index).decode() for index in np.arange(6)]
    assert found == ["x/a.rec 0", "x/a.rec 1", "x/a.rec 2", "b 0", "c.tar 0", "c.tar 1"]
    assert mixture.describe(5) == "c.tar, picture 1"


def test_one_set_keeps_its_names() -> None:
    faces = listed("a", 0, 1)
    assert Mixture([faces]).class_names == faces.class_names
    assert Mixture([Mixture([faces, listed("b", 0)])]).class_names == ("a/p0", "a/p1", "b/p0")


@pytest.mark.parametrize(
    ("sources", "given_names", "names"),
    [
        (["a/train.rec", "b/train.rec"], None, ("a/train.rec", "b/train.rec")),
        (["a/train.rec", "b/train.rec"], ["one", "two"], ("one", "two")),
        (["a", "a"], ["x", "y"], ("x", "y")),
        (["faces-{000..012}.tar", "v1.5/"], None, ("faces-{000..012}", "v1.5")),
    ],
)
def test_sets_are_told_apart(sources, given_names, names) -> None:
    mixture = Mixture([listed(source, 0) for source in sources], names=given_names)
    assert mixture.names == names
    assert mixture.class_names == tuple(f"{name}/p0" for name in names)


@pytest.mark.parametrize(
    ("weights", "names", "message"),
    [
        ([1], None, "2 sets, 1 weights and 2 names"),
        (None, ["x"], "2 sets, 2 weights and 1 names"),
        (None, ["x", "x"], "two of the sets x, x have one name"),
        ([1, 0], None, "the weight of b is 0, which draws none of its 3 pictures"),
        ([1, -1], None, "the weight of b is -1"),
        ([1, 0.1], None, "the weight of b is 0.1"),
        ([math.nan, 1], None, "the weight of a is nan"),
        ([math.inf, 1], None, "the weight of a is inf"),
    ],
)
def test_what_cannot_be_mixed_is_refused(weights, names, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Mixture([listed("a", 0, 1), listed("b", 0, 0, 0)], weights, names)


def test_nothing_and_one_set_twice_cannot_be_mixed() -> None:
    with pytest.raises(ConfigError, match="give one set at least"):
        Mixture([])
    with pytest.raises(ConfigError, match="name them, or give a set once"):
        Mixture([listed("a", 0), listed("a", 0)])


SETS = st.lists(st.tuples(st.integers(1, 30), st.floats(0.6, 4)), min_size=1, max_size=4)


@given(sets=SETS, seed=st.integers(0, 2**32))
@settings(deadline=None)
def test_an_epoch_draws_what_the_weights_say(sets, seed: int) -> None:
    faces = [listed(f"set {number}", *[0] * size) for number, (size, _) in enumerate(sets)]
    mixture = Mixture(faces, [weight for _, weight in sets])
    order = mixture.order(np.random.default_rng(seed))
    assert np.array_equal(order, mixture.order(np.random.default_rng(seed)))
    assert mixture.draws == tuple(round(weight * size) for size, weight in sets)
    assert len(order) == mixture.epoch_size == sum(mixture.draws)
    visits, start = Counter(order.tolist()), 0
    for (size, _), draws in zip(sets, mixture.draws, strict=True):
        own = [visits[index] for index in range(start, start + size)]
        assert sum(own) == draws
        assert set(own) <= {draws // size, -(-draws // size)}
        drawn = order[(order >= start) & (order < start + size)] - start
        for begin in range(0, draws, size):  # the set's own order: rising, and once round
            steps = np.diff(drawn[begin : begin + size]) % size
            assert (steps == 1).all()
        start += size


def test_sets_are_interleaved_evenly() -> None:
    mixture = Mixture([listed("a", *[0] * 1000), listed("b", *[0] * 1000)], [1, 3])
    from_first = mixture.order(np.random.default_rng(0)) < 1000
    shares = from_first.reshape(8, 500).mean(axis=1)
    assert shares.min() > 0.17
    assert shares.max() < 0.33


def test_a_mixture_can_be_part_of_another_and_pickled() -> None:
    inner = Mixture([listed("a", 0, 1), listed("b", 0)], [2, 1])
    outer = pickle.loads(pickle.dumps(Mixture([inner, listed("c", 0)], [2, 1], ["ab", "c"])))
    assert outer.class_names == ("ab/a/p0", "ab/a/p1", "ab/b/p0", "c/p0")
    assert outer.read(3) == b"c 0"
    visits = Counter(outer.order(np.random.default_rng(0)).tolist())
    assert visits[3] == 1
    assert visits[0] + visits[1] + visits[2] == outer.draws[0] == 6
