"""Losses that make a student's embeddings like a teacher's.

All are means, scalars, over embeddings `(N, D)` of any length, in float32 under any autocast; no
gradient flows into the teacher.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mindface.recognition.losses.margin import widen

# Points nearer than this have no direction between them.
COINCIDENT = 1e-6


def cosine_distillation(student: Tensor, teacher: Tensor) -> Tensor:
    """The mean of `1 - cos(student, teacher)`, 0 to 2.

    Half the squared distance of the normalised embeddings.

    Raises:
        ValueError: the shapes differ.
    """
    _check_same(student, teacher)
    return (1 - F.cosine_similarity(widen(student), widen(teacher.detach()))).mean()


def l2_distillation(student: Tensor, teacher: Tensor) -> Tensor:
    """The mean squared Euclidean distance of the embeddings as they are, lengths included.

    Raises:
        ValueError: the shapes differ.
    """
    _check_same(student, teacher)
    return (widen(student) - widen(teacher.detach())).square().sum(1).mean()


def relational_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """How the distances between samples differ, each set of distances over its own mean.

    The mean Huber loss (threshold 1) over all pairs of two samples. Source: Park et al.,
    "Relational Knowledge Distillation", https://arxiv.org/abs/1904.05068, section 3.2.1 (RKD-D),
    which has the sum. The sizes of embeddings may differ. Memory grows as N^2 D.

    Raises:
        ValueError: the numbers of samples differ, or are below 2.
    """
    _check_count(student, teacher, 2)
    pairs = ~torch.eye(len(student), dtype=torch.bool, device=student.device)
    mine, theirs = (_distances(_differences(each))[pairs] for each in (student, teacher.detach()))
    return F.huber_loss(
        mine / mine.mean().clamp(min=COINCIDENT), theirs / theirs.mean().clamp(min=COINCIDENT)
    )


def relational_angle(student: Tensor, teacher: Tensor) -> Tensor:
    """How the angles that samples form differ, by their cosines.

    The mean Huber loss (threshold 1) over all triplets i, j, k of three samples, of the cosine at
    j. Source: Park et al., https://arxiv.org/abs/1904.05068, section 3.2.2 (RKD-A), which has the
    sum. The sizes of embeddings may differ. Memory grows as N^2 D + N^3: batches of some hundreds.

    Raises:
        ValueError: the numbers of samples differ, or are below 3.
    """
    _check_count(student, teacher, 3)
    different = ~torch.eye(len(student), dtype=torch.bool, device=student.device)
    triplets = different[:, :, None] & different[:, None, :] & different[None, :, :]
    mine, theirs = (_angle_cosines(each)[triplets] for each in (student, teacher.detach()))
    return F.huber_loss(mine, theirs)


def _differences(points: Tensor) -> Tensor:
    """`[j, i]` is from point j to point i: `(N, N, D)`."""
    points = widen(points)
    return points[None, :] - points[:, None]


def _distances(differences: Tensor) -> Tensor:
    """Lengths `(N, N)`, 0 and without gradient where points coincide."""
    squares = differences.square().sum(-1)
    apart = squares > COINCIDENT**2
    return torch.where(apart, torch.where(apart, squares, 1).sqrt(), 0)


def _angle_cosines(points: Tensor) -> Tensor:
    """`[j, i, k]` is the cosine at j of the angle to i and k: `(N, N, N)`."""
    differences = _differences(points)
    distances = _distances(differences)[..., None]
    directions = differences / torch.where(distances > 0, distances, torch.inf)
    with torch.autocast(points.device.type, enabled=False):
        return directions @ directions.mT


def _check_same(student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape:
        raise ValueError(
            f"student's embeddings {tuple(student.shape)} and teacher's {tuple(teacher.shape)} "
            "must have one shape: project the student's, or use a relational loss"
        )


def _check_count(student: Tensor, teacher: Tensor, least: int) -> None:
    if len(student) != len(teacher) or len(student) < least:
        raise ValueError(
            f"a relational loss needs the same samples from student and teacher, {least} at least, "
            f"not {len(student)} and {len(teacher)}"
        )
