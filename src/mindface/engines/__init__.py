"""Engines: what runs an ONNX file. One protocol, one file an engine.

`load` chooses the engine and the precision; a device is a demand, never a wish: what cannot be
had is an `EngineError` that says why.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, Protocol, TypedDict, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from mindface.errors import EngineError, MissingExtraError

if TYPE_CHECKING:
    from mindface.zoo import Model

Array = NDArray[np.float32]
Item = TypeVar("Item")
Result = TypeVar("Result")
EngineName = Literal["auto", "onnxruntime", "openvino"]
PrecisionName = Literal["auto", "fp32", "bf16", "fp16"]


class Session(Protocol):
    """A model inside an engine.

    Attributes:
        engine: "onnxruntime" or "openvino".
        device: as demanded, such as "cpu" or "cuda:0".
        precision: "fp32", "bf16" or "fp16".
    """

    engine: str
    device: str
    precision: PrecisionName

    def run(self, batch: Array) -> list[Array]:
        """Runs a batch `(B, C, H, W)` float32; returns the outputs in the graph's order.

        May be called from several threads at once.
        """
        ...


class EngineSettings(TypedDict, total=False):
    """The settings that users give, all optional; `EngineOptions` says what they mean."""

    engine: EngineName
    device: str
    precision: PrecisionName
    threads: int | None


@dataclass(frozen=True)
class EngineOptions:
    """Where and how models run.

    Attributes:
        engine: "onnxruntime", "openvino", or "auto": OpenVINO on a CPU where it is installed
            (see docs/decisions/0002-engines.md), ONNX Runtime elsewhere.
        device: "cpu", "cuda", "cuda:1", "tensorrt", "cann", "coreml", "directml" for ONNX
            Runtime; "cpu", "gpu", "npu" for OpenVINO.
        precision: "fp32", "bf16", "fp16", or "auto": bf16 where the processor has it and the
            outputs stay within `mindface.engines.precision.MIN_COSINE` of fp32, else fp32.
        threads: processor threads to use; None for all that the process may use.
        streams: how many calls of `run` are meant to go side by side, sharing `threads`.
    """

    engine: EngineName = "auto"
    device: str = "cpu"
    precision: PrecisionName = "auto"
    threads: int | None = None
    streams: int = 1

    def __post_init__(self) -> None:
        if self.engine not in get_args(EngineName):
            raise EngineError(f"engine {self.engine!r}: choose auto, onnxruntime or openvino")
        if self.precision not in get_args(PrecisionName):
            raise EngineError(f"precision {self.precision!r}: choose auto, fp32, bf16 or fp16")
        if self.threads is not None and self.threads < 1:
            raise EngineError(f"threads must be at least 1, not {self.threads}")

    @property
    def thread_count(self) -> int:
        """The number of threads in use: `threads`, or all that this process may run on."""
        if self.threads:
            return self.threads
        affinity = getattr(os, "sched_getaffinity", None)
        return len(affinity(0)) if affinity else os.cpu_count() or 1

    def resolved(self) -> EngineOptions:
        """The same with the engine chosen.

        Raises:
            MissingExtraError: OpenVINO was demanded and is not installed.
        """
        if self.engine == "openvino" and not find_spec("openvino"):
            raise MissingExtraError("the engine openvino", "openvino")
        if self.engine != "auto":
            return self
        if self.device in ("gpu", "npu") or (self.device == "cpu" and find_spec("openvino")):
            return replace(self, engine="openvino").resolved()
        return replace(self, engine="onnxruntime")


def load(model: Model, options: EngineOptions, probe: Callable[[], Array]) -> Session:
    """Loads a model into an engine.

    Args:
        model: a record and its verified file, from `mindface.zoo.resolve`.
        options: engine, device, precision and threads.
        probe: gives a real input of the model, by which precision "auto" is judged.

    Raises:
        EngineError: engine, device or precision cannot be had, or the engine refuses the graph.
        MissingExtraError: the engine demanded is not installed.
    """
    options = options.resolved()
    if options.precision == "auto":
        from mindface.engines.precision import choose

        options = replace(options, precision=choose(model, options, probe))
    return open_session(model, options)


class Sessions:
    """A model loaded for one call at a time and, when first needed, for many side by side.

    A single batch is fastest when all threads share it; many are fastest on a processor when
    every thread has one of its own, and on an accelerator when they queue.

    Args:
        model: what to load.
        options: engine, device, precision and threads.
        probe: see `load`.
    """

    def __init__(self, model: Model, options: EngineOptions, probe: Callable[[], Array]) -> None:
        self._load = partial(load, model, probe=probe)
        self._options = options
        self._lock = threading.Lock()
        self._loaded: dict[int, Session] = {}

    @property
    def alone(self) -> Session:
        """The session for one call at a time."""
        return self._with_streams(1)

    def map(self, function: Callable[[Session, Item], Result], items: list[Item]) -> list[Result]:
        """Calls `function(session, item)` for each item, side by side; results in input order."""
        if len(items) < 2:
            return [function(self.alone, item) for item in items]
        streams = self._options.thread_count if self._options.device == "cpu" else 1
        session = self._with_streams(streams)
        with ThreadPoolExecutor(streams) as pool:
            return list(pool.map(lambda item: function(session, item), items))

    def _with_streams(self, streams: int) -> Session:
        with self._lock:
            if streams not in self._loaded:
                self._loaded[streams] = self._load(options=replace(self._options, streams=streams))
            return self._loaded[streams]


def open_session(model: Model, options: EngineOptions) -> Session:
    """Loads a model with engine and precision already chosen."""
    if options.engine == "openvino":
        from mindface.engines.openvino import OpenVinoSession

        return OpenVinoSession(model.path, options)
    from mindface.engines.onnxruntime import OnnxRuntimeSession

    return OnnxRuntimeSession(model.path, options)


def run_in_batches(infer: RunsOneBatch, batch: Array, size: int | None) -> list[Array]:
    """Runs a batch through a graph that takes only `size` items at a time (None: any number)."""
    if size is None or len(batch) == size:
        return infer(batch)
    parts = []
    for start in range(0, len(batch), size):
        part = batch[start : start + size]
        missing = size - len(part)
        padded = np.concatenate([part, np.repeat(part[-1:], missing, 0)]) if missing else part
        parts.append([output[: len(part)] for output in infer(padded)])
    return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]


class RunsOneBatch(Protocol):
    """Runs one batch of a size that the graph takes."""

    def __call__(self, batch: Array) -> list[Array]:
        """Returns the outputs in the graph's order."""
        ...
