import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mindface.detection.accessories import FACE, face_mask, sunglasses
from mindface.detection.augmentation import (
    ORDER,
    SceneAugmentation,
    blurred,
    grayscale,
    jpeg,
    low_light,
    low_resolution,
    photometric,
)
from mindface.detection.framing import (
    MEAN,
    RETINAFACE_SCALES,
    SCRFD_SCALES,
    ignoring_small,
    mirrored,
    mosaic,
    pad_to_square,
    random_square_crop,
    resized,
    rotated,
    selfie,
    vacant_crop,
)
from mindface.detection.scene import Scene
from mindface.golden import portraits
from mindface.pixels import INTERPOLATIONS

BACKGROUND = (10, 20, 30)
COLORS = [(250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0)]
DOTS = [(255, 255, 255), (128, 255, 255), (255, 128, 255), (0, 0, 0), (128, 128, 255)]
BOXES = [(12, 20, 52, 70), (60, 8, 84, 30), (100, 40, 118, 60), (70, 60, 110, 98)]
NEVER = {
    name: 0
    for name, field in SceneAugmentation.model_fields.items()
    if name not in ("scales", "degrees", "min_face")
}
seeds = st.integers(0, 2**32 - 1)
appearances = pytest.mark.parametrize("change", ORDER, ids=lambda change: change.__name__)


def generator(seed=0):
    return np.random.default_rng(seed)


def no_others():
    raise AssertionError("no other scene is needed")


def scene_of(image, boxes=(), landmarks=None, ignored=None):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    if landmarks is None:
        landmarks = np.full((len(boxes), 5, 2), np.nan)
    ignored = np.zeros(len(boxes), bool) if ignored is None else np.array(ignored)
    return Scene(image, boxes, np.array(landmarks, np.float32), ignored)


def drawn(boxes=BOXES, height=100, width=120):
    """A rectangle of its own colour for each face; each landmark is one pixel of its colour."""
    image = np.full((height, width, 3), BACKGROUND, np.uint8)
    landmarks = np.empty((len(boxes), 5, 2))
    for (x1, y1, x2, y2), color, points in zip(boxes, COLORS, landmarks, strict=False):
        image[y1:y2, x1:x2] = color
        for point, (across, down), dot in zip(
            points, [(1, 1), (3, 1), (2, 2), (1, 3), (3, 3)], DOTS, strict=True
        ):
            x, y = x1 + (x2 - x1) * across // 4, y1 + (y2 - y1) * down // 4
            image[y, x] = dot
            point[:] = x + 0.5, y + 0.5
    return scene_of(image, boxes, landmarks)


def rulers(height, width):
    """Red and green are the column and the row of each pixel."""
    rows, columns = np.indices((height, width), np.uint8)
    return np.stack([columns, rows, np.full_like(rows, 7)], -1)


def random_scene(height, width, faces, seed):
    """Faces anywhere, reaching out of the picture or beside it, some ignored, some unmarked."""
    rng = generator(seed)
    low = rng.uniform(-0.3, 1.1, (faces, 2)) * (width, height)
    boxes = np.concatenate([low, low + rng.uniform(0.5, 0.6 * max(height, width), (faces, 2))], 1)
    middle = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    landmarks = middle + FACE * rng.uniform(0.1, 40, (faces, 1, 1))
    landmarks[rng.random(faces) < 0.3] = np.nan
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    return scene_of(image, boxes, landmarks, rng.random(faces) < 0.3)


scenes = st.builds(random_scene, st.integers(1, 160), st.integers(1, 160), st.integers(0, 6), seeds)


def extent(image, color):
    """The box around the pixels of a colour."""
    rows, columns = np.nonzero((image == color).all(2))
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def assert_drawn(scene, colors):
    """The faces are where their rectangles and dots are, as far as they are in the picture."""
    height, width = scene.image.shape[:2]
    for box, landmarks, color in zip(scene.boxes, scene.landmarks, colors, strict=True):
        np.testing.assert_array_equal(box, extent(scene.image, color))
        for (x, y), dot in zip(landmarks, DOTS, strict=True):
            if 0 <= x < width and 0 <= y < height:
                assert x % 1 == y % 1 == 0.5
                assert tuple(scene.image[int(y), int(x)]) == dot


def assert_equal(a, b):
    for one, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


