import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mindface.recognition.discard import _ideal, rank_qualities

# Five photos of three people, four genuine pairs, of which the first two fail at 0.5.
SCORES = np.array([0.2, 0.3, 0.8, 0.9], np.float32)
PHOTOS = np.array([[0, 1], [1, 2], [2, 3], [3, 4]])
PEOPLE = np.array([0, 0, 1, 2])


def only(quality, scores=SCORES, **options):
    [curve] = rank_qualities(
        {"it": np.array(quality)}, scores, PHOTOS, PEOPLE, 0.5, **{"replicates": 20, **options}
    )
    return curve


def test_a_curve_by_hand():
    curve = only([1, 2, 3, 4, 5], limit=0.5)
    # The pairs' qualities are 1, 2, 3, 4: they fall out in the order in which they fail.
    np.testing.assert_allclose(curve.pairs, [0, 0.25, 0.5, 0.75])
    np.testing.assert_allclose(curve.photos, [0, 0.2, 0.4, 0.6])
    np.testing.assert_allclose(curve.fnmr, [1 / 2, 1 / 3, 0, 0])
    assert curve.area == pytest.approx(0.25 * (1 / 2 + 1 / 3) / 2 + 0.25 * (1 / 3) / 2)
    assert curve.ideal == pytest.approx(0.5 + 0.5 * np.log(0.5))
    assert curve.relative.value == pytest.approx((curve.area - curve.ideal) / (0.25 - curve.ideal))


def test_a_quality_that_is_the_wrong_way_round_does_harm():
    curve = only([5, 4, 3, 2, 1], limit=0.5)
    np.testing.assert_allclose(curve.fnmr, [1 / 2, 2 / 3, 1, 1])
    assert curve.relative.value > 1
    assert not curve.worth_using


def test_a_quality_that_is_the_same_for_all_is_chance():
    curve = only([1, 1, 1, 1, 1])
    assert curve.relative.value == pytest.approx(1)
    assert len(curve.pairs) == 1


@pytest.mark.parametrize(("fnmr", "limit"), [(0.01, 0.2), (0.2, 0.2), (0.5, 0.2), (0.9, 0.9)])
def test_the_ideal_area_is_the_integral(fnmr, limit):
    shares = np.linspace(0, limit, 100_001)
    heights = np.maximum((fnmr - shares) / (1 - shares), 0)
    integral = (np.diff(shares) * (heights[1:] + heights[:-1]) / 2).sum()
    assert _ideal(fnmr, limit) == pytest.approx(integral, rel=1e-6)


@given(st.permutations(range(8)), st.lists(st.booleans(), min_size=28, max_size=28))
def test_nothing_is_better_than_the_ideal(quality, failed):
    pairs = np.column_stack(np.triu_indices(8, 1))
    failed = np.array(failed)
    failed[:2] = [True, False]
    scores = np.where(failed, 0, 1).astype(np.float32)
    [curve] = rank_qualities(
        {"it": np.array(quality)}, scores, pairs, np.arange(28), 0.5, replicates=2
    )
    assert curve.relative.value >= -0.3  # the straight line between two points may cut a corner
    assert (np.diff(curve.pairs) > 0).all()
    assert (np.diff(curve.photos) > 0).all()
    assert curve.fnmr[0] == pytest.approx(failed.mean())


def test_the_better_quality_comes_first_and_chance_is_not_worth_using():
    rng = np.random.default_rng(0)
    blur = rng.random(3000)
    photos = np.arange(3000).reshape(-1, 2)
    scores = (0.8 - 0.6 * blur[photos].max(axis=1) + rng.normal(0, 0.1, 1500)).astype(np.float32)
    qualities = {
        "noise": rng.random(3000),
        "blur": -blur,
        "a little": -blur + rng.normal(0, 0.5, 3000),
    }
    curves = rank_qualities(
        qualities, scores, photos, np.repeat(np.arange(300), 5), 0.3, replicates=100
    )
    assert [curve.name for curve in curves] == ["blur", "a little", "noise"]
    assert [curve.worth_using for curve in curves] == [True, True, False]
    for curve in curves:
        assert curve.relative.low <= curve.relative.value <= curve.relative.high


@pytest.mark.parametrize(
    ("quality", "scores", "options", "match"),
    [
        ([1, 2, float("nan"), 4, 5], SCORES, {}, "photo 2 is not finite"),
        ([1, 2, 3, 4, 5], SCORES + 1, {}, "0 of 4 genuine pairs fail"),
        ([1, 2, 3, 4, 5], SCORES - 1, {}, "4 of 4 genuine pairs fail"),
        ([1, 2, 3, 4, 5], SCORES, {"limit": 1}, "limit must lie between 0 and 1"),
    ],
)
def test_what_cannot_be_told(quality, scores, options, match):
    with pytest.raises(ValueError, match=match):
        only(quality, scores, **options)
