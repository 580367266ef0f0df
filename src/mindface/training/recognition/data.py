"""Labelled faces as batches for a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from mindface.datasets import FaceSet, decode
from mindface.errors import ImageError, MindFaceError
from mindface.models import convention
from mindface.training.loading import Pixels, read_or_next
from mindface.training.recognition.config import RecognitionConfig

Item = tuple[Pixels, int, int, tuple[int, ...]]


class Batch(NamedTuple):
    """One process's part of a step.

    Attributes:
        faces: `(B, H, W, 3)` uint8 RGB.
        labels: `(B,)` int64, -1 where nobody is named.
        indices: `(B,)` int64, which picture of the set each is.
        skipped: numbers of pictures that could not be read; the next ones took their places.
    """

    faces: Tensor
    labels: Tensor
    indices: Tensor
    skipped: tuple[int, ...]


class Faces(Dataset[Item]):
    """The pictures of a set, augmented by random numbers of their own.

    What is drawn depends on the seed and the turn (see `GlobalBatches`), not on workers or
    processes.

    Args:
        faces: the set.
        config: of the training.
    """

    def __init__(self, faces: FaceSet, config: RecognitionConfig) -> None:
        self.faces = faces
        self.augmentation = config.data.augmentation
        self.strict = config.data.strict
        self.size = convention(config.network.name).preprocessing.size
        self.seed = config.seed

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, item: tuple[int, int]) -> Item:
        """The picture `index` at a turn: pixels, label, its number, numbers that were skipped."""
        turn, index = item
        face, index, skipped = read_or_next(self._read, index, len(self), self.strict)
        if face.shape[:2] != self.size:  # describing a picture may read the disk
            check_size(face, self.size, self.faces.describe(index))
        rng = np.random.default_rng((self.seed, turn))
        return self.augmentation(face, rng), int(self.faces.labels[index]), index, skipped

    def __getitems__(self, items: Sequence[tuple[int, int]]) -> list[Item] | MindFaceError:
        """The pictures of a batch, or why there is none; a worker's exceptions lose their type."""
        try:
            return [self[item] for item in items]
        except MindFaceError as error:
            return error

    def _read(self, index: int) -> Pixels:
        try:
            return decode(self.faces.read(index), self.faces.source)
        except ImageError as error:
            raise ImageError(error.reason, self.faces.describe(index)) from error


def check_size(face: Pixels, size: tuple[int, int] | None, where: str) -> None:
    """Raises unless a picture has the size of a network's input.

    Raises:
        ImageError: says which it has and should have.
    """
    if face.shape[:2] != size:
        raise ImageError(
            f"it has {face.shape[0]}x{face.shape[1]} pixels, but the network takes aligned faces "
            f"of {size}: run  mindface data build",
            where,
        )


def collate(items: list[Item] | MindFaceError) -> Batch | MindFaceError:
    """Puts pictures together."""
    if isinstance(items, MindFaceError):
        return items
    faces, labels, indices, skipped = zip(*items, strict=True)
    return Batch(
        torch.from_numpy(np.stack(faces)),
        torch.tensor(labels),
        torch.tensor(indices),
        tuple(number for numbers in skipped for number in numbers),
    )