def assert_sound(scene):
    height, width = scene.image.shape[:2]
    faces = len(scene.boxes)
    assert scene.image.dtype == np.uint8
    assert scene.image.shape == (height, width, 3)
    assert (scene.boxes.shape, scene.boxes.dtype) == ((faces, 4), np.float32)
    assert (scene.landmarks.shape, scene.landmarks.dtype) == ((faces, 5, 2), np.float32)
    assert (scene.ignored.shape, scene.ignored.dtype) == ((faces,), bool)
    assert np.isfinite(scene.boxes).all()
    assert (scene.boxes[:, :2] <= scene.boxes[:, 2:]).all()
    assert (scene.boxes >= -1e-3).all()
    assert (scene.boxes <= np.array([width, height] * 2) + 1e-3).all()


def seen_colors(scene):
    return [color for color in COLORS if (scene.image == color).all(2).any()]


GEOMETRY = {
    "random_square_crop": random_square_crop,
    "scrfd_crop": lambda scene, rng: random_square_crop(scene, rng, SCRFD_SCALES),
    "selfie": lambda scene, rng: selfie(scene, rng, least=8),
    "vacant_crop": vacant_crop,
    "resized": lambda scene, rng: resized(scene, 96, rng),
    "pad_to_square": lambda scene, rng: pad_to_square(scene),
    "mirrored": lambda scene, rng: mirrored(scene),
    "rotated": lambda scene, rng: rotated(scene, rng.uniform(-30, 30)),
    "mosaic": lambda scene, rng: mosaic([scene] * 4, 96, rng),
}
EVERY = pytest.mark.parametrize(
    "change", [*GEOMETRY.values(), *ORDER], ids=[*GEOMETRY, *(change.__name__ for change in ORDER)]
)


@EVERY
@settings(max_examples=30)
@given(scene=scenes, seed=seeds)
def test_a_change_leaves_its_input_repeats_and_invents_no_face(change, scene, seed):
    original = Scene(*(part.copy() for part in scene))
    changed = change(scene, generator(seed))
    assert_equal(scene, original)
    assert_equal(change(scene, generator(seed)), changed)
    copies = 4 if change is GEOMETRY["mosaic"] else 1
    assert len(changed.boxes) <= copies * len(scene.boxes)
    assert (~changed.ignored).sum() <= copies * (~scene.ignored).sum()


@EVERY
def test_a_change_takes_a_view_and_no_face(change):
    scene = drawn(boxes=[])
    view = scene._replace(image=scene.image[:, ::-1])
    copy = view._replace(image=view.image.copy())
    assert_equal(change(view, generator()), change(copy, generator()))


@pytest.mark.parametrize("scales", [RETINAFACE_SCALES, SCRFD_SCALES])
@pytest.mark.parametrize("seed", range(30))
def test_a_crop_has_the_faces_where_they_are(scales, seed):
    crop = random_square_crop(drawn(), generator(seed), scales)
    assert crop.image.shape[0] == crop.image.shape[1]
    assert_drawn(crop, seen_colors(crop))
    assert not crop.ignored.all()


@pytest.mark.parametrize("seed", range(50))
def test_a_crop_follows_the_reference(seed):
    """The rules of Pytorch_Retinaface, face by face, for the window that the picture shows."""
    rng = generator(seed)
    low = rng.uniform(0, (150, 70), (6, 2))
    boxes = np.concatenate([low, low + rng.uniform(5, 50, (6, 2))], 1)
    scene = scene_of(rulers(120, 200), boxes, ignored=rng.random(6) < 0.3)
    crop = random_square_crop(scene, rng)
    side = len(crop.image)
    left, top = crop.image[0, 0, :2].astype(int)
    assert side in [int(scale * 120) for scale in RETINAFACE_SCALES]
    np.testing.assert_array_equal(crop.image, scene.image[top : top + side, left : left + side])
    kept, whole = [], False
    for (x1, y1, x2, y2), ignored in zip(scene.boxes, scene.ignored, strict=True):
        x, y = (x1 + x2) / 2, (y1 + y2) / 2
        if left < x < left + side and top < y < top + side and not ignored:
            low = max(x1 - left, 0), max(y1 - top, 0)
            kept.append([*low, min(x2 - left, side), min(y2 - top, side)])
            whole |= x1 >= left and y1 >= top and x2 <= left + side and y2 <= top + side
    np.testing.assert_allclose(crop.boxes[~crop.ignored], kept, atol=1e-4)
    assert whole


def test_a_crop_ignores_what_it_cuts_below_half():
    """Of the left face a little is seen wherever the square lies that shows the right one."""
    scene = drawn([(0, 0, 70, 50), (82, 20, 120, 60)], height=60)
    for seed in range(20):
        crop = random_square_crop(scene, generator(seed), (1.0,))
        if len(crop.boxes) == 2 and crop.boxes[0, 2] < 35:
            assert crop.ignored.tolist() == [True, False]
            break
    else:
        raise AssertionError("no crop cut the face")


