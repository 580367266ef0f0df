"""The record that travels with every weight (`X.onnx` and `X.json`)."""

from __future__ import annotations

import hashlib
import json
import math
import os
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from mindface.errors import ModelError, RecordError
from mindface.zoo.files import opened

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Pixels = Annotated[int, Field(ge=1, le=16384)]
Task = Literal["detection", "recognition"]
Output = Literal["boxes", "scores", "landmarks"]

TEMPLATE_SIZES = {"arcface_112x112": (112, 112), "arcface_112x96": (112, 96)}
MAX_BYTES = 1 << 20


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Kind = TypeVar("Kind", bound=_Strict)


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
    """A similarity threshold and its false-match rate.

    Attributes:
        false_match_rate: the share of impostor pairs at or above `threshold` is at most this.
        threshold: cosine similarity.
        interval: 95% confidence interval of the false-match rate at this threshold.
        true_accept_rate: the share of genuine pairs at or above `threshold`, where known.
        extrapolated: whether it was read off a fitted tail and not measured.
    """

    false_match_rate: float = Field(gt=0, lt=1)
    threshold: float = Field(ge=-1, le=1)
    interval: tuple[Share, Share]
    true_accept_rate: Share | None = None
    extrapolated: bool = False


class Tail(_Strict):
    """A generalised Pareto distribution fitted to the highest impostor scores.

    Attributes:
        start: the score at which the tail begins.
        share: the share of impostor pairs at or above `start`.
        pairs: how many impostor pairs that is.
        shape: of the distribution; below 0 the scores have an upper end.
        scale: of the distribution, in units of the score.
        distance: the greatest difference between the fitted and the measured distribution of the
            tail (Kolmogorov and Smirnov), 0 to 1.
    """

    start: Finite
    share: Share
    pairs: int = Field(gt=0)
    shape: Finite
    scale: Positive
    distance: Share


class Calibration(_Strict):
    """Thresholds by false-match rate.

    Attributes:
        name: of the calibration: what it was measured on.
        contract: the embedding contract it holds for; None inside the record of that weight.
        thresholds: from the strictest rate to the loosest.
        people: how many people it was measured on.
        people_pairs: how many pairs of different people were compared.
        photos: how many photos of them, a photo counting once for every pair of a list.
        genuine: how many genuine pairs.
        tail: what extrapolated thresholds were read off.
        manifest: what else is to be known of the measurement, such as hashes and versions.
    """

    name: str
    contract: Sha256 | None = None
    thresholds: Annotated[tuple[Threshold, ...], Field(min_length=1)]
    people: int = Field(gt=0)
    people_pairs: int = Field(gt=0)
    photos: int = Field(gt=0)
    genuine: int = Field(gt=0)
    tail: Tail | None = None
    manifest: dict[str, JsonValue] = {}

    @model_validator(mode="after")
    def _consistent(self) -> Calibration:
        for strict, loose in pairwise(self.thresholds):
            if strict.false_match_rate >= loose.false_match_rate:
                raise ValueError("thresholds must go from the strictest rate to the loosest")
            if strict.threshold < loose.threshold:
                raise ValueError(
                    f"the threshold {strict.threshold:g} at {strict.false_match_rate:g} is below "
                    f"{loose.threshold:g} at {loose.false_match_rate:g}"
                )
        if self.tail is None and any(each.extrapolated for each in self.thresholds):
            raise ValueError("extrapolated thresholds need their tail")
        return self

    def at(self, false_match_rate: float) -> Threshold | None:
        """The threshold at a false-match rate, or None where there is none."""
        for threshold in self.thresholds:
            if math.isclose(threshold.false_match_rate, false_match_rate):
                return threshold
        return None

    def for_gallery(self, fpir: float, size: int) -> Threshold | None:
        """The threshold at which a gallery seldom takes a stranger for one of its people.

        A probe of a stranger meets `size` people; if these comparisons err independently, as is
        assumed here, a false-match rate of `1 - (1 - fpir) ** (1 / size)` does (Grother, Phillips,
        "Models of large population recognition performance", CVPR 2004).

        Args:
            fpir: greatest false-positive identification rate a probe, between 0 and 1.
            size: how many people the gallery holds.

        Returns:
            The loosest threshold that is strict enough, or None where the strictest is not.

        Raises:
            ValueError: `fpir` or `size` is out of range.
        """
        if not (0 < fpir < 1 and size >= 1):
            raise ValueError(
                f"fpir must lie between 0 and 1 and size be at least 1, not {fpir:g} and {size}"
            )
        needed = -math.expm1(math.log1p(-fpir) / size)
        enough = [t for t in self.thresholds if t.false_match_rate <= needed * (1 + 1e-9)]
        return enough[-1] if enough else None


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
    return _read(ModelRecord, path, "record")


def write_record(record: ModelRecord, path: Path) -> None:
    """Writes a record as readable JSON, whole or not at all."""
    _write(record, path)


def read_calibration(path: Path) -> Calibration:
    """Reads a calibration written by `write_calibration`.

    Raises:
        RecordError: the file is missing, is not JSON, or a field is wrong; all faults are named.
    """
    return _read(Calibration, path, "calibration")


def write_calibration(calibration: Calibration, path: Path) -> None:
    """Writes a calibration as readable JSON, whole or not at all."""
    _write(calibration, path)


def _read(kind: type[Kind], path: Path, what: str) -> Kind:
    try:
        with opened(path) as file:
            content = file.read(MAX_BYTES + 1)
    except ModelError as error:
        raise RecordError(f"the {what} {error}") from error
    if len(content) > MAX_BYTES:
        raise RecordError(f"{path}: not a model {what}: larger than {MAX_BYTES} bytes")
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or what}: {fault['msg']}"
            for fault in error.errors()
        )
        raise RecordError(f"{path}: not a model {what}: {faults}") from error


def _write(content: _Strict, path: Path) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        text = content.model_dump_json(indent=2, exclude_none=True) + "\n"
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
