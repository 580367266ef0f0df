"""Loss scaling for float16, whose gradients would vanish otherwise."""

from __future__ import annotations

import math
from dataclasses import dataclass

LEAST = 1.0


@dataclass
class LossScale:
    """A factor of the loss that falls when gradients overflow and rises when they long have not.

    Source: Micikevicius et al., "Mixed Precision Training", https://arxiv.org/abs/1710.03740,
    section 3.2, with the constants of `torch.amp.GradScaler`. The norm of all gradients, the same
    in all processes, tells an overflow, so all agree without asking.

    Attributes:
        value: the factor.
        good: steps since it last changed.
        growth_interval: after so many good steps it doubles.
    """

    value: float = 2.0**16
    good: int = 0
    growth_interval: int = 2000

    @property
    def exhausted(self) -> bool:
        """Whether it is so small that an overflow is not of its making."""
        return self.value < LEAST

    def update(self, norm: float) -> bool:
        """Learns the norm of a step's gradients; returns whether the step can be taken."""
        if not math.isfinite(norm):
            self.value, self.good = self.value / 2, 0
            return False
        self.good += 1
        if self.good == self.growth_interval:
            self.value, self.good = self.value * 2, 0
        return True
