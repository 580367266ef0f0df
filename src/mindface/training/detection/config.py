"""What a training of a detector can be told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, model_validator

from mindface.detection.augmentation import SceneAugmentation
from mindface.models import MODELS, convention
from mindface.training.config import Config
from mindface.training.settings import Count, NotNegative, Settings

DETECTORS = [name for name in MODELS if convention(name).task == "detection"]
STRIDE = 32  # the coarsest level's


class Source(Config):
    """Photos with labelled faces."""

    path: str = Field(
        description="label.txt of RetinaFace, wider_face_*_bbx_gt.txt, or COCO's JSON."
    )
    images: str | None = Field(
        default=None, description="Where the photos lie; null: `images` beside the labels."
    )


class TrainingSource(Source):
    """Photos to train on."""

    weight: Annotated[float, Field(gt=0)] = Field(
        default=1.0, description="How often an epoch shows each of its photos."
    )


class Data(Config):
    """What is trained on."""

    sets: tuple[TrainingSource, ...] = Field(default=(), description="Sets to train on.")
    batch: Count = Field(default=16, description="Pictures of a step in all processes together.")
    size: Annotated[int, Field(ge=64)] = Field(
        default=640, description="Sides of the network's input, a multiple of 32."
    )
    workers: Annotated[int, Field(ge=0)] = Field(
        default=2, description="Processes that read, for each that trains."
    )
    augmentation: SceneAugmentation = Field(
        default=SceneAugmentation(), description="How likely each change of a picture is."
    )
    strict: bool = Field(default=False, description="An unreadable photo ends the training.")


class Network(Config):
    """What is trained."""

    name: str = Field(
        default="retinaface_mobilenet025", description="A detector of `mindface.models`."
    )
    weights: str | None = Field(
        default=None, description="A weight file or a training's folder to start from."
    )
    backbone: str | None = Field(
        default=None, description="A weight file of the backbone alone, trained on ImageNet."
    )
    freeze: tuple[str, ...] = Field(
        default=(), description="Parameters that stay: their names begin like this."
    )
    freeze_norms: bool = Field(default=False, description="Batch norms stay, their statistics too.")


class Loss(Config):
    """The loss of anchors: MultiBox."""

    threshold: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.35, description="Overlap from which an anchor is taken for a face."
    )
    negatives: Count = Field(default=7, description="Hard negatives for each positive anchor.")
    boxes: NotNegative = Field(default=2.0, description="Factor of the boxes' part.")
    landmarks: NotNegative = Field(default=1.0, description="Factor of the landmarks' part.")
    classification: Literal["cross_entropy", "focal"] = Field(
        default="cross_entropy", description="How face and background are told apart."
    )
    regression: Literal["smooth_l1", "diou"] = Field(
        default="smooth_l1", description="How boxes are compared."
    )
    matching: Literal["overlap", "atss"] = Field(
        default="overlap", description="Which anchors are taken for a face."
    )
    kept: str | None = Field(
        default=None,
        description="A weight file or a training's folder whose judgement of what no label calls "
        "a face is kept; null: none is.",
    )
    keeping: NotNegative = Field(default=1.0, description="Factor of what is kept.")


class DetectionConfig(Settings):
    """A training of a detector."""

    output: str = Field(default="runs/detection", description="The folder of all that is written.")
    network: Network = Field(default_factory=Network, description="What is trained.")
    loss: Loss = Field(default_factory=Loss, description="The loss of anchors.")
    data: Data = Field(default_factory=Data, description="What is trained on.")
    validation: tuple[Source, ...] = Field(default=(), description="Measured while it trains.")
    validation_size: Annotated[int, Field(ge=64)] = Field(
        default=640, description="Long side of photos that are measured, in pixels."
    )

    @model_validator(mode="after")
    def _possible(self) -> DetectionConfig:
        if faults := list(self._faults()):
            raise ValueError("; ".join(faults))
        return self

    def _faults(self) -> Iterator[str]:
        network = self.network
        if network.name not in DETECTORS:
            yield f"network.name={network.name}: no detector; there are {', '.join(DETECTORS)}"
        if self.data.size % STRIDE:
            yield f"data.size={self.data.size} is no multiple of {STRIDE}"
        if network.weights and network.backbone:
            yield "network.weights has a backbone already: leave out network.backbone"
        if network.weights and not self.validation:
            yield (
                "network.weights is fine-tuned, so validation must name a set that tells whether "
                "it got better, such as validation=[{path: val/label.txt}]"
            )
