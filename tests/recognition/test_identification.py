from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mindface.recognition import identification
from mindface.recognition.identification import MISS, Identification, identify, split_folder
from mindface.recognition.metrics import FAILED

# Unit vectors in the plane; between any two the cosine is 0.6, 0.8, 0.96, 0.28, 0 or 1.
EAST, NORTH, LOW, HIGH = (1, 0), (0, 1), (0.8, 0.6), (0.6, 0.8)
NONE = (0, 0)


def found(ranks, mated, non_mated, non_mated_people=None):
    return Identification(
        np.array(ranks, np.int64),
        np.array(mated, np.float32),
        np.arange(len(ranks)),
        np.array(non_mated, np.float32),
        np.arange(len(non_mated)) if non_mated_people is None else np.array(non_mated_people),
        enrolled=9,
    )


def unit(rows):
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def test_a_search_by_hand():
    result = identify(
        np.array([EAST, NORTH, LOW]),
        np.array([7, 8, 9]),
        np.array([HIGH, HIGH, EAST, LOW, NORTH]),
        np.array([7, 8, 7, 5, 6]),  # 5 and 6 are not enrolled
    )
    assert result.enrolled == 3
    assert result.ranks.tolist() == [3, 2, 1]  # scores of HIGH: 0.6, 0.8, 0.96
    np.testing.assert_allclose(result.mated, [0.6, 0.8, 1], atol=1e-6)
    assert result.mated_people.tolist() == [7, 8, 7]
    np.testing.assert_allclose(result.non_mated, [1, 1], atol=1e-6)
    assert result.non_mated_people.tolist() == [5, 6]
    np.testing.assert_allclose(result.cmc(4), [1 / 3, 2 / 3, 1, 1])
    assert result.found(2) == pytest.approx(2 / 3)


def test_others_with_the_same_score_rank_first():
    gallery, people = np.array([EAST, EAST, NORTH]), np.array([1, 2, 3])
    result = identify(gallery, people, np.array([EAST, EAST]), np.array([1, 2]))
    assert result.ranks.tolist() == [2, 2]


@pytest.mark.parametrize(
    ("pooling", "score"),
    [
        ("max", 0.96),  # the best of 0.6, with EAST, and 0.96, with LOW
        ("mean", 0.78 / 0.9**0.5),  # with half of EAST and LOW, (0.9, 0.3)
    ],
)
def test_photos_of_one_person_are_pooled(pooling, score):
    gallery, people = np.array([NONE, LOW, NORTH, EAST]), np.array([1, 1, 2, 1])
    result = identify(gallery, people, np.array([HIGH, NONE]), np.array([1, 3]), pooling=pooling)
    np.testing.assert_allclose(result.mated, [score], atol=1e-6)
    assert (result.ranks.tolist(), result.non_mated.tolist()) == ([1], [FAILED])


@pytest.mark.parametrize("pooling", ["max", "mean"])
def test_photos_without_a_face_are_missed_and_raise_no_alarm(pooling):
    opposite = np.array([[-1, 0]])
    result = identify(
        np.array([NONE, EAST, NONE]),
        np.array([1, 2, 2]),
        np.concatenate([[EAST, NONE, NONE], opposite]),
        np.array([1, 2, 8, 9]),
        pooling=pooling,
    )
    assert result.ranks.tolist() == [MISS, MISS]
    assert result.mated.tolist() == [FAILED, FAILED]
    assert result.non_mated.tolist() == [FAILED, FAILED]
    assert (result.found(100), result.fnir(-2), result.fpir(-2)) == (0, 1, 0)
    assert result.threshold(1) > FAILED


