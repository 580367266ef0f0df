"""Softmax over scaled cosines, without a margin."""

from __future__ import annotations

from torch import Tensor

from mindface.recognition.losses.margin import Margin, widen


class Softmax(Margin):
    """The normalised softmax: `s cos(theta_j)` for every class.

    Source: ArcFace, https://arxiv.org/abs/1801.07698, section 2.1 of version 3,
    equation 2. Needs no norms, keeps no state.

    Args:
        scale: s.
    """

    def __init__(self, scale: float = 64.0) -> None:
        super().__init__(scale)

    def forward(self, cosines: Tensor, labels: Tensor, norms: Tensor | None = None) -> Tensor:
        """Makes logits `(B, C)`; see `Margin`."""
        return self.scale * widen(cosines)
