"""What a training will take, said before anything is built; what cannot fit is refused."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from mindface.errors import PlanError
from mindface.training.checkpoint import size_on_disk
from mindface.training.distributed import World
from mindface.training.settings import Settings

# of a parameter: itself, its gradient, what the optimiser keeps
COPIES = {"sgd": 3, "adamw": 4, "muon": 3}
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


def activations(
    network: nn.Module, pictures: Tensor, recomputed: Sequence[nn.Module] = ()
) -> tuple[int, Any]:
    """Bytes that the backward pass keeps of pictures, counted in one forward pass.

    On the meta device nothing is computed.

    Args:
        network: left with its statistics as they were, in training mode.
        pictures: `(B, 3, H, W)`, two at least where there are batch norms.
        recomputed: blocks of which the inputs alone are kept, and of one at a time the rest.

    Returns:
        The bytes in float32, and the network's output.
    """
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
    for block in recomputed:
        hooks += [block.register_forward_pre_hook(enter), block.register_forward_hook(leave)]
    statistics = [(buffer, buffer.clone()) for buffer in network.buffers()]
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = network.train()(pictures)
    for buffer, before in statistics:
        buffer.copy_(before)
    for hook in hooks:
        hook.remove()
    return sum(outside.values()) + max(sum(each.values()) for each in blocks), output


def _place(tensor: Tensor) -> int:
    place: int = tensor.untyped_storage()._cdata
    return place


def lines_of(
    settings: Settings, batch: int, steps_per_epoch: int, start: int, world: World
) -> tuple[str, ...]:
    """What all trainings say of their steps."""
    schedule = settings.schedule
    return (
        f"steps       {schedule.steps(steps_per_epoch):,}: {schedule.epochs:g} epochs of "
        f"{steps_per_epoch:,}, batch {batch} over {world.processes} process(es) in "
        f"{settings.accumulation} part(s)",
        *((f"resumes     at step {start:,}",) if start else ()),
        f"output      {settings.output}",
    )


def network_line(
    network: nn.Module, weights: str | None, frozen: Sequence[str], precision: str, world: World
) -> str:
    """What all trainings say of their network."""
    name = getattr(network, "architecture", type(network).__name__)
    millions = sum(p.numel() for p in network.parameters()) / 1e6
    origin = f" from {weights}" if weights else ""
    stays = f", {', '.join(frozen)} frozen" if frozen else ""
    return (
        f"network     {name}, {millions:.1f} million parameters{origin}{stays}, in {precision} on "
        f"{world.device}"
    )


def fewest_parts(settings: Settings, share: int, fits: Callable[[Any], bool]) -> list[str]:
    """The least `accumulation` with which it would fit, if there is one.

    Args:
        settings: of the training.
        share: pictures of a step in one process.
        fits: says whether a training with other settings would.
    """
    for parts in range(settings.accumulation + 1, share + 1):
        if share % parts == 0 and fits(settings.model_copy(update={"accumulation": parts})):
            return [f"accumulation={parts}"]
    return []


def checkpoint_disk(settings: Settings, values: int) -> tuple[int, int]:
    """Bytes that all checkpoints take at most, and that are free for them.

    Args:
        settings: of the training.
        values: numbers in a checkpoint.
    """
    output = Path(settings.output)
    copies = settings.keep + 2  # the newest, the best, and one that is written
    return FLOAT * values * copies, _free_disk(output) + size_on_disk(output / "checkpoints")


def free_memory(world: World) -> int:
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
