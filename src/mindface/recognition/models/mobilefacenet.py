"""MobileFaceNet: the original, and the wider one that InsightFace and MindFace train."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class MobileFaceNet(nn.Module):
    """MobileFaceNet of 0.45 GFLOPs, `get_mbf` in InsightFace and MindFace: double width, flat bias.

    Source: MobileFaceNets (arXiv:1804.07573, table 1) with stages of (1, 4, 6, 2) blocks, twice
    the channels, a grouped second convolution and 512 values, as in arcface_torch.

    Args:
        embedding_size: values in an embedding.
    """

    def __init__(self, embedding_size: int = 512) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            ConvBlock(3, 128, kernel=3, stride=2),
            ConvBlock(128, 128, kernel=3, groups=64),
            Inverted(128, 128, 128, stride=2),
            Stage(4, 128, 128),
            Inverted(128, 256, 256, stride=2),
            Stage(6, 256, 256),
            Inverted(256, 512, 256, stride=2),
            Stage(2, 256, 256),
        )
        self.conv_sep = ConvBlock(256, 512)
        self.features = GlobalDepthwise(embedding_size)
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Maps aligned faces `(B, 3, 112, 112)` to embeddings `(B, embedding_size)`.

        The pixels are RGB, `(x - 127.5) / 127.5`; the embeddings are not of unit length.
        """
        out: Tensor = self.features(self.conv_sep(self.layers(x)))
        return out


class ConvBlock(nn.Module):
    """Convolution, batch norm and, unless `linear`, a PReLU."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        padding: int | None = None,
        groups: int = 1,
        linear: bool = False,
    ) -> None:
        super().__init__()
        padding = kernel // 2 if padding is None else padding
        kind = GroupedConv2d if groups > 1 else nn.Conv2d
        convolution = kind(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        activation = [] if linear else [nn.PReLU(outputs)]
        self.layers = nn.Sequential(convolution, nn.BatchNorm2d(outputs), *activation)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(B, inputs, H, W)` to `(B, outputs, H / stride, W / stride)`."""
        out: Tensor = self.layers(x)
        return out


class GroupedConv2d(nn.Conv2d):
    """A grouped convolution; on CPUs in bfloat16 it trains by detours around slow kernels.

    Groups of few channels become a dense convolution with zeros between the groups. A depthwise one
    with a stride, or of a whole map, is computed in float32.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(B, in_channels, H, W)` to `(B, out_channels, H', W')`."""
        if not (self.training and x.device.type == "cpu" and torch.is_autocast_enabled("cpu")):
            return super().forward(x)
        if self.groups < self.in_channels:
            return self._dense(x)
        if self.stride == (1, 1) and any(self.padding):
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float()).to(torch.bfloat16)

    def _dense(self, x: Tensor) -> Tensor:
        block = torch.ones(self.out_channels // self.groups, self.weight.shape[1])
        mask = torch.block_diag(*[block] * self.groups)  # type: ignore[no-untyped-call]
        dense = self.weight.repeat(1, self.groups, 1, 1) * mask[:, :, None, None]
        return F.conv2d(x, dense, self.bias, self.stride, self.padding, self.dilation)


class Inverted(nn.Module):
    """Expansion to `width`, depthwise 3x3, linear projection; a shortcut where asked for."""

    def __init__(
        self, inputs: int, width: int, outputs: int, *, stride: int = 1, residual: bool = False
    ) -> None:
        super().__init__()
        self.residual = residual
        self.layers = nn.Sequential(
            ConvBlock(inputs, width),
            ConvBlock(width, width, kernel=3, stride=stride, groups=width),
            ConvBlock(width, outputs, linear=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(B, inputs, H, W)` to `(B, outputs, H / stride, W / stride)`."""
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


class Stage(nn.Module):
    """Residual inverted blocks of one width."""

    def __init__(self, blocks: int, channels: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(Inverted(channels, width, channels, residual=True) for _ in range(blocks))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(B, channels, H, W)` to the same shape."""
        out: Tensor = self.layers(x)
        return out


class GlobalDepthwise(nn.Module):
    """The paper's global depthwise convolution over the last 7x7 map, then a linear layer."""

    def __init__(self, embedding_size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            ConvBlock(512, 512, kernel=7, padding=0, groups=512, linear=True),
            nn.Flatten(),
            nn.Linear(512, embedding_size, bias=False),
            nn.BatchNorm1d(embedding_size),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(B, 512, 7, 7)` to `(B, embedding_size)`."""
        out: Tensor = self.layers(x)
        return out


class OriginalMobileFaceNet(nn.Module):
    """The MobileFaceNet of the paper, for crops 112 high and 96 wide.

    Source: MobileFaceNets (arXiv:1804.07573, table 1, the 112x96 variant) as
    MobileFaceNet_Pytorch builds it.

    Args:
        embedding_size: values in an embedding.
    """

    #            expansion, channels, blocks, stride of the first
    stages = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))

    def __init__(self, embedding_size: int = 128) -> None:
        super().__init__()
        self.conv1 = NamedConvBlock(3, 64, 3, stride=2, padding=1)
        self.dw_conv1 = NamedConvBlock(64, 64, 3, padding=1, groups=64)
        blocks: list[nn.Module] = []
        inputs = 64
        for expansion, channels, count, stride in self.stages:
            for index in range(count):
                blocks.append(
                    Bottleneck(inputs, channels, expansion, stride=1 if index else stride)
                )
                inputs = channels
        self.blocks = nn.Sequential(*blocks)
        self.conv2 = NamedConvBlock(128, 512, 1)
        self.linear7 = NamedConvBlock(512, 512, (7, 6), groups=512, linear=True)
        self.linear1 = NamedConvBlock(512, embedding_size, 1, linear=True)
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Maps aligned faces `(B, 3, 112, 96)` to embeddings `(B, embedding_size)`.

        The pixels are RGB, `(x - 127.5) / 128`; the embeddings are not of unit length.
        """
        y = self.conv2(self.blocks(self.dw_conv1(self.conv1(x))))
        out: Tensor = self.linear1(self.linear7(y))
        return out.flatten(1)


class NamedConvBlock(nn.Module):
    """Convolution, batch norm and, unless `linear`, a PReLU, under the original's names."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int | tuple[int, int],
        *,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        linear: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        self.prelu = nn.Identity() if linear else nn.PReLU(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(B, inputs, H, W)` to `(B, outputs, H', W')`."""
        out: Tensor = self.prelu(self.bn(self.conv(x)))
        return out


class Bottleneck(nn.Module):
    """The paper's bottleneck, flat; a shortcut where shapes allow it (MobileNetV2, section 3.3)."""

    def __init__(self, inputs: int, outputs: int, expansion: int, *, stride: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.residual = stride == 1 and inputs == outputs
        self.conv = nn.Sequential(
            nn.Conv2d(inputs, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.PReLU(width),
            nn.Conv2d(width, width, 3, stride, padding=1, groups=width, bias=False),
            nn.BatchNorm2d(width),
            nn.PReLU(width),
            nn.Conv2d(width, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(B, inputs, H, W)` to `(B, outputs, H / stride, W / stride)`."""
        y: Tensor = self.conv(x)
        return x + y if self.residual else y


def _initialise(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def arcface_mobilefacenet(embedding_size: int = 512) -> MobileFaceNet:
    """MobileFaceNet of 0.45 GFLOPs: 2 million parameters."""
    return MobileFaceNet(embedding_size)


def mobilefacenet_112x96(embedding_size: int = 128) -> OriginalMobileFaceNet:
    """The original MobileFaceNet: 1 million parameters."""
    return OriginalMobileFaceNet(embedding_size)
