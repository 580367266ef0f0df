import itertools

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mindface.geometry import TEMPLATES, aligned_landmarks
from mindface.golden import crops
from mindface.recognition.augmentation import (
    ORDER,
    Augmentation,
    blur,
    crop_pad,
    erase,
    flip,
    gamma,
    grayscale,
    jpeg,
    low_resolution,
    mask,
    photometric,
    shift,
)

FACE = crops("arcface_112x112")[0]
NEVER = dict.fromkeys(Augmentation.model_fields, 0)
seeds = st.integers(0, 2**32 - 1)
sides = st.integers(32, 128)
changes = pytest.mark.parametrize("change", ORDER, ids=lambda change: change.__name__)


def generator(seed=0):
    return np.random.default_rng(seed)


def noise(height=112, width=112, seed=0):
    return generator(seed).integers(0, 256, (height, width, 3), np.uint8)


def difference(a, b):
    return np.abs(a.astype(int) - b)


def detail(image):
    """Energy of the green channel above a quarter of the sampling rate."""
    green = image[..., 1].astype(float)
    spectrum = np.abs(np.fft.fft2(green - green.mean())) ** 2
    rows, columns = np.meshgrid(*map(np.fft.fftfreq, green.shape), indexing="ij")
    return spectrum[np.hypot(rows, columns) > 0.25].sum()


@changes
@given(height=sides, width=sides, seed=seeds)
def test_a_change_keeps_shape_type_and_input_and_repeats(change, height, width, seed):
    face = noise(height, width)
    original = face.copy()
    changed = change(face, generator(seed))
    assert changed.shape == face.shape
    assert changed.dtype == np.uint8
    assert changed.flags.c_contiguous
    assert not np.shares_memory(changed, face)
    np.testing.assert_array_equal(face, original)
    np.testing.assert_array_equal(change(face, generator(seed)), changed)


@changes
def test_a_change_takes_a_view(change):
    face = FACE[:, ::-1]
    expected = change(face.copy(), generator())
    np.testing.assert_array_equal(change(face, generator()), expected)


@pytest.mark.parametrize(
    "change", [c for c in ORDER if c not in (flip, grayscale)], ids=lambda c: c.__name__
)
def test_another_state_of_the_generator_gives_another_face(change):
    assert len({change(FACE, generator(seed)).tobytes() for seed in range(8)}) == 8


def test_flip_mirrors():
    np.testing.assert_array_equal(flip(FACE, generator()), FACE[:, ::-1])


def test_grayscale_has_equal_channels_of_the_same_brightness():
    gray = grayscale(FACE, generator())
    np.testing.assert_array_equal(gray, np.repeat(gray[..., :1], 3, axis=2))
    assert difference(gray[..., 0], FACE @ (0.299, 0.587, 0.114)).max() <= 1


def test_shift_by_nothing_is_nothing():
    np.testing.assert_array_equal(shift(FACE, generator(), 0, 0, 0), FACE)


@pytest.mark.parametrize("seed", range(20))
def test_shift_moves_the_landmarks_a_little(seed):
    face = np.zeros((112, 112, 3), np.uint8)
    landmarks = aligned_landmarks((112, 112))
    for point in np.rint(landmarks).astype(int).tolist():
        cv2.circle(face, point, 2, (255, 255, 255), -1)
    moved = shift(face, generator(seed), scale=0.1, degrees=8, translation=0.04)
    count, _, _, centers = cv2.connectedComponentsWithStats((moved[..., 0] > 128).astype(np.uint8))
    assert count == 6
    distances = np.linalg.norm(centers[1:, None] - landmarks, axis=2)
    assert 0 < distances.min(0).max() < np.hypot(4.5, 4.5) + 0.3 * 25


