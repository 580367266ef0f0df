"""ONNX Runtime: the engine of the base install."""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from mindface.engines import Array, EngineOptions, run_in_batches
from mindface.errors import EngineError

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "cann": "CANNExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
}


class OnnxRuntimeSession:
    """One `InferenceSession`; ONNX Runtime allows `run` from several threads."""

    engine = "onnxruntime"

    def __init__(self, path: Path, options: EngineOptions) -> None:
        import onnxruntime

        self.device = options.device
        self.precision = options.precision
        settings = session_options(max(1, options.thread_count // options.streams))
        provider, arguments = _provider(options)
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), settings, providers=[(provider, arguments)]
            )
        except Exception as error:  # ONNX Runtime's exceptions share no narrower base.
            raise EngineError(f"{path}: ONNX Runtime cannot load it: {_first(error)}") from error
        if self._session.get_providers()[0] != provider:
            raise EngineError(
                f"device {options.device!r}: ONNX Runtime could not start {provider} "
                f"(its CUDA, cuDNN or driver libraries may be missing); see `mindface doctor`"
            )
        self._session.disable_fallback()
        first = self._session.get_inputs()[0]
        self._input = first.name
        self._batch = first.shape[0] if isinstance(first.shape[0], int) else None

    def run(self, batch: Array) -> list[Array]:
        """Runs a batch; see `Session.run`."""
        return run_in_batches(self._infer, batch, self._batch)

    def _infer(self, batch: Array) -> list[Array]:
        try:
            return list(self._session.run(None, {self._input: batch}))
        except Exception as error:
            raise EngineError(
                f"ONNX Runtime failed on an input {batch.shape}: {_first(error)}"
            ) from error


def session_options(threads: int) -> Any:
    """An `onnxruntime.SessionOptions`: so many threads, quiet, and out of other sessions' way."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    # Else the threads of one session spin on after its run, in the way of the next session's.
    settings.add_session_config_entry("session.force_spinning_stop", "1")
    return settings


def available_devices() -> list[str]:
    """The devices that the installed ONNX Runtime was built for."""
    import onnxruntime

    built = onnxruntime.get_available_providers()
    return [device for device, provider in PROVIDERS.items() if provider in built]


@lru_cache(maxsize=1)
def installed_packages() -> tuple[str, ...]:
    """The ONNX Runtime packages that are installed; two of them overwrite each other."""
    names = {(found.metadata["Name"] or "").lower() for found in distributions()}
    known = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-cann")
    return tuple(name for name in known if name in names)


def _provider(options: EngineOptions) -> tuple[str, dict[str, Any]]:
    kind, _, index = options.device.partition(":")
    provider = PROVIDERS.get(kind)
    if provider is None or (index and not index.isdigit()):
        raise EngineError(
            f"device {options.device!r}: ONNX Runtime knows {', '.join(PROVIDERS)}, "
            f"with an index where there are several (cuda:1)"
        )
    if kind not in available_devices():
        raise EngineError(
            f"device {options.device!r}: the installed ONNX Runtime was built for "
            f"{', '.join(available_devices())} only. For CUDA run:  "
            f"pip uninstall -y {' '.join(installed_packages())} && pip install onnxruntime-gpu"
        )
    if options.precision == "bf16" or (options.precision == "fp16" and kind != "tensorrt"):
        raise EngineError(
            f"precision {options.precision!r}: ONNX Runtime has none on {kind!r}; use fp32, "
            f"the engine openvino (bf16 on processors that have it), or tensorrt (fp16)"
        )
    arguments: dict[str, Any] = {"device_id": int(index)} if index else {}
    if options.precision == "fp16":
        arguments["trt_fp16_enable"] = True
    return provider, arguments


def _first(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else repr(error)