def test_crops_lie_anywhere_and_take_every_scale():
    scene = scene_of(rulers(100, 200), [])
    crops = [random_square_crop(scene, generator(seed)).image for seed in range(300)]
    assert {len(crop) for crop in crops} == {30, 45, 60, 80, 100}
    places = np.array([crop[0, 0, :2] for crop in crops if len(crop) == 30])
    assert (places.min(0) < 15).all()
    assert (places.max(0) > (155, 55)).all()


def test_a_crop_larger_than_the_picture_has_the_mean_colour_around_it():
    scene = drawn()
    corners = []
    for seed in range(20):
        crop = random_square_crop(scene, generator(seed), (2.0,))
        assert crop.image.shape == (200, 200, 3)
        rows, columns = np.nonzero((crop.image != MEAN).any(2))
        corners.append((rows[0], columns.min()))
        inside = crop.image[rows[0] : rows[0] + 100, columns.min() : columns.min() + 120]
        np.testing.assert_array_equal(inside, scene.image)
        assert (crop.image == MEAN).all(2).sum() == 200 * 200 - 100 * 120
    assert len(set(corners)) > 15


@pytest.mark.parametrize(
    ("box", "height", "width"), [((0, 0, 120, 40), 50, 120), ((40, 0, 60, 2), 2, 1000)]
)
def test_where_no_face_can_be_whole_the_scene_stays(box, height, width):
    scene = scene_of(np.zeros((height, width, 3), np.uint8), [box])
    assert random_square_crop(scene, generator()) is scene


@pytest.mark.parametrize(
    ("box", "ignored"), [((100, 40, 118, 60), True), ((115, 40, 200, 60), False)]
)
def test_ignored_and_unseen_faces_demand_nothing_of_a_crop(box, ignored):
    scene = scene_of(np.zeros((100, 120, 3), np.uint8), [box], ignored=[ignored])
    crops = [random_square_crop(scene, generator(seed)) for seed in range(50)]
    assert {len(crop.boxes) for crop in crops} == {0, 1}
    assert all(crop.ignored.all() for crop in crops)


def test_a_face_that_reaches_out_of_the_picture_ends_with_it():
    scene = drawn()
    boxes = np.concatenate([scene.boxes, [(-30, 70, 20, 90), (100, -90, 130, 5)]])
    scene = scene_of(scene.image, boxes)
    padded = pad_to_square(scene)
    np.testing.assert_array_equal(padded.boxes[4:], [(0, 70, 20, 90), (100, 0, 120, 5)])
    assert padded.ignored.tolist() == [False] * 4 + [True] * 2


def test_pad_to_square_adds_the_mean_colour_on_the_right_or_below():
    for scene in (drawn(), drawn(height=200)):
        padded = pad_to_square(scene)
        height, width = scene.image.shape[:2]
        assert padded.image.shape == (max(height, width),) * 2 + (3,)
        np.testing.assert_array_equal(padded.image[:height, :width], scene.image)
        assert (padded.image[height:] == MEAN).all()
        assert (padded.image[:, width:] == MEAN).all()
        assert_equal(padded[1:], scene[1:])


def test_mirrored_exchanges_left_and_right():
    scene = drawn()
    mirror = mirrored(scene)
    np.testing.assert_array_equal(mirror.image, scene.image[:, ::-1])
    np.testing.assert_array_equal(mirror.boxes[0], (120 - 52, 20, 120 - 12, 70))
    renamed = mirror._replace(landmarks=mirror.landmarks[:, [1, 0, 2, 4, 3]])
    assert_drawn(renamed, COLORS)
    left, right, _, left_corner, right_corner = np.moveaxis(mirror.landmarks[..., 0], 1, 0)
    assert (left < right).all()
    assert (left_corner < right_corner).all()


@given(scene=scenes)
def test_mirrored_twice_is_nothing(scene):
    again = mirrored(mirrored(scene))
    np.testing.assert_array_equal(again.image, scene.image)
    np.testing.assert_allclose(again.boxes, scene.boxes, atol=1e-4)
    np.testing.assert_allclose(again.landmarks, scene.landmarks, atol=1e-4)


def spot(height, width, x, y):
    """The mean colour with a square of 5 x 5 pixels about a landmark."""
    image = np.full((height, width, 3), MEAN, np.uint8)
    image[y - 2 : y + 3, x - 2 : x + 3] = 255
    landmarks = np.full((1, 5, 2), (x + 0.5, y + 0.5))
    return scene_of(image, [(x - 2, y - 2, x + 3, y + 3)], landmarks)


