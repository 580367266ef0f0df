import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import genpareto, norm

from mindface.errors import CalibrationError, RecordError
from mindface.recognition.calibration import (
    GRID,
    _moments_fit,
    _quantile,
    _survival,
    calibrate,
    fit_tail,
    people_needed,
)
from mindface.recognition.metrics import ScoreTable
from mindface.zoo.record import (
    Calibration,
    Tail,
    Threshold,
    read_calibration,
    write_calibration,
)

PERSON, NOISE = 0.05, 0.1  # spread of what is a person's own in a score, and of what is not
SPREAD = math.sqrt(2 * PERSON**2 + NOISE**2)


def simulated(people, seed):
    """Everybody against everybody once, and a genuine pair each."""
    rng = np.random.default_rng(seed)
    own = rng.normal(0, PERSON, people)
    pairs = np.column_stack(np.triu_indices(people, 1))
    impostor = own[pairs].sum(axis=1) + rng.normal(0, NOISE, len(pairs))
    genuine = rng.normal(0.6, 0.1, people)
    alone = np.repeat(np.arange(people)[:, None], 2, axis=1)
    return ScoreTable.of_pairs(
        np.concatenate([impostor, genuine]).astype(np.float32),
        np.arange(len(pairs) + people) >= len(pairs),
        np.concatenate([pairs, alone]),
    )


def calibration(*rates, **changes):
    thresholds = [
        Threshold(false_match_rate=rate, threshold=-0.1 * math.log10(rate), interval=(0, 1))
        for rate in rates
    ]
    fields = {"people": 3, "people_pairs": 3, "photos": 6, "genuine": 3, **changes}
    return Calibration(name="mine", thresholds=thresholds, **fields)


@pytest.mark.parametrize(
    ("rate", "people"), [(1e-2, 25), (1e-3, 78), (1e-4, 246), (1e-5, 776), (1e-6, 2450)]
)
def test_people_needed(rate, people):
    assert people_needed(rate) == people
    assert people * (people - 1) / 2 >= 3 / rate > (people - 1) * (people - 2) / 2


@given(st.floats(1e-8, 0.02))
def test_people_needed_is_the_least_number(rate):
    people = people_needed(rate)
    assert people * (people - 1) / 2 * rate >= 3 * (1 - 1e-6)
    assert (people - 1) * (people - 2) / 2 * rate < 3


def test_what_is_measured():
    table = simulated(100, 0)
    found = calibrate(table, "mine", "a" * 64, [1e-2, 3e-3, 1e-3], replicates=50)
    assert (found.people, found.people_pairs, found.genuine) == (100, 4950, 100)
    assert [each.false_match_rate for each in found.thresholds] == [1e-3, 2e-3, 3e-3, 5e-3, 1e-2]
    for each in found.thresholds:
        assert table.fmr(each.threshold) <= each.false_match_rate
        assert table.fmr(each.threshold - 1e-3) >= table.fmr(each.threshold)
        assert each.true_accept_rate == table.tar(each.threshold)
        assert each.interval[0] <= each.false_match_rate <= each.interval[1]
        assert not each.extrapolated
    assert found.tail is None
    assert calibrate(table, "mine", "a" * 64, [1e-2, 3e-3, 1e-3], replicates=50) == found


def test_a_rate_that_the_data_cannot_support_is_refused():
    table = simulated(100, 0)
    with pytest.raises(CalibrationError, match=r"100 people.*1e-06: it takes 2450 people") as found:
        calibrate(table, "mine", replicates=10)
    assert found.value.exit_code == 11
    rates = [each.false_match_rate for each in calibrate(table, "mine", rates=None).thresholds]
    assert min(rates) == 1e-3


@pytest.mark.parametrize(
    ("people", "rates", "extrapolate", "match"),
    [
        (24, None, False, "it takes 25 people"),
        (24, None, True, "it takes 25 people"),
        (60, None, True, "such as of 78 people"),
        (60, [0.5], False, "between 0 and 0.02, not 0.5"),
        (60, [0.0], False, "between 0 and 0.02, not 0"),
    ],
)
def test_refusals(people, rates, extrapolate, match):
    with pytest.raises(CalibrationError, match=match):
        calibrate(simulated(people, 1), "mine", rates=rates, extrapolate=extrapolate, replicates=10)


@pytest.mark.parametrize("same", [True, False])
def test_one_kind_of_pairs_is_not_enough(same):
    people = np.arange(60).reshape(30, 2) // (2 if same else 1)
    table = ScoreTable.of_pairs(np.zeros(30, np.float32), np.full(30, same), people)
    with pytest.raises(CalibrationError, match="needs both kinds"):
        calibrate(table, "mine")


def test_one_photo_under_two_names_is_noticed():
    pairs = np.column_stack(np.triu_indices(30, 1))
    people = np.concatenate([pairs, [[0, 0]]])
    same = np.arange(len(people)) == len(pairs)
    with pytest.raises(CalibrationError, match="one person under two names"):
        calibrate(
            ScoreTable.of_pairs(np.ones(len(people), np.float32), same, people), "x", None, [0.01]
        )


def test_intervals_cover_the_true_rate():
    covered = 0
    for seed in range(200):
        found = calibrate(simulated(40, seed), "mine", rates=[1e-2], replicates=100).at(1e-2)
        low, high = found.interval
        covered += low <= norm.sf(found.threshold / SPREAD) <= high
    assert 0.85 <= covered / 200 <= 1


