"""Mutated model files; run as a script, the child of test_hostile_models.py.

`hostile_models.py read KIND COUNT SEED` gives mutants of a valid file to our readers;
`hostile_models.py engine NAME COUNT SEED` gives those ONNX mutants that pass `check_onnx` to an
engine, each batch in a process of its own. Both print one line of JSON: outcomes, seconds, the
slowest mutant and the megabytes above baseline.
"""

import io
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from mindface.errors import MindFaceError
from mindface.formats import read_weights, write_weights
from mindface.formats.onnx import check_onnx

KINDS = ("ckpt", "safetensors", "pth", "legacy.pth", "onnx")
HEADROOM = 1 << 30
SECONDS_EACH = 20


def valid(kind: str) -> bytes:
    """A small file of a kind, with many types, names and shapes in it."""
    if kind == "onnx":
        return onnx_model()
    random_state = np.random.default_rng(0)
    arrays = {
        "conv.weight": random_state.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "bn.gamma": np.ones(4, np.float16),
        "step": np.array(7, np.int64),
        "mask": np.array([True, False]),
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"a.{kind}")
        if kind == "legacy.pth":
            import torch

            state = {name: torch.from_numpy(array) for name, array in arrays.items()}
            torch.save(state, path, _use_new_zipfile_serialization=False)
        else:
            write_weights(path, arrays)
        return path.read_bytes()