def spot_center(image):
    """Of what is not the mean colour."""
    weights = image[..., 2].astype(float) - MEAN[2]
    rows, columns = np.indices(weights.shape) + 0.5
    return np.array([(columns * weights).sum(), (rows * weights).sum()]) / weights.sum()


@pytest.mark.parametrize("size", [60, 120, 131, 240, 480])
def test_resized_takes_the_faces_along(size):
    scene = spot(70, 120, 90, 20)
    for seed in range(20):
        result = resized(scene, size, generator(seed))
        assert result.image.shape == (round(70 * size / 120), size, 3)
        np.testing.assert_allclose(result.landmarks[0, 0], spot_center(result.image), atol=0.4)
        np.testing.assert_allclose(
            result.boxes[0], np.array([88, 18, 93, 23]) * size / 120, rtol=0.01
        )


def test_resized_never_moves_the_picture():
    """A ramp stays the ramp, by any interpolation; OpenCV's nearest neighbour would move it."""
    ramp = np.repeat(np.arange(200, dtype=np.uint8)[None, :, None], 3, 2).repeat(200, 0)
    results = set()
    for seed in range(40):
        result = resized(scene_of(ramp, []), 150, generator(seed)).image[75, 20:131, 0]
        places = (np.arange(20, 131) + 0.5) * 200 / 150 - 0.5
        assert abs((result - places).mean()) < 0.25
        results.add(result.tobytes())
    assert len(results) >= len(INTERPOLATIONS) - 2


def test_resized_shrinks_much_by_areas():
    scene = scene_of(generator().integers(0, 256, (320, 320, 3), np.uint8), [])
    for seed in range(10):
        assert resized(scene, 32, generator(seed)).image.std() < 12


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 3000), (777, 2)])
def test_resized_keeps_a_pixel(height, width):
    result = resized(scene_of(np.zeros((height, width, 3), np.uint8), []), 64, generator())
    assert max(result.image.shape) == 64
    assert min(result.image.shape[:2]) >= 1


@pytest.mark.parametrize("quarters", [-1, 1, 2, 4])
def test_rotated_by_right_angles_is_exact(quarters):
    scene = drawn(height=120)
    turned = rotated(scene, 90 * quarters)
    np.testing.assert_array_equal(turned.image, np.rot90(scene.image, quarters))
    for box, landmarks, color in zip(turned.boxes, turned.landmarks, COLORS, strict=True):
        np.testing.assert_allclose(box, extent(turned.image, color), atol=1e-3)
        for (x, y), dot in zip(landmarks, DOTS, strict=True):
            assert tuple(turned.image[int(y), int(x)]) == dot


@pytest.mark.parametrize("degrees", [-30, -11, 5, 17, 30])
def test_rotated_boxes_fit_turned_ovals(degrees):
    box = (70, 60, 130, 144)
    image = np.zeros((200, 240, 3), np.uint8)
    center, axes = ((200 - 1) * 8, (204 - 1) * 8), (60 * 8, 84 * 8)
    cv2.ellipse(image, center, axes, 0, 0, 360, (255, 255, 255), -1, shift=4)
    turned = rotated(scene_of(image, [box]), degrees)
    rows, columns = np.nonzero(turned.image[..., 0] > 127)
    drawn_box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    np.testing.assert_allclose(turned.boxes[0], drawn_box, atol=1.5)


@pytest.mark.parametrize("degrees", [-30, 10, 30])
@pytest.mark.parametrize("place", [(40, 90), (100, 60), (150, 100)])
def test_rotated_landmarks_turn_with_the_picture(degrees, place):
    turned = rotated(spot(160, 200, *place), degrees)
    np.testing.assert_allclose(turned.landmarks[0, 0], spot_center(turned.image), atol=0.1)


def test_rotated_shows_the_mean_colour_and_cuts_what_leaves():
    scene = drawn([(0, 0, 30, 20), (50, 40, 70, 60)])
    turned = rotated(scene, 45)
    assert (turned.image[0, 0] == MEAN).all()
    assert len(turned.boxes) - turned.ignored.sum() == 1
    assert_sound(turned)


@pytest.mark.parametrize("seed", range(20))
def test_a_selfie_is_filled_by_one_face(seed):
    scene = drawn()
    crop = selfie(scene, generator(seed), least=20)
    side = len(crop.image)
    sizes = {max(x2 - x1, y2 - y1) for x1, y1, x2, y2 in (BOXES[0], BOXES[1], BOXES[3])}
    assert any(0.59 < size / side < 1.12 for size in sizes)
    assert_drawn(crop, seen_colors(crop))
    assert not crop.ignored.all()


