"""Pictures with labelled faces, from each kind of list, and several as one."""

import json
import pickle
import shutil

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import PHOTO, exif, saved
from PIL import Image

from mindface.datasets.scenes import Labels, SceneMixture, load_scene, open_scenes
from mindface.errors import ConfigError, ImageError, IntegrityError

LABELS = """\
# a/1.png
1 2 10 20 3 4 0 9 4 0 6 8 0 3 12 0 9 12 0 0.9
5 5 0 9
# ./b.png
# a//3.png
-4 3 8.5 9
"""
WIDER = """\
a/1.jpg
2
1 2 10 20 0 0 0 0 0 0
5 5 4 4 0 0 0 1 0 0
b/2.jpg
0
0 0 0 0 0 0 0 0 0 0
"""
COCO = {
    "images": [{"id": 1, "file_name": "a/1.png"}, {"id": 2, "file_name": "b.png"}],
    "annotations": [
        {"image_id": 1, "bbox": [1, 2, 10, 20], "keypoints": [3, 4, 2] * 5},
        {"image_id": 1, "bbox": [5, 5, 4, 4], "iscrowd": 1},
    ],
}


@pytest.fixture
def folder(tmp_path):
    """Pictures in `images`."""
    for number, name in enumerate(("a/1.png", "a/1.jpg", "a/3.png", "b.png", "b/2.png")):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((24, 32, 3), 40 * number, np.uint8))
    return tmp_path


def write(folder, name, content):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_label_txt(folder):
    scenes = open_scenes(write(folder, "label.txt", LABELS))
    assert len(scenes) == 3
    assert scenes.names == ("a/1.png", "b.png", "a/3.png")
    assert scenes.describe(2) == str(folder / "images" / "a" / "3.png")
    first, second, third = map(scenes.labels, range(3))
    assert first.boxes.tolist() == [[1, 2, 11, 22], [5, 5, 5, 14]]
    assert first.landmarks[0].tolist() == [[3, 4], [9, 4], [6, 8], [3, 12], [9, 12]]
    assert np.isnan(first.landmarks[1]).all()
    assert first.ignored.tolist() == [False, True], "a box without an area is no face to find"
    assert [each.shape for each in second] == [(0, 4), (0, 5, 2), (0,)]
    assert third.boxes.tolist() == [[-4, 3, 4.5, 12]]
    assert [each.dtype for each in third] == [np.float32, np.float32, bool]
    scene = load_scene(scenes, 2)
    assert scene.image.shape == (24, 32, 3)
    assert scene.image[0, 0, 0] == 80
    assert scene.boxes is not None


def test_a_list_of_wider_face(folder):
    scenes = open_scenes(write(folder, "wider_face_train_bbx_gt.txt", WIDER))
    assert scenes.names == ("a/1.jpg", "b/2.png"), "whatever suffix is there"
    labels = scenes.labels(0)
    assert labels.boxes.tolist() == [[1, 2, 11, 22], [5, 5, 9, 9]]
    assert np.isnan(labels.landmarks).all()
    assert labels.ignored.tolist() == [False, True]
    assert load_scene(scenes, 1).image[0, 0, 0] == 160


def test_coco(folder):
    labels = open_scenes(write(folder, "faces.json", COCO)).labels(0)
    assert labels.boxes.tolist() == [[1, 2, 11, 22], [5, 5, 9, 9]]
    assert np.isfinite(labels.landmarks).all((1, 2)).tolist() == [True, False]
    assert labels.ignored.tolist() == [False, True]


def test_pictures_beside_their_labels_or_where_the_user_says(folder):
    moved = shutil.copytree(folder / "images", folder / "elsewhere")
    labels = write(moved, "label.txt", LABELS)
    assert open_scenes(labels).describe(0) == str(moved / "a" / "1.png")
    assert open_scenes(labels, folder / "images").folder == folder / "images"


def test_pictures_are_upright_as_their_labels_are(folder):
    content = saved(Image.fromarray(PHOTO), "PNG", exif=exif(6))
    (folder / "images" / "b.png").write_bytes(content)
    scenes = open_scenes(write(folder, "label.txt", LABELS))
    assert scenes.read(1) == content
    np.testing.assert_array_equal(load_scene(scenes, 1).image, np.rot90(PHOTO, -1))