def test_open_set_by_hand():
    result = found([1, 1, 2, 1], [0.9, 0.5, 0.8, 0.3], [0.7, 0.5, 0.5, 0.1])
    rows = [  # threshold, FPIR, FNIR
        (0.1, 1, 1 / 4),
        (0.3, 3 / 4, 1 / 4),
        (0.5, 3 / 4, 1 / 2),
        (0.6, 1 / 4, 3 / 4),
        (0.9, 0, 3 / 4),
        (0.95, 0, 1),
    ]
    for threshold, fpir, fnir in rows:
        threshold = float(np.float32(threshold))
        assert (result.fpir(threshold), result.fnir(threshold)) == (fpir, fnir)


@pytest.mark.parametrize(
    ("rate", "above", "fpir"),
    [(0, 0.7, 0), (0.25, 0.5, 0.25), (0.74, 0.5, 0.25), (0.75, 0.1, 0.75)],
)
def test_a_threshold_is_the_least_that_keeps_the_rate(rate, above, fpir):
    result = found([1], [0.9], [0.7, 0.5, 0.5, 0.1])
    threshold = result.threshold(rate)
    assert threshold == np.nextafter(np.float32(above), np.float32(1))
    assert result.fpir(threshold) == fpir


@pytest.mark.parametrize(("people", "able"), [(29, False), (30, True)])
def test_a_rate_needs_people_who_are_not_enrolled(people, able):
    result = found([1], [0.9], np.linspace(0, 0.5, 60), np.arange(60) % people)
    assert result.supports(0.1) is able
    assert [rate is not None for rate in result.rates([0.1, 0.01], replicates=5)] == [able, False]


def test_without_mated_probes_nothing_is_found():
    result = found([], [], np.linspace(0, 0.5, 60))
    assert (result.found(1), result.rates([0.1])) == (0, [None])


def redrawn(rng, people):
    """The rows of as many people as there are, drawn with repetition."""
    known = np.unique(people)
    drawn = known[rng.integers(len(known), size=len(known))]
    return np.concatenate([np.flatnonzero(people == person) for person in drawn])


def test_intervals_are_those_of_sets_with_the_people_drawn():
    rng = np.random.default_rng(3)
    non_mated_people, mated_people = rng.integers(40, size=90), rng.integers(25, size=80)
    result = Identification(
        rng.integers(1, 4, 80),
        rng.random(80, np.float32),
        mated_people,
        np.round(rng.random(90, np.float32), 2),
        non_mated_people,
        enrolled=30,
    )
    [rate] = result.rates([0.1], replicates=50, seed=5)
    fixed, values, again = result.threshold(0.1), [], np.random.default_rng(5)
    for _ in range(50):
        a, b = redrawn(again, non_mated_people), redrawn(again, mated_people)
        drawn = Identification(
            result.ranks[b], result.mated[b], b, result.non_mated[a], a, enrolled=30
        )
        values.append((drawn.fpir(fixed), drawn.fnir(drawn.threshold(0.1))))
    expected = np.percentile(values, [2.5, 97.5], axis=0)
    np.testing.assert_allclose([rate.fpir.low, rate.fpir.high], expected[:, 0])
    np.testing.assert_allclose([rate.fnir.low, rate.fnir.high], expected[:, 1])
    assert (rate.threshold, rate.fnir.value) == (fixed, result.fnir(fixed))
    assert rate.tpir.value == 1 - rate.fnir.value
    assert (rate.tpir.low, rate.tpir.high) == (1 - rate.fnir.high, 1 - rate.fnir.low)


