"""The k rows most like a query, against sorting everything in float64."""

import numpy as np
import pytest
from gallery_faces import unit
from hypothesis import given, settings
from hypothesis import strategies as st

from mindface.gallery import quantised, search
from mindface.gallery.quantised import QuantisedSearch, encode
from mindface.gallery.search import ExactSearch

PRECISIONS = ["float32", "float16", "int8"]


@pytest.fixture(params=PRECISIONS)
def precision(request):
    return request.param


def finder_of(vectors, precision):
    """A search through vectors that are scanned in that precision."""
    if precision == "float32":
        return ExactSearch(vectors)
    pytest.importorskip("numkong", reason="search in float16 and int8 needs the extra search")
    return QuantisedSearch(vectors, encode(vectors, precision), precision)


def naive(vectors, queries, k, mask, order):
    """Rows by score in float32 of float64 sums, then by order."""
    rows = np.full((len(queries), k), -1)
    for number, query in enumerate(queries.astype(np.float64)):
        scores = np.clip(np.float32((vectors.astype(np.float64) * query).sum(axis=1)), -1, 1)
        some = [row for row in np.lexsort((order, -scores)) if mask[row]][:k]
        rows[number, : len(some)] = some
    return rows


def alike(random, count, size, kind):
    """Vectors that are hard to tell apart: of lengths as far from 1 as they may be."""
    if not count:
        return unit(0, size)
    seed = int(random.integers(1 << 30))
    vectors = unit(count, size, seed)
    if kind == "equal":
        vectors = vectors[random.integers(0, count, count)]
    elif kind == "near":  # closer than any precision can tell
        vectors = vectors[:1] + vectors * np.float32(10.0 ** random.uniform(-8, -3))
    elif kind == "one large value":  # its code leaves little for the others
        vectors[:, 0] = 20
    elif kind == "opposite":
        vectors[::2] = -vectors[0]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors * random.uniform(0.9992, 1.0008, (count, 1)).astype(np.float32)


@given(
    count=st.integers(0, 600),
    queries=st.integers(1, 12),
    k=st.integers(1, 7),
    size=st.sampled_from([2, 3, 16, 70]),
    kind=st.sampled_from(["any", "equal", "near", "one large value", "opposite"]),
    block=st.sampled_from([1, 7, 50, 1000, 1 << 20]),
    seed=st.integers(0, 99),
)
@settings(max_examples=100, deadline=None)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_top_is_exact_whatever_the_blocks(precision, count, queries, k, size, kind, block, seed):
    random = np.random.default_rng(seed)
    vectors = alike(random, count, size, kind)
    probes = np.concatenate([vectors[:3], unit(queries, size, seed + 1)])[-queries:]
    mask = random.random(count) < 0.7
    order = random.permutation(count)
    with pytest.MonkeyPatch.context() as patch:
        for scan in (search, quantised):
            patch.setattr(scan, "SCORES", block)
        patch.setattr(search, "QUERIES", 5)
        patch.setattr(search, "RESCORED", 9)
        patch.setattr(search, "HITS", 4)
        rows, scores = finder_of(vectors, precision).top(probes, k, mask, order)
    np.testing.assert_array_equal(rows, naive(vectors, probes, k, mask, order))
    found = rows >= 0
    expected = (vectors[rows] * probes[:, None]).sum(axis=2) if count else scores
    np.testing.assert_allclose(scores[found], np.clip(expected[found], -1, 1), atol=1e-5)
    assert (scores[~found] == -1).all()


def test_equal_rows_have_equal_scores_wherever_they_stand(precision):
    vectors = unit(500, 512)
    vectors[[7, 140, 499]] = vectors[7]
    probes = unit(40, 512, 1)
    alone = finder_of(vectors[7:8], precision).top(probes, 1)[1][:, 0]
    finder = finder_of(vectors, precision)
    rows, scores = finder.top(probes, 500)
    for row in (7, 140, 499):
        np.testing.assert_array_equal(scores[rows == row], alone)
    one_by_one = [finder.top(probe[None], 500) for probe in probes[:3]]
    for number, (single_rows, single_scores) in enumerate(one_by_one):
        np.testing.assert_array_equal(single_rows[0], rows[number])
        np.testing.assert_array_equal(single_scores[0], scores[number])


def test_every_precision_gives_the_same_bits(precision):
    vectors, probes = unit(3000, 512), unit(30, 512, 1)
    mask = np.random.default_rng(0).random(3000) < 0.1
    for some in (None, mask):
        expected = ExactSearch(vectors).top(probes, 5, some)
        found = finder_of(vectors, precision).top(probes, 5, some)
        assert [each.tobytes() for each in found] == [each.tobytes() for each in expected]


def test_without_a_mask_and_with_an_empty_one(precision):
    vectors = unit(20)
    finder = finder_of(vectors, precision)
    rows, scores = finder.top(vectors[:4], 1)
    assert rows[:, 0].tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(scores, 1, atol=1e-6)
    rows, scores = finder.top(vectors[:4], 2, np.zeros(20, bool))
    assert (rows == -1).all()
    assert (scores == -1).all()
    rows, _ = finder.top(vectors[:0], 2)
    assert rows.shape == (0, 2)


def test_of_millions_alike_few_are_held(precision, monkeypatch):
    monkeypatch.setattr(search, "HITS", 100)
    for scan in (search, quantised):
        monkeypatch.setattr(scan, "SCORES", 200)
    held = []
    settled = ExactSearch._settled
    monkeypatch.setattr(
        ExactSearch,
        "_settled",
        lambda self, queries, hits, *others: (
            held.append(len(hits.rows)) or settled(self, queries, hits, *others)
        ),
    )
    vectors = np.repeat(unit(1), 3000, axis=0)
    rows, _ = finder_of(vectors, precision).top(vectors[:1], 3, order=-np.arange(3000))
    assert rows.tolist() == [[2999, 2998, 2997]]
    assert max(held) <= 100 + 6 + 200


@pytest.mark.parametrize("kind", ["any", "near", "one large value"])
def test_rough_scores_are_off_by_no_more_than_said(precision, kind):
    vectors = alike(np.random.default_rng(0), 2000, 512, kind)
    probes = np.concatenate([unit(40, 512, 1), vectors[:10]])
    exact = vectors.astype(np.float64) @ probes.T.astype(np.float64)
    for number in (1, 50):
        scan = finder_of(vectors, precision)._scan(probes[:number])
        floor = np.full(number, search.LOWEST, np.float32)
        _, hits = scan.reaching(0, 2000, 2000, floor, None)
        assert len(hits.rows) == 2000 * number
        right = exact[hits.rows, hits.queries]
        assert ((hits.low <= right) & (right <= hits.high)).all()
