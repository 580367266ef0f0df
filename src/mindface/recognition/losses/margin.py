"""What every margin is, and the arithmetic that they share."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# The nearest that float32 comes to 1 and still has a finite slope of the arc cosine.
EPSILON = 1e-7


class Margin(nn.Module):
    """A loss over classes: cosines become logits, logits become a loss.

    A subclass has `forward(cosines, labels, norms)`, which returns the logits `(B, C)`, scaled, in
    float32 (in float64 where the cosines are). Its arguments:

    - `cosines` `(B, C)`: between each embedding and the centre of each class, or of some of them;
    - `labels` `(B,)` int64: each sample's column, -1 where its class is not among the columns,
      as on another process of Partial FC; such a row is only scaled;
    - `norms` `(B,)`: the lengths of the embeddings before they were normalised. Margins that have
      no use for them may be called without;
    - `own` `(B,)`, only where `needs_own` and centres are sharded: each sample's cosine with its
      own class, wherever its column is, without a gradient.

    The loss of a batch is `losses(logits, labels).mean() + penalty(norms)`. On sharded centres the
    cross entropy of a softmax needs the sum over all shards instead of `losses`; where `binary` is
    true, the shards' `losses` simply add up, and so do the gradients of what the margin learns.
    What it remembers is the same on all processes if norms and `own` are those of the whole batch.

    Args:
        scale: what cosines are multiplied by, above 0.

    Attributes:
        needs_own: whether a row cannot be computed without the cosine of its own class.
        binary: whether the loss is a sum over classes instead of a softmax.
        sub_centers: how many centres a class has unless the head is told otherwise.

    Raises:
        ValueError: the scale is not above 0.
    """

    needs_own: ClassVar[bool] = False
    binary: ClassVar[bool] = False
    sub_centers: int = 1

    def __init__(self, scale: float) -> None:
        super().__init__()
        if not scale > 0:
            raise ValueError(f"the scale of a margin must be above 0, not {scale}")
        self.scale = scale

    def initialise(self, classes: int) -> None:
        """Sets what depends on the number of classes in a step; a head calls it once."""

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss `(B,)` of each sample, all of whose labels must be columns of `logits`."""
        return F.cross_entropy(logits, labels, reduction="none")

    def penalty(self, norms: Tensor) -> Tensor:
        """What the lengths `(B,)` of a batch's embeddings add to its loss: a scalar."""
        return norms.new_zeros(())


def widen(values: Tensor) -> Tensor:
    """The values in float32, or as they are if in float64."""
    return values if values.dtype == torch.float64 else values.float()


def target_cosines(cosines: Tensor, labels: Tensor) -> Tensor:
    """Each row's cosine `(B, 1)` with its own class; of any class where the label is -1."""
    return cosines.gather(1, labels.clamp(min=0)[:, None])


def replace_targets(cosines: Tensor, labels: Tensor, values: Tensor) -> Tensor:
    """The cosines `(B, C)` with `values` `(B, 1)` for each row's own class, if it has a column."""
    kept = torch.where(labels[:, None] < 0, target_cosines(cosines, labels), values)
    return cosines.scatter(1, labels.clamp(min=0)[:, None], kept)


def angles(cosines: Tensor) -> Tensor:
    """The arc cosines in radians, with a finite gradient everywhere: zero at -1 and 1."""
    return cosines.clamp(EPSILON - 1, 1 - EPSILON).acos()


def cosine_of_wider(cosines: Tensor, shift: Tensor | float, factor: float = 1.0) -> Tensor:
    """The cosine of `factor * theta + shift`, made to fall all the way to theta = pi.

    Where the wider angle passes pi its cosine would rise again and reward the wrong direction.
    From there on the result is `cos(theta) - d sin(d)`, d being how much wider than theta the
    angle is where it is pi: for a factor of 1 that is the rule of ArcFace's reference
    implementation (InsightFace, `recognition/arcface_torch/losses.py`), with d = shift. For large
    factors `1 - cos(d)` is subtracted instead, the least that never rises.

    Args:
        cosines: `(B, 1)` of theta.
        shift: radians, one for all or `(B, 1)`.
        factor: above 0.
    """
    shift = torch.as_tensor(shift, dtype=cosines.dtype, device=cosines.device)
    wider = factor * angles(cosines) + shift
    excess = math.pi - (math.pi - shift) / factor
    drop = torch.maximum(excess * excess.sin(), 1 - excess.cos())
    return torch.where(wider <= math.pi, wider.cos(), cosines - drop)