def test_selfies_are_tight_and_loose_and_of_any_large_face():
    boxes = [(20, 20, 80, 80), (100, 110, 160, 180)]
    scene = drawn(boxes, height=200, width=200)
    crops = [selfie(scene, generator(seed)) for seed in range(100)]
    sides = [len(crop.image) for crop in crops]
    assert min(sides) < 60
    assert max(sides) > 110
    assert {tuple(seen_colors(crop))[-1] for crop in crops} == set(COLORS[:2])


def test_without_a_large_face_there_is_no_selfie():
    scene = drawn()
    assert selfie(scene, generator(), least=80) is scene
    everyone_ignored = scene._replace(ignored=np.ones(4, bool))
    assert selfie(everyone_ignored, generator(), least=1) is everyone_ignored
    nobody = drawn(boxes=[])
    assert selfie(nobody, generator()) is nobody


@pytest.mark.parametrize("seed", range(20))
def test_a_vacant_crop_shows_no_face(seed):
    scene = drawn()
    crop = vacant_crop(scene, generator(seed), scales=(0.1, 0.2, 0.3))
    assert len(crop.boxes) == 0
    assert crop.image.shape[0] == crop.image.shape[1] > 1
    assert not seen_colors(crop)


def test_without_a_vacant_place_there_is_no_crop_of_it():
    scene = drawn([(0, 0, 60, 60)], height=60, width=60)
    assert vacant_crop(scene, generator(), scales=(0.1,)) is scene


def test_vacant_crops_stand_in_a_grid():
    one = drawn([(0, 0, 40, 40)])
    scene = SceneAugmentation(**NEVER | {"vacant": 1.0})(one, generator(), 64, lambda: one)
    assert scene.image.shape == (64, 64, 3)
    assert len(scene.boxes) == 0
    assert not seen_colors(scene)


@pytest.mark.parametrize("grid", [2, 3, 4])
@pytest.mark.parametrize("seed", range(5))
def test_a_mosaic_shows_small_scenes_as_they_are(grid, seed):
    """Each photo has one face of a colour of its own."""
    photos, colors = [], []
    for k in range(grid**2):
        photo = drawn([(4, 5, 20, 25)], height=30 + k, width=40)
        colors.append((250, 10 * k, 100))
        photo.image[(photo.image == COLORS[0]).all(2)] = colors[-1]
        photos.append(photo)
    result = mosaic(photos, 80 * grid, generator(seed))
    assert result.image.shape == (80 * grid, 80 * grid, 3)
    assert_drawn(result, colors)
    places = np.rint(result.boxes[:, :2] / 80 - 0.2).astype(int)
    cells = [[column, row] for row in range(grid) for column in range(grid)]
    assert np.abs(places - cells).max() <= 1
    shown = sum(photo.image.size for photo in photos) / 3
    assert (result.image != MEAN).any(2).sum() == shown


def test_a_mosaic_shrinks_large_scenes_and_keeps_their_proportions():
    photos = [scene_of(np.full((h, w, 3), 255, np.uint8), [(0, 0, w, h)]) for h, w in
              [(300, 400), (900, 300), (64, 64), (2, 4000)]]  # fmt: skip
    result = mosaic(photos, 128, generator())
    for photo, box in zip(photos, result.boxes, strict=True):
        width, height = box[2:] - box[:2]
        rows, columns = photo.image.shape[:2]
        assert abs(width / columns - height / rows) * max(rows, columns) <= 1.5 or rows == 2
        x1, y1, x2, y2 = np.rint(box).astype(int)
        assert (result.image[y1:y2, x1:x2] == 255).all()
    assert (result.image == 255).all(2).sum() == np.prod(
        np.rint(result.boxes[:, 2:] - result.boxes[:, :2]), axis=1
    ).sum()


def test_a_mosaic_cuts_faces_at_the_edges_of_their_photos():
    scene = scene_of(np.zeros((40, 40, 3), np.uint8), [(-20, 10, 25, 30), (60, 0, 90, 20)])
    result = mosaic([scene] * 4, 128, generator())
    np.testing.assert_array_equal(result.boxes[:, 2:] - result.boxes[:, :2], [(25, 20)] * 4)


@pytest.mark.parametrize("count", [0, 1, 3, 5, 8, 25])
def test_a_mosaic_of_another_number_is_refused(count):
    with pytest.raises(ValueError, match=f"4, 9 or 16 scenes, not {count}"):
        mosaic([drawn()] * count, 128, generator())


