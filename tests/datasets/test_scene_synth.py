"""Synthetic crowds: determined, whole or not at all, and labelled exactly."""

import cv2
import numpy as np
import pytest

from mindface.datasets import scene_synth
from mindface.datasets.scene_check import check_scenes
from mindface.datasets.scene_synth import synth_scenes
from mindface.datasets.scenes import load_scene, open_scenes
from mindface.geometry import iou


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*.*")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synth") / "scenes"
    synth_scenes(folder, pictures=16)
    return folder


@pytest.fixture(scope="module")
def scenes(folder):
    opened = open_scenes(folder / "label.txt")
    return [load_scene(opened, number) for number in range(len(opened))]


def test_a_picture_depends_on_seed_and_number_alone(folder, tmp_path):
    synth_scenes(tmp_path / "few", pictures=3)
    synth_scenes(tmp_path / "others", pictures=3, seed=1)
    few, many, others = (contents(each) for each in (tmp_path / "few", folder, tmp_path / "others"))
    assert many["label.txt"].startswith(few.pop("label.txt"))
    assert few.items() <= many.items()
    assert not set(few.values()) & set(others.values())


@pytest.mark.parametrize("threads", [1, 3])
def test_a_picture_does_not_depend_on_the_number_of_threads(threads, folder, tmp_path):
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(threads)
        synth_scenes(tmp_path / "set", pictures=2)
    finally:
        cv2.setNumThreads(before)
    few = contents(tmp_path / "set")
    few.pop("label.txt")
    assert few.items() <= contents(folder).items()


def test_faces_are_many_of_many_sizes_and_sound(folder, scenes):
    found = check_scenes(open_scenes(folder / "label.txt"))
    assert not found.damaged
    assert found.report()["reaching_out"] == 0
    counts = [len(scene.boxes) for scene in scenes]
    assert min(counts) <= 3 < 8 < max(counts) <= 12
    boxes = np.concatenate([scene.boxes for scene in scenes])
    heights = boxes[:, 3] - boxes[:, 1]
    assert 8 - 0.02 <= heights.min() < 14
    assert 80 < heights.max() <= 160.02
    tilt = [np.subtract(*points[1::-1]) for scene in scenes for points in scene.landmarks]
    degrees = np.degrees(np.arctan2(*np.transpose(tilt)[::-1]))
    assert 15 < np.abs(degrees).max() < 45, "30 degrees, and a face's own tilt"
    assert all(scene.image.shape == (320, 320, 3) for scene in scenes)


def test_no_face_hides_another(scenes):
    for scene in scenes:
        assert not np.triu(iou(scene.boxes, scene.boxes), 1).any()


@pytest.mark.parametrize("seed", range(3))
def test_landmarks_are_where_the_warp_shows_them(seed):
    rng = np.random.default_rng(seed)
    figure = scene_synth._figure(seed, 1)
    warp = scene_synth._full(figure.warp, rng)
    points = np.vstack([figure.landmarks, scene_synth._outline()])
    places = scene_synth._found(points, warp)
    x, y = cv2.split(places[:, None])
    shown = cv2.remap(warp, x, y, cv2.INTER_LINEAR)[:, 0]
    np.testing.assert_allclose(shown, points, atol=0.1)


@pytest.mark.parametrize("height", [10, 40, 150])
@pytest.mark.parametrize("seed", range(2))
def test_labels_are_where_things_are_drawn(height, seed):
    """A bright dot drawn on a landmark of a dark sprite is found where the label says."""
    sprite = scene_synth._sprite(scene_synth._figure(0, seed), 1, np.random.default_rng(seed))
    image = np.zeros_like(sprite.image)
    image[..., 3] = 255
    nose = [round(16 * value) for value in sprite.landmarks[2].tolist()]
    cv2.circle(image, nose, 8 * 16, (255, 255, 255, 255), -1, cv2.LINE_AA, shift=4)
    scene = np.zeros((400, 400, 3), np.float32)
    none = np.zeros((0, 4), np.float32)
    sprite = sprite._replace(image=image, light=np.ones(3, np.float32))
    matrix = scene_synth._place(sprite, height, none, scene, np.random.default_rng(seed))
    weights = scene[..., 0].astype(float)
    rows, columns = np.mgrid[:400, :400] + 0.5
    found = [(weights * columns).sum() / weights.sum(), (weights * rows).sum() / weights.sum()]
    (label,) = scene_synth._labelled(sprite.landmarks[2:3], matrix)
    np.testing.assert_allclose(found, label, atol=0.25)
    _, top, _, bottom = scene_synth._box(sprite, matrix)
    assert bottom - top == pytest.approx(height, abs=0.01)


def test_size_and_progress(tmp_path):
    seen = []
    synth_scenes(
        tmp_path / "a", 2, size=96, progress=lambda numbers: (seen.append(n) or n for n in numbers)
    )
    scenes = open_scenes(tmp_path / "a" / "label.txt")
    assert load_scene(scenes, 1).image.shape == (96, 96, 3)
    assert seen == [0, 1]


def test_a_folder_with_something_in_it_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="not empty"):
        synth_scenes(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_nothing_is_left_of_broken_off_work(tmp_path):
    def break_off_at_the_second(numbers):
        yield next(iter(numbers))
        assert len(list(tmp_path.rglob("*.jpg"))) == 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synth_scenes(tmp_path / "scenes", pictures=3, progress=break_off_at_the_second)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "value"), [("pictures", 0), ("seed", -1), ("size", 63)])
def test_numbers_out_of_range_are_refused(name, value, tmp_path):
    with pytest.raises(ValueError, match=f"{name} must be .* at least, not {value}"):
        synth_scenes(tmp_path / "scenes", **{name: value})
    assert not list(tmp_path.iterdir())


@pytest.mark.shared
def test_the_detector_finds_the_large_faces_where_they_are_labelled(analyzer, scenes):
    large, found, overlaps, apart = 0, 0, [], []
    for scene in scenes:
        faces = analyzer.detector.detect(scene.image)
        shared = iou(scene.boxes, faces.boxes)
        for face in np.flatnonzero(scene.boxes[:, 3] - scene.boxes[:, 1] >= 40):
            large += 1
            if shared[face].max(initial=0) < 0.5:
                continue
            found += 1
            best = shared[face].argmax()
            overlaps.append(shared[face, best])
            eyes = np.linalg.norm(np.subtract(*scene.landmarks[face][:2]))
            away = np.linalg.norm(faces.landmarks[best] - scene.landmarks[face], axis=1).mean()
            apart.append(away / eyes)
    assert large > 20
    assert found >= 0.95 * large
    assert np.median(overlaps) > 0.8
    assert np.median(apart) < 0.15
