"""torch's two ONNX exporters on a detector: seconds, bytes, and milliseconds in ONNX Runtime.

python benchmarks/exporters.py
"""

from __future__ import annotations

import statistics
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from mindface import create_model

INPUT = (2, 3, 320, 256)


def main() -> None:
    """Exports the same network both ways and runs what came out."""
    network = create_model("retinaface_mobilenet025").eval()
    sample = torch.zeros(INPUT)
    batch = np.random.default_rng(0).normal(size=INPUT).astype(np.float32)
    size = torch.export.Dim
    axes = {
        "TorchScript": {"dynamo": False, "dynamic_axes": {"images": [0, 2, 3]}},
        "dynamo": {
            "dynamo": True,
            "external_data": False,
            "dynamic_shapes": ({0: size("batch"), 2: size("height"), 3: size("width")},),
        },
    }
    for name, options in axes.items():
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            path = Path(folder, "network.onnx")
            start = time.perf_counter()
            torch.onnx.export(
                network, (sample,), path, input_names=["images"], verbose=False, **options
            )
            seconds = time.perf_counter() - start
            settings = onnxruntime.SessionOptions()
            settings.intra_op_num_threads = 1
            session = onnxruntime.InferenceSession(path, settings)
            times = []
            for _ in range(20):
                begun = time.perf_counter()
                session.run(None, {"images": batch})
                times.append(1000 * (time.perf_counter() - begun))
            print(
                f"{name:12} {seconds:5.1f} s  {path.stat().st_size:9,} bytes  "
                f"{statistics.median(times):5.1f} ms"
            )


if __name__ == "__main__":
    main()
