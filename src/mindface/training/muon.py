"""Muon: a network's matrices move by their gradients with all singular values made alike."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
LEAST_INPUTS = 16  # of a matrix; those of depthwise convolutions have one
EPSILON = 1e-8


class Muon(torch.optim.Optimizer):
    """Muon for matrices and kernels of convolutions, AdamW for all other parameters.

    A kernel is a matrix of outputs by everything that an output sees. The step of a matrix is
    scaled to the size that AdamW's would have, so that both take one learning rate.
    Sources: https://kellerjordan.github.io/posts/muon; Moonlight, https://arxiv.org/abs/2502.16982,
    section 2.2, equation 4.

    Args:
        groups: as `parameter_groups` makes them.
        lr: of matrices and others.
        momentum: of matrices, Nesterov's.
        betas: of the others.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        lr: float,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
    ) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "betas": betas})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Moves all parameters that have a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                matrix = parameter.ndim > 1 and parameter.shape[1] >= LEAST_INPUTS
                direction = self._direction if matrix else self._adam_direction
                change = direction(parameter, parameter.grad, group)
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(change, alpha=-group["lr"])

    def _direction(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> Tensor:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        sums: Tensor = state["momentum_buffer"].mul_(group["momentum"]).add_(gradient)
        ahead = sums.mul(group["momentum"]).add_(gradient).flatten(1)
        return _orthogonal(ahead).mul_(0.2 * math.sqrt(max(ahead.shape))).view_as(parameter)

    def _adam_direction(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> Tensor:
        state, (first, second) = self.state[parameter], group["betas"]
        if "step" not in state:
            state["step"] = torch.zeros(())
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        count = float(state["step"])
        mean: Tensor = state["exp_avg"].mul_(first).add_(gradient, alpha=1 - first)
        square = state["exp_avg_sq"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
        deviation: Tensor = (square / (1 - second**count)).sqrt_().add_(EPSILON)
        step: Tensor = mean / (1 - first**count) / deviation
        return step


def _orthogonal(matrix: Tensor) -> Tensor:
    """About `U V^T` of `U S V^T`, by five Newton-Schulz iterations."""
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x: Tensor = matrix.mT if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(ITERATIONS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if tall else x
