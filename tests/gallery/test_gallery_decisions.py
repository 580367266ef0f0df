"""Match, uncertain or unknown, by the size of the gallery."""

import numpy as np
import pytest
from gallery_faces import calibration, unit
from hypothesis import given
from hypothesis import strategies as st

from mindface.gallery.decisions import Policy, Thresholds
from mindface.gallery.rows import FaceRow
from mindface.gallery.templates import pool


@pytest.mark.parametrize(
    ("people", "tail", "expected"),
    [
        (1, False, (0.2, 0.2, False)),  # 0.01 is 1e-2
        (9, False, (0.3, 0.2, False)),  # 1.1e-3, and 1.2e-2
        (100, False, (0.4, 0.3, False)),
        (1000, False, (0.5, 0.4, False)),
        (10_000, False, (None, 0.5, False)),  # 1e-6 was not measured
        (10**7, False, (None, 0.5, False)),
        (10_000, True, (0.6, 0.5, True)),
        (100_000, True, (0.7, 0.6, True)),  # beyond the thresholds, from the tail itself
        (10**10, True, (None, 0.6, False)),  # which would be over 1
    ],
)
def test_thresholds_by_the_size_of_the_gallery(people, tail, expected):
    found = Policy(calibration(tail=tail)).thresholds(people)
    assert found.match == (expected[0] and pytest.approx(expected[0], abs=2e-3))
    assert found.uncertain == pytest.approx(expected[1], abs=2e-3)
    assert found.extrapolated == expected[2]


@given(st.integers(1, 10**11), st.booleans())
def test_the_threshold_of_a_match_is_never_below_that_of_doubt(people, tail):
    found = Policy(calibration(tail=tail)).thresholds(people)
    assert found.uncertain is not None
    assert found.match is None or found.match >= found.uncertain


@pytest.mark.parametrize(
    ("similarity", "second", "thresholds", "decision"),
    [
        (0.6, 0.1, Thresholds(0.5, 0.3), "match"),
        (0.5, None, Thresholds(0.5, 0.3), "match"),
        (0.6, 0.58, Thresholds(0.5, 0.3), "uncertain"),
        (0.49, 0.1, Thresholds(0.5, 0.3), "uncertain"),
        (0.29, 0.1, Thresholds(0.5, 0.3), "unknown"),
        (0.99, 0.1, Thresholds(None, 0.3), "uncertain"),
        (0.29, None, Thresholds(None, 0.3), "unknown"),
        (0.99, None, Thresholds(None, None), "uncertain"),
    ],
)
def test_decisions(similarity, second, thresholds, decision):
    assert Policy().decide(similarity, second, thresholds) == decision


@pytest.mark.parametrize(
    "wrong", [{"fpir": 0}, {"fpir": 0.2}, {"doubtful": 1}, {"margin": -0.1}, {"margin": np.nan}]
)
def test_policies_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match=r"must hold|lies between"):
        Policy(calibration(), **wrong)


def faces(vectors, qualities):
    return [
        FaceRow(number, 1, vector, quality, None, "x", None, None, 0.0)
        for number, (vector, quality) in enumerate(zip(vectors, qualities, strict=True))
    ]


def test_templates():
    vectors, qualities = unit(5), [1.0, 2.0, 3.0, 4.0, 5.0]
    some = faces(vectors, qualities)
    mean = np.average(vectors.astype(np.float64), axis=0, weights=qualities)
    np.testing.assert_allclose(pool(some), mean / np.linalg.norm(mean), atol=1e-6)
    np.testing.assert_array_equal(pool(some[::-1]), pool(some))
    np.testing.assert_array_equal(pool(some[:1]), vectors[0])
    assert pool([]) is None
    assert pool(faces([vectors[0], -vectors[0]], [1.0, 1.0])) is None
