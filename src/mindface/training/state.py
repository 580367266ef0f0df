"""Everything a training has learnt so far, to and from a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mindface.training.averaging import WeightAverage
from mindface.training.checkpoint import Checkpoint, Checkpoints
from mindface.training.distributed import World
from mindface.training.scaling import LossScale
from mindface.training.tensors import fill, fill_optimizer, optimizer_state, state_of

Tensors = dict[str, Tensor]


@dataclass
class State:
    """What changes while a network is trained.

    Attributes:
        network: without the wrappers of torch's parallelism.
        optimizer: of the network.
        average: the averaged weights, or None.
        scale: the loss scale, or None.
        step: how many steps have been done.
    """

    network: nn.Module
    optimizer: Optimizer
    average: WeightAverage | None
    scale: LossScale | None
    step: int = 0

    @property
    def optimizers(self) -> list[Optimizer]:
        """All of them."""
        return [self.optimizer]

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Those that all processes have alike, or that FSDP spreads over them."""
        return [*self.network.parameters()]

    @property
    def sharded(self) -> list[nn.Parameter]:
        """Those of which each process has others."""
        return []

    def save(self, checkpoints: Checkpoints, facts: Mapping[str, Any], world: World) -> Path:
        """Writes a checkpoint; all processes call it together.

        Args:
            checkpoints: where.
            facts: the configuration and whatever else the checkpoint says of itself.
            world: the processes.
        """
        scale = self.scale and asdict(self.scale)
        facts = {"processes": world.processes, "loss_scale": scale, **facts}
        return checkpoints.save(self.step, self._shared(), self._own(world), facts, world)

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
        if self.scale and checkpoint.facts.get("loss_scale"):
            self.scale = LossScale(**checkpoint.facts["loss_scale"])
        self.step = checkpoint.step
        if checkpoint.facts.get("processes") == world.processes:
            _set_random_state(checkpoint.tensors(f"random-{world.rank}"), world)
        else:
            seed_random(seed, self.step, world)

    def _shared(self) -> dict[str, Tensors]:
        """The parts of a checkpoint that are alike in all processes."""
        parts = {
            "network": state_of(self.network.state_dict().items()),
            "optimizer": optimizer_state(self.optimizer, self.network.named_parameters()),
        }
        if self.average:
            parts["average"] = state_of(self.average.state_dict().items())
        return parts

    def _own(self, world: World) -> dict[str, Tensors]:
        """The parts of which each process has its own."""
        return {"random": _random_state(world)}


def seed_random(seed: int, step: int, world: World) -> None:
    """Seeds torch for what each process draws for itself from a step on."""
    sequence = np.random.SeedSequence((seed, step, world.rank))
    torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> 1))


def _random_state(world: World) -> Tensors:
    state = {"cpu": torch.get_rng_state()}
    if world.device.type != "cpu":
        state["device"] = getattr(torch, world.device.type).get_rng_state(world.device)
    return state


def _set_random_state(state: Mapping[str, Tensor], world: World) -> None:
    torch.set_rng_state(state["cpu"])
    if world.device.type != "cpu" and "device" in state:
        getattr(torch, world.device.type).set_rng_state(state["device"], world.device)
