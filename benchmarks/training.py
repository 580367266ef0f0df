"""Training, side by side in one run: steps, the input pipeline, Partial FC.

    python benchmarks/training.py steps
    python benchmarks/training.py steps --precision bf16
    python benchmarks/training.py loader --shared ../shared
    python benchmarks/training.py partial-fc --batch 128
    python benchmarks/training.py gpu --device cuda --precision bf16 --batch 256 --peak-tflops 989

- `steps`: each network in our step, as its preset of `casia_` has it, and in that of arcface_torch
  (`arcface_torch_step.py`) with the same rule, batch and precision. The baseline is given its
  pictures normalised and on the device, ours makes that of bytes in the step.
- `loader`: pictures from a `.rec`, a folder and a tar, augmented, against those of a MobileFaceNet
  step, which is measured alone.
- `partial-fc`: the head alone, from embeddings to the centres' new values, for more and more
  classes.
- `gpu`: pictures a second of R50 and MobileFaceNet, and the share of the machine's peak.

Candidates take turns, each time in a process of its own, so that a drift of the machine's speed
meets all and a process's peak memory is its own: resident memory, or what torch took of a GPU.
Times are medians over rounds, ratios medians of the ratios within a round.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from arcface_torch_step import ArcFaceTorchStep, FullHead
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mindface import create_model
from mindface.datasets import FaceSet, open_faces, pack_records, pack_tars
from mindface.recognition.losses import LOSSES
from mindface.recognition.partial_fc import PartialFC
from mindface.training.config import load_config
from mindface.training.distributed import World
from mindface.training.loading import loaded
from mindface.training.networks import parallel
from mindface.training.optimizers import build_optimizer, clip_gradients, parameter_groups
from mindface.training.recognition.config import RecognitionConfig
from mindface.training.recognition.data import Batch, Faces, collate
from mindface.training.recognition.setup import build_state, margin_of
from mindface.training.recognition.step import backward
from mindface.training.sampler import GlobalBatches
from mindface.training.step import TYPES, clip, set_mode, take_step

NETWORKS = ("mobilefacenet", "r50", "r100", "vit_t", "vit_s", "vit_b", "vit_l")
SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000, 2_000_000, 5_000_000, 10_000_000)
EMBEDDING = 512
WORKERS = 2

Step = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """What a process of its own measures: the step that `part` makes, `count` times."""

    part: str
    device: str
    precision: str
    batch: int
    loss: str
    classes: int = 10_572  # of CASIA-WebFace
    network: str = "mobilefacenet"
    rate: float = 1.0
    compiled: bool = False
    path: str = ""
    warm_up: int = 2
    count: int = 3

    def config(self) -> RecognitionConfig:
        """The training that the network's preset describes."""
        preset = files("mindface.training.recognition") / f"presets/casia_{self.network}.yaml"
        loss = LOSSES[self.loss]()
        overrides = (
            f"device={self.device}",
            f"precision={self.precision}",
            f"compile={str(self.compiled).lower()}",
            f"data.batch={self.batch}",
            f"data.workers={WORKERS}",
            f"head.loss={self.loss}",
            f"head.arguments={{margin: {loss.margin}, scale: {loss.scale}}}",
            f"head.rate={self.rate}",
        )
        return load_config(RecognitionConfig, preset, overrides)

    def pictures(self) -> Batch:
        """A batch of noise, and whose it is said to be."""
        generator = torch.Generator().manual_seed(0)
        shape = (self.batch, 112, 112, 3)
        faces = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
        labels = torch.randint(self.classes, (self.batch,), generator=generator)
        return Batch(faces, labels, torch.arange(self.batch), ())


@dataclass(frozen=True)
class Found:
    """What a process measured: seconds a step, and the most memory."""

    seconds: float
    gigabytes: float


def our_step(case: Case) -> Step:
    """The step of `mindface train recognition`, from bytes to new weights."""
    config, batch = case.config(), case.pictures()
    world = World(0, 1, torch.device(case.device))
    people = SimpleNamespace(class_names=range(case.classes))
    state = build_state(config, people, world, None, margin_of(config.head))
    model = parallel(state.network, world, compiled=config.compile)

    def step() -> None:
        set_mode(state.network, True)
        backward(model, state, batch, None, config, world, margin=True, alone=False)
        take_step(state, clip(state, config.optimizer.max_norm))

    return step


def baseline_step(case: Case) -> Step:
    """The step of arcface_torch."""
    device, precision = torch.device(case.device), TYPES[case.precision]
    batch = case.pictures()
    faces = ((batch.faces.float() - 127.5) / 127.5).permute(0, 3, 1, 2).contiguous().to(device)
    labels = batch.labels.to(device)
    network = create_model(f"arcface_{case.network}").to(device)
    head = FullHead(case.classes, case.loss, precision).to(device)
    step = ArcFaceTorchStep(network, head, baseline_optimizer(case, network, head), precision)
    return lambda: step(faces, labels)


