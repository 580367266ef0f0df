"""Batches that worker processes read, decode and augment ahead of the network."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mindface.errors import ImageError, MindFaceError
from mindface.training.sampler import GlobalBatches

Batch = TypeVar("Batch")
Picture = TypeVar("Picture")
Pixels = NDArray[np.uint8]

MOST_SUBSTITUTES = 100


def loaded(
    dataset: Dataset[Any],
    batches: GlobalBatches,
    collate: Callable[[Any], Batch | MindFaceError],
    workers: int,
    device: torch.device,
) -> Generator[Batch, None, None]:
    """Reads ahead of the network; closing the generator ends the workers.

    Args:
        dataset: the pictures; its `__getitems__` gives what `collate` takes.
        batches: which, in which order.
        collate: puts the items of a batch together, or says why it cannot; an exception that a
            worker raised would lose its type.
        workers: processes to do it in; 0: this one, when a batch is asked for.
        device: where the batches go.

    Raises:
        MindFaceError: a picture cannot be used.
    """
    loader = DataLoader(
        dataset,
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


def read_or_next(
    read: Callable[[int], Picture], index: int, count: int, strict: bool
) -> tuple[Picture, int, tuple[int, ...]]:
    """A picture, or in its place the next one that can be read.

    Args:
        read: gives the picture of a number.
        index: the number.
        count: how many pictures there are.
        strict: whether one that cannot be read is an error.

    Returns:
        The picture, its number, and the numbers of those that were skipped.

    Raises:
        ImageError: it cannot be read and `strict` is set, or none after it can.
    """
    skipped: list[int] = []
    while True:
        try:
            return read(index), index, tuple(skipped)
        except ImageError:
            skipped.append(index)
            if strict or len(skipped) == min(MOST_SUBSTITUTES, count):
                raise
            index = (index + 1) % count


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
