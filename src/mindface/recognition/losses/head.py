"""The margin head of one process: all centres in one matrix."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mindface.recognition.losses.arcface import pool_sub_centers
from mindface.recognition.losses.filtering import filter_interclass
from mindface.recognition.losses.margin import Margin, widen


class MarginHead(nn.Module):
    """Class centres and a margin: embeddings and labels become a loss.

    Everything is computed in float32 under any autocast, in float64 if all inputs are.

    Args:
        embedding_size: values in an embedding, D.
        classes: how many there are, C.
        margin: what makes logits of cosines.
        sub_centers: centres of a class, K; None for as many as the margin says.
        filter_threshold: the cosine of `filter_interclass`; None filters nothing.

    Attributes:
        centers: `(C * K, D)`, drawn from a normal distribution of deviation 0.01; the K of one
            class are adjacent rows.

    Raises:
        ValueError: a size is below 1.
    """

    def __init__(
        self,
        embedding_size: int,
        classes: int,
        margin: Margin,
        sub_centers: int | None = None,
        filter_threshold: float | None = None,
    ) -> None:
        super().__init__()
        count = margin.sub_centers if sub_centers is None else sub_centers
        if min(embedding_size, classes, count) < 1:
            raise ValueError(
                "a margin head needs at least one value, class and sub-centre, not "
                f"{embedding_size}, {classes} and {count}"
            )
        self.classes = classes
        self.sub_centers = count
        self.filter_threshold = filter_threshold
        self.margin = margin
        self.centers = nn.Parameter(torch.empty(classes * count, embedding_size))
        nn.init.normal_(self.centers, std=0.01)
        margin.initialise(classes)

    def cosines(self, embeddings: Tensor) -> Tensor:
        """The cosines `(B, C)` of embeddings `(B, D)` of any length with the classes."""
        with torch.autocast(embeddings.device.type, enabled=False):
            cosines = F.linear(
                F.normalize(widen(embeddings)), F.normalize(widen(self.centers))
            ).clamp(-1, 1)
        return pool_sub_centers(cosines.view(-1, self.classes, self.sub_centers))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """The mean loss, a scalar, of embeddings `(B, D)` of any length.

        Args:
            embeddings: as the network makes them.
            labels: `(B,)` int64 from 0 to C - 1.
        """
        with torch.autocast(embeddings.device.type, enabled=False):
            norms = widen(embeddings).norm(dim=1)
            cosines = self.cosines(embeddings)
            if self.filter_threshold is not None:
                cosines = filter_interclass(cosines, labels, self.filter_threshold)
            logits = self.margin(cosines, labels, norms)
            loss: Tensor = self.margin.losses(logits, labels).mean() + self.margin.penalty(norms)
        return loss
