"""Engines: what runs an ONNX file. One protocol, one file an engine.

A device is a demand, never a wish: what cannot be had is an `EngineError` that says why. What the
options leave to "auto" is settled in `choice`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Literal, Protocol, TypedDict, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from mindface.errors import EngineError

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
        engine: "onnxruntime", "openvino", or "auto": on a CPU whichever of those installed is the
            fastest for the model (`mindface.engines.choice`), ONNX Runtime elsewhere.
        device: "cpu", "cuda", "cuda:1", "tensorrt", "cann", "coreml", "directml" for ONNX
            Runtime; "cpu", "gpu", "npu" for OpenVINO.
        precision: "fp32", "bf16", "fp16", or "auto": bf16 where the processor has it, is faster
            with it, and the outputs keep a cosine of 0.999 to fp32; else fp32.
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


class Sessions:
    """A model loaded for one call at a time and, when first needed, for many side by side.

    A single batch is fastest when all threads share it; many are fastest on a processor when
    every thread has one of its own, and on an accelerator when they queue.

    Args:
        model: a record and its verified file, from `mindface.zoo.resolve`.
        options: engine, device, precision and threads.
        probe: gives real inputs of the model, by which "auto" is settled.
    """

    def __init__(self, model: Model, options: EngineOptions, probe: Callable[[], Array]) -> None:
        self._model = model
        self._options = options
        self._probe = probe
        self._lock = threading.Lock()
        self._loaded: dict[int, Session] = {}

    @property
    def alone(self) -> Session:
        """The session for one call at a time.

        Raises:
            EngineError: engine, device or precision cannot be had, or the engine refuses the
                graph.
            MissingExtraError: the engine demanded is not installed.
        """
        return self._with_streams(1)

    def map(
        self,
        function: Callable[[Session, Item], Result],
        items: list[Item],
        *,
        alone: bool = False,
    ) -> list[Result]:
        """Calls `function(session, item)` for each item; results in input order.

        Args:
            function: what to do.
            items: with what; started in this order.
            alone: one after the other with all threads, not side by side.
        """
        if alone or len(items) < 2:
            return [function(self.alone, item) for item in items]
        streams = self._options.thread_count if self._options.device == "cpu" else 1
        session = self._with_streams(streams)
        with ThreadPoolExecutor(streams) as pool:
            return list(pool.map(lambda item: function(session, item), items))

    def _with_streams(self, streams: int) -> Session:
        with self._lock:
            if streams not in self._loaded:
                options = replace(self.settled, streams=streams)
                self._loaded[streams] = open_session(self._model, options)
            return self._loaded[streams]

    @cached_property
    def settled(self) -> EngineOptions:
        """The options with nothing left to "auto"."""
        from mindface.engines.choice import choose

        return choose(self._model, self._options, self._probe)


def engine_version(engine: str) -> str:
    """The version of an engine, whichever package brought it (onnxruntime-gpu, ...)."""
    return str(import_module(engine).__version__)


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