@pytest.mark.parametrize(
    ("limit", "low", "high"), [(1.0, 1.0, 1.0), (2.0, 0.5, 2.0), (1.25, 0.8, 1.25)]
)
def test_gamma_raises_to_a_power_within_the_limits(limit, low, high):
    ramp = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(16, 16, 3)
    for seed in range(20):
        tones = gamma(ramp, generator(seed), limit).reshape(256, 3)[:, 0]
        assert tones[[0, 255]].tolist() == [0, 255]
        power = np.log(tones[128] / 255) / np.log(128 / 255)
        assert low - 0.01 <= power <= high + 0.01
        np.testing.assert_allclose(tones, 255 * (np.arange(256) / 255) ** power, atol=1.5)


def test_photometric_by_factors_of_1_is_nothing():
    np.testing.assert_array_equal(photometric(FACE, generator(), 0, 0, 0), FACE)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_photometric_is_color_jitter_in_any_order(order):
    """The definitions of torchvision's ColorJitter, on a face that is never clipped."""
    face = noise() // 4 + 60
    factors = generator(5).uniform(-1, 1, 3) * 0.3 + 1

    def gray(image):
        return image @ (0.299, 0.587, 0.114)

    steps = [
        lambda image, factor: image * factor,
        lambda image, factor: image * factor + gray(image).mean() * (1 - factor),
        lambda image, factor: image * factor + gray(image)[..., None] * (1 - factor),
    ]
    expected = face.astype(float)
    for step in order:
        expected = steps[step](expected, factors[step])
    assert 0 < expected.min() < expected.max() < 255
    changed = photometric(face, generator(5), 0.3, 0.3, 0.3)
    np.testing.assert_allclose(changed, expected, atol=1)


@given(seed=seeds, height=sides, width=sides)
def test_crop_pad_keeps_one_rectangle_of_the_wanted_area(seed, height, width):
    face = noise(height, width) | 1
    changed = crop_pad(face, generator(seed))
    kept = changed.any(2)
    rows, columns = kept.any(1), kept.any(0)
    np.testing.assert_array_equal(kept, np.outer(rows, columns))
    for line in (rows, columns):
        assert np.ptp(np.flatnonzero(line)) + 1 == line.sum()
    np.testing.assert_array_equal(changed[kept], face[kept])
    rounding = (height + width) / 2
    assert kept.sum() >= 0.2 * height * width - rounding
    if height == width:
        assert 0.75 - 0.05 < columns.sum() / rows.sum() < 4 / 3 + 0.05


def test_crop_pad_draws_the_area_evenly():
    areas = [(crop_pad(FACE | 1, generator(seed)) > 0).mean() for seed in range(500)]
    np.testing.assert_allclose(np.quantile(areas, [0.1, 0.5, 0.9]), [0.28, 0.6, 0.92], atol=0.06)


def test_crop_pad_of_all_is_nothing():
    np.testing.assert_array_equal(crop_pad(FACE, generator(), area=(1, 1)), FACE)


@given(seed=seeds, height=sides, width=sides)
def test_erase_changes_one_rectangle_of_at_most_a_third(seed, height, width):
    face = np.zeros((height, width, 3), np.uint8)
    erased = erase(face, generator(seed)).any(2)
    inside = np.outer(erased.any(1), erased.any(0))
    assert 0 < inside.sum() <= height * width / 3 + (height + width) / 2
    assert erased[inside].mean() > 0.99


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("seed", range(10))
def test_mask_hides_nose_and_mouth_and_not_the_eyes(template, seed):
    face = crops(template)[seed % 4]
    changed = mask(face, generator(seed))
    left, right, nose, *mouth = np.rint(TEMPLATES[template][1]).astype(int)
    for x, y in (left, right):
        eye = slice(y - 4, y + 5), slice(x - 8, x + 9)
        np.testing.assert_array_equal(changed[eye], face[eye])
    assert difference(changed, face)[nose[1], nose[0]].any()
    for x, y in mouth:
        cloth = changed[y - 3 : y + 4, x - 3 : x + 4].astype(int)
        assert np.ptp(cloth, axis=(0, 1)).max() < 25


def test_mask_is_lit_as_the_face_is():
    face = crops("arcface_112x112")[0]
    face[:, 56:] //= 3
    for seed in range(10):
        changed = mask(face, generator(seed)).astype(int)
        assert (changed[90, 35] > 1.5 * changed[90, 78] - 2).all()


