"""SGD, AdamW, Muon: which parameters decay, how the step is taken, how gradients are clipped."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, TypedDict

import torch
import torch.distributed as dist
from pydantic import Field
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.utils import get_total_norm

from mindface.training.config import Config
from mindface.training.muon import Muon
from mindface.training.schedule import scaled_rate

TOKENS = {"pos_embed", "cls_token", "mask_token"}
FUSED = {"cpu", "cuda"}  # other devices that torch lists may lack one of the two kernels

Decay = Annotated[float, Field(ge=0, lt=1)]


class Optimizer(Config):
    """The rule by which gradients change parameters."""

    name: Literal["sgd", "adamw", "muon"] = Field(default="sgd", description="The rule.")
    lr: float = Field(default=0.1, gt=0, description="The highest learning rate.")
    reference_batch: int | None = Field(
        default=None,
        gt=0,
        description="The batch that `lr` is for, scaled to others; null: any batch.",
    )
    momentum: Decay = Field(default=0.9, description="Of SGD and Muon.")
    betas: tuple[Decay, Decay] = Field(
        default=(0.9, 0.999), description="Of AdamW, and of what Muon leaves to it."
    )
    weight_decay: float = Field(
        default=5e-4,
        ge=0,
        description="Of all but biases, norms, PReLUs, tokens and position embeddings.",
    )
    max_norm: float | None = Field(
        default=5.0,
        gt=0,
        description="Longest gradient, all parameters taken as one vector; null: any.",
    )

    def peak(self, batch: int) -> float:
        """The highest learning rate for a batch, counted over all processes."""
        if self.reference_batch is None:
            return self.lr
        return scaled_rate(self.lr, batch, self.reference_batch, self.name)


class Group(TypedDict):
    """Parameters that are optimised alike, as `torch.optim` takes them.

    Attributes:
        params: the parameters.
        param_names: their names, in the same order.
        weight_decay: of these parameters.
    """

    params: list[nn.Parameter]
    param_names: list[str]
    weight_decay: float


def parameter_groups(module: nn.Module, weight_decay: float) -> list[Group]:
    """Parts a module's parameters by whether they decay; those that are frozen are left out.

    No decay pulls at biases, the scales of norms and the slopes of PReLUs, which are those with at
    most one axis and those of layer norms, nor at position embeddings and class and mask tokens,
    which are known by their names (timm, `param_groups_weight_decay` and `no_weight_decay`).
    arcface_torch lets all decay.

    Args:
        module: a network or a head.
        weight_decay: of those that decay.

    Returns:
        First those that decay, then the others; a group that would be empty is left out.
    """
    trained = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
    groups = []
    for decay in (True, False):
        chosen = [(n, p) for n, p in trained if _decays(module, n, p) == decay]
        if chosen:
            names, parameters = map(list, zip(*chosen, strict=True))
            groups.append(
                Group(
                    params=parameters,
                    param_names=names,
                    weight_decay=weight_decay if decay else 0.0,
                )
            )
    return groups


def _decays(module: nn.Module, name: str, parameter: nn.Parameter) -> bool:
    owner, _, last = name.rpartition(".")
    norm = isinstance(module.get_submodule(owner), nn.LayerNorm)
    return parameter.ndim > 1 and last not in TOKENS and not norm


def build_optimizer(groups: Sequence[Group], config: Optimizer) -> torch.optim.Optimizer:
    """The optimiser of the groups, for SGD and AdamW by torch's fused kernels on CPU and CUDA.

    Its learning rate is `config.lr` until the loop sets that of the step.
    """
    devices = {parameter.device.type for group in groups for parameter in group["params"]}
    shared: dict[str, Any] = {"lr": config.lr, "fused": devices <= FUSED or None}
    parameters = [dict(group) for group in groups]
    if config.name == "muon":
        return Muon(parameters, config.lr, config.momentum, config.betas)
    if config.name == "sgd":
        return torch.optim.SGD(parameters, momentum=config.momentum, **shared)
    return torch.optim.AdamW(parameters, betas=config.betas, **shared)


def clip_gradients(
    parameters: Iterable[nn.Parameter], sharded: Iterable[nn.Parameter], limit: float | None
) -> float:
    """Shortens the gradient of all parameters, taken as one vector, to a length.

    If torch.distributed is initialised, all processes call it together, with gradients of the same
    parameters.

    Args:
        parameters: with the same gradients in all processes, or spread over them by FSDP.
        sharded: of which each process has others, such as the class centres of Partial FC.
        limit: the greatest length; None for any.

    Returns:
        The length before, the same in all processes. Where it is not finite no gradient is changed.
    """
    gradients = _gradients(parameters)
    same = [each for each in gradients if not isinstance(each, DTensor)]
    spread = [each.to_local() for each in gradients if isinstance(each, DTensor)]
    spread += _gradients(sharded)
    squares = get_total_norm(spread).square()
    if spread and dist.is_available() and dist.is_initialized():
        dist.all_reduce(squares)
    length = float((get_total_norm(same).square() + squares).sqrt())
    if limit is not None and limit < length < math.inf:
        torch._foreach_mul_([*same, *spread], limit / length)
    return length


def _gradients(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    return [parameter.grad for parameter in parameters if parameter.grad is not None]
