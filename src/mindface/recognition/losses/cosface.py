"""CosFace: a cosine taken away."""

from __future__ import annotations

from torch import Tensor

from mindface.recognition.losses.margin import Margin, replace_targets, target_cosines, widen


class CosFace(Margin):
    """CosFace: `s (cos(theta_y) - m)` for the sample's class, `s cos(theta_j)` for the others.

    Source: https://arxiv.org/abs/1801.09414, section 3.1, equation 4. Needs no norms, keeps no
    state.

    Args:
        margin: m.
        scale: s.
    """

    def __init__(self, margin: float = 0.35, scale: float = 64.0) -> None:
        super().__init__(scale)
        self.margin = margin

    def forward(self, cosines: Tensor, labels: Tensor, norms: Tensor | None = None) -> Tensor:
        """Makes logits `(B, C)`; see `Margin`."""
        cosines = widen(cosines)
        target = target_cosines(cosines, labels) - self.margin
        return self.scale * replace_targets(cosines, labels, target)
