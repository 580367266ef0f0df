"""Teaches the detector to see in old photographs what it sees in colours.

    python recipes/retinaface_mobilenet025/old_photos.py WEIGHTS OUTPUT

Half of the pictures lose their colours; their contrast, brightness, tint and grain change. What
the network is to say of them is what it said of the picture as it was, of all anchors, whether
anybody labelled them or not; of the others, what it said before. 300 steps of 16 pictures take
9 minutes of one core.
"""

from __future__ import annotations

import argparse
import copy
import math
from contextlib import closing
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mindface.formats import write_weights
from mindface.training.averaging import WeightAverage
from mindface.training.config import load_config
from mindface.training.detection.config import DetectionConfig
from mindface.training.detection.data import Scenes, collate
from mindface.training.detection.setup import open_sets
from mindface.training.detection.step import judgement, prepared
from mindface.training.loading import loaded
from mindface.training.networks import freeze, initial_network
from mindface.training.sampler import GlobalBatches
from mindface.training.step import set_mode
from mindface.weights import network_arrays

NAME = "retinaface_mobilenet025"
STEPS, WARMUP, RATE, SEED = 300, 30, 3e-4, 5
KEEPING, BOXES = 12, 2  # weights of the classes and the boxes, against the landmarks
SEEN = 0.05  # probability of a face from which on its place counts
AVERAGE = 0.99
PICTURES = [  # as `full.yaml` has them, in colours and in better light
    "data.augmentation.grayscale=0",
    "data.augmentation.face_mask=0.3",
    "data.augmentation.jpeg=0.15",
    "data.augmentation.blurred=0",
    "data.augmentation.low_light=0.05",
    "data.augmentation.photometric=0.4",
    f"seed={SEED}",
]
LUMA = torch.tensor([0.299, 0.587, 0.114])
SEPIA = torch.tensor([1.08, 1.0, 0.86])
CPU = torch.device("cpu")


def aged(images: Tensor, generator: torch.Generator) -> Tensor:
    """Half of the pictures `(B, S, S, 3)` uint8 as old photographs, the others as they are."""

    def drawn(low: float, high: float) -> Tensor:
        return torch.rand(len(images), 1, 1, 1, generator=generator) * (high - low) + low

    colours = images.float()
    gray = (colours * LUMA).sum(3, keepdim=True)
    middle = gray.mean((1, 2, 3), keepdim=True)
    gray = (gray - middle) * drawn(0.6, 1.15) + middle + drawn(-25, 25)
    gray = gray.expand(-1, -1, -1, 3)
    gray = torch.where(drawn(0, 1) < 0.3, gray * SEPIA, gray)
    grainy = drawn(0, 1) < 0.5
    grain = torch.randn(*images.shape[:3], 1, generator=generator) * drawn(0, 9)
    gray = torch.where(grainy, gray + grain, gray)
    old = torch.where(drawn(0, 1) < 0.5, gray, colours)
    return old.clamp(0, 255).round().to(torch.uint8)


def apart(student: nn.Module, teacher: nn.Module, images: Tensor, old: Tensor) -> Tensor:
    """How far the student's answers to old pictures are from the teacher's to the new ones."""
    new, old = (
        prepared(each, NAME, CPU).contiguous(memory_format=torch.channels_last)
        for each in (images, old)
    )
    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad():
            boxes, _, landmarks = (each.float() for each in teacher(new))
            classes = judgement(teacher, new).float()
        found, logits, points = (each.float() for each in student(old))
    faces = classes[..., 1:]
    weight = faces * (faces > SEEN)
    return (
        KEEPING * F.kl_div(logits.log_softmax(2), classes, reduction="sum")
        + BOXES * (F.smooth_l1_loss(found, boxes, reduction="none") * weight).sum()
        + (F.smooth_l1_loss(points, landmarks, reduction="none") * weight).sum()
    ) / faces.sum().clamp(min=1)


def main() -> None:
    """Trains, and writes the averaged weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights")
    parser.add_argument("output")
    arguments = parser.parse_args()

    config = load_config(DetectionConfig, Path(__file__).with_name("full.yaml"), PICTURES)
    scenes = open_sets(config.data)
    batches = GlobalBatches(scenes.order, config.data.batch, seed=SEED)
    batches.stop = STEPS
    student = initial_network(NAME, arguments.weights).to(memory_format=torch.channels_last)
    teacher = copy.deepcopy(student).eval().requires_grad_(False)
    average = WeightAverage(student, AVERAGE)
    freeze(student, [], norms=True)
    set_mode(student, True)
    learnt = [each for each in student.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(learnt, RATE, weight_decay=0.01)
    generator = torch.Generator().manual_seed(SEED)
    with closing(loaded(Scenes(scenes, config), batches, collate, 0, CPU)) as read:
        for step, batch in enumerate(read):
            rate = min(1, (step + 1) / WARMUP) * (1 + math.cos(math.pi * step / STEPS)) / 2
            optimizer.param_groups[0]["lr"] = RATE * rate
            loss = apart(student, teacher, batch.images, aged(batch.images, generator))
            loss.backward()
            nn.utils.clip_grad_norm_(learnt, config.optimizer.max_norm)
            optimizer.step()
            optimizer.zero_grad()
            average.update(student)
            if (step + 1) % 20 == 0:
                print(f"step {step + 1} of {STEPS}: loss {loss.item():.3f}", flush=True)
    average.apply_to(student)
    write_weights(arguments.output, network_arrays(student))


if __name__ == "__main__":
    main()
