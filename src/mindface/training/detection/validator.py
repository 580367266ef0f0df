"""Average precision of a detector while it trains."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mindface.datasets.scenes import SceneSet, load_scene, open_scenes
from mindface.detection.anchors import anchors, decode_boxes, decode_landmarks
from mindface.detection.evaluation import match
from mindface.detection.scene import Scene
from mindface.errors import ConfigError
from mindface.formats.wider_face import GroundTruth
from mindface.geometry import iou, nms
from mindface.models import convention
from mindface.training.detection.config import STRIDE, DetectionConfig, Source
from mindface.training.detection.step import prepared

Floats = NDArray[np.float32]

BANDS = {"8-16": (8, 16), "16-32": (16, 32), "32-96": (32, 96), "96-": (96, math.inf)}
SCORE, OVERLAP = 0.02, 0.4
GENERIC = ("label", "labels")  # names of files that say nothing of what is in them
FOUND = 0.5  # IoU with a face whose landmarks are compared


class Found(NamedTuple):
    """What a network finds in a photo, best first, in pixels of the photo.

    Attributes:
        boxes: `(N, 4)` float32 xyxy.
        scores: `(N,)` float32.
        landmarks: `(N, 5, 2)` float32.
    """

    boxes: Floats
    scores: Floats
    landmarks: Floats


class Validator:
    """Sets of labelled photos on which a network is measured again and again.

    Photos are scaled so that their long side has `validation_size` pixels. Average precision is
    WIDER FACE's (IoU 0.5, over the ranks of 1,000 scores); a face's band is its longer side at that
    scale, and the faces of other bands are ignored.

    Args:
        config: of the training.

    Raises:
        ConfigError: a set has no face to find.
        IntegrityError: a set cannot be read.
        ImageError: a photo cannot be read; better now than after hours.
    """

    def __init__(self, config: DetectionConfig) -> None:
        self.size = config.validation_size
        self.architecture = config.network.name
        opened = [(source, open_scenes(source.path, source.images)) for source in config.validation]
        self.sets = dict(zip(_names(config.validation), (each for _, each in opened), strict=True))
        self.truths = {name: self._truth(name, scenes) for name, scenes in self.sets.items()}

    def __call__(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """Measures a network in float32, and leaves it in evaluation mode.

        Returns:
            For each set `NAME/ap`, `NAME/ap BAND` where it has faces of that band, and
            `NAME/landmarks`: the mean distance of found landmarks from marked ones in distances of
            the eyes.
        """
        network.eval()
        return {
            f"{name}/{what}": value
            for name, scenes in self.sets.items()
            for what, value in self._measure(scenes, self.truths[name], network, device).items()
        }

    def _measure(
        self, scenes: SceneSet, truth: GroundTruth, network: nn.Module, device: torch.device
    ) -> dict[str, float]:
        predictions, errors = [], []
        for index in range(len(scenes)):
            scene = load_scene(scenes, index)
            found = find(network, scene.image, self.size, self.architecture, device)
            corners = found.boxes.astype(np.float64)
            corners[:, 2:] -= corners[:, :2]
            predictions.append(np.c_[corners, found.scores])
            errors.append(landmark_errors(scene, found))
        matches = match(truth, predictions)
        figures = {
            f"ap {band}".removesuffix(" all"): float(matches.curve(band).average_precision)
            for band in truth.counted
        }
        together = np.concatenate(errors)
        return {**figures, **({"landmarks": float(together.mean())} if len(together) else {})}

    def _truth(self, name: str, scenes: SceneSet) -> GroundTruth:
        boxes, counted = [], {band: list[NDArray[np.bool_]]() for band in ("all", *BANDS)}
        for index in range(len(scenes)):
            scene = load_scene(scenes, index)
            corners = scene.boxes.astype(np.float64)
            corners[:, 2:] -= corners[:, :2]
            boxes.append(corners)
            sides = corners[:, 2:].max(1, initial=0) * self.size / max(scene.image.shape[:2])
            counted["all"].append(~scene.ignored)
            for band, (low, high) in BANDS.items():
                counted[band].append(~scene.ignored & (low <= sides) & (sides < high))
        filled = {
            band: tuple(rows) for band, rows in counted.items() if any(row.any() for row in rows)
        }
        if not filled:
            raise ConfigError(f"validation set {name}: there is no face in it")
        return GroundTruth(tuple(map(scenes.describe, range(len(boxes)))), tuple(boxes), filled)

    @staticmethod
    def score(figures: dict[str, float]) -> float:
        """What the best checkpoint has the most of: the mean of the sets' average precisions."""
        return float(np.mean([v for name, v in figures.items() if name.endswith("/ap")]))


@torch.no_grad()
def find(
    network: nn.Module, image: NDArray[np.uint8], size: int, name: str, device: torch.device
) -> Found:
    """What a network in evaluation mode finds in a photo.

    Args:
        network: a RetinaFace.
        image: `(H, W, 3)` RGB uint8.
        size: of the long side that the network sees, in pixels.
        name: of the network, for its preprocessing.
        device: that the network is on.
    """
    scale = size / max(image.shape[:2])
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    scaled = cv2.resize(image, None, fx=scale, fy=scale, interpolation=kind)
    height, width = (-(-side // STRIDE) * STRIDE for side in scaled.shape[:2])
    facts = convention(name).preprocessing
    mean = facts.mean[::-1] if facts.color == "bgr" else facts.mean
    canvas = np.full((height, width, 3), mean, np.uint8)
    canvas[: scaled.shape[0], : scaled.shape[1]] = scaled
    inputs = prepared(torch.from_numpy(canvas[None]), name, device)
    boxes, scores, landmarks = (part[0].float().cpu().numpy() for part in network(inputs))
    chosen = np.flatnonzero(scores[:, 1] > SCORE)
    grid = anchors(height, width)[chosen]
    boxes = decode_boxes(boxes[chosen], grid)
    kept = nms(boxes, scores[chosen, 1], OVERLAP)
    points = decode_landmarks(landmarks[chosen][kept], grid[kept])
    unscaled = np.float32(1 / scale)
    return Found(boxes[kept] * unscaled, scores[chosen, 1][kept], points * unscaled)


def landmark_errors(scene: Scene, found: Found) -> Floats:
    """Mean distances `(N,)` of found landmarks from marked ones, in distances of the eyes.

    Of the faces with landmarks that are found with an IoU of 0.5 at least.
    """
    marked = np.isfinite(scene.landmarks).all((1, 2)) & ~scene.ignored
    overlaps = iou(scene.boxes[marked], found.boxes)
    if not overlaps.size:
        return np.empty(0, np.float32)
    best = overlaps.argmax(1)
    hit = overlaps.max(1) >= FOUND
    wanted, given = scene.landmarks[marked][hit], found.landmarks[best[hit]]
    eyes = np.linalg.norm(wanted[:, 0] - wanted[:, 1], axis=1)
    distances = np.linalg.norm(wanted - given, axis=2).mean(1)
    return np.asarray(distances[eyes > 0] / eyes[eyes > 0], np.float32)


def _names(sources: tuple[Source, ...]) -> list[str]:
    """The sets' files' names, for `label.txt` and `labels.json` their folders'; or whole paths."""
    paths = [Path(source.path).absolute() for source in sources]
    names = [path.parent.name if path.stem in GENERIC else path.stem for path in paths]
    return names if len(set(names)) == len(names) else [source.path for source in sources]
