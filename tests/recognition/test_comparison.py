import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mindface.errors import MindFaceError
from mindface.recognition.comparison import Run, _auc, _Measure, _tar_at, compare
from mindface.recognition.metrics import ScoreTable
from mindface.recognition.ten_fold import equal_folds, ten_fold

HASHES = {"pairs.txt": "a" * 64}


def pairs(rng, people=60):
    """Everybody against everybody once, and three genuine pairs each."""
    strangers = np.column_stack(np.triu_indices(people, 1))
    alone = np.repeat(np.arange(people), 3)
    found = np.concatenate([strangers, np.column_stack([alone, alone])])
    return found[rng.permutation(len(found))]


def scored(rng, people, gap=0.5, base=None):
    """Scores with what each person has of their own; the better the larger the gap."""
    own = rng.normal(0, 0.05, people.max() + 1)
    hard = rng.normal(0, 0.1, len(people)) if base is None else base
    same = people[:, 0] == people[:, 1]
    noise = rng.normal(0, 0.05, len(people))
    return (gap * same + own[people].sum(axis=1) + hard + noise).astype(np.float32)


def test_the_better_run_is_found():
    rng = np.random.default_rng(0)
    people = pairs(rng)
    same = people[:, 0] == people[:, 1]
    hard = rng.normal(0, 0.1, len(people))
    weak, strong = (
        Run(n, scored(rng, people, g, hard), HASHES) for n, g in (("w", 0.4), ("s", 0.6))
    )
    found = compare(weak, strong, same, people, equal_folds(len(people)), replicates=200)
    assert [each.figure for each in found] == ["tar@0.01", "auc", "accuracy"]
    for each in found:
        assert each.second > each.first
        assert each.difference.value == each.second - each.first
        assert each.difference.low <= each.difference.value <= each.difference.high
    assert found[0].better == "s"
    assert found[0].p_value < 0.05
    assert found[0].difference.low > 0
    back = compare(strong, weak, same, people, equal_folds(len(people)), replicates=200)
    assert [each.better for each in back] == [each.better for each in found]
    assert back[0].difference.value == -found[0].difference.value


def test_the_figures_are_those_of_the_metrics():
    rng = np.random.default_rng(1)
    people = pairs(rng, 40)
    same = people[:, 0] == people[:, 1]
    run = Run("it", scored(rng, people, 0.3).round(2), HASHES)  # with ties
    folds = equal_folds(len(people))
    found = compare(run, run, same, people, folds, replicates=5)
    table = ScoreTable.of_pairs(run.scores, same, people)
    accuracy = ten_fold(2 - 2 * run.scores.astype(float), same, folds).mean
    expected = [table.tar(table.threshold(1e-2)), table.auc(), accuracy]
    assert [each.first for each in found] == pytest.approx(expected)


def test_a_run_is_no_better_than_itself():
    rng = np.random.default_rng(2)
    people = pairs(rng, 30)
    run = Run("it", scored(rng, people), HASHES)
    for each in compare(run, run, people[:, 0] == people[:, 1], people, replicates=20):
        assert (each.difference.low, each.difference.high) == (0, 0)
        assert each.p_value == 1
        assert each.better is None


def test_equal_runs_are_seldom_told_apart():
    wrong = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        people = pairs(rng, 25)
        same = people[:, 0] == people[:, 1]
        a, b = (Run(name, scored(rng, people, 0.3), HASHES) for name in "ab")
        [auc] = compare(a, b, same, people, rates=(), replicates=100, seed=seed)
        wrong += auc.better is not None
    assert wrong <= 15


@given(st.data())
def test_weights_are_repetitions(data):
    people = np.array([[0, 0], [1, 1], [2, 2], [0, 1], [0, 2], [1, 2]])
    same = people[:, 0] == people[:, 1]
    scores = (
        np.array(data.draw(st.lists(st.integers(0, 4), min_size=6, max_size=6)), np.float32) / 4
    )
    often = np.array(data.draw(st.lists(st.integers(1, 3), min_size=3, max_size=3)))
    figures = {"tar": _tar_at(0.2), "auc": _auc}
    folds = np.zeros(6, int)
    folds[3:] = 1
    weighted = _Measure(scores, same, people, folds, figures)(often.astype(float))
    times = np.where(same, often[people[:, 0]], often[people].prod(axis=1))
    again = np.repeat(np.arange(6), times)
    repeated = _Measure(scores[again], same[again], people[again], folds[again], figures)
    assert weighted == pytest.approx(repeated(np.ones(3)))


def test_different_lists_are_refused():
    scores, same, people = (
        np.zeros(2, np.float32),
        np.array([True, False]),
        np.array([[0, 0], [0, 1]]),
    )
    mine = Run("mine", scores, HASHES)
    with pytest.raises(MindFaceError, match=r"mine and yours .* different lists \(pairs.txt\)"):
        compare(mine, Run("yours", scores, {"pairs.txt": "b" * 64}), same, people)


@pytest.mark.parametrize(
    ("scores", "same", "match"),
    [
        (np.zeros(3, np.float32), [True, False], r"of one length, not \[2, 3\]"),
        (np.zeros(2, np.float32), [True, True], "both needed"),
        (np.zeros(2, np.float32), [False, False], "both needed"),
    ],
)
def test_pairs_that_say_nothing(scores, same, match):
    people = np.array([[0, 0], [0, 1]])
    runs = Run("a", np.zeros(2, np.float32), HASHES), Run("b", scores, HASHES)
    with pytest.raises(ValueError, match=match):
        compare(*runs, np.array(same), people)
