"""Average precision and time of looking closer where faces are small, beside other ways.

    python benchmarks/closer.py [--sets wider wider_masked wider_gray] [--scrfd scrfd_500m_kps.onnx]

Needs the sets that `recipes/retinaface_mobilenet025/scenes.py` makes. SCRFD is shown 640x640 pixels
by ONNX Runtime, as InsightFace does.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from mindface import Detector
from mindface.datasets.scenes import SceneFiles, load_scene, open_scenes
from mindface.detection.evaluation import match
from mindface.engines import EngineOptions
from mindface.formats.wider_face import GroundTruth
from mindface.geometry import nms

Found = tuple[NDArray[np.float32], NDArray[np.float32]]

SETS = Path("build/recipe/detector/validation")
BANDS = {"all": 0, "8-16": 8, "16-32": 16, "32-96": 32, "96-": 96}
SIDE = 640
LEAST = 0.02  # score
WAYS = {
    "640": {"closer": None},
    "640, 960 where faces are small": {"closer": 1.5},
    "640, 1280 where faces are small (default)": {},
    "960": {"input_size": 960, "scales": (1.0, 0.25 / 1.5), "closer": None},
}


def ours(**options: object) -> Callable[[NDArray[np.uint8]], Found]:
    """MindFace's detector: boxes `(N, 4)` and scores of a photo's faces."""
    detector = Detector(score_threshold=LEAST, precision="fp32", **options)

    def find(image: NDArray[np.uint8]) -> Found:
        faces = detector.detect(image)
        return faces.boxes, faces.scores

    return find


def scrfd(path: Path) -> Callable[[NDArray[np.uint8]], Found]:
    """An SCRFD with two anchors a place and strides 8, 16 and 32, likewise."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = EngineOptions().thread_count
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def find(image: NDArray[np.uint8]) -> Found:
        ratio = SIDE / max(image.shape[:2])
        height, width = (round(side * ratio) for side in image.shape[:2])
        canvas = np.zeros((SIDE, SIDE, 3), np.uint8)
        canvas[:height, :width] = cv2.resize(image, (width, height))
        pixels = cv2.dnn.blobFromImage(canvas, 1 / 128, mean=(127.5,) * 3)
        outputs = {
            each.shape[-2:]: each.reshape(-1, each.shape[-1])
            for each in session.run(None, {name: pixels})
        }
        boxes, scores = [], []
        for stride in (8, 16, 32):
            places = np.indices((SIDE // stride,) * 2)[::-1].reshape(2, -1).T.repeat(2, 0) * stride
            sure = outputs[len(places), 1][:, 0]
            reach = outputs[len(places), 4] * stride
            boxes.append(np.c_[places - reach[:, :2], places + reach[:, 2:]])
            scores.append(sure)
        found, sure = np.concatenate(boxes) / np.float32(ratio), np.concatenate(scores)
        kept = np.flatnonzero(sure >= LEAST)
        kept = kept[nms(found[kept], sure[kept], 0.4)]
        return found[kept], sure[kept]

    return find


def truth(scenes: SceneFiles) -> GroundTruth:
    """The faces, by their longer side at 640 pixels."""
    boxes, counted = [], {band: [] for band in BANDS}
    ends = [math.inf, *list(BANDS.values())[2:], math.inf]
    for index in range(len(scenes)):
        scene = load_scene(scenes, index)
        corners = scene.boxes.astype(np.float64)
        corners[:, 2:] -= corners[:, :2]
        boxes.append(corners)
        sides = corners[:, 2:].max(1, initial=0) * SIDE / max(scene.image.shape[:2])
        for (band, low), high in zip(BANDS.items(), ends, strict=True):
            counted[band].append(~scene.ignored & (low <= sides) & (sides < high))
    names = tuple(map(scenes.describe, range(len(boxes))))
    return GroundTruth(names, tuple(boxes), {band: tuple(rows) for band, rows in counted.items()})


def main() -> None:
    """Prints a table of Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=["wider", "wider_masked", "wider_gray"])
    parser.add_argument("--scrfd", type=Path, help="to measure beside")
    arguments = parser.parse_args()
    ways = {way: ours(**options) for way, options in WAYS.items()}
    if arguments.scrfd:
        ways[f"{arguments.scrfd.stem}, 640"] = scrfd(arguments.scrfd)
    print(f"| | {' | '.join(BANDS)} | ms a photo |\n|---|{'---|' * (len(BANDS) + 1)}")
    for name in arguments.sets:
        scenes = open_scenes(SETS / name / "labels.json")
        images = [load_scene(scenes, index).image for index in range(len(scenes))]
        faces = truth(scenes)
        for way, find in ways.items():
            find(images[0])
            predictions, start = [], time.perf_counter()
            for boxes, scores in map(find, images):
                corners = boxes.astype(np.float64)
                corners[:, 2:] -= corners[:, :2]
                predictions.append(np.c_[corners, scores])
            spent = (time.perf_counter() - start) / len(images) * 1e3
            matches = match(faces, predictions)
            figures = [f"{matches.curve(band).average_precision:.4f}" for band in BANDS]
            print(f"| {name}: {way} | {' | '.join(figures)} | {spent:.1f} |", flush=True)


if __name__ == "__main__":
    main()
