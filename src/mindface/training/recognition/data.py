"""Labelled faces as batches for a network."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Generator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mindface.datasets import FaceSet, decode
from mindface.errors import ImageError, MindFaceError
from mindface.models import convention
from mindface.training.recognition.config import RecognitionConfig
from mindface.training.sampler import GlobalBatches

Pixels = NDArray[np.uint8]
Item = tuple[Pixels, int, int, tuple[int, ...]]

MOST_SUBSTITUTES = 100


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
        face, index, skipped = self._read(index)
        rng = np.random.default_rng((self.seed, turn))
        return self.augmentation(face, rng), int(self.faces.labels[index]), index, skipped

    def __getitems__(self, items: Sequence[tuple[int, int]]) -> list[Item] | MindFaceError:
        """The pictures of a batch, or why there is none; a worker's exceptions lose their type."""
        try:
            return [self[item] for item in items]
        except MindFaceError as error:
            return error

    def _read(self, index: int) -> tuple[Pixels, int, tuple[int, ...]]:
        """The picture, or the next one that can be read."""
        skipped: list[int] = []
        while True:
            try:
                face = decode(self.faces.read(index), self.faces.source)
                break
            except ImageError as error:
                skipped.append(index)
                if self.strict or len(skipped) == min(MOST_SUBSTITUTES, len(self.faces)):
                    raise ImageError(error.reason, self.faces.describe(index)) from error
                index = (index + 1) % len(self.faces)
        if face.shape[:2] != self.size:  # describing a picture may read the disk
            check_size(face, self.size, self.faces.describe(index))
        return face, index, tuple(skipped)


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


def loaded(
    faces: Faces, batches: GlobalBatches, workers: int, device: torch.device
) -> Generator[Batch, None, None]:
    """Reads, decodes and augments ahead of the network.

    Args:
        faces: the pictures.
        batches: which, in which order.
        workers: processes to do it in; 0: this one, when a batch is asked for.
        device: where the batches go.

    Raises:
        MindFaceError: a picture cannot be used.
    """
    loader = DataLoader(
        faces,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=collate,
        generator=torch.Generator(),  # torch's own would draw once more in a resumed training
        pin_memory=device.type == "cuda",
        worker_init_fn=_prepare,
    )
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # OpenCV's pool of threads does not survive the fork of a worker
    batches_read = iter(loader)
    cv2.setNumThreads(threads)
    for batch in batches_read:
        if isinstance(batch, MindFaceError):
            raise batch
        yield batch


def _prepare(worker: int) -> None:
    """One thread for each worker; and a signal to all processes is for the one that trains."""
    if cv2.getNumThreads() != 1:  # a worker that was not forked
        cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_when_told, daemon=True).start()


def _end_when_told() -> None:
    """Takes SIGTERM from the process that trains, which ends its workers so, and from no other."""
    trainer = multiprocessing.parent_process()
    pid = trainer.pid if trainer else None
    while sys.platform == "linux" and signal.sigwaitinfo({signal.SIGTERM}).si_pid != pid:
        pass
    os._exit(0)


def to_input(faces: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Pixels `(B, H, W, 3)` uint8 as a network takes them: `(B, 3, H, W)` float32.

    The memory stays in the order of the pixels, which is torch's channels_last.
    """
    shift = torch.tensor(mean, device=faces.device, dtype=torch.float32)
    scale = 1 / torch.tensor(std, device=faces.device, dtype=torch.float32)
    return ((faces.float() - shift) * scale).permute(0, 3, 1, 2)