def test_small_faces_become_ignored():
    scene = drawn()._replace(ignored=np.array([True, False, False, False]))
    assert ignoring_small(scene, 18.5).ignored.tolist() == [True, False, True, False]
    assert ignoring_small(scene, 1000).ignored.all()
    assert not len(ignoring_small(drawn(boxes=[]), 10).ignored)


def portrait(number=0):
    _, image, landmarks = portraits()[number]
    unit = np.linalg.norm(landmarks[1] - landmarks[0])
    middle = landmarks.mean(0)
    box = np.concatenate([middle - unit * 1.2, middle + unit * 1.2])
    return scene_of(image, [box], landmarks[None])


@appearances
@given(scene=scenes, seed=seeds)
@settings(max_examples=30)
def test_appearance_moves_no_face(change, scene, seed):
    changed = change(scene, generator(seed))
    assert changed.image.shape == scene.image.shape
    assert changed.image.dtype == np.uint8
    assert_equal(changed[1:], scene[1:])


@pytest.mark.parametrize(
    "change", [c for c in ORDER if c is not grayscale], ids=lambda change: change.__name__
)
def test_another_state_of_the_generator_gives_another_picture(change):
    scene = portrait()
    pictures = {change(scene, generator(seed)).image.tobytes() for seed in range(10)}
    assert len(pictures) >= 8


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("seed", range(10))
def test_a_mask_hides_nose_and_mouth_and_not_the_eyes(number, seed):
    scene = portrait(number)
    (landmarks,) = scene.landmarks
    touched = (face_mask(scene, generator(seed)).image != scene.image).any(2)
    unit = np.linalg.norm(landmarks[1] - landmarks[0])
    reach = round(unit / 8)
    for x, y in landmarks[:2].astype(int):
        assert not touched[y - reach : y + reach, x - reach : x + reach].any()
    for x, y in [*landmarks[3:], landmarks[3:].mean(0), landmarks[2] + (0, unit / 6)]:
        assert touched[int(y), int(x)]
    rows, columns = np.nonzero(touched)
    assert np.ptp(rows) < 2.5 * unit
    assert np.ptp(columns) < 3.5 * unit


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("seed", range(10))
def test_sunglasses_hide_the_eyes_and_not_the_mouth(number, seed):
    scene = portrait(number)
    (landmarks,) = scene.landmarks
    worn = sunglasses(scene, generator(seed)).image
    for x, y in landmarks[:2].astype(int):
        assert worn[y, x].max() < 60 + 40 + 0.25 * 255
    touched = (worn != scene.image).any(2)
    assert touched[landmarks[:2, 1].astype(int), landmarks[:2, 0].astype(int)].all()
    for x, y in landmarks[3:].astype(int):
        assert not touched[y - 4 : y + 5, x - 4 : x + 5].any()


@pytest.mark.parametrize("change", [face_mask, sunglasses])
def test_who_wears_something_is_drawn_and_someone_does(change):
    places = np.array([(60, 60), (180, 60), (60, 180), (180, 180)])
    landmarks = places[:, None] + 20 * FACE
    boxes = np.concatenate([places - 40, places + 40], 1)
    scene = scene_of(np.full((240, 240, 3), 200, np.uint8), boxes, landmarks)
    counts = np.zeros(5, int)
    for seed in range(60):
        touched = (change(scene, generator(seed)).image != scene.image).any(2)
        counts[sum(touched[y - 40 : y + 40, x - 40 : x + 40].any() for x, y in places)] += 1
    assert counts[0] == 0
    assert (counts[1:4] > 5).all()


@pytest.mark.parametrize("middle", [60.0, 60.5, 60.8])
def test_sunglasses_lie_in_the_middle_between_the_eyes(middle):
    landmarks = np.array([(-20, 40), (20, 40), (0, 65), (-16, 85), (16, 85)], float)
    landmarks[:, 0] += middle
    scene = scene_of(np.full((120, 120, 3), 255, np.uint8), [(20, 0, 100, 110)], [landmarks])
    for seed in range(5):
        darkness = 255.0 - sunglasses(scene, generator(seed)).image[..., 0]
        center = (darkness.sum(0) * (np.arange(120) + 0.5)).sum() / darkness.sum()
        assert abs(center - middle) < 0.1


@pytest.mark.parametrize("change", [face_mask, sunglasses])
def test_without_landmarks_nothing_is_worn(change):
    scene = drawn()
    unmarked = scene._replace(landmarks=np.full_like(scene.landmarks, np.nan))
    at_one_point = scene._replace(landmarks=np.full_like(scene.landmarks, 50))
    for bare in (unmarked, at_one_point):
        np.testing.assert_array_equal(change(bare, generator()).image, scene.image)


