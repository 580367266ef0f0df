"""Some of a set's people and pictures."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stand_ins import Faces

from mindface.datasets import Only, Without
from mindface.errors import ConfigError

NAMES = ("ada", "bea", "cyd", "#1")


def toy(labels=(0, 0, 1, -1, 2, 3, 1)):
    return Faces([b"%d" % n for n in range(len(labels))], labels, NAMES)


@pytest.mark.parametrize(
    ("names", "left", "labels", "people"),
    [
        ([], [0, 1, 2, 3, 4, 5, 6], [0, 0, 1, -1, 2, 3, 1], NAMES),
        (["bea", ""], [0, 1, 3, 4, 5], [0, 0, -1, 1, 2], ("ada", "cyd", "#1")),
        (["ada", "cyd", "#1"], [2, 3, 6], [0, -1, 0], ("bea",)),
        (["#3", "#4", "#6"], [0, 1, 2, 5], [0, 0, 1, 2], ("ada", "bea", "#1")),
        (["#0"], [1, 2, 3, 4, 5, 6], [0, 1, -1, 2, 3, 1], NAMES),
    ],
)
def test_people_and_pictures_are_left_out(names, left, labels, people):
    faces = Without(toy(), names)
    assert [int(faces.read(index)) for index in range(len(faces))] == left
    assert [faces.describe(index) for index in range(len(faces))] == [f"memory[{n}]" for n in left]
    assert faces.labels.tolist() == labels
    assert faces.labels.dtype == np.int64
    assert faces.class_names == people
    assert faces.source == "memory"
    assert pickle.loads(pickle.dumps(faces)).read(0) == b"%d" % left[0]


def test_only_keeps_what_without_leaves_out():
    faces = Only(toy(), ["cyd", "#3", "ada"])
    assert [int(faces.read(index)) for index in range(len(faces))] == [0, 1, 3, 4]
    assert faces.labels.tolist() == [0, 0, -1, 1]
    assert faces.class_names == ("ada", "cyd")


@pytest.mark.parametrize("kind", [Without, Only])
def test_unknown_names_are_all_named(kind):
    with pytest.raises(ConfigError, match=r"not in the set: '#7', 'Ada', 'zoe'.* as #0 to #6"):
        kind(toy(), ["zoe", "ada", "Ada", "#7", "#6"])
    with pytest.raises(ConfigError, match="and 5 more"):
        kind(toy(), [f"nobody {n}" for n in range(15)])


def test_a_set_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="no picture is left of 7"):
        Without(toy(), [*NAMES, "#3"])
    with pytest.raises(ConfigError, match="no picture is left"):
        Only(toy(), [])


@given(
    labels=st.lists(st.integers(-1, 3), min_size=1, max_size=30),
    out=st.sets(st.sampled_from(NAMES)),
    seed=st.integers(0, 9),
)
def test_the_order_is_the_whole_sets(labels, out, seed):
    whole = toy(labels)
    stays = [n for n, label in enumerate(labels) if label < 0 or NAMES[label] not in out]
    if not stays:
        return
    faces = Without(whole, out)
    order = faces.order(np.random.default_rng(seed))
    wanted = [n for n in whole.order(np.random.default_rng(seed)) if n in stays]
    assert [int(faces.read(index)) for index in order] == wanted
    names = [faces.class_names[label] if label >= 0 else None for label in faces.labels]
    assert names == [NAMES[labels[n]] if labels[n] >= 0 else None for n in stays]
    assert sorted(set(faces.labels.tolist()) - {-1}) == list(range(len(faces.class_names)))
