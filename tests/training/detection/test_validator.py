"""What a detector is measured by while it trains."""

import numpy as np
import pytest
import torch
from tiny_scenes import TinyScenes, settings, write_scenes
from torch import nn

from mindface.detection.anchors import VARIANCES, anchors
from mindface.detection.scene import Scene
from mindface.errors import ConfigError
from mindface.training.detection.validator import Found, Validator, find, landmark_errors

CPU = torch.device("cpu")


class Knowing(nn.Module):
    """Says what is right about one photo, at the anchor nearest to each face, and shifts marks."""

    def __init__(self, scenes, shift=0.0):
        super().__init__()
        self.scenes, self.shift, self.turn = scenes, shift, 0

    def forward(self, x):
        height, width = x.shape[2:]
        grid = anchors(height, width)
        labels = self.scenes.labels(self.turn)
        self.turn += 1
        boxes, landmarks = np.zeros((len(grid), 4)), np.zeros((len(grid), 5, 2))
        scores = np.tile([1.0, 0.0], (len(grid), 1))
        for box, points in zip(labels.boxes, labels.landmarks, strict=True):
            center, side = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
            distance = np.abs(grid[:, :2] - center).sum(1) + np.abs(grid[:, 2] - 32)
            row = distance.argmin()
            scores[row] = 0.1, 0.9
            boxes[row, :2] = (center - grid[row, :2]) / grid[row, 2:] / VARIANCES[0]
            boxes[row, 2:] = np.log(side / grid[row, 2:]) / VARIANCES[1]
            eyes = np.linalg.norm(points[0] - points[1])
            moved = points + np.array([self.shift * eyes, 0])
            landmarks[row] = np.nan_to_num(moved - grid[row, :2]) / grid[row, 2:] / VARIANCES[0]
        parts = boxes, scores, landmarks.reshape(-1, 10)
        return tuple(torch.tensor(part[None], dtype=torch.float32) for part in parts)


def measured(tmp_path, network, *overrides):
    labels = write_scenes(tmp_path / "scenes")
    config = settings(tmp_path, f"validation=[{{path: {labels}}}]", *overrides)
    return Validator(config)(network, CPU)


def test_a_network_that_knows_everything_is_perfect(tmp_path):
    figures = measured(tmp_path, Knowing(TinyScenes()))
    assert figures["scenes/ap"] == pytest.approx(1)
    assert figures["scenes/ap 32-96"] == pytest.approx(1)
    assert figures["scenes/landmarks"] == pytest.approx(0, abs=1e-4)
    assert "scenes/ap 8-16" not in figures
    assert Validator.score(figures) == pytest.approx(1)


def test_landmarks_count_in_distances_of_the_eyes(tmp_path):
    figures = measured(tmp_path, Knowing(TinyScenes(), shift=0.1))
    assert figures["scenes/landmarks"] == pytest.approx(0.1, abs=1e-4)


def test_bands_are_those_of_the_scaled_photo(tmp_path):
    labels = write_scenes(tmp_path / "scenes")
    config = settings(tmp_path, f"validation=[{{path: {labels}}}]", "validation_size=384")
    assert {*Validator(config).truths["scenes"].counted} == {"all", "96-"}


def test_sets_are_called_by_what_tells_them_apart(tmp_path):
    one, two = write_scenes(tmp_path / "a"), write_scenes(tmp_path / "b")
    config = settings(tmp_path, f"validation=[{{path: {one}}}, {{path: {two}}}]")
    assert [*Validator(config).sets] == ["a", "b"]


def test_a_set_without_faces_is_refused(tmp_path):
    labels = write_scenes(tmp_path / "scenes", count=1)
    labels.write_text("# 0.png\n")
    with pytest.raises(ConfigError, match="there is no face in it"):
        Validator(settings(tmp_path, f"validation=[{{path: {labels}}}]"))


def test_found_faces_are_in_pixels_of_the_photo():
    scenes = TinyScenes()
    image = np.zeros((96, 96, 3), np.uint8)
    found = find(Knowing(scenes).eval(), image, 96, "retinaface_mobilenet025", CPU)
    assert found.boxes == pytest.approx(scenes.labels(0).boxes, abs=1e-3)


def test_landmarks_of_faces_that_are_not_found_do_not_count():
    points = np.full((5, 2), 3, np.float32) + np.eye(5, 2, dtype=np.float32)
    boxes = np.float32([[0, 0, 10, 10], [50, 50, 60, 60]])
    scene = Scene(
        np.zeros((64, 64, 3), np.uint8), boxes, np.stack([points, points]), np.zeros(2, bool)
    )
    found = Found(boxes[:1], np.float32([1]), points[None] + np.float32([2, 0]))
    errors = landmark_errors(scene, found)
    assert errors == pytest.approx([2 / np.linalg.norm(points[0] - points[1])])
    nothing = Found(boxes[:0], np.empty(0, np.float32), np.empty((0, 5, 2), np.float32))
    assert len(landmark_errors(scene, nothing)) == 0
