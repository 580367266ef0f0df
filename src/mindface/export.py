"""A trained network becomes `X.onnx`, which inference loads, and `X.json`, its record."""

from __future__ import annotations

import copy
import hashlib
import os
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from mindface.errors import MissingExtraError, ModelError, WeightsError
from mindface.formats import read_weights
from mindface.models import Convention, convention, create_model
from mindface.zoo.cache import cache_directory
from mindface.zoo.files import sha256_of
from mindface.zoo.record import Embedding, ModelRecord, RetinaFaceHead, write_record

try:
    import onnx
    import torch

    from mindface.weights import identify
except ImportError as error:
    raise MissingExtraError("exporting", "train") from error

import onnxruntime

Array = npt.NDArray[np.float32]

OPSET = 18
TOLERANCE = 1e-4  # of the largest output
INPUT = "images"
BATCHES = (1, 3)
DETECTOR_SIZES = ((160, 128), (200, 264))
PERMISSIVE = {"MIT", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "CC-BY-4.0", "ISC"}


def export_model(
    network: torch.nn.Module,
    path: str | os.PathLike[str],
    *,
    name: str | None = None,
    licence: str = "unknown",
    training_data: str | None = None,
    source: str | None = None,
    accuracy: Mapping[str, float] | None = None,
    notes: str | None = None,
) -> ModelRecord:
    """Writes a network as ONNX together with its record, after comparing the two.

    The file takes any batch size and, for a detector, any height and width; its axes are called
    batch, height, width and anchors. The same weights give the same bytes. Nothing is written
    when ONNX Runtime's outputs differ from the network's by more than 1e-4 of the largest.

    Args:
        network: made by `create_model`; it is left as it was, in training mode or not.
        path: where to write, ending in `.onnx`; the record gets the same name with `.json`.
        name: what users will call the model; its architecture if not given.
        licence: SPDX identifier or plain name of the terms the weights are under.
        training_data: what they were trained on.
        source: where they come from.
        accuracy: measured or published figures, such as `{"LFW": 99.3}`.
        notes: anything else a user must know.

    Returns:
        The record that was written.

    Raises:
        ModelError: the path does not end in `.onnx`, or the network is not one of ours.
        WeightsError: the exported file does not reproduce the network.
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise ModelError(f"{path}: exporting writes ONNX, so the name must end in .onnx")
    architecture = getattr(network, "architecture", None)
    if architecture is None:
        raise ModelError(f"{type(network).__name__} has no record: build it with create_model")
    facts = convention(architecture)
    network = copy.deepcopy(network).float().cpu().eval()
    samples = _samples(facts)
    content = to_onnx(network, samples[-1], facts)
    outputs = _compare(network, content, samples)
    record = ModelRecord(
        name=name or architecture,
        task=facts.task,
        architecture=architecture,
        sha256=hashlib.sha256(content).hexdigest(),
        bytes=len(content),
        licence=licence,
        licence_class=_licence_class(licence),
        training_data=training_data,
        paper=facts.paper,
        source=source,
        accuracy=dict(accuracy or {}),
        notes=notes,
        preprocessing=facts.preprocessing,
        detection=None if facts.template else RetinaFaceHead(),
        recognition=Embedding(size=outputs[0].shape[1], template=facts.template)
        if facts.template
        else None,
    )
    _write(path, content, record)
    return record


def export_weights(path: str | os.PathLike[str]) -> Path:
    """Exports a weight file of one of our networks into the cache, once for each content.

    Raises:
        WeightsError: the file cannot be read, or its parameters are those of no network.
        ModelError: likewise.
    """
    target = cache_directory() / "exported" / f"{sha256_of(Path(path))[:32]}.onnx"
    if not (target.is_file() and target.with_suffix(".json").is_file()):
        name = identify(read_weights(path))
        if name is None:
            raise WeightsError(f"{path}: its parameters are those of none of our networks")
        export_model(create_model(name, weights=path), target)
    return target


def to_onnx(network: torch.nn.Module, sample: torch.Tensor, facts: Convention) -> bytes:
    """Serialises a network in evaluation mode, batch norms folded, axes named.

    The TorchScript exporter is used on purpose: see docs/models.md.
    """
    images = {0: "batch"} if facts.template else {0: "batch", 2: "height", 3: "width"}
    outputs = ["embeddings"] if facts.template else ["boxes", "scores", "landmarks"]
    rows = {0: "batch"} if facts.template else {0: "batch", 1: "anchors"}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = Path(folder, "network.onnx")
        torch.onnx.export(
            network,
            (sample,),
            traced,
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=outputs,
            dynamic_axes={INPUT: images, **dict.fromkeys(outputs, rows)},
        )
        model = onnx.load(traced)
    _state_output_shapes(model, network, sample)
    model.producer_name, model.producer_version = "mindface", ""
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _state_output_shapes(
    model: onnx.ModelProto, network: torch.nn.Module, sample: torch.Tensor
) -> None:
    """Writes the sizes that tracing lost: the last axis of every output is fixed."""
    for value, array in zip(model.graph.output, _run(network, sample), strict=True):
        last = value.type.tensor_type.shape.dim[-1]
        last.dim_value = array.shape[-1]


def _samples(facts: Convention) -> list[torch.Tensor]:
    """Noise images of several shapes, preprocessed."""
    generator = torch.Generator().manual_seed(0)
    size = facts.preprocessing.size
    sizes = (size, size) if size else DETECTOR_SIZES
    mean, std = (
        torch.tensor(values).view(3, 1, 1)
        for values in (facts.preprocessing.mean, facts.preprocessing.std)
    )
    return [
        (torch.rand(batch, 3, *size, generator=generator) * 255 - mean) / std
        for batch, size in zip(BATCHES, sizes, strict=True)
    ]


def _compare(
    network: torch.nn.Module, content: bytes, samples: list[torch.Tensor]
) -> tuple[Array, ...]:
    """Raises unless ONNX Runtime reproduces the network; returns the last outputs."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    for sample in samples:
        expected = _run(network, sample)
        exported = session.run(None, {INPUT: sample.numpy()})
        for name, ours, theirs in zip(names, expected, exported, strict=True):
            difference, limit = np.abs(ours - theirs).max(), TOLERANCE * np.abs(ours).max()
            if not difference <= limit:
                raise WeightsError(
                    f"the exported {name} differ from the network's by {difference:.1e} (limit "
                    f"{limit:.1e}) on input {tuple(sample.shape)}: nothing was written"
                )
    return expected


def _run(network: torch.nn.Module, sample: torch.Tensor) -> tuple[Array, ...]:
    with torch.inference_mode():
        outputs = network(sample)
    return tuple(o.numpy() for o in (outputs if isinstance(outputs, tuple) else (outputs,)))


def _licence_class(licence: str) -> Literal["permissive", "non-commercial", "unknown"]:
    if licence in PERMISSIVE:
        return "permissive"
    plain = licence.lower()
    return "non-commercial" if "-nc" in plain or "non-commercial" in plain else "unknown"


def _write(path: Path, content: bytes, record: ModelRecord) -> None:
    """Puts both files in place, each whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write_record(record, partial)
        os.replace(partial, path.with_suffix(".json"))
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
