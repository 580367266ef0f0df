import numpy as np
import pytest

from mindface.recognition import normalization
from mindface.recognition.normalization import CohortScores, cohort_scores, s_norm, t_norm, z_norm


def unit(rng, count, size=16):
    vectors = rng.normal(size=(count, size)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_cohort_scores_by_hand():
    cohort = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
    found = cohort_scores(np.array([[1, 0]], np.float32), cohort)
    assert found.mean[0] == pytest.approx(1.6 / 3)
    assert found.std[0] == pytest.approx(np.std([1, 0, 0.6]))
    nearest = cohort_scores(np.array([[1, 0]], np.float32), cohort, nearest=2)
    assert nearest.mean[0] == pytest.approx(0.8)
    assert nearest.std[0] == pytest.approx(0.2)
    assert found.mean.dtype == found.std.dtype == np.float32


def test_norms_by_hand():
    enrolled = CohortScores(np.array([0.1, 0.2], np.float32), np.array([0.1, 0.2], np.float32))
    probes = CohortScores(np.array([0.0, 0.3], np.float32), np.array([0.5, 0.1], np.float32))
    matrix = np.array([[0.5, 0.3], [0.4, 0.6]], np.float32)
    np.testing.assert_allclose(z_norm(matrix, enrolled), [[4, 2], [1, 2]], rtol=1e-5)
    np.testing.assert_allclose(t_norm(matrix, probes), [[1, 0], [0.8, 3]], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(s_norm(matrix, enrolled, probes), [[2.5, 1], [0.9, 2.5]], rtol=1e-5)
    assert s_norm(matrix, enrolled, probes).dtype == np.float32


def test_pairs_are_cells_of_the_matrix():
    rng = np.random.default_rng(0)
    a, b, cohort = unit(rng, 5), unit(rng, 5), unit(rng, 40)
    first, second = cohort_scores(a, cohort, 10), cohort_scores(b, cohort, 10)
    matrix, pairs = a @ b.T, (a * b).sum(axis=1)
    for of_matrix, of_pairs in (
        (z_norm(matrix, first), z_norm(pairs, first)),
        (t_norm(matrix, second), t_norm(pairs, second)),
        (s_norm(matrix, first, second), s_norm(pairs, first, second)),
    ):
        np.testing.assert_allclose(np.diag(of_matrix), of_pairs, atol=1e-4)
    np.testing.assert_allclose(
        s_norm(matrix, first, second), s_norm(matrix.T, second, first).T, atol=1e-5
    )


def test_blocks_do_not_matter(monkeypatch):
    rng = np.random.default_rng(0)
    faces, cohort = unit(rng, 23), unit(rng, 40)
    whole = cohort_scores(faces, cohort, 7)
    monkeypatch.setattr(normalization, "BLOCK", 5)
    parts = cohort_scores(faces, cohort, 7)
    np.testing.assert_allclose(parts.mean, whole.mean, atol=1e-6)
    np.testing.assert_allclose(parts.std, whole.std, atol=1e-6)


def test_a_face_that_is_like_everybody_no_longer_is():
    # Strangers whose scores are lifted by a direction that all faces share, more or less of it.
    rng = np.random.default_rng(0)
    faces, cohort = unit(rng, 300, 64), unit(rng, 500, 64)
    shared = unit(rng, 1, 64)
    cohort = cohort + 0.5 * shared
    faces = faces + rng.uniform(0, 1, (300, 1)).astype(np.float32) * shared
    faces, cohort = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (faces, cohort))
    plain = faces @ faces.T
    stats = cohort_scores(faces, cohort)
    z, s = z_norm(plain, stats), s_norm(plain, stats, stats)
    spreads = []
    for scores in (plain, z, s):
        np.fill_diagonal(scores, np.nan)
        spreads.append(np.nanstd(np.nanmean(scores, axis=1)) / np.nanstd(scores))
    assert spreads[1] < 0.25 * spreads[0]
    assert spreads[2] < 0.75 * spreads[0]


@pytest.mark.parametrize(
    ("face", "nearest", "match"),
    [
        ([1, 0], 1, "not 1"),
        ([1, 0], 4, "between 2 and 3 of the cohort can count, not 4"),
        ([0, 0], None, "row 0 scores alike"),
        ([float("nan"), 0], None, "row 0 scores alike"),
    ],
)
def test_what_cannot_be_normalised(face, nearest, match):
    cohort = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
    with pytest.raises(ValueError, match=match):
        cohort_scores(np.array([face], np.float32), cohort, nearest)