@pytest.mark.parametrize("change", [face_mask, sunglasses])
def test_what_is_worn_follows_a_turned_face(change):
    scene = portrait()
    upside_down = scene._replace(
        image=scene.image[::-1, ::-1],
        landmarks=np.array(scene.image.shape[1::-1], np.float32) - scene.landmarks,
    )
    upright = change(scene, generator(3)).image
    turned = change(upside_down, generator(3)).image[::-1, ::-1]
    assert np.abs(upright.astype(int) - turned).mean() < 0.2


def test_photometric_is_the_reference():
    """`_distort` step by step with the numbers that were drawn, in floating point."""
    seen = set()
    for seed in range(60):
        image = generator(seed).integers(60, 190, (16, 16, 3), np.uint8)
        rng = generator(seed)
        light, spread, color, turn, late = rng.random(5) < 0.5
        shift = rng.uniform(-32, 32) * light
        contrast = rng.uniform(-0.5, 0.5) * spread + 1
        saturation = rng.uniform(-0.5, 0.5) * color + 1
        hue = rng.integers(-18, 18, endpoint=True) * turn
        expected = np.clip(image + shift, 0, 255)
        if not late:
            expected = np.clip(expected * contrast, 0, 255)
        hsv = cv2.cvtColor((expected / 255).astype(np.float32), cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0] + 2 * hue) % 360
        hsv[..., 1] = np.clip(hsv[..., 1] * saturation, 0, 1)
        expected = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255.0
        if late:
            expected = np.clip(expected * contrast, 0, 255)
        changed = photometric(scene_of(image, []), generator(seed)).image
        assert np.abs(changed - expected).mean() < (2.5 if color or turn else 0.6)
        seen.add((light, spread, color, turn, late))
    assert len(seen) > 20


def test_low_light_is_dark_and_noisy():
    scene = scene_of(np.full((64, 64, 3), 200, np.uint8), [])
    for seed in range(20):
        dark = low_light(scene, generator(seed), (0.2, 0.2), (4, 4)).image
        assert 200 * 0.2 * 0.8 < dark.mean() < 200 * 0.2 * 1.2
        assert 3 < dark.std((0, 1)).mean() < 5
    black = low_light(scene._replace(image=scene.image * 0), generator()).image
    assert black.max() < 60


@pytest.mark.parametrize("change", [blurred, low_resolution, jpeg])
def test_detail_goes_and_brightness_stays(change):
    scene = scene_of(generator().integers(0, 256, (96, 96, 3), np.uint8), [])
    for seed in range(10):
        changed = change(scene, generator(seed)).image
        assert abs(changed.mean() - scene.image.mean()) < 3
        assert changed.astype(float).std() < scene.image.std()


def test_jpeg_keeps_which_channel_is_which():
    scene = scene_of(np.full((32, 32, 3), (255, 0, 0), np.uint8), [])
    changed = jpeg(scene, generator(), (50, 50)).image
    assert np.abs(changed.astype(int) - scene.image).max() <= 4


def test_grayscale_has_equal_channels():
    gray = grayscale(portrait(), generator()).image
    np.testing.assert_array_equal(gray, np.repeat(gray[..., :1], 3, axis=2))


@pytest.mark.parametrize("seed", range(20))
def test_all_geometry_together_keeps_faces_on_their_rectangles(seed):
    """Well inside a box is the face's colour; around it, but for what is cut off, it is not."""
    augmentation = SceneAugmentation(
        **NEVER | {"mosaic": 0.3, "selfie": 0.3, "crop": 0.8, "mirror": 0.5}, scales=SCRFD_SCALES
    )
    boxes = [(20, 20, 80, 100), (150, 40, 190, 90)]
    image = np.full((180, 240, 3), BACKGROUND, np.uint8)
    for x1, y1, x2, y2 in boxes:
        image[y1:y2, x1:x2] = 250
    scene = scene_of(image, boxes)
    result = augmentation(scene, generator(seed), 256, lambda: scene)
    assert_sound(result)
    bright = (result.image > 200).all(2)
    covered = np.zeros_like(bright)
    for x1, y1, x2, y2 in np.rint(result.boxes).astype(int).tolist():
        assert bright[y1 + 3 : y2 - 3, x1 + 3 : x2 - 3].all()
        covered[max(y1 - 3, 0) : y2 + 3, max(x1 - 3, 0) : x2 + 3] = True
    assert bright.any()
    assert not bright[~covered].any()


