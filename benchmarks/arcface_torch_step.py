"""A training step the straightforward way, as InsightFace's arcface_torch takes it.

Written anew from what it does: memory in the order (channel, row, column), all class centres in
every step, normalised before they are multiplied, a margin in place, torch's default optimisers
over network and head, the network's gradients alone clipped. Its networks are those of
`create_model` with two layers as plain as they are there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_

from mindface.recognition.models.mobilefacenet import GroupedConv2d
from mindface.recognition.models.vit import HEADS, Attention

SCALE = 64.0


def arcface(cosines: Tensor, labels: Tensor, margin: float = 0.5) -> Tensor:
    """`cos(theta + m)` for each row's own class, by way of all angles.

    It is done in place and unseen by autograd, as there: the gradient passes as if nothing were
    added, without the factor `sin(theta + m) / sin(theta)`.
    """
    rows = torch.arange(len(labels), device=labels.device)
    with torch.no_grad():
        cosines.arccos_()
        cosines[rows, labels] += margin
        cosines.cos_()
    return cosines


def cosface(cosines: Tensor, labels: Tensor, margin: float = 0.4) -> Tensor:
    """`cos(theta) - m` for each row's own class."""
    rows = torch.arange(len(labels), device=labels.device)
    cosines[rows, labels] = cosines[rows, labels] - margin
    return cosines


MARGINS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"arcface": arcface, "cosface": cosface}


class FullHead(nn.Module):
    """All class centres and the cross entropy over them; the product in the network's precision."""

    def __init__(self, classes: int, loss: str, precision: torch.dtype, size: int = 512) -> None:
        super().__init__()
        self.centers = nn.Parameter(torch.normal(0, 0.01, (classes, size)))
        self.margin = MARGINS[loss]
        self.precision = precision

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """The mean loss of embeddings `(B, D)`."""
        with autocast(embeddings.device, self.precision):
            cosines = F.linear(F.normalize(embeddings), F.normalize(self.centers))
        logits = SCALE * self.margin(cosines.float().clamp(-1, 1), labels)
        return F.cross_entropy(logits, labels)


class ArcFaceTorchStep:
    """Forward, backward, clipping and the optimiser's step.

    Args:
        network: becomes plain.
        head: on the network's device.
        optimizer: of network and head.
        precision: of the network.
    """

    def __init__(
        self,
        network: nn.Module,
        head: FullHead,
        optimizer: torch.optim.Optimizer,
        precision: torch.dtype,
    ) -> None:
        self.network = plain(network).train()
        self.head = head
        self.optimizer = optimizer
        self.precision = precision

    def __call__(self, faces: Tensor, labels: Tensor) -> Tensor:
        """Takes a step on faces `(B, 3, H, W)` float32; returns the loss."""
        with autocast(faces.device, self.precision):
            embeddings = self.network(faces)
        loss = self.head(embeddings.float(), labels)
        loss.backward()
        clip_grad_norm_(self.network.parameters(), 5)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach()


def autocast(device: torch.device, precision: torch.dtype) -> torch.autocast:
    """The network's precision, where it is not float32."""
    return torch.autocast(device.type, precision, enabled=precision != torch.float32)


def plain(network: nn.Module) -> nn.Module:
    """The network, with grouped convolutions left to torch and attention as products."""
    for layer in network.modules():
        if isinstance(layer, GroupedConv2d):
            layer.forward = partial(nn.Conv2d.forward, layer)
        elif isinstance(layer, Attention):
            layer.forward = partial(attention, layer)
    return network


def attention(layer: Attention, x: Tensor) -> Tensor:
    """`Attention.forward` with its matrix of weights written out, in float32."""
    batch, tokens, width = x.shape
    query, key, value = layer.qkv(x).reshape(batch, tokens, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
    with torch.autocast(x.device.type, enabled=False):
        weights = (query.float() @ key.float().transpose(-2, -1) * layer.scale).softmax(-1)
        mixed = weights @ value.float()
    return layer.proj(mixed.transpose(1, 2).reshape(batch, tokens, width))
