"""Average precision and time of looking closer where faces are small, beside other ways.

    python benchmarks/closer.py [--sets wider wider_masked wider_gray]

Needs the sets that `recipes/retinaface_mobilenet025/scenes.py` makes.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np

from mindface import Detector
from mindface.datasets.scenes import SceneFiles, load_scene, open_scenes
from mindface.detection.evaluation import match
from mindface.formats.wider_face import GroundTruth

SETS = Path("build/recipe/detector/validation")
BANDS = {"all": 0, "8-16": 8, "16-32": 16, "32-96": 32, "96-": 96}
SIDE = 640
WAYS = {
    "640": {"closer": None},
    "640, 960 where faces are small (default)": {},
    "960": {"input_size": 960, "scales": (1.0, 0.25 / 1.5), "closer": None},
}


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
    arguments = parser.parse_args()
    print(f"| | {' | '.join(BANDS)} | ms a photo |\n|---|{'---|' * (len(BANDS) + 1)}")
    for name in arguments.sets:
        scenes = open_scenes(SETS / name / "labels.json")
        images = [load_scene(scenes, index).image for index in range(len(scenes))]
        faces = truth(scenes)
        for way, options in WAYS.items():
            detector = Detector(score_threshold=0.02, precision="fp32", **options)
            detector.detect(images[0])
            predictions, start = [], time.perf_counter()
            for found in map(detector.detect, images):
                corners = found.boxes.astype(np.float64)
                corners[:, 2:] -= corners[:, :2]
                predictions.append(np.c_[corners, found.scores])
            spent = (time.perf_counter() - start) / len(images) * 1e3
            matches = match(faces, predictions)
            figures = [f"{matches.curve(band).average_precision:.4f}" for band in BANDS]
            print(f"| {name}: {way} | {' | '.join(figures)} | {spent:.1f} |", flush=True)


if __name__ == "__main__":
    main()
