from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mindface.recognition.clustering_metrics import score_clusters


def alone(labels):
    return [label if label >= 0 else ("nobody", face) for face, label in enumerate(labels)]


def naive_pairwise(labels, truth):
    """Precision and recall over all pairs (Amigó et al. 2009, section 3.2)."""
    pairs = list(combinations(range(len(truth)), 2))
    joined = {(a, b) for a, b in pairs if labels[a] == labels[b]}
    genuine = {(a, b) for a, b in pairs if truth[a] == truth[b]}
    right = len(joined & genuine)
    return (right / len(joined) if joined else 1, right / len(genuine) if genuine else 1)


def naive_b_cubed(labels, truth):
    """The mean over items e of the mean over e' of Correctness(e, e') (ibid., section 3.4)."""
    items = range(len(truth))

    def correct(e, other):
        return (truth[e] == truth[other]) == (labels[e] == labels[other])

    precision = [
        np.mean([correct(e, other) for other in items if labels[e] == labels[other]]) for e in items
    ]
    recall = [
        np.mean([correct(e, other) for other in items if truth[e] == truth[other]]) for e in items
    ]
    return np.mean(precision), np.mean(recall)


def naive_purity(labels, truth):
    """The weighted mean of the greatest precision of each cluster (ibid., section 3.1)."""
    clusters = [
        {i for i, label in enumerate(labels) if label == each} for each in dict.fromkeys(labels)
    ]
    people = [{i for i, who in enumerate(truth) if who == each} for each in dict.fromkeys(truth)]
    greatest = (
        len(c) / len(truth) * max(len(c & person) / len(c) for person in people) for c in clusters
    )
    return sum(greatest)


@given(
    st.lists(st.tuples(st.integers(-1, 5), st.integers(0, 5)), min_size=1, max_size=25),
)
def test_scores_are_those_of_the_paper(pairs):
    labels, truth = map(list, zip(*pairs, strict=True))
    scores = score_clusters(labels, truth)
    found = alone(labels)
    assert scores.pairwise == pytest.approx(naive_pairwise(found, truth))
    assert scores.b_cubed == pytest.approx(naive_b_cubed(found, truth))
    assert scores.purity == pytest.approx(naive_purity(found, truth))
    assert scores.completeness == pytest.approx(naive_purity(truth, found))
    assert (scores.faces, scores.people) == (len(truth), len(set(truth)))
    assert scores.clusters == len(set(found))


@pytest.mark.parametrize(
    ("labels", "precision", "recall"),
    [
        ([0, 0, 1, 1], 1, 1),
        ([7, 7, 7, 7], 1 / 3, 1),
        ([-1, -1, -1, -1], 1, 0),
        ([0, 1, 0, 1], 0, 0),
    ],
)
def test_pairs_of_two_people(labels, precision, recall):
    found = score_clusters(labels, [5, 5, 9, 9]).pairwise
    assert found == pytest.approx((precision, recall))
    total = precision + recall
    assert found.f == pytest.approx(2 * precision * recall / total if total else 0)


def test_b_cubed_is_that_of_the_papers_rag_bag():
    """Mess belongs into a bag of mess (ibid., figure 4): B-cubed says so, purity does not."""
    truth = np.array([0, 0, 0, 0, 1, 2, 3, 4, 5])
    into_order = score_clusters([0, 0, 0, 0, 0, 1, 1, 1, 1], truth)
    into_mess = score_clusters([0, 0, 0, 0, 1, 1, 1, 1, 1], truth)
    assert into_mess.b_cubed.precision > into_order.b_cubed.precision
    assert into_mess.purity == into_order.purity


def test_many_faces_need_no_table_of_people_by_clusters():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 100_000, 200_000)
    labels = np.where(rng.random(len(truth)) < 0.9, truth, rng.integers(-1, 10**9, len(truth)))
    scores = score_clusters(labels, truth)
    assert 0.9 < scores.purity < 1
    assert scores.people == len(np.unique(truth))


@pytest.mark.parametrize(("labels", "truth"), [([], []), ([0], [0, 1]), ([[0]], [[0]])])
def test_labels_and_truth_are_of_one_length(labels, truth):
    with pytest.raises(ValueError, match="of the same N"):
        score_clusters(labels, truth)
