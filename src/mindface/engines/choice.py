"""Which engine and precision are the fastest that keep a model's answers.

No engine is the fastest for every network and processor (docs/decisions/0002-engines.md), so what
is left to "auto" is measured once for each model and machine, and remembered in the cache.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from mindface.engines import Array, EngineOptions, Session, engine_version, open_session
from mindface.errors import MissingExtraError

if TYPE_CHECKING:
    from mindface.zoo import Model

MIN_COSINE = 0.999
MIN_GAIN = 1.1
REPEATS = 5


def choose(model: Model, options: EngineOptions, probe: Callable[[], Array]) -> EngineOptions:
    """Settles what the options leave to "auto".

    bf16 is taken only where every output for the probe keeps a cosine of at least `MIN_COSINE`
    to its fp32 self, by the model's record or, where that says nothing, by the measurement; and
    a candidate only where it is `MIN_GAIN` times as fast as those before it.

    Args:
        model: what is to be loaded.
        options: with "auto" or without.
        probe: gives a batch of real inputs.

    Raises:
        MissingExtraError: OpenVINO is demanded and not installed.
    """
    choices = candidates(options)
    if len(choices) == 1:
        return choices[0]
    by_name = {f"{choice.engine} {choice.precision}": choice for choice in choices}
    memory = _Memory(model, choices[0], list(by_name))
    name = memory.recall()
    if name is None:
        name, facts = fastest(model, by_name, probe())
        memory.keep(name, facts)
    return by_name[name]


def candidates(options: EngineOptions) -> list[EngineOptions]:
    """The engines and precisions that the options allow, the plainest first."""
    engines = [options.engine]
    if options.engine == "auto" and options.device in ("gpu", "npu"):
        engines = ["openvino"]
    elif options.engine == "auto":
        engines = ["onnxruntime"]
        if options.device == "cpu" and find_spec("openvino"):
            engines = ["openvino"] if options.precision == "bf16" else ["onnxruntime", "openvino"]
    if "openvino" in engines and not find_spec("openvino"):
        raise MissingExtraError("the engine openvino", "openvino")
    if options.precision != "auto":
        return [replace(options, engine=engine) for engine in engines]
    exact = [replace(options, engine=engine, precision="fp32") for engine in engines]
    if "openvino" in engines and options.device == "cpu" and _has_bf16():
        return [*exact, replace(options, engine="openvino", precision="bf16")]
    return exact


def fastest(
    model: Model, choices: dict[str, EngineOptions], batch: Array
) -> tuple[str, dict[str, Any]]:
    """Measures each candidate, one image at a time.

    Returns:
        The name of the one to take, and for each its milliseconds and its cosine to the first.
    """
    names, facts = list(choices), {}
    reference: list[Array] = []
    best = names[0]
    for name, options in choices.items():
        session = open_session(model, options)
        outputs = _one_by_one(session, batch)
        reference = reference or outputs
        kept = min(cosine(*pair) for pair in zip(reference, outputs, strict=True))
        facts[name] = {"milliseconds": _milliseconds(session, batch), "cosine": kept}
        stated = model.record.cosine.get("bf16") if options.precision == "bf16" else None
        gain = facts[best]["milliseconds"] / facts[name]["milliseconds"]
        if (stated or kept) >= MIN_COSINE and gain >= MIN_GAIN:
            best = name
    return best, facts


def cosine(a: Array, b: Array) -> float:
    """The least cosine between the rows of two arrays of one shape `(B, ...)`."""
    first, second = (x.reshape(len(x), -1).astype(np.float64) for x in (a, b))
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return float(((first * second).sum(1) / np.maximum(lengths, 1e-12)).min())


def _one_by_one(session: Session, batch: Array) -> list[Array]:
    rows = [session.run(batch[index : index + 1]) for index in range(len(batch))]
    return [np.concatenate(outputs) for outputs in zip(*rows, strict=True)]


def _milliseconds(session: Session, batch: Array) -> float:
    """The least of a few runs of one image: what else the machine does only adds to it."""
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        session.run(batch[:1])
        seconds.append(time.perf_counter() - start)
    return round(1000 * min(seconds), 3)


def _has_bf16() -> bool:
    from mindface.engines.openvino import available_precisions

    return "bf16" in available_precisions()


class _Memory:
    """The choices made on this machine: `engines.json` in the cache directory."""

    def __init__(self, model: Model, options: EngineOptions, names: list[str]) -> None:
        from mindface.engines.openvino import processor
        from mindface.zoo import cache_directory

        self._path = cache_directory() / "engines.json"
        self._names = names
        engines = sorted({name.split()[0] for name in names})
        facts = [processor(), f"{options.thread_count} threads"]
        facts += [f"{engine} {engine_version(engine)}" for engine in engines]
        self._key = ", ".join([model.record.name, model.record.sha256, *facts, *names])

    def recall(self) -> str | None:
        """The candidate that was chosen before, if any."""
        try:
            name = self._all()[self._key]["chosen"]
        except (KeyError, TypeError):
            return None
        return name if name in self._names else None

    def keep(self, name: str, facts: dict[str, Any]) -> None:
        """Remembers a choice; a cache that cannot be written only costs the measurement again."""
        content = {**self._all(), self._key: {"chosen": name, "measured": facts}}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            partial = self._path.with_suffix(f".{os.getpid()}.tmp")
            partial.write_text(json.dumps(content, indent=1), encoding="utf-8")
            partial.replace(self._path)
        except OSError:
            pass

    def _all(self) -> dict[str, Any]:
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}
