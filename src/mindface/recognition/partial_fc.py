"""Partial FC: the margin head whose centres are spread over all processes, and sampled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, TypedDict

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from mindface.errors import WeightsError
from mindface.recognition import collectives
from mindface.recognition.losses.arcface import pool_sub_centers
from mindface.recognition.losses.filtering import filter_interclass
from mindface.recognition.losses.margin import Margin, target_cosines, widen

SHORTEST = 1e-12  # as `F.normalize`
BLOCK = 1024  # classes whose centres are drawn together


class Shard(TypedDict):
    """The centres of adjacent classes, as `PartialFC.shard_state` gives them.

    `torch.load` reads it with `weights_only`.

    Attributes:
        first: the number of the first class.
        centers: `(classes here * sub_centers, D)`.
        classes: how many there are in all shards.
        sub_centers: centres of a class.
        steps: training steps so far.
    """

    first: int
    centers: Tensor
    classes: int
    sub_centers: int
    steps: int


class PartialFC(nn.Module):
    """A margin head over the processes of torch.distributed's default group.

    Each process keeps the centres of a range of classes, and computes the logits of everyone's
    embeddings with them. In training mode it takes only a share of its classes: those that the
    batch shows, and others by chance. In evaluation mode all take part. The result is the one of
    `MarginHead` on the whole batch and the classes taken, in float32 (float64 where the inputs
    are) under any autocast. Source: An et al., "Killing Two Birds with One Stone: Efficient and
    Robust Training of Face Recognition CNNs by Partial FC", CVPR 2022, section 3.

    Gradients are for a network in `DistributedDataParallel`, which averages them: those of a
    process's embeddings are its part of the whole loss's gradient times the number of processes.
    Do not wrap this module itself. The gradients of its centres are exact as they are, and those
    of what the margin learns are summed here, so that they are the same in all processes.

    The gradient of the centres is dense, with zeros for the classes not taken, so any optimiser
    works. Its momentum keeps moving those rows, and fades meanwhile; its weight decay shortens
    them, which changes no cosine.

    Args:
        embedding_size: values in an embedding, D.
        classes: how many there are in all processes, C.
        margin: what makes logits of cosines.
        rate: the share of classes to take in a step, above 0 and at most 1: `ceil(rate * C /
            processes)` in each process, or as many as its classes in the batch if they are more.
        sub_centers: centres of a class, K; None for as many as the margin says.
        seed: of the centres, the same for any number of processes, and of the classes taken, which
            also depend on the rank, the step and the kind of device.
        filter_threshold: the cosine of `filter_interclass`; None filters nothing.

    Attributes:
        strength: how much of the margin counts, 0 (a softmax of scaled cosines) to 1; a training
            may let it grow.
        first: the number of this process's first class. The ranges follow each other by rank, and
            where they cannot be equal the first ranks have one class more.
        local_classes: how many this process has.
        centers: `(local_classes * K, D)`, drawn from a normal distribution of deviation 0.01; the K
            of one class are adjacent rows.
        sampled: `(c,)` int64, the numbers of the classes that this process took last, rising.
        steps: how many training steps there were.

    Raises:
        ValueError: a size is below 1, the rate is not above 0 and at most 1, or there are fewer
            classes than processes.
    """

    sampled: Tensor

    def __init__(
        self,
        embedding_size: int,
        classes: int,
        margin: Margin,
        rate: float = 1.0,
        sub_centers: int | None = None,
        seed: int = 0,
        filter_threshold: float | None = None,
    ) -> None:
        super().__init__()
        count = margin.sub_centers if sub_centers is None else sub_centers
        if min(embedding_size, classes, count) < 1:
            raise ValueError(
                "Partial FC needs at least one value, class and sub-centre, not "
                f"{embedding_size}, {classes} and {count}"
            )
        if not 0 < rate <= 1:
            raise ValueError(f"the rate of Partial FC must be above 0 and at most 1, not {rate}")
        self.rank, self.processes = collectives.place()
        if classes < self.processes:
            raise ValueError(
                f"{classes} classes cannot be spread over {self.processes} processes: use fewer"
            )
        self.classes = classes
        self.sub_centers = count
        self.seed = seed
        self.filter_threshold = filter_threshold
        self.strength = 1.0
        self.steps = 0
        self.margin = margin

        share, longer = divmod(classes, self.processes)
        self.first = self.rank * share + min(self.rank, longer)
        self.local_classes = share + (self.rank < longer)
        self.sample_size = math.ceil(rate * classes / self.processes)
        self.register_buffer("sampled", self._all_classes(), persistent=False)
        self.centers = nn.Parameter(torch.empty(self.local_classes * count, embedding_size))
        self._draw_centers()
        margin.initialise(min(self.sample_size * self.processes, classes))
        for parameter in margin.parameters():
            parameter.register_hook(collectives.add_up)  # type: ignore[no-untyped-call]

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """The mean loss, a scalar, of all processes' batches: the same in all of them.

        All processes call it together. Their batches may differ in length.

        Args:
            embeddings: `(B, D)`, this process's, of any length, as the network makes them.
            labels: `(B,)` int64 from 0 to C - 1, whichever process has the class.

        Raises:
            ValueError: labels that do not fit the embeddings, or a label out of range in any
                process.
            RuntimeError: torch.distributed was initialised or closed after the head was made.
        """
        rank, processes = collectives.place()
        if (rank, processes) != (self.rank, self.processes):
            raise RuntimeError(
                f"this head was made as process {self.rank} of {self.processes}, and is now {rank} "
                f"of {processes}: initialise torch.distributed first"
            )
        if embeddings.ndim != 2 or labels.shape != embeddings.shape[:1]:
            raise ValueError(
                "embeddings (B, D) and labels (B,) cannot have the shapes "
                f"{tuple(embeddings.shape)} and {tuple(labels.shape)}"
            )
        with torch.autocast(embeddings.device.type, enabled=False):
            embeddings, labels = collectives.gather(widen(embeddings), labels)
            self._sample(labels)
            return self._loss(embeddings, self._columns(labels))

    @torch.no_grad()
    def accuracy(self, embeddings: Tensor, labels: Tensor) -> float:
        """The share of the last step's samples nearest to their own class, margin aside.

        Of the classes that the step took. All processes call it together, as `forward`.
        """
        embeddings, labels = collectives.gather(widen(embeddings), labels)
        columns = self._columns(labels)
        cosines = self._cosines(embeddings)
        greatest = collectives.greatest(cosines.amax(1))
        own = collectives.add_up(target_cosines(cosines, columns)[:, 0].where(columns >= 0, 0))
        return float((own >= greatest).float().mean())

    def shard_state(self) -> Shard:
        """This process's centres, a copy; the margin's state is the same in all processes."""
        return Shard(
            first=self.first,
            centers=self.centers.detach().clone(),
            classes=self.classes,
            sub_centers=self.sub_centers,
            steps=self.steps,
        )

    def load_shards(self, shards: Sequence[Shard]) -> None:
        """Takes this process's centres out of the shards of any number of processes.

        Args:
            shards: all that one step's processes gave, in any order.

        Raises:
            WeightsError: they are of another head or of several steps, or a class is missing or
                there twice.
        """
        shards = sorted(shards, key=lambda shard: shard["first"])
        self._check(shards)
        with torch.no_grad():
            for shard in shards:
                start = (shard["first"] - self.first) * self.sub_centers
                low, high = max(start, 0), min(start + len(shard["centers"]), len(self.centers))
                if low < high:
                    self.centers[low:high] = shard["centers"][low - start : high - start]
        self.steps = shards[0]["steps"]

    def _check(self, shards: list[Shard]) -> None:
        expected = (self.classes, self.sub_centers, self.centers.shape[1])
        for shard in shards:
            found = (shard["classes"], shard["sub_centers"], shard["centers"].shape[1])
            if found != expected:
                raise WeightsError(
                    f"a shard is of a head with {found} classes, sub-centres and values in an "
                    f"embedding, this one has {expected}"
                )
            if shard["steps"] != shards[0]["steps"]:
                raise WeightsError(
                    f"the shards are of steps {shards[0]['steps']} and {shard['steps']}: give "
                    "those of one step"
                )
        firsts = [shard["first"] for shard in shards]
        ends = accumulate((len(shard["centers"]) for shard in shards), initial=0)
        if [first * self.sub_centers for first in (*firsts, self.classes)] != list(ends):
            raise WeightsError(
                f"the shards start at classes {firsts} and do not hold each of {self.classes} "
                "once: give all shards of one step"
            )

    @torch.no_grad()
    def _draw_centers(self) -> None:
        """Draws blocks of classes, each with a seed of its own, and keeps those of this process."""
        end = self.first + self.local_classes
        grouped = self.centers.view(self.local_classes, self.sub_centers, -1)
        for start in range(self.first // BLOCK * BLOCK, end, BLOCK):
            block = grouped.new_empty(BLOCK, *grouped.shape[1:])
            block.normal_(std=0.01, generator=self._generator(block.device, start))
            low, high = max(start, self.first), min(start + BLOCK, end)
            grouped[low - self.first : high - self.first] = block[low - start : high - start]

    def _generator(self, device: torch.device, *what: int) -> torch.Generator:
        sequence = np.random.SeedSequence((self.seed, *what))
        return torch.Generator(device).manual_seed(int(sequence.generate_state(1, np.uint64)[0]))

    def _all_classes(self) -> Tensor:
        return torch.arange(self.first, self.first + self.local_classes)

    def _sample(self, labels: Tensor) -> None:
        """Chooses the classes of this step: all positive ones, and negative ones by chance."""
        if not bool(((labels >= 0) & (labels < self.classes)).all()):
            raise ValueError(
                f"labels must be from 0 to {self.classes - 1}, not {labels.min()} to {labels.max()}"
            )
        self.steps += self.training
        if not self.training or self.sample_size >= self.local_classes:
            self.sampled = self._all_classes().to(labels.device)
            return
        local = labels - self.first
        positive = local[(local >= 0) & (local < self.local_classes)]
        generator = self._generator(labels.device, self.rank, self.steps)
        priority = torch.rand(self.local_classes, generator=generator, device=labels.device)
        priority[positive] = 2.0
        size = max(self.sample_size, int((priority == 2).sum()))
        self.sampled = self.first + priority.topk(size).indices.sort().values

    def _columns(self, labels: Tensor) -> Tensor:
        """Each label's place in `sampled`, -1 for the classes of other processes."""
        places = torch.searchsorted(self.sampled, labels).clamp(max=len(self.sampled) - 1)
        return torch.where(self.sampled[places] == labels, places, -1)

    def _loss(self, embeddings: Tensor, columns: Tensor) -> Tensor:
        norms = embeddings.norm(dim=1)
        cosines = self._cosines(embeddings)
        if self.filter_threshold is not None:
            cosines = filter_interclass(cosines, columns, self.filter_threshold)
        if self.margin.needs_own:
            own = target_cosines(cosines.detach(), columns)[:, 0]
            logits = self.margin(
                cosines, columns, norms, collectives.add_up(own.where(columns >= 0, 0))
            )
        else:
            logits = self.margin(cosines, columns, norms)
        if self.strength < 1:
            logits = torch.lerp(self.margin.scale * cosines, logits, self.strength)
        penalty = self.margin.penalty(norms) / self.processes
        if self.margin.binary:
            return collectives.total(self.margin.losses(logits, columns).mean() + penalty)
        entropy: Tensor = _CrossEntropy.apply(logits, columns)  # type: ignore[no-untyped-call]
        return entropy + collectives.total(penalty)

    def _cosines(self, embeddings: Tensor) -> Tensor:
        """The cosines `(B, c)` with the classes of `sampled`."""
        rows = None
        if len(self.sampled) < self.local_classes:
            places = torch.arange(self.sub_centers, device=self.sampled.device)
            rows = ((self.sampled - self.first)[:, None] * self.sub_centers + places).flatten()
        cosines: Tensor = _Cosines.apply(  # type: ignore[no-untyped-call]
            F.normalize(embeddings), widen(self.centers), rows
        )
        if self.sub_centers == 1:
            return cosines
        return pool_sub_centers(cosines.view(len(embeddings), -1, self.sub_centers))