def onnx_model() -> bytes:
    """Convolution, batch norm, pooling, resize, a branch and a dense layer, as in our networks."""
    import onnx
    from onnx import helper, numpy_helper

    weights = {
        "w": np.ones((4, 3, 3, 3), np.float32) / 27,
        "b": np.zeros(4, np.float32),
        "scale": np.ones(4, np.float32),
        "size": np.array([1, 1, 2, 2], np.float32),
        "shape": np.array([0, -1], np.int64),
        "dense": np.ones((4, 2), np.float32),
    }
    node, value, floats = helper.make_node, helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    one = helper.make_tensor("one", floats, [1], [1.0])
    branches = {}
    for name in ("then", "else"):
        body = [node("Constant", [], [f"{name}1"], value=one)]
        body.append(node("Mul", ["product", f"{name}1"], [f"{name}y"]))
        branches[f"{name}_branch"] = helper.make_graph(
            body, name, [], [value(f"{name}y", floats, None)]
        )
    nodes = [
        node("Conv", ["images", "w", "b"], ["conv"], pads=[1, 1, 1, 1], strides=[2, 2]),
        node("BatchNormalization", ["conv", "scale", "b", "b", "scale"], ["bn"], epsilon=1e-5),
        node("PRelu", ["bn", "slope"], ["act"]),
        node("MaxPool", ["act"], ["pooled"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Resize", ["pooled", "", "size"], ["up"], mode="nearest"),
        node("Add", ["up", "act"], ["sum"]),
        node("GlobalAveragePool", ["sum"], ["mean"]),
        node("Reshape", ["mean", "shape"], ["flat"]),
        node("Gemm", ["flat", "dense"], ["product"], alpha=1.0, transB=0),
        node("If", ["yes"], ["chosen"], **branches),
        node("Softmax", ["chosen"], ["out"], axis=1),
    ]
    tensors = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    tensors.append(helper.make_tensor("slope", floats, [4, 1, 1], [0.25] * 4))
    tensors.append(helper.make_tensor("yes", onnx.TensorProto.BOOL, [], [True]))
    inputs = [value("images", floats, ["batch", 3, "height", "width"])]
    graph = helper.make_graph(nodes, "small", inputs, [value("out", floats, None)], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return model.SerializeToString()


def mutants(content: bytes, seed: int) -> Iterator[bytes]:
    """Endless mutants: bit flips, other bytes, cuts, and pieces moved, doubled or taken out."""
    chance = random.Random(seed)
    while True:
        data = bytearray(content)
        for _ in range(chance.choice((1, 1, 1, 2, 8))):
            place, size = chance.randrange(len(data)), chance.randrange(1, 64)
            match chance.randrange(6):
                case 0 | 1:
                    data[place] ^= 1 << chance.randrange(8)
                case 2:
                    data[place] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
                case 3 if len(data) > size:
                    del data[place : place + size]
                case 4 if chance.random() < 0.2:
                    del data[place + 1 :]
                case _:
                    start = chance.randrange(len(data))
                    piece = data[start : start + size]
                    data[place : place + chance.choice((0, len(piece)))] = piece
        yield bytes(data)


def zip_mutants(content: bytes, seed: int) -> Iterator[bytes]:
    """Mutants of the archive, and by turns of one entry in an archive that is whole."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    whole, pickled = mutants(content, seed), next(n for n in entries if n.endswith("data.pkl"))
    inner = mutants(entries[pickled], seed + 1)
    while True:
        yield next(whole)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, data in (entries | {pickled: next(inner)}).items():
                archive.writestr(name, data)
        yield buffer.getvalue()


def peak_bytes() -> int:
    """The most memory this process held since `reset_peak`; `ru_maxrss` has its parent's in it."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024


def reset_peak() -> int:
    """Makes the kernel forget what imports needed for a moment; returns what is held now."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_bytes()


def limit_memory() -> None:
    """Bounds this process' address space to what it has and `HEADROOM`, and writes no core."""
    pages = Path("/proc/self/statm").read_text().split()
    size = int(pages[0]) * resource.getpagesize() + HEADROOM
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def read_mutants(kind: str, count: int, seed: int) -> dict:
    """Reads mutants of a kind; anything but a result or an error of ours ends the process."""
    read = check_onnx if kind == "onnx" else read_weights
    content = valid(kind)
    source = zip_mutants(content, seed) if kind == "pth" else mutants(content, seed)
    outcomes: Counter[str] = Counter()
    slowest, start = 0.0, time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"mutant.{kind}")
        write_weights(path.with_suffix(".pth"), {"w": np.ones(1)})  # mutants may look like one
        read_weights(path.with_suffix(".pth"))
        path.write_bytes(content)
        read(path)
        limit_memory()
        baseline = reset_peak()
        for _ in range(count):
            path.write_bytes(next(source))
            signal.alarm(SECONDS_EACH)
            begin = time.perf_counter()
            try:
                read(path)
                outcomes["read"] += 1
            except MindFaceError as error:
                if not str(error).startswith(str(path)):
                    raise
                outcomes[type(error).__name__] += 1
            slowest = max(slowest, time.perf_counter() - begin)
    return {
        "outcomes": dict(outcomes),
        "seconds": round(time.perf_counter() - start, 1),
        "slowest_ms": round(slowest * 1000, 1),
        "mb": round((peak_bytes() - baseline) / 1e6, 1),
    }


def onnxruntime_runs(path: Path, batch: np.ndarray) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    session.run(None, {session.get_inputs()[0].name: batch})


def openvino_runs(path: Path, batch: np.ndarray) -> None:
    import openvino

    core = openvino.Core()
    core.set_property("CPU", {"INFERENCE_NUM_THREADS": 1})
    core.compile_model(core.read_model(path), "CPU")([batch])


ENGINES = {"onnxruntime": onnxruntime_runs, "openvino": openvino_runs}


def engine_child(name: str, first: int, count: int, seed: int) -> None:
    """Runs the mutants from `first` on, a line an outcome, each begun with its number.

    The lines go out by a descriptor of their own: ONNX Runtime prints on stdout.
    """
    report = os.dup(1)
    os.dup2(2, 1)
    run, batch = ENGINES[name], np.ones((1, 3, 16, 16), np.float32)
    content = valid("onnx")
    source = mutants(content, seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mutant.onnx")
        path.write_bytes(content)
        run(path, batch)
        limit_memory()
        baseline = reset_peak()
        for number, mutant in enumerate(islice(source, count)):
            path.write_bytes(mutant)
            try:
                check_onnx(path)
            except MindFaceError:
                continue
            if number < first:
                continue
            signal.alarm(SECONDS_EACH)
            os.write(report, f"{number} ".encode())
            try:
                run(path, batch)
                outcome = "ran"
            except Exception:
                outcome = "refused"
            growth = (peak_bytes() - baseline) // 10**6
            os.write(report, f"{outcome} {growth}\n".encode())


def run_engine(name: str, count: int, seed: int) -> dict:
    """Runs mutants in children, going on behind the mutant that ended one."""
    outcomes: Counter[str] = Counter()
    ends, first, started, growth, start = {}, 0, 0, 0, time.perf_counter()
    while True:
        arguments = ("child", name, str(first), str(count), str(seed))
        done = subprocess.run(
            [sys.executable, __file__, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        whole, _, last = done.stdout.decode().rpartition("\n")
        finished = [line.split() for line in whole.splitlines()]
        outcomes.update(outcome for _, outcome, _ in finished)
        growth = max([growth, *(int(megabytes) for _, _, megabytes in finished)])
        started += len(finished)
        if done.returncode == 0 and not last:
            break
        if done.returncode == 0 or not last:
            raise RuntimeError(f"{name}: the child ended between mutants: {done.returncode}")
        number = int(last)
        started += 1
        cause = signal.Signals(-done.returncode).name if done.returncode < 0 else "exit"
        ends[number] = "hang" if cause == "SIGALRM" else cause
        first = number + 1
    return {
        "started": started,
        "outcomes": dict(outcomes),
        "ended": ends,
        "seconds": round(time.perf_counter() - start, 1),
        "mb": growth,
    }


def main(mode: str, name: str, *numbers: str) -> None:
    if mode == "child":
        engine_child(name, *map(int, numbers))
        return
    run = {"read": read_mutants, "engine": run_engine}[mode]
    sys.stdout.write(json.dumps(run(name, *map(int, numbers))) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
