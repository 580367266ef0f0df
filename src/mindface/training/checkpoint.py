"""Checkpoints: folders of safetensors and JSON that appear whole or not at all.

```
checkpoints/step-00004000/
    network.safetensors      whatever the training names, written by the first process
    head-0.safetensors       parts of each process carry its rank
    checkpoint.json          the step, the configuration, the classes, the versions
```

A folder is written as `.step-00004000.partial` and renamed when every byte is on the disk, so one
that has its name is whole, whenever the process was killed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mindface.errors import WeightsError
from mindface.training.distributed import World

FACTS = "checkpoint.json"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk.

    Attributes:
        folder: where it lies.
        facts: the content of its `checkpoint.json`.
    """

    folder: Path
    facts: Mapping[str, Any]

    @property
    def step(self) -> int:
        """How many steps had been done."""
        step: int = self.facts["step"]
        return step

    def names(self) -> list[str]:
        """The parts that `tensors` can read."""
        return sorted(path.stem for path in self.folder.glob("*.safetensors"))

    def tensors(self, name: str) -> dict[str, Tensor]:
        """A part's tensors, on the CPU, read from the disk when they are used.

        Raises:
            WeightsError: it cannot be read.
        """
        path = self.folder / f"{name}.safetensors"
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise WeightsError(
                f"{path} cannot be read: {error}: the checkpoint is damaged, or of another "
                "configuration; without it the training goes on from the one before"
            ) from error


def open_checkpoint(folder: str | os.PathLike[str]) -> Checkpoint:
    """Opens a checkpoint.

    Args:
        folder: its own, or that of a training, whose best or else newest checkpoint it is.

    Raises:
        WeightsError: it is none.
    """
    folder = Path(folder)
    if (folder / "checkpoints").is_dir():
        kept = Checkpoints(folder / "checkpoints")
        if found := kept.best() or kept.latest():
            return found
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{folder}: no checkpoint, {FACTS} cannot be read: {error}") from error
    if not (isinstance(facts, dict) and isinstance(facts.get("step"), int)):
        raise WeightsError(f"{folder}: no checkpoint, {FACTS} says nothing of a step")
    return Checkpoint(folder, facts)


class Checkpoints:
    """The checkpoints of one training.

    Args:
        folder: which holds them.
        keep: how many of the newest stay; the one with the best score stays besides.
    """

    def __init__(self, folder: str | os.PathLike[str], keep: int = 3) -> None:
        self.folder = Path(folder)
        self.keep = keep

    def all(self) -> list[Checkpoint]:
        """Every whole checkpoint, oldest first."""
        return [open_checkpoint(folder) for folder in sorted(self.folder.glob("step-*"))]

    def latest(self) -> Checkpoint | None:
        """The newest, or None."""
        return next(iter(self.all()[::-1]), None)

    def best(self) -> Checkpoint | None:
        """The one with the highest score, the newer of equals; None where none has a score."""
        scored = [found for found in self.all() if found.facts.get("score") is not None]
        return max(scored, key=lambda found: (found.facts["score"], found.step), default=None)

    def save(
        self,
        step: int,
        shared: Mapping[str, Mapping[str, Tensor]],
        own: Mapping[str, Mapping[str, Tensor]],
        facts: Mapping[str, Any],
        world: World,
    ) -> Path:
        """Writes a checkpoint and removes those that are no longer kept.

        All processes call it together, and see one folder.

        Args:
            step: how many steps have been done.
            shared: tensors by part that are the same in all processes.
            own: tensors by part that each process has for itself.
            facts: goes into `checkpoint.json`; `score`, where given, says how good it is.
            world: the processes.

        Returns:
            The checkpoint's folder; one that is there already stays as it is.
        """
        target = self.folder / f"step-{step:08d}"
        if target.exists():
            return target
        partial = self.folder / f".{target.name}.partial"
        if world.first:
            for stale in self.folder.glob(".step-*.partial"):
                shutil.rmtree(stale)
            partial.mkdir(parents=True)
        world.wait()
        for name, tensors in own.items():
            _write(partial / f"{name}-{world.rank}.safetensors", tensors)
        if world.first:
            for name, tensors in shared.items():
                _write(partial / f"{name}.safetensors", tensors)
        world.wait()
        if world.first:
            text = json.dumps({"step": step, **facts}, indent=1, ensure_ascii=False)
            (partial / FACTS).write_text(text, encoding="utf-8")
            _flush(partial / FACTS)
            _flush(partial)
            partial.rename(target)
            _flush(self.folder)
            self._prune()
        world.wait()
        return target

    def _prune(self) -> None:
        found, best = self.all(), self.best()
        for checkpoint in found[: -self.keep]:
            if best is None or checkpoint.folder != best.folder:
                _remove(checkpoint.folder)


def _remove(folder: Path) -> None:
    """Takes the name away first, so that a folder with its name is always whole."""
    shutil.rmtree(folder.rename(folder.with_name(f".{folder.name}.partial")))


def _write(path: Path, tensors: Mapping[str, Tensor]) -> None:
    copies = {
        name: tensor.detach().to("cpu", copy=True).contiguous()  # tied weights cannot be written
        for name, tensor in tensors.items()
    }
    save_file(copies, path)
    _flush(path)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def size_on_disk(folder: Path) -> int:
    """Bytes that the checkpoints in a folder take; 0 where there is none."""
    return sum(path.stat().st_size for path in folder.glob("*/*") if path.is_file())