EVERYTHING = SceneAugmentation(
    **NEVER
    | dict.fromkeys(NEVER, 0.5)
    | {"mosaic": 0.2, "selfie": 0.3, "rotation": 0.5, "min_face": 5.0}
)


@pytest.mark.parametrize("augmentation", [SceneAugmentation(), EVERYTHING])
@settings(max_examples=60, deadline=None)
@given(scene=scenes, seed=seeds)
def test_the_result_is_a_square_scene_of_its_own(augmentation, scene, seed):
    original = Scene(*(part.copy() for part in scene))
    result = augmentation(scene, generator(seed), 64, lambda: scene)
    assert result.image.shape == (64, 64, 3)
    assert result.image.flags.c_contiguous
    assert not np.shares_memory(result.image, scene.image)
    assert_sound(result)
    sides = (result.boxes[:, 2:] - result.boxes[:, :2]).min(1, initial=np.inf)
    assert (sides[~result.ignored] >= augmentation.min_face).all()
    assert_equal(scene, original)
    assert_equal(augmentation(scene, generator(seed), 64, lambda: scene), result)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 5000), (3000, 2), (64, 64), (65, 64)])
@pytest.mark.parametrize("ignored", [False, True])
def test_odd_pictures(height, width, ignored):
    image = np.zeros((height, width, 3), np.uint8)
    scene = scene_of(image, [(-5, -5, 20, 30)], ignored=[ignored])
    for seed in range(5):
        for augmentation in (SceneAugmentation(), EVERYTHING):
            result = augmentation(scene, generator(seed), 64, lambda: scene)
            assert result.image.shape == (64, 64, 3)
            assert_sound(result)
            assert result.ignored.all() or not ignored


def test_without_a_probability_the_photo_is_padded_and_resized():
    scene = drawn(height=120)
    for seed in range(10):
        result = SceneAugmentation(**NEVER)(scene, generator(seed), 120, no_others)
        assert_equal(result, scene)
        assert not np.shares_memory(result.image, scene.image)


@appearances
def test_a_probability_of_1_always_acts(change):
    augmentation = SceneAugmentation(**NEVER | {change.__name__: 1})
    scene = pad_to_square(portrait())
    size = len(scene.image)
    for seed in range(5):
        rng = generator(seed)
        rng.random(4)
        resized(scene, size, rng)
        rng.random(2 + len(ORDER))
        expected = change(scene, rng)
        assert_equal(augmentation(scene, generator(seed), size, no_others), expected)


def test_a_mosaic_asks_for_as_many_others_as_it_shows():
    augmentation = SceneAugmentation(**NEVER | {"mosaic": 1})
    scene = drawn()
    counts = set()
    for seed in range(20):
        asked = []
        result = augmentation(scene, generator(seed), 256, lambda: asked.append(1) or scene)  # noqa: B023
        counts.add(len(asked))
        assert len(result.boxes) == 4 * (len(asked) + 1)
    assert counts == {3, 8, 15}


def test_the_defaults_are_those_of_retinaface():
    chances = {name for name in NEVER if getattr(SceneAugmentation(), name)}
    assert chances == {"crop", "mirror", "photometric"}
    assert SceneAugmentation().scales == (0.3, 0.45, 0.6, 0.8, 1.0)
    flips = 0
    scene = scene_of(rulers(64, 64), [])
    for seed in range(200):
        image = SceneAugmentation(**NEVER | {"mirror": 0.5})(
            scene, generator(seed), 64, no_others
        ).image
        flips += int(image[0, 0, 0] == 63)
    assert 70 < flips < 130


@pytest.mark.parametrize("name", NEVER)
@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan"), "0.5", True, None])
def test_an_impossible_probability_is_refused(name, value):
    with pytest.raises(ValidationError, match=name):
        SceneAugmentation(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scales", ()),
        ("scales", (0.0,)),
        ("scales", (5.0,)),
        ("degrees", -1.0),
        ("degrees", 181.0),
        ("min_face", 0.0),
        ("mirrored", 0.5),
    ],
)
def test_an_impossible_value_is_refused(name, value):
    with pytest.raises(ValidationError, match=name):
        SceneAugmentation(**{name: value})


def test_it_reads_lists_of_json_and_cannot_be_changed():
    augmentation = SceneAugmentation.model_validate_json('{"scales": [0.5, 2], "crop": 1}')
    assert augmentation.scales == (0.5, 2)
    with pytest.raises(ValidationError, match="frozen"):
        augmentation.crop = 0.0
