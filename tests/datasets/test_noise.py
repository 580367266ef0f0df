"""Label noise: against naive loops, and planted faults that must be found."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mindface.datasets import noise
from mindface.datasets.noise import (
    Limits,
    center,
    centers,
    duplicates,
    find_noise,
    majority,
    matches,
    pictures_of,
    same_people,
    wrong_labels,
)

SMALL_BLOCK = 7  # so that a few people make several blocks
cosines = st.sampled_from([-0.31, 0.13, 0.57, 0.89])  # which no drawn pair hits exactly
sets = st.tuples(st.integers(0, 10**6), st.integers(1, 30), st.integers(1, 5))


def unit(x):
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def drawn(seed, count, people, size=4):
    """Embeddings and labels without a plan: anything may be like anything."""
    rng = np.random.default_rng(seed)
    return unit(rng.normal(size=(count, size))), rng.integers(-1, people, count)


def near(directions, rng, spread=0.3):
    noise = rng.normal(size=directions.shape)
    return unit(directions + spread * noise / math.sqrt(directions.shape[1]))


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(noise, "BLOCK", SMALL_BLOCK)


@given(st.lists(st.integers(-1, 4)))
def test_pictures_of_people(labels):
    found = pictures_of(np.array(labels, np.int64), 5)
    assert [part.tolist() for part in found] == [
        [n for n, label in enumerate(labels) if label == person] for person in range(5)
    ]


@pytest.mark.parametrize(("count", "most"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (20, 11)])
def test_a_majority_is_the_smallest(count, most):
    assert majority(drawn(0, count, 1)[0]).sum() == most
    assert majority(np.zeros((0, 4), np.float32)).tolist() == []


def test_wrong_pictures_do_not_move_a_center():
    rng = np.random.default_rng(0)
    person, other = unit(rng.normal(size=(2, 64)))
    right = near(np.tile(person, (12, 1)), rng)
    wrong = near(np.tile(other, (8, 1)), rng)
    rows = np.concatenate([wrong, right])
    assert not majority(rows)[:8].any()
    assert center(rows) @ person > 0.98
    assert unit(rows.mean(0)) @ person < 0.9


def naive_centers(embeddings, labels, people):
    found, own = [], [math.nan] * len(labels)
    for person in range(people):
        numbers = [n for n, label in enumerate(labels) if label == person]
        chosen = [n for n, yes in zip(numbers, majority(embeddings[numbers]), strict=True) if yes]
        found.append(unit(embeddings[chosen].sum(0)) if chosen else np.zeros(embeddings.shape[1]))
        for n in numbers:
            others = [m for m in chosen if m != n]
            if others:
                own[n] = float(embeddings[n] @ unit(embeddings[others].sum(0)))
    return np.array(found), own


@given(sets)
def test_centers_and_likeness_by_loops(drawing):
    embeddings, labels = drawn(*drawing)
    people, own = centers(embeddings.__getitem__, pictures_of(labels, drawing[2]), len(labels))
    wanted, likeness = naive_centers(embeddings, labels, drawing[2])
    np.testing.assert_allclose(people, wanted, atol=1e-5)
    np.testing.assert_allclose(own, likeness, atol=1e-5)


def naive_wrong(embeddings, labels, people, own, limits):
    found = {}
    for n, label in enumerate(labels):
        if math.isnan(own[n]):
            continue
        others = {
            other: float(embeddings[n] @ people[other])
            for other in range(len(people))
            if other != label and people[other] @ people[label] < limits.same
        }
        best = max(others, key=others.get, default=None)
        high = others.get(best, -math.inf)
        if own[n] < limits.unlike or (high >= limits.same and high > own[n] < limits.same):
            found[n] = best
    return found


@settings(max_examples=200)
@given(sets, cosines, cosines)
def test_wrong_labels_by_loops(drawing, same, unlike):
    embeddings, labels = drawn(*drawing)
    limits = Limits(same=same, unlike=unlike)
    people, own = centers(embeddings.__getitem__, pictures_of(labels, drawing[2]), len(labels))
    found = wrong_labels(embeddings.__getitem__, labels, people, own, limits)
    wanted = naive_wrong(embeddings, labels, people, own, limits)
    assert {fault.picture: fault.nearest for fault in found} == wanted
    assert [fault.similarity for fault in found] == sorted(fault.similarity for fault in found)
    for fault in found:
        assert fault.similarity == pytest.approx(own[fault.picture])
        if fault.nearest is not None:
            cosine = float(embeddings[fault.picture] @ people[fault.nearest])
            assert fault.nearest_similarity == pytest.approx(cosine, abs=1e-5)


@given(st.integers(0, 10**6), st.integers(0, 12), cosines)
def test_same_people_by_loops(seed, count, same):
    people = unit(np.random.default_rng(seed).normal(size=(count, 3)))
    wanted = set()
    for a in range(count):
        likes = {b: float(people[a] @ people[b]) for b in range(count) if b != a}
        best = max(likes, key=likes.get, default=None)
        if best is not None and likes[best] >= same:
            wanted.add((min(a, best), max(a, best)))
    found = same_people(people, Limits(same=same))
    assert {(match.first, match.second) for match in found} == wanted
    assert len(found) == len(wanted)
    assert all(x.similarity >= y.similarity for x, y in pairwise(found))


@given(st.integers(0, 10**6), st.integers(0, 9), st.integers(0, 9))
def test_matches_by_loops(seed, mine, theirs):
    rng = np.random.default_rng(seed)
    ours, people = (unit(rng.normal(size=(count, 3))) for count in (mine, theirs))
    numbers = np.arange(0, mine, 2)
    wanted = {}
    for n in numbers.tolist():
        likes = [float(ours[n] @ person) for person in people]
        if likes and max(likes) >= 0.5:
            wanted[n] = int(np.argmax(likes))
    found = matches(ours.__getitem__, numbers, people, Limits(same=0.5))
    assert {match.first: match.second for match in found} == wanted


@given(st.integers(0, 10**6), st.integers(0, 14), cosines, cosines)
def test_duplicates_by_loops(seed, count, similarity, correlation):
    embeddings, labels = drawn(seed, count, 2, size=3)
    pixels = np.random.default_rng(seed).integers(0, 255, (count, 4)).astype(np.float32)
    limits = Limits(duplicate=similarity, correlation=correlation)
    wanted = {}
    for n in range(count):
        for earlier in range(n):
            together = labels[n] == labels[earlier] >= 0
            alike = embeddings[n] @ embeddings[earlier] >= similarity
            if together and alike and np.corrcoef(pixels[[n, earlier]])[0, 1] >= correlation:
                wanted.setdefault(n, earlier)
    pictures = pictures_of(labels, 2)
    found = duplicates(embeddings.__getitem__, pixels.__getitem__, pictures, limits)
    assert {fault.picture: fault.earlier for fault in found} == wanted


def test_pictures_without_contrast_are_no_duplicates():
    embeddings, plain = np.eye(1, 3, dtype=np.float32).repeat(2, 0), np.full((2, 4), 9, np.float32)
    pictures = [np.arange(2)]
    assert duplicates(embeddings.__getitem__, plain.__getitem__, pictures, Limits()) == []


def test_planted_faults_are_found_and_nothing_else():
    rng = np.random.default_rng(1)
    faces = unit(rng.normal(size=(6, 128)))
    labels = np.repeat(np.arange(6), 10)
    shown = labels.copy()
    shown[labels == 5] = 4  # one person under two names
    shown[[3, 27]] = 1, 0  # wrong labels
    embeddings = near(faces[shown], rng, 0.7)
    embeddings[46] = unit(rng.normal(size=128))  # somebody unknown
    thumbnails = rng.integers(0, 255, (60, 256)).astype(np.float32)
    embeddings[18], thumbnails[18] = embeddings[12], 0.7 * thumbnails[12] + 20  # one photo, darker
    embeddings[31] = embeddings[30]  # alike, but another photo
    found = find_noise(embeddings.__getitem__, thumbnails.__getitem__, labels, 6, Limits())
    wrong = {fault.picture: fault.nearest for fault in found.wrong}
    assert wrong.keys() == {3, 27, 46}
    assert (wrong[3], wrong[27]) == (1, 0)
    assert [(fault.picture, fault.earlier) for fault in found.duplicates] == [(18, 12)]
    assert [(match.first, match.second) for match in found.same] == [(4, 5)]


def test_a_set_without_people_has_no_noise():
    embeddings = drawn(0, 3, 1)[0]
    found = find_noise(embeddings.__getitem__, embeddings.__getitem__, np.full(3, -1), 0, Limits())
    assert (found.wrong, found.duplicates, found.same) == ([], [], [])
    assert found.people.shape == (0, 4)
