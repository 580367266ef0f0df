"""Average precision, by the size of the face, of weights side by side.

    python recipes/retinaface_mobilenet025/compare.py NAME=WEIGHTS ...
        [--mean SHARE ...] [--save NAME FILE]

A weight is a file or a training's folder. With --mean also what lies these shares of the way from
the first to each other and to the mean of all others, called "0.15 NAME" and "0.15 others"; --save
writes one of them and compares nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mindface.datasets.scenes import load_scene, open_scenes
from mindface.formats import write_weights
from mindface.geometry import iou
from mindface.training.config import load_config
from mindface.training.detection.config import DetectionConfig
from mindface.training.detection.validator import Validator, find
from mindface.training.networks import initial_network
from mindface.weights import network_arrays

WORK = Path("build/recipe/detector")
SETS = (
    "crowds",
    "selfies",
    "turned",
    "dark",
    "masks",
    "sunglasses",
    "wider",
    "wider_masked",
    "wider_gray",
)
NAME = "retinaface_mobilenet025"
CPU = torch.device("cpu")
MIRRORED = [1, 0, 2, 4, 3]


def mean(first: nn.Module, others: Sequence[nn.Module], share: float) -> nn.Module:
    """The first network with `share` of the way to the mean of others; batch norms alike."""
    network = initial_network(NAME, None)
    states = [other.state_dict() for other in others]
    network.load_state_dict(
        {
            name: tensor.lerp(sum(state[name] for state in states) / len(states), share)
            if tensor.is_floating_point()
            else tensor
            for name, tensor in first.state_dict().items()
        }
    )
    return network


def consistency(network: nn.Module) -> tuple[float, float]:
    """How far landmarks move with a photo mirrored, and shifted by 3 pixels, in eye distances."""
    scenes = open_scenes(WORK / "held_out.json", "../shared/data/celeba200/photos")
    moved: tuple[list[float], list[float]] = [], []
    for index in range(0, len(scenes), 4):
        image = load_scene(scenes, index).image
        plain = find(network, image, 640, NAME, CPU)
        mirrored = find(network, np.ascontiguousarray(image[:, ::-1]), 640, NAME, CPU)
        points = mirrored.landmarks[:, MIRRORED] * [-1, 1] + [image.shape[1], 0]
        boxes = mirrored.boxes[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [image.shape[1], 0] * 2
        shifted = find(network, np.pad(image, ((3, 0), (3, 0), (0, 0))), 643, NAME, CPU)
        others = ((boxes, points), (shifted.boxes - 3, shifted.landmarks - 3))
        for errors, (boxes, points) in zip(moved, others, strict=True):
            for face in np.flatnonzero(plain.scores > 0.5):
                overlaps = iou(plain.boxes[face : face + 1], boxes)[0]
                if len(overlaps) and overlaps.max() > 0.5:
                    eyes = np.linalg.norm(np.subtract(*plain.landmarks[face, :2]))
                    distance = plain.landmarks[face] - points[overlaps.argmax()]
                    errors.append(float(np.linalg.norm(distance, axis=1).mean() / eyes))
    return float(np.mean(moved[0])), float(np.mean(moved[1]))


parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("weights", nargs="+", metavar="NAME=WEIGHTS")
parser.add_argument("--mean", nargs="+", type=float, default=[], metavar="SHARE")
parser.add_argument("--save", nargs=2, metavar=("NAME", "FILE"))
arguments = parser.parse_args()

given = dict(each.split("=", 1) for each in arguments.weights)
networks = {name: initial_network(NAME, weights).eval() for name, weights in given.items()}
first, *others = networks
ends = {other: [networks[other]] for other in others}
if len(others) > 1:
    ends["others"] = [networks[other] for other in others]
for name, end in ends.items():
    for share in arguments.mean:
        networks[f"{share:g} {name}"] = mean(networks[first], end, share).eval()
if arguments.save:
    name, file = arguments.save
    write_weights(file, network_arrays(networks[name]))
    raise SystemExit
paths = ", ".join(f"{{path: {WORK}/validation/{name}/labels.json}}" for name in SETS)
config = load_config(
    DetectionConfig, Path(__file__).with_name("full.yaml"), [f"validation=[{paths}]"]
)
validator = Validator(config)
figures = {name: validator(network, CPU) for name, network in networks.items()}
for name, network in networks.items():
    flip, shift = consistency(network)
    figures[name] |= {"landmarks: mirrored": flip, "landmarks: shifted": shift}
rows = [*next(iter(figures.values()))]
print(f"| | {' | '.join(figures)} |\n|---{'|---' * len(figures)}|")
for row in rows:
    print(f"| {row} | {' | '.join(f'{found[row]:.4f}' for found in figures.values())} |")
