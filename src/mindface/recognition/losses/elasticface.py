"""ElasticFace: each sample draws its own margin."""

from __future__ import annotations

import torch
from torch import Tensor

from mindface.recognition.losses.margin import (
    Margin,
    cosine_of_wider,
    replace_targets,
    target_cosines,
    widen,
)


class Elastic(Margin):
    """A margin drawn for each sample and step from a normal distribution E(m, sigma).

    Drawn from torch's default generator of the cosines' device in training mode; m itself
    otherwise. Processes with sharded centres may draw differently: only the one that holds a
    sample's class uses its margin.
    """

    def __init__(self, margin: float, scale: float, sigma: float) -> None:
        super().__init__(scale)
        self.margin = margin
        self.sigma = sigma

    def _draw(self, cosines: Tensor) -> Tensor:
        margins = cosines.new_full((len(cosines), 1), self.margin)
        return margins + self.sigma * torch.randn_like(margins) if self.training else margins


class ElasticArcFace(Elastic):
    """ElasticFace-Arc: `s cos(theta_y + E(m, sigma))` for the sample's class.

    Source: https://arxiv.org/abs/2109.09416, section 3.2. Past pi as `cosine_of_wider` says. Needs
    no norms, keeps no state but torch's generator.

    Args:
        margin: m, radians.
        scale: s.
        sigma: the standard deviation of the margin.
    """

    def __init__(self, margin: float = 0.5, scale: float = 64.0, sigma: float = 0.05) -> None:
        super().__init__(margin, scale, sigma)

    def forward(self, cosines: Tensor, labels: Tensor, norms: Tensor | None = None) -> Tensor:
        """Makes logits `(B, C)`; see `Margin`."""
        cosines = widen(cosines)
        target = cosine_of_wider(target_cosines(cosines, labels), self._draw(cosines))
        return self.scale * replace_targets(cosines, labels, target)


class ElasticCosFace(Elastic):
    """ElasticFace-Cos: `s (cos(theta_y) - E(m, sigma))` for the sample's class.

    Source: https://arxiv.org/abs/2109.09416, section 3.2. Needs no norms, keeps no state but
    torch's generator.

    Args:
        margin: m.
        scale: s.
        sigma: the standard deviation of the margin.
    """

    def __init__(self, margin: float = 0.35, scale: float = 64.0, sigma: float = 0.05) -> None:
        super().__init__(margin, scale, sigma)

    def forward(self, cosines: Tensor, labels: Tensor, norms: Tensor | None = None) -> Tensor:
        """Makes logits `(B, C)`; see `Margin`."""
        cosines = widen(cosines)
        target = target_cosines(cosines, labels) - self._draw(cosines)
        return self.scale * replace_targets(cosines, labels, target)
