"""What a training will take, said before anything is built; what cannot fit is refused."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from mindface.datasets import FaceSet
from mindface.errors import ConfigError, PlanError
from mindface.models import convention, create_model
from mindface.recognition.losses import Margin
from mindface.training.checkpoint import size_on_disk
from mindface.training.distributed import World
from mindface.training.recognition.config import RecognitionConfig

COPIES = {"sgd": 3, "adamw": 4}  # of a parameter: itself, its gradient, what the optimiser keeps
RATE = 0.1  # of Partial FC, where it is proposed
LOGIT_COPIES = 4  # cosines, logits, probabilities and a gradient, in float32
FLOAT = 4  # bytes


@dataclass(frozen=True)
class Plan:
    """What a training will take.

    Attributes:
        lines: what it does, for people.
        memory: bytes that a process needs on its device, about.
        free_memory: bytes that it can have.
        disk: bytes that all checkpoints take at most.
        free_disk: bytes that are free for them.
        proposals: settings with which it would fit, where it does not.
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
    network: nn.Module | None,
    margin: Margin | None,
    steps_per_epoch: int,
    start: int,
    world: World,
) -> Plan:
    """Works out what a training will take.

    Args:
        config: of the training.
        faces: what it trains on.
        network: one of the user's own, or None for the configuration's.
        margin: of the head, or None for no head.
        steps_per_epoch: of all processes together.
        start: steps done before.
        world: the processes.

    Raises:
        ConfigError: the network's embeddings are not of `network.embedding_size`.
    """
    if network is None:
        with torch.device("meta"):
            network = create_model(config.network.name, **config.network.arguments())
    copies = COPIES[config.optimizer.name]
    weights = sum(p.numel() for p in network.parameters())
    averaged = weights if config.average else 0
    classes = math.ceil(len(faces.class_names) / world.processes)
    sub_centers = 0 if margin is None else margin.sub_centers
    centers = classes * sub_centers * config.network.embedding_size
    share = config.data.batch // world.processes

    def memory(changed: RecognitionConfig) -> int:
        shards = world.processes if changed.fsdp else 1
        parameters = copies * (weights // shards + centers) + averaged // shards
        part = share // changed.accumulation
        sampled = math.ceil(changed.head.rate * classes) * sub_centers
        logits = LOGIT_COPIES * part * world.processes * sampled
        return FLOAT * (parameters + logits) + part * activations(network, changed)

    needed, free = memory(config), _free_memory(world)
    checkpoint = FLOAT * ((copies - 1) * (weights + centers * world.processes) + averaged)
    output = Path(config.output)
    return Plan(
        lines=_lines(config, faces, network, margin, steps_per_epoch, start, world),
        memory=needed,
        free_memory=free,
        disk=checkpoint * (config.keep + 2),  # the newest, the best, and one that is written
        free_disk=_free_disk(output) + size_on_disk(output / "checkpoints"),
        proposals=()
        if needed <= free
        else _proposals(config, share, lambda changed: memory(changed) <= free),
    )


def _proposals(
    config: RecognitionConfig, share: int, fits: Callable[[RecognitionConfig], bool]
) -> tuple[str, ...]:
    """Settings with each of which it would fit; of a batch's parts the fewest."""
    fewer = config.head.model_copy(update={"rate": RATE})
    changes = (
        (f"head.rate={RATE}", config.head.rate > RATE, {"head": fewer}),
        ("precision=bf16", config.precision == "fp32", {"precision": "bf16"}),
        ("recompute=true", "vit" in config.network.name, {"recompute": True}),
    )
    found = [
        name
        for name, sensible, update in changes
        if sensible and fits(config.model_copy(update=update))
    ]
    for parts in range(config.accumulation + 1, share + 1):
        if share % parts == 0 and fits(config.model_copy(update={"accumulation": parts})):
            found.append(f"accumulation={parts}")
            break
    return tuple(found) or ("more processes", "a smaller network", "fewer people")


def activations(network: nn.Module, config: RecognitionConfig) -> int:
    """Bytes that the backward pass keeps of one picture, counted in one forward pass.

    On the meta device nothing is computed. With `recompute` those are the inputs of all blocks and
    what the largest block keeps. Half precision is taken to halve all of it.

    Raises:
        ConfigError: the embeddings are not of `network.embedding_size`.
    """
    rows = 2  # batch norm needs two
    size = convention(config.network.name).preprocessing.size or (112, 112)
    weights = {_place(parameter) for parameter in network.parameters()}
    held: list[Tensor] = []  # so that no place is taken twice
    outside: dict[int, int] = {}
    blocks: list[dict[int, int]] = [{}]
    kept = outside

    def keep(tensor: Tensor) -> Tensor:
        held.append(tensor)
        if _place(tensor) not in weights:
            kept[_place(tensor)] = tensor.untyped_storage().nbytes()
        return tensor

    def enter(block: nn.Module, inputs: tuple[Tensor]) -> None:
        nonlocal kept
        keep(*inputs)
        blocks.append(kept := {})

    def leave(block: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal kept
        kept = outside

    hooks: list[RemovableHandle] = []
    for block in network.blocks if config.recompute else ():  # type: ignore[union-attr]
        hooks += [block.register_forward_pre_hook(enter), block.register_forward_hook(leave)]
    statistics = [(buffer, buffer.clone()) for buffer in network.buffers()]
    pictures = torch.zeros(rows, 3, *size, device=next(network.parameters()).device)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        embeddings = network.train()(pictures)
    for buffer, before in statistics:
        buffer.copy_(before)
    for hook in hooks:
        hook.remove()
    if embeddings.shape != (rows, config.network.embedding_size):
        raise ConfigError(
            f"network.embedding_size={config.network.embedding_size}, but of {rows} pictures the "
            f"network makes embeddings {tuple(embeddings.shape)}"
        )
    total = sum(outside.values()) + max(sum(each.values()) for each in blocks)
    return total // rows // (1 if config.precision == "fp32" else 2)


def _place(tensor: Tensor) -> int:
    place: int = tensor.untyped_storage()._cdata
    return place


def _lines(
    config: RecognitionConfig,
    faces: FaceSet,
    network: nn.Module,
    margin: Margin | None,
    steps_per_epoch: int,
    start: int,
    world: World,
) -> tuple[str, ...]:
    schedule = config.schedule
    name = getattr(network, "architecture", type(network).__name__)
    weights = sum(p.numel() for p in network.parameters())
    origin = f" from {config.network.weights}" if config.network.weights else ""
    frozen = f", {', '.join(config.network.freeze)} frozen" if config.network.freeze else ""
    return (
        f"network     {name}, {weights / 1e6:.1f} million parameters{origin}{frozen}, in "
        f"{config.precision} on {world.device}",
        f"data        {len(faces):,} pictures of {len(faces.class_names):,} people",
        f"loss        {_loss(config, margin)}",
        f"steps       {schedule.steps(steps_per_epoch):,}: {schedule.epochs:g} epochs of "
        f"{steps_per_epoch:,}, batch {config.data.batch} over {world.processes} process(es) in "
        f"{config.accumulation} part(s)",
        *((f"resumes     at step {start:,}",) if start else ()),
        f"output      {config.output}",
    )


def _loss(config: RecognitionConfig, margin: Margin | None) -> str:
    parts = []
    if margin is not None:
        sampled = f", {config.head.rate:.0%} of the classes a step" if config.head.rate < 1 else ""
        parts.append(f"{type(margin).__name__}{sampled}")
    if config.distillation.teachers:
        parts.append(f"distillation from {', '.join(config.distillation.teachers)}")
    return " + ".join(parts)


def _free_memory(world: World) -> int:
    """Bytes that a process can have on its device, of a machine's memory its share."""
    if world.device.type != "cpu":
        free: int = getattr(torch, world.device.type).mem_get_info(world.device)[0]
        return free
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // world.here
    facts = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
    return facts["MemAvailable"] // world.here


def _free_disk(folder: Path) -> int:
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    return shutil.disk_usage(there).free


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
