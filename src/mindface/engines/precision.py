"""Whether a model keeps its answers in bf16: measured once, then remembered."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Literal

import numpy as np

from mindface.engines import Array, EngineOptions, open_session

if TYPE_CHECKING:
    from mindface.zoo import Model

MIN_COSINE = 0.999


def choose(
    model: Model, options: EngineOptions, probe: Callable[[], Array]
) -> Literal["fp32", "bf16"]:
    """The fastest precision that keeps a model's outputs.

    bf16 is taken where the processor computes it natively and every output for the probe keeps a
    cosine of at least `MIN_COSINE` to its fp32 self, by the model's record or, where that says
    nothing, by a measurement that is kept in the cache directory.

    Args:
        model: what is to be loaded.
        options: with the engine chosen.
        probe: gives a batch of real inputs.
    """
    if options.engine != "openvino" or options.device != "cpu":
        return "fp32"
    from mindface.engines.openvino import available_precisions

    if "bf16" not in available_precisions():
        return "fp32"
    cosine = model.record.cosine.get("bf16")
    if cosine is None:
        cosine = _remembered(model, options, probe)
    return "bf16" if cosine >= MIN_COSINE else "fp32"


def measure(model: Model, options: EngineOptions, batch: Array) -> float:
    """The least cosine between bf16 and fp32 over the outputs for a batch."""
    exact, reduced = (
        open_session(model, replace(options, precision=precision)).run(batch)
        for precision in ("fp32", "bf16")
    )
    return min(cosine(*pair) for pair in zip(exact, reduced, strict=True))


def cosine(a: Array, b: Array) -> float:
    """The least cosine between the rows of two arrays of one shape `(B, ...)`."""
    first, second = (x.reshape(len(x), -1).astype(np.float64) for x in (a, b))
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return float(((first * second).sum(1) / np.maximum(lengths, 1e-12)).min())


def _remembered(model: Model, options: EngineOptions, probe: Callable[[], Array]) -> float:
    from mindface.zoo import cache_directory

    path = cache_directory() / "precision.json"
    key = f"{model.record.sha256} {version('openvino')} {platform.machine()} {_processor()}"
    known: dict[str, float] = {}
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        return float(known[key])
    except (OSError, ValueError, KeyError, TypeError):
        known = known if isinstance(known, dict) else {}
    known[key] = measure(model, options, probe())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.tmp")
        partial.write_text(json.dumps(known, indent=1), encoding="utf-8")
        partial.replace(path)
    except OSError:
        pass  # A cache that cannot be written only costs the measurement again.
    return known[key]


def _processor() -> str:
    from mindface.engines.openvino import _core

    return str(_core().get_property("CPU", "FULL_DEVICE_NAME"))
