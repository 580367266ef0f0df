"""What these tests train with: little photos of drawn faces, a real but quick network."""

import json
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from mindface.datasets.scenes import Labels
from mindface.errors import ImageError
from mindface.training.config import load_config
from mindface.training.detection.config import DetectionConfig
from mindface.training.detection.train import train

SIDE = 96


class TinyScenes:
    """Photos in memory with a face or two each, ovals with eyes and a mouth.

    `broken` photos cannot be read.
    """

    source = "tiny"

    def __init__(self, count=16, broken=()):
        self.broken = broken
        self.scenes = [scene(number) for number in range(count)]

    def __len__(self):
        return len(self.scenes)

    def read(self, index):
        if index in self.broken:
            raise ImageError("cannot be read: as the test wants it", self.describe(index))
        return self.scenes[index][0]

    def labels(self, index):
        return self.scenes[index][1]

    def describe(self, index):
        return f"photo {index}"


@cache
def scene(number):
    """A PNG and its faces."""
    rng = np.random.default_rng(number)
    image = rng.integers(0, 90, (SIDE, SIDE, 3), np.uint8)
    boxes, landmarks = [], []
    for left in (4, 52)[: 1 + number % 2]:
        width, height = 28 + number % 5, 36 + number % 7
        top = 8 + number % 40
        center = (left + width // 2, top + height // 2)
        cv2.ellipse(image, center, (width // 2, height // 2), 0, 0, 360, (210, 170, 140), -1)
        points = np.float32([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])
        points = points * (width, height) + (left, top)
        for x, y in points:
            cv2.circle(image, (round(float(x)), round(float(y))), 2, (20, 20, 60), -1)
        boxes.append([left, top, left + width, top + height])
        landmarks.append(points if number % 3 else np.full((5, 2), np.nan))
    labels = Labels(
        np.array(boxes, np.float32), np.array(landmarks, np.float32), np.zeros(len(boxes), bool)
    )
    return cv2.imencode(".png", image)[1].tobytes(), labels


def write_scenes(folder, count=8):
    """The same photos as files, and their `label.txt`."""
    lines = []
    (folder / "images").mkdir(parents=True)
    for number in range(count):
        content, labels = scene(number)
        (folder / "images" / f"{number}.png").write_bytes(content)
        lines.append(f"# {number}.png")
        for (x1, y1, x2, y2), points in zip(labels.boxes, labels.landmarks, strict=True):
            row = [x1, y1, x2 - x1, y2 - y1]
            marked = np.isfinite(points).all()
            row += [v for x, y in points for v in ((x, y, 0) if marked else (-1, -1, -1))]
            lines.append(" ".join(f"{value:g}" for value in [*row, 0.5]))
    (folder / "label.txt").write_text("\n".join(lines) + "\n")
    return folder / "label.txt"


def settings(output, *overrides):
    """The configuration of `tiny_scenes.yaml`, changed."""
    preset = Path(__file__).with_name("tiny_scenes.yaml")
    return load_config(DetectionConfig, preset, [f"output={output}", *overrides])


def trained(output, *overrides, **parts):
    """The checkpoint of a training on the little photos where no others are given."""
    return train(settings(output, *overrides), **({"scenes": TinyScenes()} | parts))


def metrics(output, key="loss"):
    """The values of a key by step."""
    lines = (Path(output) / "metrics.jsonl").read_text().splitlines()
    return {line["step"]: line[key] for line in map(json.loads, lines) if key in line}