def naive(gallery, gallery_people, probes, probe_people, pooling):
    """Ranks and scores of mated probes and best scores of the others, one by one in float64."""
    ranks, mated, non_mated = [], [], []
    for probe, person in zip(probes, probe_people, strict=True):
        scores = {}
        for other in set(gallery_people):
            photos = gallery[gallery_people == other].astype(float)
            if pooling == "mean":
                photos = unit(photos.sum(0, keepdims=True))
            scores[other] = max(
                probe.astype(float) @ photo if probe.any() and photo.any() else FAILED
                for photo in photos
            )
        if person not in scores:
            non_mated.append(max(scores.values()))
            continue
        own = scores.pop(person)
        mated.append(own)
        ranks.append(MISS if own == FAILED else 1 + sum(each >= own for each in scores.values()))
    return ranks, mated, non_mated


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(["max", "mean"]), st.integers(1, 50))
def test_blocks_of_any_size_give_what_a_loop_gives(seed, pooling, block):
    rng = np.random.default_rng(seed)
    if pooling == "max":  # few different rows, so that scores are often equal
        axes = np.concatenate([np.eye(4), -np.eye(4)[:2] / 2, np.zeros((1, 4))])
        rows = axes[rng.integers(len(axes), size=16)]
    else:
        rows = unit(rng.normal(size=(16, 4))) * (rng.random((16, 1)) < 0.8)
    gallery, probes = rows.astype(np.float32)[: rng.integers(1, 9)], rows.astype(np.float32)[8:]
    a, b = rng.integers(5, size=len(gallery)), rng.integers(7, size=len(probes))
    with mock.patch.object(identification, "BLOCK", block):
        result = identify(gallery, a, probes, b, pooling=pooling)
    ranks, mated, non_mated = naive(gallery, a, probes, b, pooling)
    assert result.ranks.tolist() == ranks
    np.testing.assert_allclose(result.mated, mated, atol=1e-6)
    np.testing.assert_allclose(result.non_mated, non_mated, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32))
def test_rates_and_ranks_only_fall_or_rise(seed):
    rng = np.random.default_rng(seed)
    result = found(rng.integers(1, 9, 30), rng.random(30), rng.random(40))
    assert (np.diff(result.cmc(9)) >= 0).all()
    assert result.cmc(9)[-1] == 1
    thresholds = [result.threshold(rate) for rate in np.linspace(0, 1, 21)]
    assert (np.diff(thresholds) <= 0).all()
    assert all(
        result.fpir(t) <= rate + 1e-9
        for t, rate in zip(thresholds, np.linspace(0, 1, 21), strict=True)
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gallery": np.zeros((0, 2)), "gallery_people": np.zeros(0, int)}, "gallery is empty"),
        ({"gallery_people": np.array([1, 2])}, r"gallery \(1, 2\) with people \(2,\)"),
        ({"probes": np.zeros(2)}, r"probes \(2,\) with people"),
        ({"probes": np.zeros((1, 3))}, "different models"),
        ({"pooling": "median"}, "'median': use one of max, mean"),
    ],
)
def test_what_does_not_fit_together_is_refused(arguments, message):
    fit = {"gallery": np.array([EAST]), "gallery_people": np.array([1])}
    fit |= {"probes": np.array([EAST]), "probe_people": np.array([1])}
    with pytest.raises(ValueError, match=message):
        identify(**(fit | arguments))


def test_a_folder_is_split_by_person():
    people = np.repeat(np.arange(10), [1, 2, 3, 4, 5, 6, 1, 2, 3, 4])[::-1]
    gallery, probes = split_folder(people, seed=1, gallery_photos=2, non_mated=0.3)
    assert sorted([*gallery, *probes]) == list(range(len(people)))
    enrolled = set(people[gallery])
    assert len(enrolled) == 7
    photos = np.bincount(people)
    for person in enrolled:
        assert (people[gallery] == person).sum() == min(2, photos[person])
    again = split_folder(people, seed=1, gallery_photos=2, non_mated=0.3)
    np.testing.assert_array_equal(gallery, again[0])
    np.testing.assert_array_equal(probes, again[1])
    assert set(people[split_folder(people, seed=2, non_mated=0.3)[0]]) != enrolled


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gallery_photos": 0}, "gallery_photos is 0"),
        ({"non_mated": 1.5}, "non_mated is 1.5"),
        ({"non_mated": 0.9}, "enrols nobody"),
    ],
)
def test_a_split_that_cannot_be_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        split_folder(np.array([1, 1, 2, 2]), 0, **arguments)
