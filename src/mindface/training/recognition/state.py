"""Everything a training of a recogniser has learnt so far, to and from a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mindface.recognition.partial_fc import PartialFC, Shard
from mindface.training.averaging import WeightAverage
from mindface.training.checkpoint import Checkpoint, Checkpoints
from mindface.training.distributed import World
from mindface.training.scaling import LossScale
from mindface.training.tensors import fill, fill_optimizer, optimizer_state, state_of

COUNTS = ("first", "classes", "sub_centers", "steps")  # of a head, beside its centres


@dataclass
class State:
    """What changes while a recogniser is trained.

    Attributes:
        network: without the wrappers of torch's parallelism.
        optimizer: of the network.
        head: the margin head, or None.
        head_optimizer: of the head, or None.
        average: the averaged weights, or None.
        scale: the loss scale, or None.
        step: how many steps have been done.
    """

    network: nn.Module
    optimizer: Optimizer
    head: PartialFC | None
    head_optimizer: Optimizer | None
    average: WeightAverage | None
    scale: LossScale | None
    step: int = 0

    @property
    def optimizers(self) -> list[Optimizer]:
        """Both, or the network's alone."""
        return [self.optimizer, *([self.head_optimizer] if self.head_optimizer else [])]

    def save(self, checkpoints: Checkpoints, facts: Mapping[str, Any], world: World) -> Path:
        """Writes a checkpoint; all processes call it together.

        Args:
            checkpoints: where.
            facts: the configuration and whatever else the checkpoint says of itself.
            world: the processes.
        """
        shared = {
            "network": state_of(self.network.state_dict().items()),
            "optimizer": optimizer_state(self.optimizer, self.network.named_parameters()),
        }
        own = {"random": _random_state(world)}
        if self.average:
            shared["average"] = state_of(self.average.state_dict().items())
        if self.head is not None and self.head_optimizer is not None:
            own["head"] = _centers(self.head, self.head_optimizer)
            margin = self.head.margin
            shared["margin"] = state_of(margin.state_dict().items()) | optimizer_state(
                self.head_optimizer, margin.named_parameters()
            )
        scale = self.scale and asdict(self.scale)
        facts = {"processes": world.processes, "loss_scale": scale, **facts}
        return checkpoints.save(self.step, shared, own, facts, world)

    def load(self, checkpoint: Checkpoint, world: World, seed: int) -> None:
        """Takes everything from a checkpoint of any number of processes.

        Random numbers go on where they were if there are as many processes as then; else they
        start from the seed, the step and the rank.

        Raises:
            WeightsError: it is of another network or head, or cannot be read.
        """
        fill(self.network.state_dict().items(), checkpoint.tensors("network"))
        fill_optimizer(
            self.optimizer, self.network.named_parameters(), checkpoint.tensors("optimizer")
        )
        if self.average:
            self.average.load_state_dict(checkpoint.tensors("average"))
        if self.head is not None and self.head_optimizer is not None:
            _load_centers(self.head, self.head_optimizer, checkpoint)
            margin, tensors = self.head.margin, checkpoint.tensors("margin")
            fill(margin.state_dict().items(), tensors)
            fill_optimizer(self.head_optimizer, margin.named_parameters(), tensors)
        if self.scale and checkpoint.facts.get("loss_scale"):
            self.scale = LossScale(**checkpoint.facts["loss_scale"])
        self.step = checkpoint.step
        if checkpoint.facts.get("processes") == world.processes:
            _set_random_state(checkpoint.tensors(f"random-{world.rank}"), world)
        else:
            seed_random(seed, self.step, world)


def seed_random(seed: int, step: int, world: World) -> None:
    """Seeds torch for what each process draws for itself from a step on."""
    sequence = np.random.SeedSequence((seed, step, world.rank))
    torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> 1))


def _random_state(world: World) -> dict[str, Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if world.device.type != "cpu":
        state["device"] = getattr(torch, world.device.type).get_rng_state(world.device)
    return state


def _set_random_state(state: Mapping[str, Tensor], world: World) -> None:
    torch.set_rng_state(state["cpu"])
    if world.device.type != "cpu" and "device" in state:
        getattr(torch, world.device.type).set_rng_state(state["device"], world.device)


def _centers(head: PartialFC, optimizer: Optimizer) -> dict[str, Tensor]:
    """The centres of this process and what its optimiser remembers of them."""
    centers = [("centers", head.centers)]
    learnt = state_of(centers) | optimizer_state(optimizer, centers)
    return learnt | {name: torch.tensor(getattr(head, name)) for name in COUNTS}


def _load_centers(head: PartialFC, optimizer: Optimizer, checkpoint: Checkpoint) -> None:
    names = [name for name in checkpoint.names() if name.startswith("head-")]
    parts = sorted(map(checkpoint.tensors, names), key=lambda part: int(part["first"]))
    head.load_shards([_shard(part) for part in parts])
    learnt = {key: _own_rows(head, parts, key) for key in parts[0] if key.startswith("centers.")}
    fill_optimizer(optimizer, [("centers", head.centers)], learnt)


def _shard(part: Mapping[str, Tensor]) -> Shard:
    first, classes, sub_centers, steps = (int(part[name]) for name in COUNTS)
    return Shard(
        first=first, centers=part["centers"], classes=classes, sub_centers=sub_centers, steps=steps
    )


def _own_rows(head: PartialFC, parts: Sequence[Mapping[str, Tensor]], key: str) -> Tensor:
    """This process's rows of a tensor that lies in all parts; what has no rows is alike in all."""
    if parts[0][key].ndim == 0:
        return parts[0][key]
    first, count = head.first * head.sub_centers, len(head.centers)
    found = []
    for part in parts:
        start = first - int(part["first"]) * head.sub_centers
        found.append(part[key][max(start, 0) : max(start + count, 0)])
    return torch.cat(found)
