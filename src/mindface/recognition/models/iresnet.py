"""IResNet: the residual network of ArcFace, its blocks starting with a batch norm."""

from __future__ import annotations

from torch import Tensor, nn


class IResNet(nn.Module):
    """IResNet for crops of 112x112.

    Source: ArcFace (arXiv:1801.07698, section 3.1) as arcface_torch and MindFace build it: the
    first convolution keeps the size, a linear layer replaces the pooling, and the last batch
    norm's scale is fixed.

    Args:
        blocks: residual blocks of the four stages.
        embedding_size: values in an embedding.
        dropout: the share of the last features dropped in training.
    """

    def __init__(
        self, blocks: tuple[int, int, int, int], embedding_size: int = 512, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.prelu = nn.PReLU(64)
        self.layer1 = _layer(64, 64, blocks[0])
        self.layer2 = _layer(64, 128, blocks[1])
        self.layer3 = _layer(128, 256, blocks[2])
        self.layer4 = _layer(256, 512, blocks[3])
        self.bn2 = nn.BatchNorm2d(512)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(512 * 7 * 7, embedding_size)
        self.features = nn.BatchNorm1d(embedding_size)
        self.features.weight.requires_grad = False
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Maps aligned faces `(B, 3, 112, 112)` to embeddings `(B, embedding_size)`.

        The pixels are RGB, `(x - 127.5) / 127.5`; the embeddings are not of unit length.
        """
        x = self.prelu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        x = self.dropout(self.bn2(x).flatten(1))
        out: Tensor = self.features(self.fc(x))
        return out


class Block(nn.Module):
    """Two 3x3 convolutions between three batch norms, beside a shortcut (ArcFace, section 3.1)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.prelu = nn.PReLU(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(B, inputs, H, W)` to `(B, outputs, H / stride, W / stride)`."""
        y = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        y = self.bn3(self.conv2(y))
        out: Tensor = y + self.downsample(x)
        return out


def _layer(inputs: int, outputs: int, blocks: int) -> nn.Sequential:
    rest = (Block(outputs, outputs, stride=1) for _ in range(blocks - 1))
    return nn.Sequential(Block(inputs, outputs, stride=2), *rest)


def arcface_r50(embedding_size: int = 512, dropout: float = 0.0) -> IResNet:
    """IResNet-50: 44 million parameters."""
    return IResNet((3, 4, 14, 3), embedding_size, dropout)


def arcface_r100(embedding_size: int = 512, dropout: float = 0.0) -> IResNet:
    """IResNet-100: 65 million parameters."""
    return IResNet((3, 13, 30, 3), embedding_size, dropout)
