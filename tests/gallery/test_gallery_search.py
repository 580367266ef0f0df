"""The k rows most like a query, against sorting everything in float64."""

import numpy as np
import pytest
from gallery_faces import unit
from hypothesis import given, settings
from hypothesis import strategies as st

from mindface.gallery import search
from mindface.gallery.search import ExactSearch


def naive(vectors, queries, k, mask, order):
    """Rows by score in float32 of float64 sums, then by order."""
    rows = np.full((len(queries), k), -1)
    for number, query in enumerate(queries.astype(np.float64)):
        scores = np.clip(np.float32((vectors.astype(np.float64) * query).sum(axis=1)), -1, 1)
        some = [row for row in np.lexsort((order, -scores)) if mask[row]][:k]
        rows[number, : len(some)] = some
    return rows


@given(
    count=st.integers(0, 60),
    queries=st.integers(1, 12),
    k=st.integers(1, 7),
    values=st.sampled_from([2, 3, 16]),
    block=st.sampled_from([1, 7, 50, 1 << 20]),
    seed=st.integers(0, 99),
)
@settings(max_examples=80, deadline=None)
def test_top_is_exact_whatever_the_blocks(count, queries, k, values, block, seed):
    random = np.random.default_rng(seed)
    vectors = unit(count, values, seed)[random.integers(0, max(count, 1), count)]  # many are equal
    probes = np.concatenate([vectors[:3], unit(queries, values, seed + 1)])
    mask = random.random(count) < 0.7
    order = random.permutation(count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "SCORES", block)
        patch.setattr(search, "QUERIES", 5)
        patch.setattr(search, "RESCORED", 9)
        rows, scores = ExactSearch(vectors).top(probes, k, mask, order)
    np.testing.assert_array_equal(rows, naive(vectors, probes, k, mask, order))
    np.testing.assert_array_equal(scores == -1, rows < 0)
    found = rows >= 0
    expected = (vectors[rows] * probes[:, None]).sum(axis=2) if count else scores
    np.testing.assert_allclose(scores[found], expected[found], atol=1e-5)


def test_equal_rows_have_equal_scores_wherever_they_stand():
    vectors = unit(500, 512)
    vectors[[7, 140, 499]] = vectors[7]
    probes = unit(40, 512, 1)
    alone = ExactSearch(vectors[7:8]).top(probes, 1)[1][:, 0]
    rows, scores = ExactSearch(vectors).top(probes, 500)
    for row in (7, 140, 499):
        np.testing.assert_array_equal(scores[rows == row], alone)
    one_by_one = [ExactSearch(vectors).top(probe[None], 500) for probe in probes[:3]]
    for number, (single_rows, single_scores) in enumerate(one_by_one):
        np.testing.assert_array_equal(single_rows[0], rows[number])
        np.testing.assert_array_equal(single_scores[0], scores[number])


def test_without_a_mask_and_with_an_empty_one():
    vectors = unit(20)
    finder = ExactSearch(vectors)
    rows, scores = finder.top(vectors[:4], 1)
    assert rows[:, 0].tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(scores, 1, atol=1e-6)
    rows, scores = finder.top(vectors[:4], 2, np.zeros(20, bool))
    assert (rows == -1).all()
    assert (scores == -1).all()
    rows, _ = finder.top(vectors[:0], 2)
    assert rows.shape == (0, 2)


def test_rough_scores_are_off_by_no_more_than_said():
    vectors, probes = unit(2000, 512), unit(50, 512, 1)
    finder = ExactSearch(vectors)
    exact = probes.astype(np.float64) @ vectors.T.astype(np.float64)
    for number in (1, 50):
        rough = finder._rough(probes[:number], 0, 2000)
        assert np.abs(rough - exact[:number]).max() < finder.error
