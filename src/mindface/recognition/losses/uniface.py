"""UniFace: one threshold between all positive and all negative cosines."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mindface.recognition.losses.margin import Margin, replace_targets, target_cosines, widen


class UniFace(Margin):
    """The unified cross entropy with a margin: a yes or no for each class, with one learnt bias.

    The logits are `s (cos(theta_y) - m) - b` and `s cos(theta_j) - b`; the loss of a sample is
    `log(1 + exp(-own logit))` plus the sum of `log(1 + exp(logit))` over the other classes.
    Source: Zhou et al., "UniFace: Unified Cross-Entropy Loss for Deep Face Recognition", ICCV 2023,
    section 3 (UCE with margin), and the authors' implementation (github.com/CVI-SZU/UniFace).

    Needs no norms; learns b. On sharded centres the losses of the shards add up, and b's gradient
    is the sum of theirs.

    Args:
        margin: m.
        scale: s.
    """

    binary = True

    def __init__(self, margin: float = 0.4, scale: float = 64.0) -> None:
        super().__init__(scale)
        self.margin = margin
        self.bias = nn.Parameter(torch.zeros(()))

    def initialise(self, classes: int) -> None:
        """Sets b to `log(10 classes)`, of the classes that one sample is compared with."""
        nn.init.constant_(self.bias, math.log(10 * classes))

    def forward(self, cosines: Tensor, labels: Tensor, norms: Tensor | None = None) -> Tensor:
        """Makes logits `(B, C)`; see `Margin`."""
        cosines = widen(cosines)
        target = target_cosines(cosines, labels) - self.margin
        return self.scale * replace_targets(cosines, labels, target) - self.bias

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss `(B,)` of each sample over these columns; a label of -1 has only negatives."""
        own = target_cosines(logits, labels)
        return F.softplus(replace_targets(logits, labels, -own)).sum(1)