@pytest.mark.parametrize("shape", [-0.3, -1e-12, 0.2])
def test_the_tail_is_that_of_scipy(shape):
    excess = np.linspace(0, 0.3, 7)
    expected = genpareto.sf(excess, shape, scale=0.1)
    np.testing.assert_allclose(_survival(excess, shape, 0.1), expected, rtol=1e-6, atol=1e-12)
    tail = Tail(start=0.3, share=0.01, pairs=1, shape=shape, scale=0.1, distance=0)
    expected = 0.3 + genpareto.isf(1e-3, shape, scale=0.1)
    assert _quantile(tail, 1e-5) == pytest.approx(expected, rel=1e-6)


def test_the_fit_finds_what_was_drawn():
    excess = np.sort(genpareto.rvs(-0.2, scale=0.05, size=50_000, random_state=1))
    assert _moments_fit(excess, np.ones(len(excess))) == pytest.approx((-0.2, 0.05), rel=0.05)


@given(
    st.lists(st.floats(0.01, 1), min_size=2, max_size=8).map(sorted),
    st.lists(st.integers(0, 3), min_size=8, max_size=8).filter(lambda often: sum(often[:2])),
)
def test_weights_are_repetitions(excess, often):
    excess, often = np.array(excess), np.array(often[: len(excess)])
    repeated = np.repeat(excess, often)
    expected = _moments_fit(repeated, np.ones(len(repeated)))
    assert _moments_fit(excess, often) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_extrapolated_thresholds_are_marked_and_near_the_truth():
    table = simulated(120, 3)
    found = calibrate(table, "mine", extrapolate=True, replicates=50)
    assert [each.false_match_rate for each in found.thresholds] == [r for r in GRID if r >= 1e-6]
    for each in found.thresholds:
        assert each.extrapolated == (not table.supports(each.false_match_rate))
    strict = found.at(1e-5)
    assert strict.threshold == pytest.approx(SPREAD * norm.isf(1e-5), abs=0.08)
    assert strict.interval[0] <= strict.interval[1] < 1e-3
    assert found.tail == fit_tail(table)
    assert found.tail.share == pytest.approx(1e-2, rel=0.05)
    assert found.tail.distance < 0.2


def test_a_calibration_survives_its_file(tmp_path):
    found = calibrate(
        simulated(100, 0), "mine", None, None, True, replicates=20, manifest={"lists": {"a": None}}
    )
    write_calibration(found, tmp_path / "x.json")
    assert read_calibration(tmp_path / "x.json") == found
    assert [each.name for each in tmp_path.iterdir()] == ["x.json"]


@pytest.mark.parametrize(
    "change",
    [
        {"thresholds": []},
        {"people": 0},
        {"unheard": 1},
        {"contract": "abc"},
        {"thresholds": [{"false_match_rate": 0.1, "threshold": 2, "interval": [0, 1]}]},
        {"thresholds": [{"false_match_rate": 0.1, "threshold": 0, "interval": [0, 2]}]},
    ],
)
def test_what_cannot_be_is_refused(tmp_path, change):
    fields = calibration(1e-3, 1e-2).model_dump(mode="json")
    path = tmp_path / "x.json"
    path.write_text(json.dumps(fields))
    read_calibration(path)
    path.write_text(json.dumps(fields | change))
    with pytest.raises(RecordError, match="not a model calibration"):
        read_calibration(path)


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b" " * (1 << 21), b"{}", b"null", b"", b"\xff"]
)
def test_hostile_files(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(RecordError, match="not a model calibration"):
        read_calibration(path)
    with pytest.raises(RecordError, match="cannot be read"):
        read_calibration(tmp_path / "absent.json")


def test_thresholds_must_be_in_order():
    calibration(1e-3, 1e-2)
    with pytest.raises(ValidationError, match="strictest rate to the loosest"):
        calibration(1e-2, 1e-3)
    strict, loose = calibration(1e-3, 1e-2).thresholds
    with pytest.raises(ValidationError, match="below"):
        Calibration.model_validate(
            calibration(1e-3).model_dump()
            | {"thresholds": [strict.model_copy(update={"threshold": 0.1}), loose]}
        )
    with pytest.raises(ValidationError, match="need their tail"):
        Calibration.model_validate(
            calibration(1e-3).model_dump()
            | {"thresholds": [strict.model_copy(update={"extrapolated": True})]}
        )


@pytest.mark.parametrize(
    ("fpir", "size", "rate"),
    [
        (0.01, 1, 1e-2),
        (0.3, 1, 1e-2),  # looser than the loosest
        (0.01, 10, 1e-3),  # 1 - 0.99 ** 0.1 = 1.005e-3
        (0.01, 11, 1e-4),
        (0.5, 6931, 1e-4),  # 1 - 0.5 ** (1 / 6931) = 1.00004e-4
        (0.5, 6932, None),
    ],
)
def test_thresholds_for_galleries(fpir, size, rate):
    found = calibration(1e-4, 1e-3, 1e-2).for_gallery(fpir, size)
    assert (found and found.false_match_rate) == rate


@pytest.mark.parametrize(("fpir", "size"), [(0, 10), (1, 10), (float("nan"), 1), (0.1, 0)])
def test_galleries_that_cannot_be(fpir, size):
    with pytest.raises(ValueError, match="fpir must lie between 0 and 1"):
        calibration(1e-3).for_gallery(fpir, size)
