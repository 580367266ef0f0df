"""CurricularFace: hard negatives count for more as training proceeds."""

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


class CurricularFace(Margin):
    """CurricularFace: ArcFace whose hard negatives are `cos(theta_j) (t + cos(theta_j))`.

    A negative is hard where its cosine is above the sample's own after the margin. t follows the
    mean cosine of samples with their own classes, before the margin, and so grows as the network
    learns: `t = alpha t + (1 - alpha) r`, from 0. Source: https://arxiv.org/abs/2004.00288,
    section 3.2. As in the authors' implementation, alpha weighs what t was, and t moves before it
    is used. Past pi as `cosine_of_wider` says.

    Needs no norms. Keeps t in a buffer, moved in training mode only. On sharded centres needs
    `own`: which negatives are hard depends on the cosine with the sample's own class.

    Args:
        margin: m, radians.
        scale: s.
        alpha: how much of t remains after a step, 0 to 1.
    """

    needs_own = True
    t: Tensor

    def __init__(self, margin: float = 0.5, scale: float = 64.0, alpha: float = 0.99) -> None:
        super().__init__(scale)
        self.margin = margin
        self.alpha = alpha
        self.register_buffer("t", torch.zeros(()))

    def forward(
        self,
        cosines: Tensor,
        labels: Tensor,
        norms: Tensor | None = None,
        own: Tensor | None = None,
    ) -> Tensor:
        """Makes logits `(B, C)`; see `Margin`.

        Without `own`, rows with a label of -1 have no hard negatives and no part in t.
        """
        cosines = widen(cosines)
        target = target_cosines(cosines, labels)
        known = labels >= 0 if own is None else torch.ones_like(labels, dtype=torch.bool)
        own = target[:, 0].detach() if own is None else widen(own.detach())
        if self.training:
            self._follow(own[known])
        hard = (cosines > cosine_of_wider(own[:, None], self.margin)) & known[:, None]
        weighed = torch.where(hard, cosines * (self.t + cosines), cosines)
        return self.scale * replace_targets(weighed, labels, cosine_of_wider(target, self.margin))

    def _follow(self, own: Tensor) -> None:
        if len(own):
            self.t.lerp_(own.mean().to(self.t.dtype), 1 - self.alpha)
