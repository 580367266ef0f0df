"""The focal loss: what is easy counts little, so that no negatives need be chosen."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def focal_loss(scores: Tensor, faces: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """The sum of `-alpha_t (1 - p_t)^gamma log(p_t)` over anchors: a scalar.

    p_t is the softmax probability of the right one of two classes; alpha_t is alpha for faces and
    1 - alpha for the background. Source: https://arxiv.org/abs/1708.02002, section 3.2,
    equation 5; the defaults are RetinaNet's.

    Args:
        scores: logits `(K, 2)` (background, face).
        faces: `(K,)` bool.
        alpha: the weight of faces.
        gamma: how much less easy anchors count.
    """
    margin = scores[:, 1] - scores[:, 0]
    log_right = F.logsigmoid(margin.where(faces, -margin))
    weight = alpha * faces + (1 - alpha) * ~faces
    return -(weight * (-log_right.expm1()) ** gamma * log_right).sum()
