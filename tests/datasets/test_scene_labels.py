"""Pseudo labels: voting over looks, and work that goes on where it was stopped."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from mindface.datasets.scene_labels import BATCH, agreed, label_photos
from mindface.datasets.scenes import open_scenes
from mindface.detection.detector import Candidates, Detector
from mindface.errors import ConfigError, ImageError, IntegrityError
from mindface.formats.coco import read_coco

CORNERS = np.array([(0.3, 0.3), (0.7, 0.3), (0.5, 0.5), (0.35, 0.7), (0.65, 0.7)], np.float32)


class Teacher:
    """Finds the white squares of photos by their size: the larger, the surer; in every look."""

    def __init__(self, scales=(0.5, 1.0), score=0.3, sha256="0" * 64):
        self.record = SimpleNamespace(name="teacher", sha256=sha256, licence="MIT")
        self.options = SimpleNamespace(thread_count=2)
        self.thresholds = SimpleNamespace(score=score, overlap=0.4)
        self.scales, self.input_size = scales, 160
        self.shapes = []

    long_side = Detector.long_side
    open = Detector.open
    open_ahead = Detector.open_ahead

    def candidates(self, looks):
        self.shapes += [look.size for look in looks]
        return [self._in(look) for look in looks]

    def _in(self, look):
        gray = np.uint8(look.opened.pixels[..., 0] > 128)
        _, _, stats, _ = cv2.connectedComponentsWithStats(gray)
        boxes = stats[1:, :4].astype(np.float32)
        points = boxes[:, None, :2] + CORNERS * boxes[:, None, 2:]
        boxes[:, 2:] += boxes[:, :2]
        scores = np.minimum((boxes[:, 2] - boxes[:, 0]) / 40, 1)
        keep = scores >= self.thresholds.score
        return Candidates(boxes[keep], scores[keep], points[keep].astype(np.float32))


def draw(path, *squares, size=(120, 160)):
    pixels = np.zeros((*size, 3), np.uint8)
    for left, top, side in squares:
        pixels[top : top + side, left : left + side] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels)


@pytest.fixture
def photos(tmp_path):
    """Twenty photos with a square each, one with four, one with none, and a broken one."""
    folder = tmp_path / "photos"
    for number in range(20):
        draw(folder / "more" / f"{number:02d}.png", (number, 10, 30))
    draw(folder / "a.png", (5, 5, 40), (60, 20, 30), (100, 80, 16), (140, 100, 8))
    draw(folder / "nobody.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    return folder


def test_labels_are_read_as_a_set(photos, tmp_path):
    path = tmp_path / "labels.json"
    report = label_photos(photos, path, Teacher())
    (broken,) = report.pop("unreadable")
    assert broken["photo"] == str(photos / "broken.jpg")
    assert report == {
        "labels": str(path),
        "detector": "teacher",
        "photos": 22,
        "faces": 22,
        "ignored": 1,
    }
    scenes = open_scenes(path, photos)
    assert scenes.names[:3] == ("a.png", "nobody.png", "more/00.png")
    boxes, landmarks, ignored = scenes.labels(0)
    assert boxes.tolist() == [[5, 5, 45, 45], [60, 20, 90, 50], [100, 80, 116, 96]]
    assert ignored.tolist() == [False, False, True]
    np.testing.assert_allclose(landmarks, boxes[:, None, :2] + CORNERS * [[[40]], [[30]], [[16]]])
    assert len(scenes.labels(1).boxes) == 0
    first = read_coco(path)[0]
    assert first.size == (160, 120)
    assert first.scores.tolist() == [1, 0.75, 0.4]
    info = json.loads(path.read_text())["info"]
    assert (info["detector"], info["scales"], info["score"]) == ("teacher", [0.5, 1.0], 0.6)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["labels.json", "photos"]


def test_mirrored_photos_say_the_same(photos, tmp_path):
    teacher = Teacher()
    label_photos(photos, tmp_path / "plain.json", Teacher())
    label_photos(photos, tmp_path / "mirror.json", teacher, mirror=True)
    assert teacher.shapes[:4] == [(60, 80), (120, 160)] * 2
    plain, mirror = (open_scenes(tmp_path / f"{n}.json", photos) for n in ("plain", "mirror"))
    for number in range(len(plain)):
        for a, b in zip(plain.labels(number), mirror.labels(number), strict=True):
            np.testing.assert_allclose(a, b, atol=0.011)


def test_stopped_work_goes_on_and_ends_the_same(photos, tmp_path):
    def stop(items, total, what):
        assert (total, what) == (23, "label")
        for number, item in enumerate(items):
            if number == 14:
                raise KeyboardInterrupt
            yield item

    path, whole, teacher = tmp_path / "labels.json", tmp_path / "whole.json", Teacher()
    with pytest.raises(KeyboardInterrupt):
        label_photos(photos, path, Teacher(), track=stop)
    assert not path.exists()
    part = tmp_path / "labels.json.part"
    part.write_bytes(part.read_bytes()[:-7])  # torn off
    report = label_photos(photos, path, teacher)
    assert report["photos"] == 22
    assert len(teacher.shapes) == 2 * (22 - 12)
    label_photos(photos, whole, Teacher())
    assert path.read_bytes() == whole.read_bytes()


def test_a_photo_that_can_be_read_by_now_is_labelled(photos, tmp_path):
    def stop(items, total, what):
        yield from list(items)[:BATCH]
        raise KeyboardInterrupt

    path = tmp_path / "labels.json"
    with pytest.raises(KeyboardInterrupt):
        label_photos(photos, path, Teacher(), track=stop)
    draw(photos / "mended.png", (0, 0, 40))
    (photos / "mended.png").rename(photos / "broken.jpg")
    report = label_photos(photos, path, Teacher())
    assert (report["photos"], report["unreadable"]) == (23, [])


def test_memory_does_not_grow_with_the_number_of_photos(photos, tmp_path):
    open_photos = 0

    class Counting(Teacher):
        def open(self, source):
            nonlocal open_photos
            open_photos += 1
            return Detector.open(self, source)

    def track(items, total, what):
        for number, item in enumerate(items):
            assert open_photos <= (number // BATCH + 2) * BATCH
            yield item

    label_photos(photos, tmp_path / "labels.json", Counting(), track=track)


def test_other_settings_are_refused(photos, tmp_path):
    path = tmp_path / "labels.json"

    def stop(items, total, what):
        raise KeyboardInterrupt
        yield

    with pytest.raises(KeyboardInterrupt):
        label_photos(photos, path, Teacher(), track=stop)
    with pytest.raises(ConfigError, match="begun with another sha256, scales: name another file"):
        label_photos(photos, path, Teacher((1.0, 2.0), sha256="1" * 64))
    with pytest.raises(ConfigError, match=r"from a score of 0\.2 on, .* none below 0\.3"):
        label_photos(photos, path, Teacher(), score=0.2)


def test_what_cannot_be_labelled(photos, tmp_path):
    path = tmp_path / "labels.json"
    with pytest.raises(ImageError, match="no such folder, or no photo in it"):
        label_photos(tmp_path / "missing", path, Teacher())
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "1.jpg").write_bytes(b"no")
    with pytest.raises(ImageError, match="none of 1 photos could be read"):
        label_photos(tmp_path / "broken", tmp_path / "b.json", Teacher())
    (tmp_path / "c.json.part").write_text("{}\n{\n")
    with pytest.raises((IntegrityError, ConfigError), match=r"c\.json\.part"):
        label_photos(photos, tmp_path / "c.json", Teacher())
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="labels are there already"):
        label_photos(photos, path, Teacher())
    assert path.read_text() == "mine"


def look(*faces):
    """What a look found: boxes, each with its score; all landmarks at its left edge."""
    boxes = np.array([box for box, _ in faces], np.float32).reshape(-1, 4)
    points = boxes[:, None, :1] * np.ones((1, 5, 2), np.float32)
    return Candidates(boxes, np.array([score for _, score in faces], np.float32), points)


def test_looks_that_agree_make_a_face_of_their_means():
    first, second = look(([0, 0, 40, 50], 0.9)), look(([4, 0, 44, 50], 0.3))
    faces = agreed([first, second], [1, 2], 0.4)
    assert faces.scores.tolist() == pytest.approx([0.6])
    np.testing.assert_allclose(faces.boxes, [[1, 0, 41, 50]], rtol=1e-5)
    np.testing.assert_allclose(faces.landmarks[:, 0, 0], [1], rtol=1e-5)


def test_what_one_look_alone_found_is_doubted_unless_it_alone_could():
    found, nothing = look(([0, 0, 40, 50], 0.9)), look()
    assert agreed([found, nothing, nothing], [1, 2, 4], 0.4).scores == pytest.approx([0.3])
    # a face of 20 pixels is too small in the second look, one of 1,000 too large in the first
    assert agreed([look(([0, 0, 15, 20], 0.9)), nothing], [1, 0.5], 0.4).scores[0] == np.float32(
        0.9
    )
    large = look(([0, 0, 900, 1000], 0.9))
    assert agreed([large, large], [1, 0.25], 0.4).scores.tolist() == pytest.approx([0.9])
    assert len(agreed([large], [1], 0.4).scores) == 0


def test_no_face_is_found_twice():
    shifted = look(([0, 0, 40, 50], 0.9), ([25, 0, 65, 50], 0.8))
    faces = agreed([look(([10, 0, 50, 50], 0.95)), shifted], [1, 1], 0.2)
    assert len(faces.scores) == 1
    assert len(agreed([look(), look()], [1, 1], 0.4).boxes) == 0


@pytest.mark.shared
def test_a_real_teacher_and_real_photos(exported, photos, shared, tmp_path):
    source = sorted((shared / "data" / "celeba200" / "photos").glob("*/*.jpg"))[:6]
    for number, photo in enumerate(source):
        (photos / "real").mkdir(exist_ok=True)
        (photos / "real" / f"{number}.jpg").write_bytes(photo.read_bytes())
    detector = Detector(
        exported.detector, scales=(0.5, 1), score_threshold=0.3, engine="onnxruntime"
    )
    path = tmp_path / "labels.json"
    report = label_photos(photos / "real", path, detector, mirror=True)
    assert report["photos"] == 6
    scenes = open_scenes(path, photos / "real")
    for number in range(6):
        labels = scenes.labels(number)
        best = detector.detect(scenes.read(number))[0]
        assert np.abs(labels.boxes[0] - best.box).max() < 0.15 * np.ptp(best.box[1::2])
        eyes = np.linalg.norm(np.subtract(*best.landmarks[:2]))
        assert np.linalg.norm(labels.landmarks[0] - best.landmarks, axis=1).mean() < 0.15 * eyes
