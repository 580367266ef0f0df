"""Photos with faces as batches for a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from mindface.datasets.scenes import SceneSet, load_scene
from mindface.detection.scene import Scene
from mindface.errors import MindFaceError
from mindface.training.detection.config import DetectionConfig
from mindface.training.loading import read_or_next


class Item(NamedTuple):
    """A picture of a batch, and where it is from."""

    scene: Scene
    number: int
    skipped: tuple[int, ...]


class Batch(NamedTuple):
    """One process's part of a step.

    Attributes:
        images: `(B, S, S, 3)` uint8 RGB.
        boxes: of each picture `(N, 4)` float32 xyxy in pixels.
        landmarks: likewise `(N, 5, 2)` float32, NaN where nobody marked them.
        ignored: likewise `(N,)` bool.
        indices: `(B,)` int64, which photo of the set each is.
        skipped: numbers of photos that could not be read; the next ones took their places.
    """

    images: Tensor
    boxes: list[Tensor]
    landmarks: list[Tensor]
    ignored: list[Tensor]
    indices: Tensor
    skipped: tuple[int, ...]


class Scenes(Dataset[Item]):
    """The photos of a set, augmented by random numbers of their own.

    What is drawn depends on the seed and the turn (see `GlobalBatches`), not on workers or
    processes.

    Args:
        scenes: the set.
        config: of the training.
    """

    def __init__(self, scenes: SceneSet, config: DetectionConfig) -> None:
        self.scenes = scenes
        self.augmentation = config.data.augmentation
        self.size = config.data.size
        self.strict = config.data.strict
        self.seed = config.seed

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, item: tuple[int, int]) -> Item:
        """The photo `index` at a turn, augmented."""
        turn, index = item
        skipped: list[int] = []
        rng = np.random.default_rng((self.seed, turn))

        def read(index: int) -> tuple[Scene, int]:
            scene, index, passed = read_or_next(self._read, index, len(self), self.strict)
            skipped.extend(passed)
            return scene, index

        def another() -> Scene:
            return read(int(rng.integers(len(self))))[0]

        scene, index = read(index)
        scene = self.augmentation(scene, rng, self.size, another)
        return Item(scene, index, tuple(skipped))

    def __getitems__(self, items: Sequence[tuple[int, int]]) -> list[Item] | MindFaceError:
        """The pictures of a batch, or why there is none; a worker's exceptions lose their type."""
        try:
            return [self[item] for item in items]
        except MindFaceError as error:
            return error

    def _read(self, index: int) -> Scene:
        return load_scene(self.scenes, index)


def collate(items: list[Item] | MindFaceError) -> Batch | MindFaceError:
    """Puts pictures together."""
    if isinstance(items, MindFaceError):
        return items
    scenes = [item.scene for item in items]
    return Batch(
        torch.from_numpy(np.stack([scene.image for scene in scenes])),
        [torch.from_numpy(scene.boxes) for scene in scenes],
        [torch.from_numpy(scene.landmarks) for scene in scenes],
        [torch.from_numpy(scene.ignored) for scene in scenes],
        torch.tensor([item.number for item in items]),
        tuple(number for item in items for number in item.skipped),
    )
