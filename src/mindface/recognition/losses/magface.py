"""MagFace: the longer the embedding, the wider the margin, and the better the image."""

from __future__ import annotations

from torch import Tensor

from mindface.recognition.losses.margin import (
    Margin,
    cosine_of_wider,
    replace_targets,
    target_cosines,
    widen,
)


class MagFace(Margin):
    """MagFace: `s cos(theta_y + m(a))` for the sample's class, and a penalty `lambda_g g(a)`.

    a is the embedding's length, cut to `l_a`..`u_a`; m(a) rises in a straight line from `l_m` to
    `u_m`, and `g(a) = a / u_a^2 + 1 / a` falls. Gradients flow through both. Source:
    https://arxiv.org/abs/2103.06627, section 3.2, and the authors' implementation. Past pi as
    `cosine_of_wider` says. Needs norms, keeps no state.

    Args:
        scale: s.
        l_a: the least length.
        u_a: the greatest.
        l_m: the margin of the least length, radians.
        u_m: the margin of the greatest.
        lambda_g: the weight of the penalty.

    Raises:
        ValueError: not 0 < `l_a` < `u_a`.
    """

    def __init__(
        self,
        scale: float = 64.0,
        l_a: float = 10.0,
        u_a: float = 110.0,
        l_m: float = 0.45,
        u_m: float = 0.8,
        lambda_g: float = 35.0,
    ) -> None:
        super().__init__(scale)
        if not 0 < l_a < u_a:
            raise ValueError(f"MagFace needs 0 < l_a < u_a, not l_a = {l_a} and u_a = {u_a}")
        self.l_a, self.u_a, self.l_m, self.u_m = l_a, u_a, l_m, u_m
        self.lambda_g = lambda_g

    def forward(self, cosines: Tensor, labels: Tensor, norms: Tensor) -> Tensor:
        """Makes logits `(B, C)`; see `Margin`."""
        cosines = widen(cosines)
        slope = (self.u_m - self.l_m) / (self.u_a - self.l_a)
        margin = self.l_m + slope * (self._lengths(norms).to(cosines.dtype) - self.l_a)
        target = cosine_of_wider(target_cosines(cosines, labels), margin[:, None])
        return self.scale * replace_targets(cosines, labels, target)

    def penalty(self, norms: Tensor) -> Tensor:
        """The mean of `lambda_g g(a)` over the lengths `(B,)`: a scalar."""
        lengths = self._lengths(norms)
        return self.lambda_g * (lengths / self.u_a**2 + 1 / lengths).mean()

    def _lengths(self, norms: Tensor) -> Tensor:
        return widen(norms).clamp(self.l_a, self.u_a)
