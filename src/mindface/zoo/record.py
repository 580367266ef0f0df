"""The record that travels with every weight (`X.onnx` and `X.json`)."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mindface.errors import ModelError, RecordError
from mindface.zoo.files import opened

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Pixels = Annotated[int, Field(ge=1, le=16384)]
Task = Literal["detection", "recognition"]
Output = Literal["boxes", "scores", "landmarks"]

TEMPLATE_SIZES = {"arcface_112x112": (112, 112), "arcface_112x96": (112, 96)}
MAX_BYTES = 1 << 20


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Preprocessing(_Strict):
    """How pixels become a network's input: `(pixel - mean) / std`, then NCHW float32.

    Attributes:
        color: channel order the network wants.
        mean: per channel, in the network's channel order, on the 0..255 scale.
        std: per channel, likewise.
        size: (height, width) in pixels, or None where any size works.
    """

    color: Literal["rgb", "bgr"]
    mean: tuple[Finite, Finite, Finite]
    std: tuple[Positive, Positive, Positive]
    size: tuple[Pixels, Pixels] | None = None


class RetinaFaceHead(_Strict):
    """How a RetinaFace's three outputs are decoded (RetinaFace, section 3; SSD, section 2.2).

    Attributes:
        outputs: the order of the outputs: encoded boxes (B, A, 4), class probabilities
            (B, A, 2), encoded landmarks (B, A, 10).
    """

    strides: Annotated[tuple[Pixels, ...], Field(min_length=1, max_length=8)] = (8, 16, 32)
    min_sizes: tuple[Annotated[tuple[Pixels, ...], Field(min_length=1, max_length=8)], ...] = (
        (16, 32),
        (64, 128),
        (256, 512),
    )
    variances: tuple[Positive, Positive] = (0.1, 0.2)
    outputs: tuple[Output, Output, Output] = ("boxes", "scores", "landmarks")

    @model_validator(mode="after")
    def _consistent(self) -> RetinaFaceHead:
        if len(self.strides) != len(self.min_sizes):
            raise ValueError(
                f"{len(self.strides)} strides need as many groups of min_sizes, "
                f"not {len(self.min_sizes)}"
            )
        if len(set(self.outputs)) != 3:
            raise ValueError("outputs must name boxes, scores and landmarks once each")
        return self


class Embedding(_Strict):
    """What a recogniser returns and which aligned crop it wants.

    Attributes:
        size: the number of values in an embedding.
        template: the alignment template (`mindface.geometry.TEMPLATES`).
    """

    size: int = Field(ge=1, le=65536)
    template: Literal["arcface_112x112", "arcface_112x96"]


class Threshold(_Strict):
    """A similarity threshold and the false-match rate it was measured at.

    Attributes:
        false_match_rate: the share of impostor pairs at or above `threshold`.
        threshold: cosine similarity.
        interval: 95% confidence interval of the false-match rate at this threshold.
    """

    false_match_rate: float = Field(gt=0, lt=1)
    threshold: float = Field(ge=-1, le=1)
    interval: tuple[float, float]


class Calibration(_Strict):
    """Thresholds by false-match rate.

    Attributes:
        name: of the calibration: what it was measured on.
        thresholds: from the strictest rate to the loosest.
    """

    name: str
    thresholds: tuple[Threshold, ...]

    def at(self, false_match_rate: float) -> Threshold | None:
        """The threshold measured at a false-match rate, or None where that was not measured."""
        for threshold in self.thresholds:
            if math.isclose(threshold.false_match_rate, false_match_rate):
                return threshold
        return None


class ModelRecord(_Strict):
    """Everything that must be known of a weight to use it; nothing is guessed from the graph.

    Attributes:
        name: the name users say.
        task: what it does.
        architecture: the network, a name of `mindface.create_model` where we have it.
        sha256: of the weight file.
        bytes: size of the weight file, where known.
        url: https address it can be fetched from.
        licence: SPDX identifier, or the plain name of the terms.
        licence_class: whether the terms allow commercial use.
        accuracy: published or measured figures in percent by name, such as {"LFW": 99.3}.
        cosine: per reduced precision, the least cosine to fp32 that was measured.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.\-]*$")
    task: Task
    architecture: str
    sha256: Sha256
    bytes: int | None = Field(default=None, gt=0)
    url: str | None = Field(default=None, pattern=r"^https://")
    licence: str
    licence_class: Literal["permissive", "non-commercial", "unknown"]
    training_data: str | None = None
    paper: str | None = None
    source: str | None = None
    accuracy: dict[str, Finite] = {}
    notes: str | None = None
    preprocessing: Preprocessing
    detection: RetinaFaceHead | None = None
    recognition: Embedding | None = None
    calibration: Calibration | None = None
    cosine: dict[Literal["bf16", "fp16"], float] = {}

    @model_validator(mode="after")
    def _one_head(self) -> ModelRecord:
        if (self.detection is None) == (self.recognition is None):
            raise ValueError("exactly one of 'detection' and 'recognition' must be given")
        if self.task != ("detection" if self.detection else "recognition"):
            raise ValueError(f"task is {self.task!r}, but the other head is described")
        if self.recognition:
            size = TEMPLATE_SIZES[self.recognition.template]
            if self.preprocessing.size != size:
                raise ValueError(
                    f"crops of the template {self.recognition.template} need "
                    f"preprocessing.size {list(size)}"
                )
        return self

    @property
    def contract(self) -> str:
        """The embedding contract: a hash of the weight and of all that is done to its input."""
        facts = {
            "sha256": self.sha256,
            "preprocessing": self.preprocessing.model_dump(mode="json"),
            "recognition": self.recognition and self.recognition.model_dump(mode="json"),
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def read_record(path: Path) -> ModelRecord:
    """Reads a record written by `write_record`.

    Raises:
        RecordError: the file is missing, is not JSON, or a field is wrong; all faults are named.
    """
    try:
        with opened(path) as file:
            content = file.read(MAX_BYTES + 1)
    except ModelError as error:
        raise RecordError(f"the record {error}") from error
    if len(content) > MAX_BYTES:
        raise RecordError(f"{path}: not a model record: larger than {MAX_BYTES} bytes")
    try:
        return ModelRecord.model_validate_json(content)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'record'}: {fault['msg']}"
            for fault in error.errors()
        )
        raise RecordError(f"{path}: not a model record: {faults}") from error


def write_record(record: ModelRecord, path: Path) -> None:
    """Writes a record as readable JSON."""
    path.write_text(record.model_dump_json(indent=2, exclude_none=True) + "\n", encoding="utf-8")
