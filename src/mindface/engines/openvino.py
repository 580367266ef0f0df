"""OpenVINO: the fastest engine on most processors (extra `openvino`)."""

from __future__ import annotations

import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from mindface.engines import Array, EngineOptions, run_in_batches
from mindface.errors import EngineError

TYPES = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}
_LOCK = threading.Lock()
CAPABILITIES = {"bf16": "BF16", "fp16": "FP16"}


class OpenVinoSession:
    """One model, compiled for open image sizes, or anew for each batch size.

    A graph whose image size is open is compiled once. Where only the number of images is open,
    each number gets a graph of its own: that costs a fraction of a second and makes small networks
    up to 1.8 times as fast (docs/decisions/0002-engines.md); callers use few batch sizes.
    """

    engine = "openvino"

    def __init__(self, path: Path, options: EngineOptions) -> None:
        self.device = options.device
        self.precision = options.precision
        self._target = _target(options)
        self._settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": TYPES[options.precision]}
        if self._target == "CPU":
            self._settings["INFERENCE_NUM_THREADS"] = options.thread_count
            self._settings["NUM_STREAMS"] = min(options.streams, options.thread_count)
        try:
            self._model = _core().read_model(path)
            shape = self._model.inputs[0].partial_shape
        except RuntimeError as error:
            raise EngineError(f"{path}: OpenVINO cannot load it: {_last(error)}") from error
        self._batch = shape[0].get_length() if shape[0].is_static else None
        self._image = [side.get_length() for side in list(shape)[1:] if side.is_static]
        self._compiled: dict[tuple[int, ...], _Compiled] = {}
        self._lock = threading.Lock()

    def run(self, batch: Array) -> list[Array]:
        """Runs a batch; see `Session.run`."""
        return run_in_batches(self._infer, batch, self._batch)

    def _infer(self, batch: Array) -> list[Array]:
        try:
            return self._graph(batch.shape).run(batch)
        except RuntimeError as error:
            raise EngineError(f"OpenVINO failed on {batch.shape}: {_last(error)}") from error

    def _graph(self, shape: tuple[int, ...]) -> _Compiled:
        key = shape if len(self._image) == 3 else ()
        with self._lock:
            if key not in self._compiled:
                model = self._model.clone()
                if key:
                    model.reshape(list(key))
                compiled = _core().compile_model(model, self._target, self._settings)
                self._compiled[key] = _Compiled(compiled)
            return self._compiled[key]


class _Compiled:
    """A compiled model and its idle requests: each call takes one, so threads never share."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._idle: list[Any] = []

    def run(self, batch: Array) -> list[Array]:
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        request.infer([batch], share_inputs=True)
        outputs = [np.array(tensor.data, np.float32) for tensor in request.output_tensors]
        self._idle.append(request)
        return outputs


def available_devices() -> list[str]:
    """The devices that OpenVINO finds on this machine, in lower case."""
    return [str(device).lower() for device in _core().available_devices]


def available_precisions(device: str = "cpu") -> list[str]:
    """The precisions that a device computes natively."""
    native = _core().get_property(device.upper(), "OPTIMIZATION_CAPABILITIES")
    return ["fp32", *(name for name, flag in CAPABILITIES.items() if flag in native)]


def processor() -> str:
    """The name of this machine's processor."""
    return str(_core().get_property("CPU", "FULL_DEVICE_NAME"))


def _target(options: EngineOptions) -> str:
    device = options.device.upper()
    if not any(
        found == device or found.startswith(f"{device}.") for found in _core().available_devices
    ):
        raise EngineError(
            f"device {options.device!r}: OpenVINO finds {', '.join(available_devices())} here; "
            f"for CUDA use the engine onnxruntime"
        )
    if options.precision not in available_precisions(device):
        raise EngineError(
            f"precision {options.precision!r}: this {device} has "
            f"{', '.join(available_precisions(device))}"
        )
    return device


def _core() -> Any:
    with _LOCK:
        return _started_core()


@lru_cache(maxsize=1)
def _started_core() -> Any:
    import openvino

    # The bindings fill their tables of types on first use while they hold a lock that needs the
    # GIL: two threads that come first together wait for each other forever. So one comes alone.
    tensor = openvino.Tensor(np.zeros(1, np.float32), shared_memory=True)
    tensor.element_type.to_dtype()
    tensor.data.sum()
    return openvino.Core()


def _last(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else repr(error)