class _Cosines(Function):
    """The cosines of unit embeddings `(B, D)` with rows of the centres `(R, D)`; None for all.

    Products are divided by the centres' lengths, instead of centres before they are multiplied: a
    batch has fewer of them, and nothing of all centres' size is filled but their gradient.
    """

    @staticmethod
    def forward(ctx: Any, embeddings: Tensor, centers: Tensor, rows: Tensor | None) -> Tensor:
        taken = centers if rows is None else centers.index_select(0, rows)
        lengths = torch.linalg.vector_norm(taken, dim=1).clamp_(min=SHORTEST)
        cosines = (embeddings @ taken.T).div_(lengths).clamp_(-1, 1)
        ctx.save_for_backward(embeddings, taken, lengths, cosines, rows)
        ctx.shape = centers.shape
        return cosines

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        embeddings, taken, lengths, cosines, rows = ctx.saved_tensors
        gradient = gradient / lengths
        along = (gradient * cosines).sum(0) / lengths
        centers = (gradient.T @ embeddings).addcmul_(taken, along[:, None], value=-1)
        if rows is not None:
            centers = centers.new_zeros(ctx.shape).index_copy_(0, rows, centers)
        return gradient @ taken, centers, None


class _CrossEntropy(Function):
    """The mean cross entropy of a softmax over the columns of all processes."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, columns: Tensor) -> Tensor:
        greatest = collectives.greatest(logits.amax(1))
        shifted = logits - greatest[:, None]
        own = target_cosines(shifted, columns)[:, 0].where(columns >= 0, 0)
        powers = shifted.exp_()
        sums, own = collectives.add_up(torch.stack([powers.sum(1), own])).unbind()
        ctx.save_for_backward(powers.div_(sums[:, None]), columns)
        return (sums.log() - own).mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        probabilities: Tensor
        probabilities, columns = ctx.saved_tensors
        rows = (columns >= 0).nonzero()[:, 0]
        share = gradient / len(columns)
        difference = probabilities * share
        difference[rows, columns[rows]] -= share
        return difference, None
