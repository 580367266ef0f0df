"""The networks by name, and what each expects around it.

`MODELS` is the whole registry: adding a network means adding its constructor here and its
convention below.
"""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from mindface.errors import MissingExtraError, UnknownModelError
from mindface.zoo.record import Preprocessing, Task

try:
    import torch
except ImportError as error:
    raise MissingExtraError("building networks", "train") from error

from mindface.detection.models.retinaface import retinaface_mobilenet025, retinaface_resnet50
from mindface.recognition.models.iresnet import arcface_r50, arcface_r100
from mindface.recognition.models.mobilefacenet import arcface_mobilefacenet, mobilefacenet_112x96
from mindface.recognition.models.vit import (
    arcface_vit_b,
    arcface_vit_l,
    arcface_vit_s,
    arcface_vit_t,
)

MODELS: dict[str, Callable[..., torch.nn.Module]] = {
    "retinaface_mobilenet025": retinaface_mobilenet025,
    "retinaface_resnet50": retinaface_resnet50,
    "arcface_mobilefacenet": arcface_mobilefacenet,
    "arcface_r50": arcface_r50,
    "arcface_r100": arcface_r100,
    "arcface_vit_t": arcface_vit_t,
    "arcface_vit_s": arcface_vit_s,
    "arcface_vit_b": arcface_vit_b,
    "arcface_vit_l": arcface_vit_l,
    "mobilefacenet_112x96": mobilefacenet_112x96,
}


@dataclass(frozen=True)
class Convention:
    """What a network's inputs and outputs mean, the part of its record that weights don't change.

    Attributes:
        preprocessing: how pixels become its input.
        template: the alignment of its crops, or None for a detector.
        paper: where the architecture is described.
    """

    preprocessing: Preprocessing
    template: Literal["arcface_112x112", "arcface_112x96"] | None
    paper: str

    @property
    def task(self) -> Task:
        """What the network does."""
        return "recognition" if self.template else "detection"


_RETINAFACE = Convention(
    Preprocessing(color="bgr", mean=(104, 117, 123), std=(1, 1, 1)),
    template=None,
    paper="https://arxiv.org/abs/1905.00641",
)
_ARCFACE = Convention(
    Preprocessing(color="rgb", mean=(127.5,) * 3, std=(127.5,) * 3, size=(112, 112)),
    template="arcface_112x112",
    paper="https://arxiv.org/abs/1801.07698",
)
_MOBILEFACENET = Convention(
    Preprocessing(color="rgb", mean=(127.5,) * 3, std=(128,) * 3, size=(112, 96)),
    template="arcface_112x96",
    paper="https://arxiv.org/abs/1804.07573",
)


def convention(name: str) -> Convention:
    """Says what surrounds the network called `name`."""
    families = {"retinaface": _RETINAFACE, "arcface": _ARCFACE, "mobilefacenet": _MOBILEFACENET}
    _constructor(name)
    return families[name.split("_")[0]]


def create_model(
    name: str, *, weights: str | os.PathLike[str] | None = None, **overrides: Any
) -> torch.nn.Module:
    """Builds a network, randomly initialised or from a weight file.

    Args:
        name: a key of `MODELS`, such as "arcface_r50".
        weights: a file of any project and format that `load_weights` reads.
        overrides: arguments of the constructor, such as `embedding_size=256`.

    Raises:
        UnknownModelError: no network has this name, or it takes no such override.
        WeightsError: the weights do not fit; says which.
    """
    constructor = _constructor(name)
    try:
        inspect.signature(constructor).bind(**overrides)
    except TypeError as error:
        raise UnknownModelError(f"{name}: {error}") from error
    # Without weights a network is initialised; with them it is a skeleton that they fill.
    with torch.device("meta") if weights is not None else contextlib.nullcontext():
        network = constructor(**overrides)
    network.architecture = name  # type: ignore[assignment]
    if weights is not None:
        from mindface.weights import load_weights

        load_weights(network, weights)
    return network


def _constructor(name: str) -> Callable[..., torch.nn.Module]:
    if name not in MODELS:
        raise UnknownModelError(f"{name!r} is not a network; there are {', '.join(MODELS)}")
    return MODELS[name]
