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
            own["head"] = self._centers(self.head, self.head_optimizer)
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
            tensors = checkpoint.tensors("average")
            fill(self.average.values.items(), tensors)
            self.average.updates = int(tensors["updates"])
        if self.head is not None and self.head_optimizer is not None:
            self._load_centers(self.head, self.head_optimizer, checkpoint)
            margin, tensors = self.head.margin, checkpoint.tensors("margin")
            fill(margin.state_dict().items(), tensors)
            fill_optimizer(self.head_optimizer, margin.named_parameters(), tensors)
        if self.scale and checkpoint.facts["loss_scale"]:
            self.scale = LossScale(**checkpoint.facts["loss_scale"])
        self.step = checkpoint.step
        same = checkpoint.facts["processes"] == world.processes
        random = checkpoint.tensors(f"random-{world.rank}") if same else None
        _set_random_state(random, (seed, self.step, world.rank), world)

    @staticmethod
    def _centers(head: PartialFC, optimizer: Optimizer) -> dict[str, Tensor]:
        shard = head.shard_state()
        numbers = {name: torch.tensor(shard[name]) for name in ("first", "classes", "steps")}
        learnt = optimizer_state(optimizer, [("centers", head.centers)])
        return {"centers": shard["centers"], **learnt, **numbers}

    @staticmethod
    def _load_centers(head: PartialFC, optimizer: Optimizer, checkpoint: Checkpoint) -> None:
        names = [name for name in checkpoint.names() if name.startswith("head-")]
        parts = sorted((checkpoint.tensors(name) for name in names), key=lambda part: part["first"])
        head.load_shards([_shard(part, head.sub_centers) for part in parts])
        rows = slice(
            head.first * head.sub_centers, (head.first + head.local_classes) * head.sub_centers
        )
        learnt = {
            key: _rows([part[key] for part in parts], rows)
            for key in parts[0]
            if key.startswith("centers.")
        }
        fill_optimizer(optimizer, [("centers", head.centers)], learnt)


def _shard(part: Mapping[str, Tensor], sub_centers: int) -> Shard:
    return Shard(
        first=int(part["first"]),
        centers=part["centers"],
        classes=int(part["classes"]),
        sub_centers=sub_centers,
        steps=int(part["steps"]),
    )


def _rows(parts: Sequence[Tensor], rows: slice) -> Tensor:
    """One process's rows of what lies in parts; what is no row for each class is in all alike."""
    return parts[0] if parts[0].ndim == 0 else torch.cat(list(parts))[rows].clone()


def _random_state(world: World) -> dict[str, Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if world.device.type == "cuda":
        state["device"] = torch.cuda.get_rng_state(world.device)
    return state


def _set_random_state(
    state: Mapping[str, Tensor] | None, seed: tuple[int, int, int], world: World
) -> None:
    if state is None:
        torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> 1))
        return
    torch.set_rng_state(state["cpu"])
    if world.device.type == "cuda" and "device" in state:
        torch.cuda.set_rng_state(state["device"], world.device)
