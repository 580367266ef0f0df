"""The moving average of a network's weights, which is often better than the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mindface.errors import WeightsError
from mindface.training.tensors import fill, local


class WeightAverage:
    """The exponential moving average of a module's parameters and buffers.

    At update t, from 0 on, the average keeps the share `min(decay, (1 + t) / (10 + t))` of itself,
    so that it forgets the first weights fast (TensorFlow, `ExponentialMovingAverage`). The
    statistics of batch norms are averaged like weights; what is not floating point is copied.

    Args:
        module: whose average it is; not a wrapper such as DistributedDataParallel.
        decay: at least 0 and below 1.

    Attributes:
        updates: how many there were.
        values: the average, by the names of the module's `state_dict`.

    Raises:
        ValueError: the decay is out of range.
    """

    def __init__(self, module: nn.Module, decay: float = 0.9999) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"the decay of an average must be at least 0 and below 1, not {decay}")
        self.decay = decay
        self.updates = 0
        self.values = _copies(module)

    def update(self, module: nn.Module) -> None:
        """Takes the weights of another step into the average."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        new = module.state_dict()
        floating = [name for name, old in self.values.items() if old.is_floating_point()]
        torch._foreach_lerp_(
            [local(self.values[name]) for name in floating],
            [local(new[name]) for name in floating],
            1 - decay,
        )
        for name in self.values.keys() - floating:
            self.values[name].copy_(new[name])

    def apply_to(self, module: nn.Module) -> None:
        """Copies the average into a module."""
        module.load_state_dict(self.values)

    @contextmanager
    def swapped(self, module: nn.Module) -> Iterator[None]:
        """Gives a module the average for a while, and then its own weights back."""
        own = _copies(module)
        self.apply_to(module)
        try:
            yield
        finally:
            module.load_state_dict(own)

    def state_dict(self) -> dict[str, Tensor]:
        """The average and the number of `updates`: all that an exact resume needs but the decay."""
        return {**self.values, "updates": torch.tensor(self.updates)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes over what `state_dict` gave.

        Raises:
            WeightsError: it is of another module.
        """
        expected = {name: tuple(value.shape) for name, value in self.state_dict().items()}
        found = {name: tuple(value.shape) for name, value in state.items()}
        wrong = sorted(name for name, _ in expected.items() ^ found.items())
        if wrong:
            raise WeightsError(
                f"the saved average is of another network: {wrong[0]!r} is {found.get(wrong[0])}, "
                f"and should be {expected.get(wrong[0])}"
            )
        fill(self.values.items(), state)
        self.updates = int(state["updates"])


def _copies(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}
