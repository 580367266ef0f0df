"""A MobileFaceNet that sees smaller pictures than it was made for."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def look_at(network: nn.Module, size: int) -> None:
    """Makes the network see pictures of this size, its last map enlarged to what it expects."""

    def forward(x: Tensor) -> Tensor:
        x = F.interpolate(x, (size, size), mode="bilinear", antialias=True)
        x = x.contiguous(memory_format=torch.channels_last)
        y = network.conv_sep(network.layers(x))
        return network.features(F.interpolate(y, (7, 7), mode="bilinear"))

    network.forward = forward
