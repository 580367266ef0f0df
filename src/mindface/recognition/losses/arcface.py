"""ArcFace, an angle added, and Sub-center ArcFace, several centres a class."""

from __future__ import annotations

from torch import Tensor

from mindface.recognition.losses.margin import (
    Margin,
    cosine_of_wider,
    replace_targets,
    target_cosines,
    widen,
)


class ArcFace(Margin):
    """ArcFace: `s cos(theta_y + m)` for the sample's class, `s cos(theta_j)` for the others.

    Source: https://arxiv.org/abs/1801.07698, section 2.1 of version 3, equation 3; past pi as
    `cosine_of_wider` says. Needs no norms, keeps no state.

    Args:
        margin: m, radians.
        scale: s.
    """

    def __init__(self, margin: float = 0.5, scale: float = 64.0) -> None:
        super().__init__(scale)
        self.margin = margin

    def forward(self, cosines: Tensor, labels: Tensor, norms: Tensor | None = None) -> Tensor:
        """Makes logits `(B, C)`; see `Margin`."""
        cosines = widen(cosines)
        target = cosine_of_wider(target_cosines(cosines, labels), self.margin)
        return self.scale * replace_targets(cosines, labels, target)


class SubcenterArcFace(ArcFace):
    """Sub-center ArcFace: ArcFace on the cosine with the nearest of a class's K centres.

    Source: Deng et al., "Sub-center ArcFace: Boosting Face Recognition by Large-scale Noisy Web
    Faces", ECCV 2020, section 3.2. The head pools (`pool_sub_centers`) before the margin. Needs no
    norms, keeps no state.

    Args:
        margin: m, radians.
        scale: s.
        sub_centers: K.
    """

    def __init__(self, margin: float = 0.5, scale: float = 64.0, sub_centers: int = 3) -> None:
        super().__init__(margin, scale)
        self.sub_centers = sub_centers


def pool_sub_centers(cosines: Tensor) -> Tensor:
    """The greatest of the cosines `(B, C, K)` with each class's sub-centres: `(B, C)`."""
    return cosines.max(-1).values
