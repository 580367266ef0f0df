"""SphereFace and SphereFace-R: the angle multiplied."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from mindface.recognition.losses.margin import (
    Margin,
    angles,
    replace_targets,
    target_cosines,
    widen,
)

Version = Literal["original", "revived"]


class SphereFace(Margin):
    """SphereFace: `s psi(m theta_y)` for the sample's class, `s cos(theta_j)` for the others.

    The original psi is `(-1)^k cos(m theta) - 2k` with k = floor(m theta / pi), which falls all the
    way: https://arxiv.org/abs/1704.08063, section 3.2, equation 7. The revived one (SphereFace-R
    v1) is `cos(min(m theta, pi))`: https://arxiv.org/abs/2109.05565, section 3. Both stand here on
    embeddings normalised to the length s, which SphereFace-R calls hard feature normalisation,
    with the defaults of its implementation (opensphere, `spherefacer.py`); its characteristic
    gradient detachment is left out, so that the gradient is that of the formula. Needs no norms,
    keeps no state.

    Args:
        margin: m, multiplies the angle, at least 1.
        scale: s.
        version: which psi.

    Raises:
        ValueError: the margin is below 1, or there is no such version.
    """

    def __init__(
        self, margin: float = 1.5, scale: float = 30.0, version: Version = "original"
    ) -> None:
        super().__init__(scale)
        if not margin >= 1:
            raise ValueError(f"the margin of SphereFace must be at least 1, not {margin}")
        if version not in get_args(Version):
            raise ValueError(f"SphereFace is {' or '.join(get_args(Version))}, not {version!r}")
        self.margin = margin
        self.version = version

    def forward(self, cosines: Tensor, labels: Tensor, norms: Tensor | None = None) -> Tensor:
        """Makes logits `(B, C)`; see `Margin`."""
        cosines = widen(cosines)
        wider = self.margin * angles(target_cosines(cosines, labels))
        if self.version == "revived":
            target = wider.clamp(max=math.pi).cos()
        else:
            turns = torch.floor(wider / math.pi)
            target = (1 - 2 * (turns % 2)) * wider.cos() - 2 * turns
        return self.scale * replace_targets(cosines, labels, target)
