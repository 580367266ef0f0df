"""RetinaFace: a backbone, a feature pyramid, context modules and three heads a level.

Source: RetinaFace (arXiv:1905.00641, section 3), SSH (arXiv:1708.03979, section 3.2), built as in
Pytorch_Retinaface and MindFace. Each cell of each level carries two square anchors.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mindface.detection.models.mobilenet import MobileNetV1
from mindface.detection.models.resnet import ResNet50

ANCHORS = 2


class RetinaFace(nn.Module):
    """The detector around a backbone that returns features at strides 8, 16 and 32.

    Args:
        body: the backbone; its `channels` are the widths of its three outputs.
        width: channels of the pyramid and of the context modules.
    """

    def __init__(self, body: MobileNetV1 | ResNet50, width: int) -> None:
        super().__init__()
        self.body = body
        self.fpn = FeaturePyramid(body.channels, width)
        self.ssh1 = ContextModule(width)
        self.ssh2 = ContextModule(width)
        self.ssh3 = ContextModule(width)
        self.classhead = nn.ModuleList(Head(width, 2) for _ in range(3))
        self.bboxhead = nn.ModuleList(Head(width, 4) for _ in range(3))
        self.landmarkhead = nn.ModuleList(Head(width, 10) for _ in range(3))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Maps images to encoded boxes, class scores and encoded landmarks, one row an anchor.

        Args:
            x: `(B, 3, H, W)` float32, BGR minus the mean; any height and width.

        Returns:
            boxes `(B, A, 4)`, scores `(B, A, 2)` (background, face) and landmarks `(B, A, 10)`,
            where `A = 2 * sum(ceil(H / s) * ceil(W / s) for s in (8, 16, 32))`. The scores are
            probabilities in evaluation mode and logits in training mode.
        """
        levels = self.fpn(*self.body(x))
        features = [
            ssh(f) for ssh, f in zip((self.ssh1, self.ssh2, self.ssh3), levels, strict=True)
        ]
        boxes, scores, landmarks = (
            torch.cat([head(f) for head, f in zip(heads, features, strict=True)], dim=1)
            for heads in (self.bboxhead, self.classhead, self.landmarkhead)
        )
        return boxes, scores if self.training else scores.softmax(dim=-1), landmarks


class FeaturePyramid(nn.Module):
    """Brings three levels to one width and adds each coarser level to the finer one below it."""

    def __init__(self, channels: tuple[int, int, int], width: int) -> None:
        super().__init__()
        self.output1 = _convolution(channels[0], width, kernel=1, slope=_slope(width))
        self.output2 = _convolution(channels[1], width, kernel=1, slope=_slope(width))
        self.output3 = _convolution(channels[2], width, kernel=1, slope=_slope(width))
        self.merge1 = _convolution(width, width, slope=_slope(width))
        self.merge2 = _convolution(width, width, slope=_slope(width))

    def forward(self, fine: Tensor, middle: Tensor, coarse: Tensor) -> tuple[Tensor, ...]:
        """Maps backbone features at strides 8, 16, 32 to `width` channels each."""
        fine, middle, coarse = self.output1(fine), self.output2(middle), self.output3(coarse)
        middle = self.merge2(middle + F.interpolate(coarse, size=middle.shape[2:]))
        fine = self.merge1(fine + F.interpolate(middle, size=fine.shape[2:]))
        return fine, middle, coarse


class ContextModule(nn.Module):
    """SSH's context module: receptive fields of 3, 5 and 7 side by side."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half, quarter, slope = width // 2, width // 4, _slope(width)
        self.conv3x3 = _convolution(width, half)
        self.conv5x5_1 = _convolution(width, quarter, slope=slope)
        self.conv5x5_2 = _convolution(quarter, quarter)
        self.conv7x7_2 = _convolution(quarter, quarter, slope=slope)
        self.conv7x7_3 = _convolution(quarter, quarter)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(B, width, H, W)` to the same shape."""
        shared = self.conv5x5_1(x)
        context = (self.conv3x3(x), self.conv5x5_2(shared), self.conv7x7_3(self.conv7x7_2(shared)))
        return F.relu(torch.cat(context, dim=1))


class Head(nn.Module):
    """A 1x1 convolution that gives every anchor of every cell its `values` numbers."""

    def __init__(self, width: int, values: int) -> None:
        super().__init__()
        self.values = values
        self.conv1x1 = nn.Conv2d(width, ANCHORS * values, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(B, width, H, W)` to `(B, H * W * ANCHORS, values)`."""
        y: Tensor = self.conv1x1(x)
        return y.permute(0, 2, 3, 1).reshape(x.shape[0], -1, self.values)


def _slope(width: int) -> float:
    """Narrow detectors leak, wide ones do not, as in both reference implementations."""
    return 0.1 if width <= 64 else 0.0


def _convolution(
    inputs: int, outputs: int, *, kernel: int = 3, slope: float | None = None
) -> nn.Sequential:
    """Convolution and batch norm, followed by a leaky ReLU where a slope is given."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    if slope is not None:
        layers.append(nn.LeakyReLU(slope) if slope else nn.ReLU())
    return nn.Sequential(*layers)


def retinaface_mobilenet025() -> RetinaFace:
    """RetinaFace on MobileNetV1 x0.25: 0.4 million parameters."""
    return RetinaFace(MobileNetV1(), width=64)


def retinaface_resnet50() -> RetinaFace:
    """RetinaFace on ResNet-50: 27 million parameters."""
    return RetinaFace(ResNet50(), width=256)
