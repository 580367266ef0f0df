"""The margin that has ArcFace, CosFace and a multiplied angle in it."""

from __future__ import annotations

from torch import Tensor

from mindface.recognition.losses.margin import (
    Margin,
    cosine_of_wider,
    replace_targets,
    target_cosines,
    widen,
)


class CombinedMargin(Margin):
    """The combined margin: `s (cos(m1 theta_y + m2) - m3)` for the sample's class.

    Source: ArcFace, https://arxiv.org/abs/1801.07698, section 2.2 of version 3, equation 4; the
    defaults are CM1 of its table 2. Past pi as `cosine_of_wider` says. Needs no norms, keeps no
    state.

    Args:
        m1: multiplies the angle, above 0.
        m2: added to the angle, radians.
        m3: taken from the cosine.
        scale: s.

    Raises:
        ValueError: `m1` is not above 0.
    """

    def __init__(
        self, m1: float = 1.0, m2: float = 0.3, m3: float = 0.2, scale: float = 64.0
    ) -> None:
        super().__init__(scale)
        if not m1 > 0:
            raise ValueError(f"m1 of the combined margin must be above 0, not {m1}")
        self.m1, self.m2, self.m3 = m1, m2, m3

    def forward(self, cosines: Tensor, labels: Tensor, norms: Tensor | None = None) -> Tensor:
        """Makes logits `(B, C)`; see `Margin`."""
        cosines = widen(cosines)
        target = cosine_of_wider(target_cosines(cosines, labels), self.m2, self.m1) - self.m3
        return self.scale * replace_targets(cosines, labels, target)
