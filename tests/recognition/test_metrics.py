import json

import naive_verification as naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mindface.recognition import metrics
from mindface.recognition.metrics import ScoreTable
from mindface.recognition.ten_fold import equal_folds, ten_fold

GOLDEN = json.loads(naive.GOLDEN.read_text())


def lone_people(same):
    """Each pair with people of its own."""
    numbers = np.arange(2 * len(same)).reshape(-1, 2)
    numbers[same, 1] = numbers[same, 0]
    return numbers


def crowd(people=40, photos=5, size=32, spread=0.9, seed=0):
    """Embeddings of people: a centre each, and photos around it."""
    rng = np.random.default_rng(seed)
    numbers = np.repeat(np.arange(people), photos)
    vectors = rng.normal(size=(people, size))[numbers] + spread * rng.normal(
        size=(people * photos, size)
    )
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit.astype(np.float32), numbers


def listed(embeddings, people):
    """All pairs, as a list."""
    a, b = np.triu_indices(len(people), 1)
    scores = (embeddings @ embeddings.T)[a, b]
    return scores, people[a] == people[b], np.column_stack([people[a], people[b]])


@pytest.mark.parametrize("name", ["random", "tied"])
def test_figures_are_those_of_the_naive_reference(name):
    scores, same = naive.samples()[name]
    expected = GOLDEN[name]
    table = ScoreTable.of_pairs(scores, same, lone_people(same))
    folds = ten_fold(2 - 2 * scores.astype(np.float64), same, equal_folds(len(scores)))
    np.testing.assert_allclose(folds.accuracies, expected["ten_fold"], rtol=0, atol=1e-12)
    assert table.auc() == pytest.approx(expected["auc"], abs=1e-12)
    assert table.eer() == pytest.approx(expected["eer"], abs=1e-12)
    for far, tar in expected["tar"].items():
        threshold = table.threshold(float(far))
        assert table.fmr(threshold) <= float(far)
        assert table.tar(threshold) == pytest.approx(tar, abs=1e-12)


def test_the_golden_numbers_are_those_of_the_script():
    scores, same = naive.samples()["tied"]
    assert naive.tar_at_far(scores, same, 0.05) == GOLDEN["tied"]["tar"]["0.05"]
    assert naive.eer(scores, same) == GOLDEN["tied"]["eer"]


scores_and_labels = st.integers(2, 60).flatmap(
    lambda n: st.tuples(
        hnp.arrays(np.float32, n, elements=st.sampled_from(np.linspace(-1, 1, 9, dtype="f4"))),
        hnp.arrays(bool, n).filter(lambda same: same.any() and not same.all()),
    )
)


@given(scores_and_labels, st.sampled_from([0.05, 0.1, 0.3, 0.5, 1.0]))
def test_thresholds_are_the_least_that_keep_the_rate(sample, far):
    scores, same = sample
    table = ScoreTable.of_pairs(scores, same, lone_people(same))
    threshold = table.threshold(far)
    assert (scores[~same] >= threshold).mean() <= far
    assert table.tar(threshold) == pytest.approx(naive.tar_at_far(scores, same, far))
    assert table.auc() == pytest.approx(naive.auc(scores, same))
    assert table.eer() == pytest.approx(naive.eer(scores, same))


@given(scores_and_labels)
def test_a_curve_rises_from_nothing_to_everything(sample):
    scores, same = sample
    thresholds, fmr, tar = ScoreTable.of_pairs(scores, same, lone_people(same)).curve()
    assert (np.diff(thresholds) < 0).all()
    assert (np.diff(fmr) >= 0).all()
    assert (np.diff(tar) >= 0).all()
    assert (fmr[0], tar[0], fmr[-1], tar[-1]) == (0, 0, 1, 1)


def test_all_pairs_are_the_list_of_all_pairs():
    embeddings, people = crowd()
    whole = ScoreTable.of_all_pairs(embeddings, people)
    pairs = ScoreTable.of_pairs(*listed(embeddings, people))
    np.testing.assert_allclose(whole.genuine, pairs.genuine, atol=1e-6)
    np.testing.assert_allclose(whole.impostor, pairs.impostor, atol=1e-6)
    assert whole.people_pairs == pairs.people_pairs == 40 * 39 // 2
    assert whole.impostor_count == pairs.impostor_count == 200 * 199 // 2 - 40 * 10
    for first, second in zip(whole.rates((0.1, 0.01)), pairs.rates((0.1, 0.01)), strict=True):
        assert first.tar.value == second.tar.value
        np.testing.assert_allclose(
            [first.tar.low, first.tar.high, first.fmr.low, first.fmr.high],
            [second.tar.low, second.tar.high, second.fmr.low, second.fmr.high],
            atol=0.02,
        )


def test_many_scores_are_kept_only_where_they_matter(monkeypatch):
    embeddings, people = crowd(people=60, photos=6)
    exact = ScoreTable.of_all_pairs(embeddings, people)
    monkeypatch.setattr(metrics, "_cut", lambda histogram: 0.35)
    monkeypatch.setattr(metrics, "BLOCK", 50)
    table = ScoreTable.of_all_pairs(embeddings, people)
    assert len(table.impostor) < len(exact.impostor) == exact.impostor_count
    assert table.threshold(0.01) == pytest.approx(exact.threshold(0.01))
    assert table.auc() == pytest.approx(exact.auc(), abs=1e-4)
    assert table.eer() == pytest.approx(exact.eer(), abs=1e-3)
    assert table.fmr(0.0) == pytest.approx(exact.fmr(0.0), abs=1e-3)
    with pytest.raises(ValueError, match="rates up to"):
        table.threshold(0.5)


def test_a_photo_without_a_face_matches_nobody():
    embeddings, people = crowd()
    embeddings[3] = 0
    table = ScoreTable.of_all_pairs(embeddings, people)
    assert (table.genuine == metrics.FAILED).sum() == 4
    assert (table.impostor == metrics.FAILED).sum() == 195
    assert table.tar(-0.999) == pytest.approx(1 - 4 / 400)


def test_a_rate_needs_pairs_of_people():
    embeddings, people = crowd(people=10, photos=20)
    table = ScoreTable.of_all_pairs(embeddings, people)
    assert table.people_pairs == 45
    assert [table.supports(rate) for rate in (0.1, 3 / 45, 0.06)] == [True, True, False]
    assert [rate is None for rate in table.rates((0.1, 0.01))] == [False, True]


def test_intervals_are_wider_than_if_pairs_were_independent():
    embeddings, people = crowd(people=30, photos=20, spread=1.2)
    by_people = ScoreTable.of_all_pairs(embeddings, people).rates((0.01,))[0]
    scores, same, _ = listed(embeddings, people)
    alone = ScoreTable.of_pairs(scores, same, lone_people(same)).rates((0.01,), replicates=200)[0]
    assert by_people.tar.low <= by_people.tar.value <= by_people.tar.high
    width = by_people.tar.high - by_people.tar.low
    assert width > 1.5 * (alone.tar.high - alone.tar.low)
    assert by_people.fmr.low < 0.01 < by_people.fmr.high


def test_the_seed_decides_the_intervals():
    table = ScoreTable.of_all_pairs(*crowd())
    first, again, other = (table.rates((0.05,), 100, seed)[0] for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_folds_are_consecutive():
    assert equal_folds(23, 10).tolist() == sorted(equal_folds(23, 10).tolist())
    assert np.bincount(equal_folds(23, 10)).tolist() == [3, 3, 3, 2, 2, 2, 2, 2, 2, 2]
