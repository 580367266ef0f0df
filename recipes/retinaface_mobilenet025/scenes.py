"""Divides the labelled photos by people and makes crowds, hard cases and WIDER FACE's sample.

python recipes/retinaface_mobilenet025/scenes.py
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from mindface import Detector
from mindface.datasets.scenes import SceneFiles, load_scene, open_scenes
from mindface.detection import accessories, augmentation, framing
from mindface.detection.scene import Scene
from mindface.formats.coco import CocoImage, read_coco, write_coco
from mindface.geometry import iou

WORK = Path("build/recipe/detector")
PHOTOS = Path("../shared/data/celeba200/photos")
WIDER = Path("../shared/data/widerface/val200")
HELD_OUT = Path("recipes/arcface_mobilefacenet/people/celeba200_held_out.txt")
SIDE = 640
LEAST = 8  # pixels of a face's short side in a crowd
DOUBT = 0.3  # what the looks agree on less is background
GRIDS = ((4, 1), (2, 3), (3, 3), (4, 4))  # mosaics of mosaics: 16 to 256 photos

Draw = Callable[[], Scene]
Make = Callable[[Draw, Generator], Scene]


def divide() -> dict[str, SceneFiles]:
    """The labels of the people to train on, and of those who are held out."""
    held_out = set(HELD_OUT.read_text(encoding="utf-8").split())
    images = read_coco(WORK / "labels.json")
    parts = {"train": [], "held_out": []}
    for image in images:
        sure = image.scores >= DOUBT
        image = image._replace(
            boxes=image.boxes[sure],
            landmarks=image.landmarks[sure],
            ignored=image.ignored[sure],
            scores=image.scores[sure],
        )
        parts["held_out" if Path(image.name).parts[0] in held_out else "train"].append(image)
    for name, part in parts.items():
        write_coco(WORK / f"{name}.json", part)
    return {name: open_scenes(WORK / f"{name}.json", PHOTOS) for name in parts}


def crowd(draw: Draw, rng: Generator, side: int) -> Scene:
    """Photos in a grid, or grids in a grid."""
    outer, inner = GRIDS[rng.integers(len(GRIDS))]
    if inner == 1:
        return framing.mosaic([draw() for _ in range(outer**2)], side, rng)
    cell = round(1.3 * side / outer)
    parts = [framing.mosaic([draw() for _ in range(inner**2)], cell, rng) for _ in range(outer**2)]
    return framing.mosaic(parts, side, rng)


HARD: dict[str, Make] = {
    "crowds": lambda draw, rng: crowd(draw, rng, SIDE),
    "selfies": lambda draw, rng: framing.selfie(draw(), rng),
    "turned": lambda draw, rng: framing.rotated(draw(), rng.uniform(-30, 30)),
    "dark": lambda draw, rng: augmentation.low_light(draw(), rng),
    "masks": lambda draw, rng: accessories.face_mask(draw(), rng, share=1.0),
    "sunglasses": lambda draw, rng: accessories.sunglasses(draw(), rng, share=1.0),
}


def write(folder: Path, scenes: SceneFiles, count: int, make: Make, seed: int) -> None:
    """Draws pictures and writes them with their labels."""
    rng = np.random.default_rng(seed)
    order = iter(np.concatenate([rng.permutation(len(scenes)) for _ in range(400)]))
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(count):
        scene = make(lambda: load_scene(scenes, int(next(order))), rng)
        rows.append(_written(folder, f"{number:04}.jpg", framing.ignoring_small(scene, LEAST)))
    write_coco(folder / "labels.json", rows)


def _written(folder: Path, name: str, scene: Scene) -> CocoImage:
    bgr = cv2.cvtColor(scene.image, cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(folder / "images" / name), bgr, [cv2.IMWRITE_JPEG_QUALITY, 92])
    boxes = scene.boxes.astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    size = scene.image.shape[1], scene.image.shape[0]
    scores = np.full(len(boxes), np.nan)
    return CocoImage(name, size, boxes, scene.landmarks.astype(np.float64), scene.ignored, scores)


def wider() -> None:
    """WIDER FACE's sample in its own proportions, which it was stretched out of; masked; and gray.

    Masks are drawn on two thirds of those faces that the ancestor finds on twice the size.
    """
    ancestor = Detector("build/detector.onnx", input_size=2 * SIDE, score_threshold=0.3)
    rng = np.random.default_rng(0)
    folders = [WORK / "validation" / name for name in ("wider", "wider_masked", "wider_gray")]
    rows: list[list[CocoImage]] = [[], [], []]
    for folder in folders:
        (folder / "images").mkdir(parents=True, exist_ok=True)
    for name, facts in json.loads((WIDER / "ground_truth.json").read_text()).items():
        corners = np.array(facts["faces_orig"], np.float64).reshape(-1, 4)
        image = cv2.cvtColor(cv2.imread(str(WIDER / "images" / name)), cv2.COLOR_BGR2RGB)
        image = cv2.resize(image, facts["orig_wh"], interpolation=cv2.INTER_CUBIC)
        points = np.full((len(corners), 5, 2), np.nan)
        scene = Scene(image, corners.astype(np.float32), points, np.zeros(len(corners), bool))
        seen = scene._replace(landmarks=_landmarks(scene, ancestor))
        masked = accessories.face_mask(seen, rng, share=2 / 3)
        gray = augmentation.grayscale(scene, rng)
        for part, folder, each in zip(rows, folders, (scene, masked, gray), strict=True):
            part.append(_written(folder, name, each._replace(landmarks=points)))
    for part, folder in zip(rows, folders, strict=True):
        write_coco(folder / "labels.json", part)


def _landmarks(scene: Scene, detector: Detector) -> NDArray[np.float32]:
    """Those of the faces that a detector finds, NaN of the others."""
    faces = detector.detect(scene.image)
    points = np.full((len(scene.boxes), 5, 2), np.nan, np.float32)
    overlaps = iou(scene.boxes, faces.boxes)
    if overlaps.size:
        best, hit = overlaps.argmax(1), overlaps.max(1) > 0.4
        points[hit] = faces.landmarks[best[hit]]
    return points


if __name__ == "__main__":
    parts = divide()
    write(WORK / "crowds", parts["train"], 600, lambda d, r: crowd(d, r, 1024), seed=1)
    for seed, (name, make) in enumerate(HARD.items(), 2):
        write(WORK / "validation" / name, parts["held_out"], 150, make, seed)
    wider()
