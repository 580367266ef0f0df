"""What a training says: a bar on a terminal, lines elsewhere, JSONL and TensorBoard on disk."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 10
CHANCE = 0.55  # of the area under the ROC curve

Item = TypeVar("Item")


class Log:
    """The log of one process; only the first one's says anything.

    Writes `metrics.jsonl`, the values of a step a line, and events for TensorBoard in
    `tensorboard/` where tensorboardX is installed. A resumed training goes on after the step it
    resumes at.

    Args:
        folder: of the training.
        steps: in the whole training.
        start: those done before.
        active: whether this is the first process.
    """

    def __init__(self, folder: Path, steps: int, start: int, active: bool) -> None:
        self.steps = steps
        self.active = active
        self._bar: Progress | None = None
        self._clock = (start, time.monotonic())
        self._said = 0.0
        self._first_loss: float | None = None
        self._last_loss = 0.0
        self._skipped: set[str] = set()
        if not active:
            return
        folder.mkdir(parents=True, exist_ok=True)
        self._lines = _reopened(folder / "metrics.jsonl", start)
        self._events = _events(folder / "tensorboard", start)
        if sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("step {task.completed}"),
                BarColumn(),
                TextColumn("{task.description}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task("", total=steps, completed=start)

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()
        if self.active:
            self._lines.close()
            if self._events:
                self._events.close()
        if self._skipped:
            self.say(f"{len(self._skipped)} pictures could not be read and were skipped")

    def say(self, text: str) -> None:
        """Prints a line on stderr."""
        if self._bar:
            self._bar.console.print(text, markup=False, highlight=False)
        elif self.active:
            print(text, file=sys.stderr, flush=True)  # noqa: T201

    def skipped(self, names: Sequence[str]) -> None:
        """Names pictures that cannot be read, each once."""
        for name in names:
            if name not in self._skipped:
                self._skipped.add(name)
                self.say(f"skipped, cannot be read: {name}")

    def track(self, items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
        """Yields the items and says now and then how many of `total` are done."""
        for done, item in enumerate(items, 1):
            yield item
            if time.monotonic() - self._said >= SECONDS_BETWEEN_LINES:
                self.say(f"{what}: {done} of {total}")
                self._said = time.monotonic()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Keeps values of a step, with steps a second, and shows them where it is time to."""
        if not self.active:
            return
        before, then = self._clock
        self._clock = step, time.monotonic()
        values = {**values, "steps/s": (step - before) / max(self._clock[1] - then, 1e-9)}
        self._last_loss = values["loss"]
        self._first_loss = self._first_loss or self._last_loss
        self._keep(step, values)
        text = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        if self._bar:
            self._bar.update(self._task, completed=step, description=text)
        elif time.monotonic() - self._said >= SECONDS_BETWEEN_LINES or step == self.steps:
            self.say(f"step {step} of {self.steps}: {text}")
            self._said = time.monotonic()

    def verification(self, step: int, figures: Mapping[str, float]) -> None:
        """Keeps and says what verification measured; calls out what looks wrong."""
        if not self.active:
            return
        self._keep(step, figures)
        text = ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
        self.say(f"verification at step {step}: {text}")
        areas = [value for name, value in figures.items() if name.endswith("/auc")]
        falls = self._first_loss is not None and self._last_loss < 0.7 * self._first_loss
        if falls and all(area < CHANCE for area in areas):
            self.say(
                "warning: the loss falls, but verification is no better than chance: labels, "
                "alignment or colours of the two sets may differ, or the network only memorises"
            )

    def _keep(self, step: int, values: Mapping[str, float]) -> None:
        self._lines.write(json.dumps({"step": step, **values}) + "\n")
        self._lines.flush()
        if self._events:
            for name, value in values.items():
                self._events.add_scalar(name, value, step)


def _reopened(path: Path, start: int) -> IO[str]:
    """The file without the lines of steps that will come again."""
    kept: list[str] = []
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]
        kept = [line for line in whole if json.loads(line)["step"] <= start]
    partial = path.with_name(f"{path.name}.tmp")
    partial.write_text("".join(kept), encoding="utf-8")
    partial.replace(path)
    return path.open("a", encoding="utf-8")


def _events(folder: Path, start: int) -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=start + 1)