def baseline_optimizer(case: Case, *modules: nn.Module) -> torch.optim.Optimizer:
    """The preset's rule by torch's defaults, all parameters alike."""
    rule = case.config().optimizer
    parameters = [parameter for module in modules for parameter in module.parameters()]
    if rule.name == "sgd":
        return torch.optim.SGD(parameters, rule.lr, rule.momentum, weight_decay=rule.weight_decay)
    return torch.optim.AdamW(parameters, rule.lr, rule.betas, weight_decay=rule.weight_decay)


def our_head(case: Case) -> Step:
    """Loss, gradients, clipping and the centres' update of `PartialFC`."""
    rule = case.config().optimizer
    head = PartialFC(EMBEDDING, case.classes, LOSSES[case.loss](), case.rate).to(case.device)
    optimizer = build_optimizer(parameter_groups(head, rule.weight_decay), rule)
    embeddings, labels = embedded(case)

    def step() -> None:
        head(embeddings, labels).backward()
        clip_gradients([], [head.centers], rule.max_norm)
        optimizer.step()
        optimizer.zero_grad()

    return step


def baseline_head(case: Case) -> Step:
    """The same of arcface_torch, which does not clip the centres' gradient."""
    head = FullHead(case.classes, case.loss, TYPES[case.precision]).to(case.device)
    optimizer = baseline_optimizer(case, head)
    embeddings, labels = embedded(case)

    def step() -> None:
        head(embeddings, labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def embedded(case: Case) -> tuple[Tensor, Tensor]:
    """Embeddings as a network would give them, and labels."""
    embeddings = torch.randn(case.batch, EMBEDDING, device=case.device, requires_grad=True)
    return embeddings, torch.randint(case.classes, (case.batch,), device=case.device)


def loading(case: Case) -> Step:
    """The next batch, ready for the step."""
    config, faces = case.config(), open_faces(case.path)
    stop = case.warm_up + case.count
    batches = GlobalBatches(faces.order, case.batch, seed=0, stop=stop)
    found = loaded(Faces(faces, config), batches, collate, WORKERS, torch.device(case.device))
    return lambda: next(found)


PARTS: dict[str, Callable[[Case], Step]] = {
    part.__name__: part for part in (our_step, baseline_step, our_head, baseline_head, loading)
}


def measure(case: Case) -> Found:
    """Makes a step and takes it many times, in this process."""
    on_gpu = case.device == "cuda"
    wait = torch.cuda.synchronize if on_gpu else lambda: None
    step = PARTS[case.part](case)
    for _ in range(case.warm_up):
        step()
    wait()
    start = time.perf_counter()
    for _ in range(case.count):
        step()
    wait()
    seconds = (time.perf_counter() - start) / case.count
    peak = torch.cuda.max_memory_allocated() if on_gpu else peak_resident()
    return Found(seconds, peak / 1e9)


def peak_resident() -> int:
    """The most bytes of memory that this process has had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def apart(case: Case) -> Found:
    """Measures in a process of its own."""
    command = [sys.executable, __file__, "measure", "--case", json.dumps(asdict(case))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Found(**json.loads(done.stdout))


def compared(title: str, cases: dict[str, Case], rounds: int) -> dict[str, list[Found]]:
    """Lets cases take turns and prints them; ratios say how many times as fast as the first."""
    found: dict[str, list[Found]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            found[name].append(apart(case))
    base, width = next(iter(found.values())), max(map(len, cases))
    print(f"\n{title}\n{'':{width}}  median ms       min       max  items/s     GB  ratio")
    for name, values in found.items():
        ms = [1000 * value.seconds for value in values]
        speed = cases[name].batch / statistics.median(ms) * 1000
        memory = max(value.gigabytes for value in values)
        ratio = statistics.median(a.seconds / b.seconds for a, b in zip(base, values, strict=True))
        print(
            f"{name:{width}}  {statistics.median(ms):9.2f} {min(ms):9.2f} {max(ms):9.2f}"
            f" {speed:8.0f} {memory:6.2f} {ratio:5.2f}x",
            flush=True,
        )
    return found


def steps(case: Case, networks: list[str], rounds: int) -> None:
    """Each network in arcface_torch's step and in ours."""
    for name in networks:
        case = replace(case, network=name)
        cases = {
            "arcface_torch": replace(case, part="baseline_step"),
            "ours": replace(case, part="our_step"),
        }
        compared(described(f"{name}, {case.classes:,} classes", case), cases, rounds)


def loader(case: Case, shared: Path, batches: int, rounds: int) -> None:
    """The same pictures in three forms of storage, against the step that consumes them."""
    faces = open_faces(shared / "data" / "faces112" / "pins90.rec")
    with tempfile.TemporaryDirectory() as name:
        stored = Path(name)
        pack_records(faces, stored / "faces.rec")
        pack_tars(faces, stored / "tars")
        write_folder(faces, stored / "folder")
        reading = replace(case, part="loading", count=batches, warm_up=4 * WORKERS)
        cases = {"MobileFaceNet's step": replace(case, part="our_step")} | {
            kind: replace(reading, path=str(stored / kind))
            for kind in ("faces.rec", "folder", "tars")
        }
        compared(described(f"{len(faces):,} pictures, {WORKERS} workers", case), cases, rounds)


def write_folder(faces: FaceSet, folder: Path) -> None:
    """Each picture as a file in its person's folder."""
    for index, label in enumerate(faces.labels):
        path = folder / faces.class_names[label] / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(faces.read(index))


def partial_fc(case: Case, sizes: list[int], rounds: int) -> None:
    """The head for more and more classes: all of them, as arcface_torch, and a tenth."""
    candidates = {
        "rate 1.0": replace(case, part="our_head"),
        "arcface_torch": replace(case, part="baseline_head"),
        "rate 0.1": replace(case, part="our_head", rate=0.1),
    }
    found: dict[str, list[tuple[int, float, float]]] = {name: [] for name in candidates}
    for classes in sizes:
        fitting = {}
        for name, candidate in candidates.items():
            sized = replace(candidate, classes=classes, count=max(3, 300_000 // classes))
            if head_bytes(sized) < free(case):
                fitting[name] = sized
            else:
                print(f"{name}: {classes:,} classes need {head_bytes(sized) / 1e9:.1f} GB")
        if fitting:
            title = described(f"{classes:,} classes", case)
            for name, values in compared(title, fitting, rounds).items():
                seconds = statistics.median(value.seconds for value in values)
                found[name].append((classes, seconds, max(value.gigabytes for value in values)))
    print("\nslope, per million classes")
    for name, points in found.items():
        if len(points) > 1:
            classes, seconds, memory = np.array(points).T
            slopes = [np.polyfit(classes / 1e6, values, 1)[0] for values in (seconds, memory)]
            print(f"{name:13}  {1000 * slopes[0]:9.1f} ms  {slopes[1]:6.2f} GB")


def head_bytes(case: Case) -> float:
    """About what a head takes: centres, gradient, momentum, and what a step fills besides."""
    rows = case.rate * case.classes
    copies = (7 if case.part == "baseline_head" else 3) * case.classes
    if case.rate < 1:
        copies += 2 * rows
    return 4 * (EMBEDDING * copies + 8 * case.batch * rows)


def free(case: Case) -> float:
    """Bytes that a process may take."""
    if case.device == "cuda":
        return 0.95 * torch.cuda.mem_get_info()[0]
    lines = Path("/proc/meminfo").read_text().splitlines()
    return 0.95 * next(1024 * int(x.split()[1]) for x in lines if x.startswith("MemAvailable"))


def gpu(case: Case, peak: float, rounds: int) -> None:
    """What a GPU is used to."""
    for name in ("mobilefacenet", "r50"):
        case = replace(case, network=name, warm_up=10, count=50)
        cases = {
            "arcface_torch": replace(case, part="baseline_step"),
            "ours": replace(case, part="our_step"),
            "ours, compiled": replace(case, part="our_step", compiled=True),
        }
        work = case.batch * operations(name) / 1e12
        for label, values in compared(described(name, case), cases, rounds).items():
            speed = work / statistics.median(value.seconds for value in values)
            print(f"{label}: {speed:.1f} TFLOP/s, {speed / peak:.1%} of {peak:g}")


def operations(name: str) -> int:
    """Floating-point operations of a network's step on a picture: three times those forward."""
    with torch.device("meta"):
        network, picture = create_model(f"arcface_{name}").eval(), torch.zeros(1, 3, 112, 112)
    with FlopCounterMode(display=False) as counter:
        network(picture)
    return 3 * counter.get_total_flops()


def described(what: str, case: Case) -> str:
    """A table's title."""
    return f"{what}, batch {case.batch}, {case.precision}, {case.loss}, {case.device}"


def main() -> None:
    """Runs one of the benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=("steps", "loader", "partial-fc", "gpu", "measure"))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--loss", choices=("arcface", "cosface"), default="arcface")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--classes", nargs="+", type=int, default=SIZES, help="of partial-fc")
    parser.add_argument("--batches", type=int, default=100, help="that loader reads")
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--peak-tflops", type=float, default=989.0, help="bf16, dense; an H100's")
    parser.add_argument("--case", help="what a process of this script measures for another")
    chosen = parser.parse_args()
    if chosen.kind == "measure":
        print(json.dumps(asdict(measure(Case(**json.loads(chosen.case))))))
        return
    case = Case("", chosen.device, chosen.precision, chosen.batch, chosen.loss)
    print(f"processors: {os.cpu_count()}, load: {os.getloadavg()[0]:.1f}")
    if chosen.kind == "steps":
        steps(case, chosen.networks, chosen.rounds)
    elif chosen.kind == "loader":
        loader(case, chosen.shared, chosen.batches, chosen.rounds)
    elif chosen.kind == "partial-fc":
        partial_fc(case, chosen.classes, chosen.rounds)
    else:
        gpu(case, chosen.peak_tflops, chosen.rounds)


if __name__ == "__main__":
    main()
