"""What a training of a recogniser has learnt besides its network: the class centres."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mindface.recognition.partial_fc import PartialFC, Shard
from mindface.training.checkpoint import Checkpoint
from mindface.training.distributed import World
from mindface.training.state import State, Tensors
from mindface.training.tensors import fill, fill_optimizer, optimizer_state, state_of

COUNTS = ("first", "classes", "sub_centers", "steps")  # of a head, beside its centres


@dataclass
class RecognitionState(State):
    """What changes while a recogniser is trained.

    Attributes:
        head: the margin head, or None.
        head_optimizer: of the head, or None.
    """

    head: PartialFC | None = None
    head_optimizer: Optimizer | None = None

    @property
    def optimizers(self) -> list[Optimizer]:
        """Both, or the network's alone."""
        return [self.optimizer, *([self.head_optimizer] if self.head_optimizer else [])]

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The network's and the margin's."""
        margin = [*self.head.margin.parameters()] if self.head is not None else []
        return [*super().parameters, *margin]

    @property
    def sharded(self) -> list[nn.Parameter]:
        """The class centres."""
        return [self.head.centers] if self.head is not None else []

    def load(self, checkpoint: Checkpoint, world: World, seed: int) -> None:
        """Takes everything from a checkpoint of any number of processes; see `State.load`."""
        if self.head is not None and self.head_optimizer is not None:
            _load_centers(self.head, self.head_optimizer, checkpoint)
            margin, tensors = self.head.margin, checkpoint.tensors("margin")
            fill(margin.state_dict().items(), tensors)
            fill_optimizer(self.head_optimizer, margin.named_parameters(), tensors)
        super().load(checkpoint, world, seed)

    def _shared(self) -> dict[str, Tensors]:
        parts = super()._shared()
        if self.head is not None and self.head_optimizer is not None:
            margin = self.head.margin
            parts["margin"] = state_of(margin.state_dict().items()) | optimizer_state(
                self.head_optimizer, margin.named_parameters()
            )
        return parts

    def _own(self, world: World) -> dict[str, Tensors]:
        parts = super()._own(world)
        if self.head is not None and self.head_optimizer is not None:
            parts["head"] = _centers(self.head, self.head_optimizer)
        return parts


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
