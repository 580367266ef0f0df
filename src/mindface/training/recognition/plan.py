"""What a training will take, said before its first step; what cannot fit is refused."""

from __future__ import annotations

import copy
import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from mindface.datasets import FaceSet
from mindface.errors import PlanError
from mindface.models import convention
from mindface.training.checkpoint import size_on_disk
from mindface.training.distributed import World
from mindface.training.recognition.config import RecognitionConfig
from mindface.training.recognition.state import State

COPIES = {"sgd": 3, "adamw": 4}  # of a parameter: itself, its gradient, what the optimiser keeps
LOGIT_COPIES = 4  # cosines, logits, probabilities and a gradient, in float32


@dataclass(frozen=True)
class Plan:
    """What a training will take.

    Attributes:
        lines: what it does, for people.
        memory: bytes that a process needs on its device, about.
        free_memory: bytes that it can have.
        disk: bytes that all checkpoints take at most.
        free_disk: bytes that are free.
        proposals: settings that need less memory.
    """

    lines: tuple[str, ...]
    memory: int
    free_memory: int
    disk: int
    free_disk: int
    proposals: tuple[str, ...]

    @property
    def text(self) -> str:
        """All of it, line by line."""
        return "\n".join(
            [
                *self.lines,
                f"memory      about {_size(self.memory)} of {_size(self.free_memory)} a process",
                f"disk        {_size(self.disk)} of {_size(self.free_disk)} for checkpoints",
            ]
        )

    def check(self) -> None:
        """Raises unless it fits.

        Raises:
            PlanError: says what does not, and proposes.
        """
        if self.memory > self.free_memory:
            raise PlanError(
                f"the training needs about {_size(self.memory)} of memory a process, and "
                f"{_size(self.free_memory)} are free: try {' or '.join(self.proposals)}"
            )
        if self.disk > self.free_disk:
            raise PlanError(
                f"checkpoints need {_size(self.disk)}, and {_size(self.free_disk)} are free: lower "
                "keep, or choose another output"
            )


def make_plan(
    config: RecognitionConfig,
    faces: FaceSet,
    state: State,
    steps_per_epoch: int,
    world: World,
) -> Plan:
    """Works out what a training will take.

    The activations are those that one forward pass keeps, counted without computing it; the sum is
    right within a quarter or so.
    """
    steps = config.schedule.steps(steps_per_epoch)
    part = config.data.batch // world.processes // config.accumulation
    weights = sum(p.numel() for p in state.network.parameters())
    centers = state.head.centers.numel() if state.head is not None else 0
    classes = math.ceil(config.head.rate * len(faces.class_names) / world.processes)
    copies = COPIES[config.optimizer.name]
    shards = world.processes if config.fsdp else 1
    logits = LOGIT_COPIES * 4 * part * world.processes * classes if state.head is not None else 0
    memory = (
        4 * copies * (weights // shards + centers)
        + part * _activations(state.network, config)
        + logits
    )
    checkpoint = 4 * (copies - 1) * (weights + centers * world.processes)
    checkpoint += 4 * weights if config.average else 0
    lines = (
        f"network     {config.network.name}, {weights / 1e6:.1f} million parameters, "
        f"{_frozen(state.network)}in {config.precision} on {world.device}",
        f"data        {len(faces):,} pictures of {len(faces.class_names):,} people",
        f"loss        {_loss(config)}",
        f"steps       {steps:,}: {config.schedule.epochs:g} epochs of {steps_per_epoch:,}, batch "
        f"{config.data.batch} over {world.processes} process(es) in {config.accumulation} part(s)",
        *((f"resumes     at step {state.step:,}",) if state.step else ()),
        f"output      {config.output}",
    )
    return Plan(
        lines,
        memory,
        _free_memory(world),
        checkpoint * (config.keep + 2),
        _free_disk(Path(config.output)) + size_on_disk(Path(config.output) / "checkpoints"),
        _proposals(config, logits > memory // 2),
    )


def _activations(network: nn.Module, config: RecognitionConfig) -> int:
    """Bytes that the backward pass of one picture needs."""
    rows = 2  # batch norm needs two
    size = convention(config.network.name).preprocessing.size or (112, 112)
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[id(tensor.untyped_storage())] = tensor.untyped_storage().nbytes()
        keep.append(tensor)
        return tensor

    keep: list[torch.Tensor] = []
    twin = copy.deepcopy(network).to("meta")
    parameters = sum(p.numel() * p.element_size() for p in twin.parameters())
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        twin.train()(torch.empty(rows, 3, *size, device="meta"))
    share = 1.0 if config.precision == "fp32" else 0.5
    return int(max(sum(kept.values()) - parameters, 0) / rows * share)


def _frozen(network: nn.Module) -> str:
    frozen = sum(p.numel() for p in network.parameters() if not p.requires_grad)
    return f"{frozen / 1e6:.1f} of them frozen, " if frozen else ""


def _loss(config: RecognitionConfig) -> str:
    parts = []
    if config.head.loss:
        sampled = f", {config.head.rate:.0%} of the classes a step" if config.head.rate < 1 else ""
        parts.append(f"{config.head.loss}{sampled}")
    if config.distillation.teachers:
        parts.append(f"distillation from {', '.join(config.distillation.teachers)}")
    return " + ".join(parts)


def _proposals(config: RecognitionConfig, classes_weigh: bool) -> tuple[str, ...]:
    less = config.accumulation * 2
    found = [f"accumulation={less}", f"data.batch={max(config.data.batch // 2, 1)}"]
    if config.precision == "fp32":
        found.append("precision=bf16")
    if "vit" in config.network.name and not config.recompute:
        found.append("recompute=true")
    if classes_weigh and config.head.rate > 0.1:
        found.insert(0, "head.rate=0.1")
    return tuple(found)


def _free_memory(world: World) -> int:
    if world.device.type == "cuda":
        return int(torch.cuda.mem_get_info(world.device)[0])
    pages: int = os.sysconf("SC_AVPHYS_PAGES")
    cached = _cached()
    return (pages * os.sysconf("SC_PAGE_SIZE") + cached) // world.processes


def _cached() -> int:
    """Memory that the system would give back, where it says so."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 0
    facts = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
    return max(facts.get("MemAvailable", 0) - facts.get("MemFree", 0), 0)


def _free_disk(folder: Path) -> int:
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    return shutil.disk_usage(there).free


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
