"""Products of rows and queries, with the best of each group of rows; by ONNX Runtime.

Why not by NumPy's BLAS: docs/decisions/0008. `product.onnx` is, in ONNX's text format,

    <ir_version: 8, opset_import: ["": 17]>
    product (float[G, N, D] rows, float[D, Q] queries)
    => (float[G, N, Q] scores, float[G, Q] bests) {
        scores = MatMul (rows, queries)
        bests = ReduceMax <axes = [1], keepdims = 0> (scores)
    }
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from threading import local
from typing import Any

import numpy as np

from mindface.engines import EngineOptions
from mindface.engines.onnxruntime import session_options
from mindface.results import Array

GRAPH = Path(__file__).with_name("product.onnx")


class Product(local):
    """Scores of rows, in memory of the thread that asks, which its next call writes over."""

    def __init__(self) -> None:
        self._memory: dict[str, Array] = {}

    def __call__(self, rows: Array, queries: Array) -> tuple[Array, Array]:
        """Scores `(G, N, Q)` and each group's best `(G, Q)`.

        Args:
            rows: `(G, N, D)` float32, contiguous.
            queries: `(D, Q)` float32, contiguous.
        """
        session = _session(os.getpid())
        binding = session.io_binding()
        binding.bind_cpu_input("rows", rows)
        binding.bind_cpu_input("queries", queries)
        groups, size, _ = rows.shape
        made = []
        for name, shape in (("scores", (groups, size)), ("bests", (groups,))):
            values = self._room(name, (*shape, queries.shape[1]))
            place = values.ctypes.data
            binding.bind_output(name, "cpu", 0, np.float32, values.shape, place)
            made.append(values)
        session.run_with_iobinding(binding)
        return made[0], made[1]

    def _room(self, name: str, shape: tuple[int, ...]) -> Array:
        size = int(np.prod(shape))
        held = self._memory.get(name)
        if held is None or held.size < size:
            held = self._memory[name] = np.empty(size, np.float32)
        return held[:size].reshape(shape)


@cache
def _session(process: int) -> Any:
    """The graph, loaded by this process: the threads of one loaded before a fork are not there."""
    import onnxruntime

    settings = session_options(EngineOptions().thread_count)
    return onnxruntime.InferenceSession(str(GRAPH), settings, providers=["CPUExecutionProvider"])
