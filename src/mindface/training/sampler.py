"""Which samples a step takes: a function of seed and step, whoever computes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count, groupby

import numpy as np
from numpy.typing import NDArray

from mindface.errors import ConfigError

Order = Callable[[np.random.Generator], NDArray[np.int64]]


class GlobalBatches:
    """The batches of one process, for a `DataLoader`'s `batch_sampler`.

    Epoch e visits the samples as `order` has them for a generator of `(seed, e)`, `batch` a step;
    what remains of an epoch is dropped. Of each step's batch process r takes every n-th sample
    from the r-th on, n being the number of processes, so that all together see the same batch
    however many they are. A sample comes as `(turn, index)`, turn being how many samples were
    shown before it in the whole training: a data set can draw its random numbers from that,
    independent of workers and processes, and others for each time that it shows a sample.

    Args:
        order: gives the indices of an epoch, `(N,)`, always as many.
        batch: samples in a step of all processes.
        seed: at least 0.
        rank: of this process.
        processes: how many there are.
        start: the step to begin at; the ones before are skipped without being drawn.
        stop: the step to end before; None never ends.

    Attributes:
        steps_per_epoch: whole batches in an epoch.

    Raises:
        ConfigError: the processes cannot share a batch equally, or an epoch is less than one.
    """

    def __init__(
        self,
        order: Order,
        batch: int,
        *,
        seed: int,
        rank: int = 0,
        processes: int = 1,
        start: int = 0,
        stop: int | None = None,
    ) -> None:
        if batch < 1 or batch % processes:
            raise ConfigError(
                f"a batch of {batch} cannot be shared equally by {processes} processes: "
                f"take a multiple of {processes}"
            )
        self.order = order
        self.batch = batch
        self.seed = seed
        self.rank = rank
        self.processes = processes
        self.start = start
        self.stop = stop
        self._samples = len(self._drawn(0))
        self.steps_per_epoch = self._samples // batch
        if not self.steps_per_epoch:
            raise ConfigError(
                f"an epoch of {self._samples} samples has no batch of {batch}: "
                "take a smaller batch, or more data"
            )

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        steps = count(self.start) if self.stop is None else range(self.start, self.stop)
        for epoch, group in groupby(steps, lambda step: step // self.steps_per_epoch):
            indices = self._drawn(epoch)
            if len(indices) != self._samples:
                raise RuntimeError(
                    f"epoch {epoch} has {len(indices)} samples and epoch 0 has {self._samples}: "
                    "an order must always be of one length"
                )
            for step in group:
                first = step % self.steps_per_epoch * self.batch
                own = indices[first + self.rank : first + self.batch : self.processes]
                turns = count(step * self.batch + self.rank, self.processes)
                yield list(zip(turns, own.tolist(), strict=False))

    def __len__(self) -> int:
        if self.stop is None:
            raise TypeError("batches without an end have no length")
        return max(0, self.stop - self.start)

    def _drawn(self, epoch: int) -> NDArray[np.int64]:
        return self.order(np.random.default_rng((self.seed, epoch)))
