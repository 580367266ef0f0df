"""The tensors of networks and optimisers by name, whole where they are sharded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from mindface.errors import WeightsError

Named = Iterable[tuple[str, Tensor]]


def whole(tensor: Tensor) -> Tensor:
    """The tensor itself, or all of it where FSDP spread it; all processes call it together."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def local(tensor: Tensor) -> Tensor:
    """The tensor itself, or this process's part of it where FSDP spread it."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def state_of(named: Named) -> dict[str, Tensor]:
    """Tensors by name, whole and on the CPU; those that are there already are not copied."""
    return {name: whole(tensor.detach()).cpu() for name, tensor in named}


def fill(named: Named, tensors: Mapping[str, Tensor]) -> None:
    """Copies whole tensors into those of a network, in place.

    Raises:
        WeightsError: one is missing or of another shape.
    """
    for name, tensor in named:
        found = tensors.get(name)
        if found is None or found.shape != tensor.shape:
            shape = "none" if found is None else tuple(found.shape)
            raise WeightsError(
                f"the checkpoint's {name} should be {tuple(tensor.shape)}, not {shape}: it is of "
                "another network"
            )
        with torch.no_grad():
            tensor.copy_(_like(tensor, found))


def optimizer_state(optimizer: Optimizer, named: Named) -> dict[str, Tensor]:
    """What an optimiser remembers of parameters: `NAME.KEY` -> tensor, as `state_of` has it."""
    return state_of(
        (f"{name}.{key}", torch.as_tensor(value))
        for name, parameter in named
        for key, value in optimizer.state.get(parameter, {}).items()
        if value is not None
    )


def fill_optimizer(optimizer: Optimizer, named: Named, tensors: Mapping[str, Tensor]) -> None:
    """Gives an optimiser back what `optimizer_state` took."""
    known: dict[str, dict[str, Tensor]] = {}
    for full, tensor in tensors.items():
        name, _, key = full.rpartition(".")
        known.setdefault(name, {})[key] = tensor
    for name, parameter in named:
        for key, tensor in known.get(name, {}).items():
            if key == "step":  # a counter: fused kernels want it beside the parameter
                place = parameter.device if optimizer.defaults.get("fused") else "cpu"
                optimizer.state[parameter][key] = tensor.to(place, copy=True)
            else:
                optimizer.state[parameter][key] = _like(parameter, tensor)


def _like(tensor: Tensor, values: Tensor) -> Tensor:
    """A copy of values, on a tensor's device and in its memory order, which fused kernels want."""
    if isinstance(tensor, DTensor):
        return distribute_tensor(values.to(tensor.device), tensor.device_mesh, tensor.placements)
    return torch.empty_like(tensor, dtype=values.dtype).copy_(values)
