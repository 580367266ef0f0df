"""What a training of a recogniser can be told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field, model_validator

from mindface.models import MODELS, convention
from mindface.recognition.augmentation import Augmentation
from mindface.recognition.losses import LOSSES
from mindface.training.config import Config
from mindface.training.settings import Count, NotNegative, Settings, Share

RECOGNIZERS = [name for name in MODELS if convention(name).task == "recognition"]


class Source(Config):
    """A set of faces to train on."""

    path: str = Field(description="A folder per person, a .rec, a tar or `name-{000..009}.tar`.")
    weight: Annotated[float, Field(gt=0)] = Field(
        default=1.0, description="How often an epoch shows each of its pictures."
    )
    labelled: bool = Field(
        default=True, description="False: its labels say nothing; for distillation."
    )
    exclude: str | None = Field(
        default=None, description="A file with a person to leave out a line."
    )


class Data(Config):
    """What is trained on."""

    sets: tuple[Source, ...] = Field(default=(), description="Sets with disjoint people.")
    batch: Count = Field(default=512, description="Pictures of a step in all processes together.")
    workers: Annotated[int, Field(ge=0)] = Field(
        default=2, description="Processes that read, for each that trains."
    )
    augmentation: Augmentation = Field(
        default=Augmentation(), description="How likely each change of a picture is."
    )
    strict: bool = Field(default=False, description="An unreadable picture ends the training.")


class Network(Config):
    """What is trained."""

    name: str = Field(
        default="arcface_mobilefacenet", description="A recogniser of `mindface.models`."
    )
    embedding_size: Count = Field(default=512, description="Values in an embedding.")
    weights: str | None = Field(
        default=None, description="A weight file or a training's folder to start from."
    )
    drop_path: Share | None = Field(default=None, description="ViT: how often a branch is skipped.")
    mask_ratio: Share | None = Field(default=None, description="ViT: the share of masked patches.")
    freeze: tuple[str, ...] = Field(
        default=(), description="Parameters that stay: their names begin like this."
    )

    def arguments(self) -> dict[str, Any]:
        """What `create_model` takes besides the name."""
        given = {"drop_path": self.drop_path, "mask_ratio": self.mask_ratio}
        chosen = {name: value for name, value in given.items() if value is not None}
        return {"embedding_size": self.embedding_size, **chosen}


class Head(Config):
    """The loss over labelled people."""

    loss: str | None = Field(default="arcface", description="A key of `LOSSES`; null: none.")
    arguments: dict[str, float | int] = Field(
        default={}, description="Of the loss, such as {margin: 0.5, scale: 64}."
    )
    weight: Annotated[float, Field(gt=0)] = Field(default=1.0, description="Factor of the loss.")
    rate: Annotated[float, Field(gt=0, le=1)] = Field(
        default=1.0, description="Partial FC: the share of classes in a step."
    )
    filter: Annotated[float, Field(ge=-1, le=1)] | None = Field(
        default=None, description="Negatives with a cosine above it are left out."
    )
    start: NotNegative = Field(default=0.0, description="The epoch from which the loss counts.")
    first: NotNegative = Field(
        default=0.0, description="Epochs from then on in which the class centres learn alone."
    )
    ramp: NotNegative = Field(
        default=0.0, description="Epochs from then on in which the margin grows to its size."
    )


class Distillation(Config):
    """The loss towards teachers' embeddings."""

    teachers: tuple[str, ...] = Field(
        default=(), description="ONNX files or names of the catalogue."
    )
    cosine: NotNegative = Field(default=1.0, description="Factor of the cosine loss.")
    relational: NotNegative = Field(
        default=0.0, description="Factor of the relational distance loss."
    )
    cache: str = Field(default="teachers", description="Where the teachers' embeddings are kept.")


class VerificationSet(Config):
    """A set that verification is measured on."""

    path: str = Field(description="A .bin, a folder per person, or a list of pairs.")
    images: str | None = Field(default=None, description="Where the photos of a list of pairs lie.")


class RecognitionConfig(Settings):
    """A training of a recogniser."""

    output: str = Field(
        default="runs/recognition", description="The folder of all that is written."
    )
    network: Network = Field(default_factory=Network, description="What is trained.")
    head: Head = Field(default_factory=Head, description="The loss over labelled people.")
    distillation: Distillation = Field(
        default_factory=Distillation, description="The loss towards teachers."
    )
    data: Data = Field(default_factory=Data, description="What is trained on.")
    recompute: bool = Field(default=False, description="ViT: gradient checkpointing, less memory.")
    fsdp: bool = Field(default=False, description="ViT: parameters sharded over processes (FSDP2).")
    verification: tuple[VerificationSet, ...] = Field(
        default=(), description="Measured while it trains."
    )

    @model_validator(mode="after")
    def _possible(self) -> RecognitionConfig:
        if faults := list(self._faults()):
            raise ValueError("; ".join(faults))
        return self

    def _faults(self) -> Iterator[str]:
        network, head, distillation = self.network, self.head, self.distillation
        if network.name not in RECOGNIZERS:
            yield f"network.name={network.name}: no recogniser; there are {', '.join(RECOGNIZERS)}"
        if head.loss is not None and head.loss not in LOSSES:
            yield f"head.loss={head.loss}: no loss; there are {', '.join(LOSSES)}"
        if "vit" not in network.name:
            of_a_vit = {
                "recompute": self.recompute,
                "fsdp": self.fsdp,
                "network.drop_path": network.drop_path is not None,
                "network.mask_ratio": network.mask_ratio is not None,
            }
            for key in (key for key, given in of_a_vit.items() if given):
                yield f"{key} is for the blocks of a ViT, and {network.name} has none"
        if self.fsdp and self.channels_last:
            yield "fsdp shards parameters in their plain order: set channels_last=false"
        if self.fsdp and self.optimizer.name == "muon":
            yield "fsdp gives each process a part of a matrix, and muon needs whole ones"
        taught = bool(distillation.teachers)
        if taught and not (distillation.cosine or distillation.relational):
            yield "distillation.cosine and relational are both 0, so teachers teach nothing"
        if not taught and head.loss is None:
            yield "without head.loss and distillation.teachers nothing is learnt"
        if not taught and head.start:
            yield f"without teachers nothing is learnt before head.start={head.start:g}"
        if network.weights and not self.verification:
            yield (
                "network.weights is fine-tuned, so verification must name a set that tells whether "
                "it got better, such as verification=[{path: lfw.bin}]"
            )
