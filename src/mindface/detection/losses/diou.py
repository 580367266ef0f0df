"""The DIoU loss: boxes are compared as boxes, not as four numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from mindface.detection.anchors import VARIANCES
from mindface.detection.losses.matching import areas


def diou_loss(boxes: Tensor, truth: Tensor) -> Tensor:
    """The sum of `1 - IoU + d^2 / c^2` over boxes `(P, 4)` xyxy and their truth: a scalar.

    d is the distance of the centres, c the diagonal of the smallest box around both. Source:
    https://arxiv.org/abs/1911.08287, section 3.2, equation 7.
    """
    inner = torch.minimum(boxes[:, 2:], truth[:, 2:]) - torch.maximum(boxes[:, :2], truth[:, :2])
    outer = torch.maximum(boxes[:, 2:], truth[:, 2:]) - torch.minimum(boxes[:, :2], truth[:, :2])
    shared = inner.clamp(min=0).prod(1)
    overlap = shared / (areas(boxes) + areas(truth) - shared)
    apart = (boxes[:, :2] + boxes[:, 2:] - truth[:, :2] - truth[:, 2:]) / 2
    return (1 - overlap + apart.square().sum(1) / outer.square().sum(1)).sum()


def decode_boxes(
    encoded: Tensor, anchors: Tensor, variances: tuple[float, float] = VARIANCES
) -> Tensor:
    """As `mindface.detection.anchors.decode_boxes`, with a gradient."""
    centre = anchors[:, :2] + encoded[:, :2] * variances[0] * anchors[:, 2:]
    half = anchors[:, 2:] * (encoded[:, 2:] * variances[1]).clamp(max=10).exp() / 2
    return torch.cat([centre - half, centre + half], 1)
