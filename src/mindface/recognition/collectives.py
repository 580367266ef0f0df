"""What the processes of Partial FC tell each other, with the gradients that training needs.

With one process, or where torch.distributed is not initialised, each is what one alone would do.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable


def place() -> tuple[int, int]:
    """This process's rank, and how many there are."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def add_up(values: Tensor) -> Tensor:
    """The sum over all processes, without a gradient."""
    values = values.detach().clone(memory_format=torch.contiguous_format)
    if place()[1] > 1:
        dist.all_reduce(values)
    return values


def greatest(values: Tensor) -> Tensor:
    """The maximum over all processes, changed in place."""
    if place()[1] > 1:
        dist.all_reduce(values, dist.ReduceOp.MAX)
    return values


def gather(embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """All processes' embeddings and labels in the order of the ranks, of any lengths."""
    sizes: list[int] = _stack(torch.tensor(len(labels), device=labels.device)).tolist()
    missing = max(sizes) - len(labels)
    stacked = _Gather.apply(  # type: ignore[no-untyped-call]
        F.pad(embeddings, (0, 0, 0, missing))
    )
    numbers = _stack(F.pad(labels, (0, missing)))
    return (
        torch.cat([rows[:size] for rows, size in zip(stacked, sizes, strict=True)]),
        torch.cat([rows[:size] for rows, size in zip(numbers, sizes, strict=True)]),
    )


def _stack(values: Tensor) -> Tensor:
    """All processes' values along a new first axis; they must have one shape."""
    processes = place()[1]
    if processes == 1:
        return values[None].clone()
    parts = [torch.empty_like(values) for _ in range(processes)]
    dist.all_gather(parts, values.contiguous())
    return torch.stack(parts)


class _Gather(Function):
    """`_stack` with a gradient: the sum over processes, times their number for DDP's average."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return _stack(values)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        rank, processes = place()
        total: Tensor = add_up(gradient)[rank] * processes
        return total


def total(part: Tensor) -> Tensor:
    """The sum of the processes' parts of a loss; each part has the gradient of the sum."""
    total: Tensor = _Total.apply(part)  # type: ignore[no-untyped-call]
    return total


class _Total(Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        return add_up(part)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient
