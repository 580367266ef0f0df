import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mindface.recognition.probability import fit_isotonic, fit_logistic, reliability

SCORES = st.lists(st.integers(-10, 10).map(lambda n: n / 10), min_size=1, max_size=30)
PRIORS = st.sampled_from([0.1, 0.5, 0.9])


def test_isotonic_by_hand():
    # Scores 1..4 show strangers, one person, strangers, one person; 2 and 3 are pooled.
    found = fit_isotonic(np.array([2, 4]), np.array([1, 3]))
    np.testing.assert_allclose(
        found(np.array([0, 1, 2, 2.7, 3, 4, 5])), [0, 0, 0.5, 0.5, 0.5, 1, 1]
    )
    assert found(np.array([1.5])) == pytest.approx(0.25)


def test_the_prior_moves_isotonic_probabilities():
    # At 0.5 one of one genuine and one of two impostor pairs: odds 0.2 * 1 to 0.8 * 0.5.
    found = fit_isotonic(np.array([0.5]), np.array([0.5, 0.0]), prior=0.2)
    assert found(np.array([0.5])) == pytest.approx(0.2 / 0.6)


@given(SCORES, SCORES, PRIORS)
def test_isotonic_probabilities_rise_and_keep_the_prior(genuine, impostor, prior):
    genuine, impostor = np.array(genuine), np.array(impostor)
    found = fit_isotonic(genuine, impostor, prior)
    curve = found(np.linspace(-2, 2, 81))
    assert (np.diff(curve) >= -1e-12).all()
    assert ((curve >= 0) & (curve <= 1)).all()
    mean = prior * found(genuine).mean() + (1 - prior) * found(impostor).mean()
    assert mean == pytest.approx(prior)


def test_logistic_finds_the_curve_that_made_the_scores():
    rng = np.random.default_rng(0)
    genuine, impostor = rng.normal(0.5, 0.2, 20_000), rng.normal(0, 0.2, 20_000)
    found = fit_logistic(genuine, impostor, prior=0.5)
    # Normal scores of one spread: slope (m1 - m0) / s^2, and even odds half way between.
    assert found.slope == pytest.approx(12.5, rel=0.03)
    assert found(np.array([0.25])) == pytest.approx(0.5, abs=0.01)
    rare = fit_logistic(genuine, impostor, prior=0.01)
    odds = rare.slope * 0.25 + rare.intercept
    assert odds == pytest.approx(np.log(0.01 / 0.99), abs=0.2)


@given(SCORES, SCORES, PRIORS)
def test_logistic_is_a_probability_even_of_separable_scores(genuine, impostor, prior):
    genuine, impostor = np.array(genuine), np.array(impostor)
    found = fit_logistic(genuine, impostor, prior)
    assert np.isfinite([found.slope, found.intercept]).all()
    assert ((found(genuine) > 0) & (found(genuine) < 1)).all()
    # At the optimum the mean prediction is the mean target.
    target = prior * (len(genuine) + 1) / (len(genuine) + 2) + (1 - prior) / (len(impostor) + 2)
    mean = prior * found(genuine).mean() + (1 - prior) * found(impostor).mean()
    assert mean == pytest.approx(target, abs=1e-5)


def test_reliability_by_hand():
    found = reliability(np.array([0.1, 0.1, 0.9, 1.0]), np.array([False, True, True, True]), bins=2)
    low, high = found.bins
    assert (low.pairs, low.share, low.predicted) == (2, 0.5, pytest.approx(0.1))
    assert (high.pairs, high.share, high.predicted) == (2, 0.5, pytest.approx(0.95))
    assert (low.observed.value, high.observed.value) == (0.5, 1)
    # Wilson at 1 of 2: 0.5 -+ z / sqrt(4 * (2 + z^2)) ...; at 2 of 2 from 1 / (1 + z^2 / 2).
    assert low.observed.low == pytest.approx(0.0945, abs=1e-4)
    assert low.observed.high == pytest.approx(0.9055, abs=1e-4)
    assert high.observed.low == pytest.approx(0.3424, abs=1e-4)
    assert high.observed.high == pytest.approx(1)
    assert found.expected_error == pytest.approx((0.4 + 0.05) / 2)


def test_reliability_follows_the_prior():
    # 2 of 4 pairs are genuine; with a prior of 0.2 an impostor pair counts four times as much.
    found = reliability(np.full(4, 0.2), np.array([True, True, False, False]), prior=0.2)
    assert found.bins[0].observed.value == pytest.approx(0.2)
    assert found.expected_error == pytest.approx(0)


def test_a_fit_is_reliable_on_other_pairs():
    rng = np.random.default_rng(1)
    fit, test = ((rng.normal(0.5, 0.2, 20_000), rng.normal(0, 0.2, 20_000)) for _ in range(2))
    scores, same = np.concatenate(test), np.repeat([True, False], 20_000)
    for method in (fit_isotonic, fit_logistic):
        assert reliability(method(*fit, prior=0.1)(scores), same, prior=0.1).expected_error < 0.01


@pytest.mark.parametrize("method", [fit_isotonic, fit_logistic])
@pytest.mark.parametrize(
    ("genuine", "impostor", "prior", "match"),
    [
        ([], [0.1], 0.5, "0 genuine and 1 impostor"),
        ([0.1], [], 0.5, "1 genuine and 0 impostor"),
        ([0.1], [0.1], 0, "prior"),
        ([0.1], [0.1], 1, "prior"),
        ([float("nan")], [0.1], 0.5, "finite"),
    ],
)
def test_what_cannot_be_fitted(method, genuine, impostor, prior, match):
    with pytest.raises(ValueError, match=match):
        method(np.array(genuine), np.array(impostor), prior)


@pytest.mark.parametrize("probabilities", [[], [1.1], [-0.1], [float("nan")]])
def test_no_probabilities(probabilities):
    with pytest.raises(ValueError, match="between 0 and 1"):
        reliability(np.array(probabilities), np.ones(len(probabilities), bool))
