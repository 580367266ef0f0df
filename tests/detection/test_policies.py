"""What the network is shown by each policy, and how what it finds is joined."""

import numpy as np
import pytest
from finder import Finder, photo

from mindface import Detector, golden
from mindface.detection.policies import POLICIES, ScalePolicy, mirrored, stream
from mindface.errors import ImageError
from mindface.geometry import iou

BLACK = photo(0, 0, side=0)


@pytest.mark.parametrize(
    ("policy", "size", "sizes"),
    [
        ("original", (1024, 600), [(1024, 600)]),
        ("vga640", (1024, 600), [(640, 375)]),
        ("vga640", (300, 200), [(640, 427)]),
        ("vga640", (600, 1200), [(320, 640)]),
        ("mxnet", (1024, 768), [(2133, 1600)]),
        ("mxnet", (1024, 600), [(2150, 1260)]),
        ("mxnet", (600, 1024), [(1260, 2150)]),
        (
            "multiscale",
            (1024, 768),
            [(667, 500), (1067, 800), (1467, 1100), (1867, 1400), (2267, 1700)],
        ),
        (
            "multiscale",
            (2000, 1000),
            [(750, 375), (1200, 600), (1650, 825), (2100, 1050), (2550, 1275)],
        ),
    ],
)
def test_sizes(policy, size, sizes):
    ratios = POLICIES[policy].ratios(*size)
    assert [tuple(round(side * ratio) for side in size) for ratio in ratios] == sizes


def test_one_look_at_a_photo_as_it_is():
    finder = Finder()
    (found,) = stream(finder, [photo(10, 20)], POLICIES["original"])
    assert [look.size for look in finder.looks] == [(600, 1024)]
    assert found.tolist() == pytest.approx(np.array([[10, 20, 110, 120, 0.9]]), abs=1e-6)


def test_several_looks_mirrored_too_and_voted():
    finder = Finder()
    policy = ScalePolicy(((100, 150), (200, 300)), mirror=True, vote=True)
    (found,) = stream(finder, [photo(10, 20)], policy)
    assert [look.size for look in finder.looks] == [(88, 150), (176, 300)] * 2
    pixels = [look.opened.pixels for look in finder.looks]
    assert np.array_equal(pixels[2], pixels[0][:, ::-1])
    assert found.shape == (1, 5)
    # Every look is 4 pixels off with a quarter of the weight, mirrored ones the other way.
    assert found[0].tolist() == pytest.approx([10, 20, 110, 120, 0.9], abs=1e-3)


def test_without_votes_the_best_box_stays():
    policy = ScalePolicy(((100, 150), (200, 300)), mirror=True)
    (found,) = stream(Finder(), [photo(10, 20)], policy)
    assert found.tolist() == pytest.approx(np.array([[10, 20, 110, 120, 0.9]]), abs=1e-6)


def test_photos_keep_their_order_and_broken_ones_are_named(tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff no more")
    lefts = range(0, 900, 40)
    sources = [photo(left, 7) for left in lefts]
    found = list(
        stream(Finder(), [*sources[:5], broken, *sources[5:], BLACK], POLICIES["original"])
    )
    assert isinstance(found[5], ImageError)
    assert "broken.jpg" in str(found[5])
    assert found[-1].shape == (0, 5)
    assert [int(each[0, 0]) for each in found[:5] + found[6:-1]] == list(lefts)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_photo_without_faces(policy):
    (found,) = stream(Finder(), [BLACK], POLICIES[policy])
    assert found.shape == (0, 5)


def test_mirrored():
    boxes = np.array([[10, 20, 30, 60], [-5, 0, 5, 8]], np.float32)
    assert mirrored(boxes, 100).tolist() == [[70, 20, 90, 60], [95, 0, 105, 8]]
    assert np.array_equal(mirrored(mirrored(boxes, 100), 100), boxes)


@pytest.mark.shared
def test_mirrored_looks_find_the_same_faces(exported):
    detector = Detector(exported.detector, score_threshold=0.5, engine="onnxruntime")
    portraits = [portrait.image for portrait in golden.portraits()]
    plain, both = (
        list(stream(detector, portraits, ScalePolicy(((300, 450),), mirror=mirror, vote=mirror)))
        for mirror in (False, True)
    )
    for one, two in zip(plain, both, strict=True):
        assert len(one) == len(two) == 1
        assert iou(one[:, :4], two[:, :4])[0, 0] > 0.8
