"""ATSS: a threshold of its own for each face."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mindface.detection.losses.matching import (
    Lattice,
    Targets,
    gather,
    lattices,
    pair,
    settle,
    winners,
)


def match_adaptively(
    boxes: Sequence[Tensor],
    landmarks: Sequence[Tensor],
    ignored: Sequence[Tensor],
    anchors: Tensor,
    nearest: int = 9,
) -> Targets:
    """Gives a face those of its nearest anchors that overlap it more than is usual among them.

    Candidates are the anchors of each side whose centres are the nearest to the face's; those
    learn the face whose overlap (IoU) is at least the mean and one standard deviation of the
    candidates', and whose centre is inside it. An anchor that several faces ask for learns the one
    that it overlaps most. Source: https://arxiv.org/abs/1912.02424, section 3.3 (ATSS) and
    algorithm 1. Both anchors of a cell have one centre, so that 9 of each side are 18 of a level:
    9 for each anchor of a cell, as in the authors' implementation.

    A face may go without an anchor where no candidate's centre is in it. Ignored boxes are treated
    as in `match`.

    Args:
        boxes: of each picture, `(N, 4)` xyxy in pixels.
        landmarks: of each picture, `(N, 5, 2)` in pixels, NaN for a face without.
        ignored: of each picture, `(N,)` bool.
        anchors: `(A, 4)` as in `match`.
        nearest: candidates of each side, k in the paper.

    Raises:
        ValueError: anchors of one side do not stand in full rows and columns.
    """
    faces, grid = gather(boxes, landmarks, ignored, anchors), lattices(anchors)
    centres = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2
    numbers = torch.cat([_nearest(centres, lattice, nearest) for lattice in grid], 1)
    face = torch.arange(len(centres), device=anchors.device).repeat_interleave(numbers.shape[1])
    pairs = pair(faces, anchors, face, numbers.flatten())
    overlaps = pairs.overlap.view(numbers.shape)
    mean = overlaps.mean(1, keepdim=True)
    variance = (overlaps - mean).square().sum(1, keepdim=True) / (numbers.shape[1] - 1)
    points, corners = anchors[numbers, :2], faces.boxes[:, None]
    inside = ((corners[..., :2] < points) & (points < corners[..., 2:])).all(2)
    eligible = pairs.where(((overlaps >= mean + variance.sqrt()) & inside).flatten())
    owners = winners(eligible, len(boxes) * len(anchors))
    return settle(faces, anchors, grid, owners, len(boxes))


def _nearest(centres: Tensor, lattice: Lattice, count: int) -> Tensor:
    """Numbers `(N, count)` of the anchors nearest to each centre; of all if there are fewer.

    They are among the `count` nearest columns and the `count` nearest rows.
    """
    dx, column = _least((lattice.x - centres[:, :1]) ** 2, count)
    dy, row = _least((lattice.y - centres[:, 1:]) ** 2, count)
    _, chosen = _least((dy[:, :, None] + dx[:, None]).flatten(1), count)
    row = row.gather(1, chosen // dx.shape[1])
    return lattice.numbers[row, column.gather(1, chosen % dx.shape[1])]


def _least(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` least values of each row, or all, and their columns."""
    found = values.topk(min(count, values.shape[1]), dim=1, largest=False)
    return found.values, found.indices
