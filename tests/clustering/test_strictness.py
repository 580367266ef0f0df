import pytest

from mindface.clustering import strictness
from mindface.zoo.record import Calibration, Threshold


def calibration(*points):
    thresholds = tuple(
        Threshold(false_match_rate=rate, threshold=score, interval=(0, 1)) for rate, score in points
    )
    return Calibration(
        name="made up", thresholds=thresholds, people=9, people_pairs=36, photos=99, genuine=9
    )


POINTS = calibration((1e-4, 0.5), (1e-3, 0.4), (1e-2, 0.3))


@pytest.mark.parametrize(
    ("faces", "chance", "threshold", "extrapolated"),
    [
        (10, 0.11, 0.3, False),
        (1_000, 0.1, 0.5, False),
        (1_000, 0.7, 0.4, False),
        (10_540, 0.1, 0.6, True),  # a rate of 1e-5
        (10**12, 0.1, 1.0, True),
    ],
)
def test_more_faces_need_a_higher_threshold(faces, chance, threshold, extrapolated):
    found = strictness(POINTS, faces, chance)
    assert found.threshold == pytest.approx(threshold, abs=1e-4)
    assert found.extrapolated == extrapolated


def test_without_a_looser_rate_to_go_by_the_strictest_is_taken():
    found = strictness(calibration((1e-4, 0.5), (2e-4, 0.49)), 10**6)
    assert found == (0.5, True)


@pytest.mark.parametrize(("faces", "chance"), [(0, 0.1), (10, 0), (10, 1)])
def test_impossible_chances_are_refused(faces, chance):
    with pytest.raises(ValueError, match="must lie between"):
        strictness(POINTS, faces, chance)
