import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import partition, planted, unit

from mindface.clustering import Clusters, assign, cluster
from mindface.errors import ConfigError


@st.composite
def crowds(draw):
    """Few faces in few dimensions, so that some are alike; with photos and a threshold."""
    count, seed = draw(st.integers(2, 30)), draw(st.integers(0, 1000))
    faces = unit(np.random.default_rng(seed).normal(size=(count, draw(st.integers(2, 6)))))
    photos = draw(st.lists(st.sampled_from([None, "a", "b", 3]), min_size=count, max_size=count))
    pair = st.lists(st.integers(0, count - 1), min_size=2, max_size=2, unique=True)
    pairs = draw(st.lists(pair, max_size=6))
    return faces, photos, pairs, draw(st.sampled_from([0.2, 0.5, 0.8]))


@given(crowds(), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=30)
def test_the_order_of_faces_does_not_matter(crowd, random):
    faces, photos, cannot, threshold = crowd
    order = np.array(random.sample(range(len(faces)), len(faces)))
    place = np.argsort(order)
    found = cluster(faces, threshold=threshold, photos=photos, cannot=cannot)
    other = cluster(
        faces[order],
        threshold=threshold,
        photos=[photos[face] for face in order],
        cannot=[place[pair] for pair in cannot],
    )
    assert np.array_equal(other.labels, found.labels[order])
    assert np.array_equal(other.confidence, found.confidence[order], equal_nan=True)
    assert np.array_equal(order[other.joins], found.joins)
    assert np.array_equal(other.similarities, found.similarities)


@given(crowds(), st.data())
@settings(deadline=None, max_examples=30)
def test_what_was_said_is_obeyed(crowd, data):
    faces, photos, pairs, threshold = crowd
    cut = data.draw(st.integers(0, len(pairs)))
    must, cannot = pairs[:cut], pairs[cut:]
    try:
        found = cluster(faces, threshold=threshold, photos=photos, must=must, cannot=cannot)
    except ConfigError:
        joined = cluster(faces, threshold=1, must=must).labels
        assert any(joined[a] == joined[b] >= 0 for a, b in cannot)
        return
    assert all(found.labels[a] == found.labels[b] >= 0 for a, b in must)
    assert all(found.labels[a] != found.labels[b] or found.labels[a] < 0 for a, b in cannot)


@pytest.mark.parametrize("spread", [0.3, 0.6, 0.9])
def test_planted_people_are_found(spread):
    faces, truth = planted(people=30, photos=8, size=128, spread=spread)
    assert partition(cluster(faces, threshold=0.4).labels) == partition(truth)


def test_people_are_numbered_by_their_size():
    faces = unit(np.eye(4)[[0, 1, 1, 2, 2, 2, 3]] + 0.01 * np.arange(7)[:, None])
    assert cluster(faces, threshold=0.9).labels.tolist() == [-1, 1, 1, 0, 0, 0, -1]


def test_the_same_face_many_times_is_one_person():
    assert cluster(np.tile(unit([[3, 4]]), (40, 1)), threshold=0.5).labels.tolist() == [0] * 40


def test_rows_of_zeros_are_nobody():
    found = cluster(np.zeros((3, 4), np.float32), threshold=0.1)
    assert found.labels.tolist() == [-1] * 3
    assert np.isnan(found.confidence).all()


def test_nothing_makes_nothing():
    found = cluster(np.zeros((0, 4)), threshold=0.5)
    assert len(found) == len(found.joins) == len(found.people) == 0


def test_people_are_the_faces_of_each_label():
    found = Clusters(unit(np.ones((5, 2))), np.array([2, -1, 0, 2, -1]), 0.5)
    assert [faces.tolist() for faces in found.people] == [[2], [0, 3]]


ALIKE = unit([[1, 0], [0.85, 0.527]])  # cosine 0.85


@pytest.mark.parametrize(
    ("photos", "together"),
    [(None, True), (["a", "b"], True), (["a", "a"], False), ([None, None], True)],
)
def test_faces_of_one_photo_must_be_very_alike(photos, together):
    assert (cluster(ALIKE, threshold=0.7, photos=photos).labels == 0).all() == together
    assert (cluster(ALIKE, threshold=0.6, photos=photos).labels == 0).all()


def test_two_who_are_often_in_one_photo_stay_two():
    rng = np.random.default_rng(0)
    centers = unit([[1, 0, 0.6], [0, 1, 0.6]])  # siblings: cosine 0.26
    faces = unit(np.repeat(centers, 10, 0) + 0.02 * rng.normal(size=(20, 3)))
    beside = [*range(10), *range(10)]
    assert len(cluster(faces, threshold=0.25).people) == 1
    assert len(cluster(faces, threshold=0.25, photos=beside).people) == 2


def test_a_face_of_low_weight_hardly_moves_its_person():
    faces = unit([[1, 0], [0.8, 0.6], [0.35, 0.94]])  # the last is like the second only
    assert cluster(faces, threshold=0.65).labels.tolist() == [-1, 0, 0]
    assert cluster(faces, threshold=0.65, quality=[1, 1, 0.01]).labels.tolist() == [0, 0, 0]


