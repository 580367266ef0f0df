"""AdaFace: the margin goes by the quality of the image, read off the embedding's length."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mindface.recognition.losses.margin import (
    Margin,
    angles,
    replace_targets,
    target_cosines,
    widen,
)

# As in the authors' implementation.
EPSILON = 1e-3
SHORTEST, LONGEST = 1e-3, 100.0


class AdaFace(Margin):
    """AdaFace: `s (cos(theta_y - m z) - m (1 + z))` for the sample's class.

    z is the embedding's length, `h (norm - mean) / std`, cut to -1..1, and no gradient flows
    through it. Mean and standard deviation are moving averages, `alpha` times the batch's and
    `1 - alpha` times what was, from 20 and 100. The moved angle is kept within 0..pi, a thousandth
    from either end, and has no gradient outside. Source: https://arxiv.org/abs/2204.00964, section
    3.3 (whose alpha of 0.99 is what was), and the authors' implementation (`head.py`; they train
    with 0.01).

    Needs norms, of the whole batch on each process. Keeps both averages in buffers, moved in
    training mode only, and before they are used; a batch of one sample moves only the mean.

    Args:
        margin: m.
        scale: s.
        h: the concentration of the norms.
        alpha: how much the batch counts in the averages, 0 to 1.
    """

    batch_mean: Tensor
    batch_std: Tensor

    def __init__(
        self, margin: float = 0.4, scale: float = 64.0, h: float = 0.333, alpha: float = 0.01
    ) -> None:
        super().__init__(scale)
        self.margin = margin
        self.h = h
        self.alpha = alpha
        self.register_buffer("batch_mean", torch.tensor(20.0))
        self.register_buffer("batch_std", torch.tensor(100.0))

    def forward(self, cosines: Tensor, labels: Tensor, norms: Tensor) -> Tensor:
        """Makes logits `(B, C)`; see `Margin`."""
        cosines = widen(cosines)
        quality = self.margin * self._quality(widen(norms.detach()))[:, None]
        moved = angles(target_cosines(cosines, labels)) - quality
        target = moved.clamp(EPSILON, math.pi - EPSILON).cos() - self.margin - quality
        return self.scale * replace_targets(cosines, labels, target.to(cosines.dtype))

    def _quality(self, norms: Tensor) -> Tensor:
        norms = norms.clamp(SHORTEST, LONGEST)
        if self.training:
            self.batch_mean.lerp_(norms.mean().to(self.batch_mean.dtype), self.alpha)
            if len(norms) > 1:
                self.batch_std.lerp_(norms.std().to(self.batch_std.dtype), self.alpha)
        return (self.h * (norms - self.batch_mean) / (self.batch_std + EPSILON)).clamp(-1, 1)