@pytest.mark.parametrize("deviation", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("length", [5.0, 8.5, 11.0])
def test_blur_takes_detail_and_keeps_brightness(deviation, length):
    face = noise()
    for seed in range(10):
        changed = blur(face, generator(seed), (deviation, deviation), (length, length))
        assert detail(changed) < 0.7 * detail(face)
        assert abs(changed.mean() - face.mean()) < 1


def test_blur_is_that_of_a_lens_or_along_a_line():
    point = np.zeros((31, 31, 3), np.uint8)
    point[15, 15] = 255
    rounds = 0
    for seed in range(40):
        spread = blur(point, generator(seed), (1.5, 1.5), (11, 11))[..., 0].astype(float)
        offsets = np.argwhere(spread) - 15
        moments = (offsets.T * spread[spread > 0]) @ offsets / spread.sum()
        across, along = np.linalg.eigvalsh(moments)
        if across > 0.9 * along:
            rounds += 1
        else:
            assert along > 5
            assert across < 0.5
    assert 10 < rounds < 30


def test_low_resolution_takes_detail_whatever_the_interpolation():
    face = noise()
    for seed in range(40):
        changed = low_resolution(face, generator(seed), (0.25, 0.25))
        assert detail(changed) < 0.5 * detail(face)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_low_resolution_does_not_move_the_face(share):
    """As nearest neighbours at the corners of pixels do: 10 levels at a share of 0.2."""
    rough = cv2.GaussianBlur(FACE, (0, 0), 5)
    for seed in range(40):
        changed = low_resolution(FACE, generator(seed), (share, share))
        assert difference(cv2.GaussianBlur(changed, (0, 0), 5), rough).mean() < 6


def test_jpeg_loses_less_the_higher_its_quality():
    errors = [
        difference(jpeg(FACE, generator(), (level, level)), FACE).mean()
        for level in (10, 30, 60, 90, 100)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 4
    assert errors[-1] < 1.5


def test_jpeg_keeps_which_channel_is_which():
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 255
    assert difference(jpeg(red, generator(), (50, 50)), red).max() <= 4


def test_the_fields_are_the_changes_in_order():
    assert list(Augmentation.model_fields) == [change.__name__ for change in ORDER]


def test_without_a_probability_nothing_happens():
    augmentation = Augmentation(**NEVER)
    for seed in range(100):
        assert augmentation(FACE, generator(seed)) is FACE


@changes
def test_a_probability_of_1_always_acts(change):
    augmentation = Augmentation(**NEVER | {change.__name__: 1})
    for seed in range(20):
        rng = generator(seed)
        rng.random(len(ORDER))
        expected = change(FACE, rng)
        np.testing.assert_array_equal(augmentation(FACE, generator(seed)), expected)


def test_a_probability_is_one():
    augmentation = Augmentation(**NEVER | {"flip": 0.3})
    rng = generator()
    flipped = sum(augmentation(FACE, rng) is not FACE for _ in range(2000))
    assert 500 < flipped < 700


@given(height=sides, width=sides, seed=seeds)
def test_everything_together_repeats_and_leaves_the_face_alone(height, width, seed):
    augmentation = Augmentation(**dict.fromkeys(NEVER, 0.5))
    face = noise(height, width)
    original = face.copy()
    changed = augmentation(face, generator(seed))
    assert (changed.shape, changed.dtype) == (face.shape, face.dtype)
    np.testing.assert_array_equal(face, original)
    np.testing.assert_array_equal(augmentation(face, generator(seed)), changed)


@pytest.mark.parametrize("name", Augmentation.model_fields)
@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan"), float("inf"), "0.5", True, None])
def test_an_impossible_probability_is_refused(name, value):
    with pytest.raises(ValidationError, match=name):
        Augmentation(**{name: value})


def test_an_unknown_change_is_refused():
    with pytest.raises(ValidationError, match="fliped"):
        Augmentation(fliped=0.5)


def test_it_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        Augmentation().flip = 0.0
