"""What these tests train with: little faces, a little network, a configuration."""

import hashlib
import json
from collections import OrderedDict
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from mindface.errors import ImageError
from mindface.models import convention
from mindface.training.config import load_config
from mindface.training.recognition.config import RecognitionConfig
from mindface.training.recognition.train import train

PEOPLE, EACH = 8, 6


class TinyFaces:
    """Coloured ovals in memory, of which every person's have the colours of that person.

    `broken` pictures cannot be read, those of `unknown` people have no label.
    """

    source = "tiny"

    def __init__(self, people=PEOPLE, each=EACH, size=112, broken=(), unknown=()):
        known = [person for person in range(people) if person not in unknown]
        number = {person: label for label, person in enumerate(known)}
        self.labels = np.repeat([number.get(person, -1) for person in range(people)], each)
        self.class_names = tuple(f"person {person}" for person in known)
        self.broken = broken
        self.pictures = [picture(row // each, row % each, size) for row in range(people * each)]

    def __len__(self):
        return len(self.labels)

    def read(self, index):
        if index in self.broken:
            raise ImageError("cannot be read: as the test wants it", self.describe(index))
        return self.pictures[index]

    def describe(self, index):
        return f"picture {index}"

    def order(self, rng):
        return rng.permutation(len(self))


@cache
def picture(person, number, size=112):
    """A PNG."""
    colors = np.random.default_rng(person).integers(0, 256, (3, 3)).tolist()
    rng = np.random.default_rng((person, number))
    face = np.full((size, size, 3), colors[0], np.uint8)
    center = (size // 2 + rng.integers(-6, 7, 2)).tolist()
    cv2.ellipse(face, center, (size // 3, size * 2 // 5), 0, 0, 360, colors[1], -1)
    cv2.circle(face, center, size // 8, colors[2], -1)
    noisy = np.clip(face + rng.normal(0, 8, face.shape), 0, 255).astype(np.uint8)
    return cv2.imencode(".png", noisy)[1].tobytes()


def tiny_network(norm=None, seed=0):
    """Six thousand parameters; `norm` is the layer after the convolution, a group norm if none."""
    torch.manual_seed(seed)
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(3, 8, 16, stride=16),
            norm=nn.GroupNorm(2, 8) if norm is None else norm,
            relu=nn.ReLU(),
            flat=nn.Flatten(),
            linear=nn.Linear(8 * 7 * 7, 16),
        )
    )


def write_faces(folder, people=PEOPLE, each=EACH, place=lambda person, number: person):
    """Pictures in folders of people, those that `place` says."""
    for person in range(people):
        for number in range(each):
            path = folder / f"{place(person, number)}" / f"{person}-{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture(person, number))
    return folder


class Colors(nn.Module):
    """Sees nothing but the mean colour, so faces and their mirror images are alike."""

    def __init__(self, size=16, seed=1):
        super().__init__()
        torch.manual_seed(seed)
        self.linear = nn.Linear(3, size)

    def forward(self, x):
        return self.linear(x.mean((2, 3)))


def teacher(path, network, template="arcface_112x112"):
    """Writes a network as an ONNX recogniser, and its record."""
    from mindface.export import to_onnx
    from mindface.zoo.record import Embedding, ModelRecord, Preprocessing, write_record

    size = tuple(map(int, template.partition("_")[2].split("x")))
    sample = torch.zeros(2, 3, *size)
    content = to_onnx(network.eval(), sample, convention("arcface_r50"))
    path.write_bytes(content)
    with torch.no_grad():
        embedding = Embedding(size=network(sample).shape[1], template=template)
    preprocessing = Preprocessing(color="rgb", mean=(127.5,) * 3, std=(127.5,) * 3, size=size)
    record = ModelRecord(
        name=path.stem,
        architecture="colors",
        task="recognition",
        sha256=hashlib.sha256(content).hexdigest(),
        bytes=len(content),
        licence="MIT",
        licence_class="permissive",
        preprocessing=preprocessing,
        recognition=embedding,
    )
    write_record(record, path.with_suffix(".json"))
    return str(path)


def settings(output, *overrides):
    """The configuration of `tiny.yaml`, changed."""
    preset = Path(__file__).with_name("tiny.yaml")
    return load_config(RecognitionConfig, preset, [f"output={output}", *overrides])


def trained(output, *overrides, **parts):
    """The checkpoint of a training with little parts where no others are given."""
    parts = {"network": tiny_network(), "faces": TinyFaces()} | parts
    return train(settings(output, *overrides), **parts)


def metrics(output, key="loss"):
    """The values of a key by step, each of which must be there once."""
    lines = (Path(output) / "metrics.jsonl").read_text().splitlines()
    found = [(line["step"], line[key]) for line in map(json.loads, lines) if key in line]
    assert len(dict(found)) == len(found)
    return dict(found)
