"""Several sets of faces as one."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np

from mindface.datasets.faceset import NOBODY, FaceSet, Ints
from mindface.errors import ConfigError


class Mixture:
    """A `FaceSet` of several, whose people are taken for different ones.

    An epoch draws `round(weight * len(set))` pictures from each set: the beginnings of so many of
    its orders as it takes. So weight 1 visits each picture once, 0.5 a random half of them, 2 each
    twice. What is drawn from the sets is interleaved at random, and keeps each set's order.

    Args:
        sets: at least one.
        weights: how often to visit a picture of each set in an epoch; None for once.
        names: of the sets; None for those of their files and folders, or their whole paths if
            those are not different. Where there are several sets, "name/person" names a class.

    Attributes:
        sets: as given.
        names: of the sets.
        draws: how many pictures of each set an epoch visits.

    Raises:
        ConfigError: there is no set, there are not as many weights or names as sets, two names are
            alike, or a weight is not above 0 or too small to draw a picture.
    """

    def __init__(
        self,
        sets: Sequence[FaceSet],
        weights: Sequence[float] | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        self.sets = tuple(sets)
        self.names = _names_of(self.sets) if names is None else tuple(names)
        weights = [1.0] * len(self.sets) if weights is None else weights
        if not len(self.sets) == len(weights) == len(self.names) > 0:
            raise ConfigError(
                f"{len(self.sets)} sets, {len(weights)} weights and {len(self.names)} names: give "
                "one set at least, and a weight and a name for each"
            )
        if len(set(self.names)) < len(self.names):
            raise ConfigError(
                f"two of the sets {', '.join(self.names)} have one name: name them, or give "
                "a set once, with a larger weight"
            )
        self.draws = tuple(map(_draws, self.names, self.sets, weights))
        self.source = " + ".join(faces.source for faces in self.sets)
        sizes = [len(faces) for faces in self.sets]
        self._starts = [0, *accumulate(sizes[:-1])]
        classes = [len(faces.class_names) for faces in self.sets]
        firsts = [0, *accumulate(classes[:-1])]
        self.labels = np.concatenate(
            [
                np.where(faces.labels == NOBODY, NOBODY, faces.labels + first)
                for faces, first in zip(self.sets, firsts, strict=True)
            ]
        )
        self.class_names = tuple(
            f"{name}/{person}" if len(self.sets) > 1 else person
            for name, faces in zip(self.names, self.sets, strict=True)
            for person in faces.class_names
        )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def epoch_size(self) -> int:
        """How many pictures `order` visits."""
        return sum(self.draws)

    def read(self, index: int) -> bytes:
        """See `FaceSet.read`."""
        faces, row = self._place(index)
        return faces.read(row)

    def describe(self, index: int) -> str:
        """As its set describes the picture."""
        faces, row = self._place(index)
        return faces.describe(row)

    def order(self, rng: np.random.Generator) -> Ints:
        """The draws of an epoch `(epoch_size,)`."""
        turns = rng.permutation(np.repeat(np.arange(len(self.sets)), self.draws))
        order = np.empty(len(turns), np.int64)
        plan = zip(self.sets, self._starts, self.draws, strict=True)
        for number, (faces, start, count) in enumerate(plan):
            order[turns == number] = start + _drawn(faces, count, rng)
        return order

    def _place(self, index: int) -> tuple[FaceSet, int]:
        number = bisect_right(self._starts, index) - 1
        return self.sets[number], int(index) - self._starts[number]


def _names_of(sets: Sequence[FaceSet]) -> tuple[str, ...]:
    sources = tuple(faces.source for faces in sets)
    short = tuple(Path(s).name.removesuffix(".rec").removesuffix(".tar") for s in sources)
    return short if len(set(short)) == len(short) else sources


def _draws(name: str, faces: FaceSet, weight: float) -> int:
    draws = round(weight * len(faces)) if 0 < weight < math.inf else 0
    if not draws:
        raise ConfigError(
            f"the weight of {name} is {weight}, which draws none of its {len(faces)} pictures: "
            "give one above 0, or leave the set out"
        )
    return draws


def _drawn(faces: FaceSet, count: int, rng: np.random.Generator) -> Ints:
    """The beginnings of as many orders of a set as hold `count` pictures."""
    parts = []
    while count:
        parts.append(faces.order(rng)[:count])
        count -= len(parts[-1])
    return np.concatenate(parts)
