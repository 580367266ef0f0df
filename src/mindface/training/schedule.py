"""The learning rate as a function of the step, so that nothing needs to be saved to resume."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from pydantic import Field, model_validator

from mindface.training.config import Config

Shape = Literal["cosine", "polynomial", "step", "constant"]


class Schedule(Config):
    """How long training takes and how its learning rate goes: up to a peak, then down."""

    epochs: float = Field(default=20, gt=0, description="Passes over the data; may be a fraction.")
    warmup_epochs: float = Field(
        default=0, ge=0, description="Epochs in which the rate rises from 0."
    )
    shape: Shape = Field(default="polynomial", description="How the rate falls after that.")
    floor: float = Field(
        default=0, ge=0, le=1, description="The share of the peak that it falls to."
    )
    power: float = Field(default=2, gt=0, description="Of the polynomial.")
    milestones: tuple[float, ...] = Field(
        default=(), description="Epochs at which shape `step` falls."
    )
    gamma: float = Field(default=0.1, gt=0, le=1, description="What it is multiplied with at each.")

    @model_validator(mode="after")
    def _possible(self) -> Schedule:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs={self.warmup_epochs:g} must be less than epochs={self.epochs:g}"
            )
        if (self.shape == "step") != bool(self.milestones):
            raise ValueError("milestones must be given for shape=step, and for no other shape")
        if any(a >= b for a, b in pairwise((0, *self.milestones, self.epochs))):
            raise ValueError(
                f"milestones={list(self.milestones)} must rise between 0 and epochs={self.epochs:g}"
            )
        return self

    def steps(self, steps_per_epoch: int) -> int:
        """Steps of the whole training, at least one."""
        return max(1, round(self.epochs * steps_per_epoch))

    def rate(self, step: int, peak: float, steps_per_epoch: int) -> float:
        """The learning rate of a step, which counts from 0; `learning_rate` in epochs."""
        return learning_rate(
            step,
            total=self.steps(steps_per_epoch),
            peak=peak,
            warmup=round(self.warmup_epochs * steps_per_epoch),
            shape=self.shape,
            floor=self.floor,
            power=self.power,
            milestones=[round(epoch * steps_per_epoch) for epoch in self.milestones],
            gamma=self.gamma,
        )


def learning_rate(
    step: int,
    *,
    total: int,
    peak: float,
    warmup: int = 0,
    shape: Shape = "cosine",
    floor: float = 0.0,
    power: float = 2.0,
    milestones: Sequence[int] = (),
    gamma: float = 0.1,
) -> float:
    """The learning rate of a step.

    It rises as a straight line from 0 at step 0 to the peak at step `warmup`, and falls to
    `floor * peak` at step `total`, which is never taken. With shape "polynomial" and power 2 it is
    the one of arcface_torch (InsightFace, `recognition/arcface_torch/lr_scheduler.py`); "cosine" is
    SGDR without restarts (https://arxiv.org/abs/1608.03983, equation 5).

    Args:
        step: from 0 on; from `total` on the rate stays.
        total: steps of the training.
        peak: the highest rate.
        warmup: steps in which it rises.
        shape: how it falls; "step" by the factor `gamma` at each milestone.
        floor: the share of the peak that it falls to; what `gamma` is multiplied with is the part
            of the peak above it.
        power: of the polynomial.
        milestones: rising steps, counted from the start of the training.
        gamma: a factor up to 1.
    """
    if step < warmup:
        return peak * step / warmup
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    match shape:
        case "cosine":
            left = (1 + math.cos(math.pi * progress)) / 2
        case "polynomial":
            left = (1 - progress) ** power
        case "step":
            left = gamma ** bisect_right(milestones, step)
        case "constant":
            left = 1.0
    return peak * (floor + (1 - floor) * left)


def scaled_rate(
    rate: float, batch: int, reference_batch: int, optimizer: Literal["sgd", "adamw", "muon"]
) -> float:
    """The learning rate for a batch, given the one that suits another batch.

    In proportion for SGD (Goyal et al., https://arxiv.org/abs/1706.02677, section 2.1), to the
    square root for AdamW (Malladi et al., https://arxiv.org/abs/2205.10287, section 5) and Muon.

    Args:
        rate: for the reference batch.
        batch: samples in a step of all processes.
        reference_batch: likewise.
        optimizer: which rule holds.
    """
    ratio = batch / reference_batch
    return rate * (ratio if optimizer == "sgd" else math.sqrt(ratio))