def test_a_face_between_two_people_is_the_least_sure():
    faces = unit(np.eye(2)[[0, 0, 0, 1, 1, 1]] + 0.05 * np.arange(12).reshape(6, 2) % 0.2)
    found = cluster(np.concatenate([faces, unit([[1, 0.9]])]), threshold=0.8)
    assert found.labels[6] == found.labels[0] != found.labels[3]
    assert np.argmin(found.confidence) == 6


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"embeddings": np.ones((2, 3))}, "not of unit length"),
        ({"embeddings": np.full((2, 2), np.nan)}, "not of unit length"),
        ({"embeddings": np.ones(3)}, r"shape \(N, D\)"),
        ({"threshold": 0}, "above 0"),
        ({"threshold": float("nan")}, "above 0"),
        ({"photos": ["a"]}, "1 photos for 2 faces"),
        ({"quality": [1, 0]}, "finite numbers above 0"),
        ({"quality": [1]}, "finite numbers above 0"),
        ({"must": [[0, 2]]}, "numbers from 0 to 1"),
        ({"must": [[0, 0]]}, "two different"),
        ({"cannot": [[-1, 0]]}, "numbers from 0 to 1"),
        ({"cannot": [0, 1]}, r"\(P, 2\)"),
        ({"cannot": [[0.0, 1.0]]}, r"\(P, 2\)"),
    ],
)
def test_what_cannot_be_is_refused(arguments, words):
    given = {"embeddings": np.eye(2), "threshold": 0.5} | arguments
    with pytest.raises(ValueError, match=words):
        cluster(given.pop("embeddings"), **given)


def test_contradictions_are_refused_by_name():
    with pytest.raises(ConfigError, match="faces 0 and 2 cannot be one person"):
        cluster(np.eye(3), threshold=0.5, must=[[0, 1], [1, 2]], cannot=[[0, 2]])


def test_new_faces_join_old_people_who_keep_their_labels():
    faces, truth = planted(people=15, photos=8, size=128)
    old = cluster(faces[:60], threshold=0.4)
    found = assign(faces[60:], old)
    known = old.labels >= 0
    assert np.array_equal(found.labels[:60][known], old.labels[known])
    assert partition(found.labels) == partition(truth)


@given(crowds(), st.data())
@settings(deadline=None, max_examples=30)
def test_old_people_stay_as_they_are(crowd, data):
    faces, photos, _, threshold = crowd
    cut = data.draw(st.integers(0, len(faces)))
    old = cluster(faces[:cut], threshold=threshold, photos=photos[:cut])
    found = assign(faces[cut:], old, photos=photos[cut:])
    known = old.labels >= 0
    assert np.array_equal(found.labels[:cut][known], old.labels[known])
    assert len(found) == len(faces)
    assert len(found.photos) == len(faces)
    if cut == 0:
        assert np.array_equal(
            found.labels, cluster(faces, threshold=threshold, photos=photos).labels
        )


def test_an_old_face_of_nobody_makes_a_person_with_a_new_one():
    old = cluster(np.eye(3), threshold=0.5)
    assert assign(np.eye(3)[1:2], old).labels.tolist() == [-1, 0, -1, 0]


def test_a_person_of_one_face_that_was_named_stays_a_person():
    old = Clusters(np.eye(2, dtype=np.float32), np.array([7, -1]), 0.5)
    assert assign(np.zeros((0, 2)), old).labels.tolist() == [7, -1]
    assert assign(np.eye(2), old).labels.tolist() == [7, 8, 7, 8]


def test_old_people_are_joined_only_where_it_is_said():
    old = Clusters(unit(np.ones((2, 2))), np.array([4, 3]), 0.5)
    assert assign(unit([[1, 1]]), old).labels.tolist()[:2] == [4, 3]
    assert assign(unit([[1, 1]]), old, must=[[0, 1]]).labels.tolist() == [3, 3, 3]


def test_a_new_face_obeys_what_was_said_of_it():
    old = Clusters(unit(np.ones((2, 2))), np.array([0, 0]), 0.5)
    assert assign(unit([[1, 1]]), old, cannot=[[2, 1]]).labels.tolist() == [0, 0, -1]
    with pytest.raises(ConfigError, match="an old person"):
        assign(unit([[1, 1]]), old, cannot=[[0, 1]])


def test_photos_and_weights_of_old_faces_still_count():
    old = cluster(ALIKE[:1], threshold=0.7, photos=["a"], quality=[2])
    assert assign(ALIKE[1:], old, photos=["a"]).labels.tolist() == [-1, -1]
    found = assign(ALIKE[1:], old, photos=["b"])
    assert found.labels.tolist() == [0, 0]
    assert found.photos == ("a", "b")
    assert found.quality.tolist() == [2, 1]


def test_embeddings_of_another_model_are_refused():
    with pytest.raises(ValueError, match="different models"):
        assign(np.eye(3), cluster(np.eye(2), threshold=0.5))


def test_old_faces_without_a_label_each_are_refused():
    with pytest.raises(ValueError, match="labels must be integers"):
        Clusters(np.eye(2, dtype=np.float32), np.array([1]), 0.5)