def test_a_picture_is_missed_when_it_is_read(folder):
    scenes = open_scenes(write(folder, "label.txt", "# missing.jpg\n# broken.jpg\n"))
    (folder / "images" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    with pytest.raises(ImageError, match=r"missing\.jpg: cannot be read: No such file"):
        scenes.read(0)
    with pytest.raises(ImageError, match=r"broken\.jpg: "):
        load_scene(scenes, 1)


def test_a_set_goes_to_other_processes(folder):
    scenes = open_scenes(write(folder, "label.txt", LABELS))
    copy = pickle.loads(pickle.dumps(scenes))
    assert copy.read(1) == scenes.read(1)
    np.testing.assert_array_equal(copy.labels(0).boxes, scenes.labels(0).boxes)


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../x.jpg", "a/../../x.jpg", "a/..", "..\\x.jpg", "C:\\x.jpg", "c:x.jpg", "."],
)
def test_names_that_lead_out_of_the_folder_are_refused(name, folder):
    with pytest.raises(IntegrityError, match="leads out of the folder"):
        open_scenes(write(folder, "label.txt", f"# {name}\n"))
    content = {"images": [{"id": 1, "file_name": name}], "annotations": []}
    with pytest.raises(IntegrityError, match="leads out of the folder"):
        open_scenes(write(folder, "faces.json", content))


def test_a_picture_that_comes_twice_by_other_names_is_refused(folder):
    with pytest.raises(IntegrityError, match=r"'a/1\.png' comes twice"):
        open_scenes(write(folder, "label.txt", "# a/1.png\n# ./a//1.png\n"))


def test_what_cannot_be_opened(folder):
    labels = write(folder, "label.txt", LABELS)
    with pytest.raises(ConfigError, match=r"labels\.csv: no labels of faces: give"):
        open_scenes(folder / "labels.csv")
    with pytest.raises(ImageError, match="nowhere: no such folder: say where"):
        open_scenes(labels, folder / "nowhere")
    with pytest.raises(IntegrityError, match=r"x\.txt: cannot be read"):
        open_scenes(folder / "x.txt")


class Numbers:
    """A set whose pictures are their numbers."""

    def __init__(self, source, size):
        self.source, self.size = source, size

    def __len__(self):
        return self.size

    def read(self, index):
        return f"{self.source}{index}".encode()

    def labels(self, index):
        return Labels(np.full((1, 4), index), np.zeros((1, 5, 2)), np.zeros(1, bool))

    def describe(self, index):
        return f"{self.source}, {index}"


def test_a_mixture_is_its_sets():
    both = SceneMixture([Numbers("a", 2), Numbers("b", 3)])
    assert both.source == "a + b"
    assert [both.read(index) for index in range(len(both))] == [b"a0", b"a1", b"b0", b"b1", b"b2"]
    assert both.describe(4) == "b, 2"
    assert both.labels(3).boxes[0, 0] == 1


sizes_and_weights = st.lists(
    st.tuples(st.integers(1, 30), st.floats(0.6, 4)), min_size=1, max_size=4
)


@given(sizes_and_weights, st.integers(0, 9))
def test_an_epoch_shows_each_set_as_often_as_it_weighs(plan, seed):
    mixture = SceneMixture([Numbers("x", size) for size, _ in plan], [weight for _, weight in plan])
    order = mixture.order(np.random.default_rng(seed))
    np.testing.assert_array_equal(order, mixture.order(np.random.default_rng(seed)))
    counts = np.bincount(order, minlength=len(mixture))
    assert len(order) == mixture.epoch_size == sum(mixture.draws)
    for (size, weight), count in zip(
        plan, np.split(counts, np.cumsum([size for size, _ in plan])[:-1]), strict=True
    ):
        assert count.sum() == round(weight * size)
        assert count.max() - count.min() <= 1


def test_what_an_epoch_shows_is_mixed():
    mixture = SceneMixture([Numbers("a", 500), Numbers("b", 500)])
    order = mixture.order(np.random.default_rng(0))
    assert sorted(order) == list(range(1000))
    assert 150 < (order[:500] < 500).sum() < 350


@pytest.mark.parametrize(
    ("sets", "weights", "reason"),
    [
        (0, None, "0 sets and 0 weights"),
        (2, [1], "2 sets and 1 weights"),
        (1, [0], "the weight of x is 0, which shows none"),
        (1, [-1], "give one above 0"),
        (1, [0.01], "which shows none of its 10 pictures"),
        (1, [float("nan")], "the weight of x is nan"),
        (1, [float("inf")], "the weight of x is inf"),
    ],
)
def test_weights_that_show_nothing_are_refused(sets, weights, reason):
    with pytest.raises(ConfigError, match=reason):
        SceneMixture([Numbers("x", 10)] * sets, weights)
