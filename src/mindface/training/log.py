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
FALLEN = 0.7  # of the first loss

Item = TypeVar("Item")


class Log:
    """The log of one process; only the first one's writes and says how it goes.

    Inside of `with` it writes `metrics.jsonl`, the values of a step a line, and events for
    TensorBoard in `tensorboard/` where tensorboardX is installed. A resumed training goes on after
    the step it resumes at.

    Args:
        folder: of the training.
        steps: in the whole training.
        start: those done before.
        batch: pictures in a step.
        first: whether this is the first process.
    """

    def __init__(self, folder: Path, steps: int, start: int, batch: int, first: bool) -> None:
        self.folder = folder
        self.steps = steps
        self.start = start
        self.batch = batch
        self.first = first
        self._bar: Progress | None = None
        self._lines: IO[str] | None = None
        self._events: Any = None
        self._said = -float(SECONDS_BETWEEN_LINES)
        self._losses: list[float] = []
        self._skipped: set[str] = set()

    def __enter__(self) -> Self:
        self._clock = (self.start, time.monotonic())
        if not self.first:
            return self
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "metrics.jsonl"
        kept = _kept(path, self.start)
        self._losses = [values["loss"] for values in kept if "loss" in values]
        self._lines = _rewritten(path, kept)
        self._events = _events(self.folder / "tensorboard", self.start)
        if sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("step {task.completed}"),
                BarColumn(),
                TextColumn("{task.description}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task("", total=self.steps, completed=self.start)
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
        if self._lines:
            self._lines.close()
        if self._events:
            self._events.close()
        if self._skipped:
            self._print(f"{len(self._skipped)} pictures could not be read and were skipped")

    def say(self, text: str) -> None:
        """Prints on stderr, in the first process."""
        if self.first:
            self._print(text)

    def skipped(self, names: Sequence[str]) -> None:
        """Names pictures that cannot be read, each once, in any process."""
        for name in names:
            if name not in self._skipped:
                self._skipped.add(name)
                self._print(f"skipped, cannot be read: {name}")

    def track(self, items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
        """Yields the items and says now and then how many of `total` are done."""
        for done, item in enumerate(items, 1):
            yield item
            if self._time_to_say():
                self.say(f"{what}: {done} of {total}")

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Keeps values of a step, with pictures a second, and shows them where it is time to."""
        if not self.first:
            return
        before, then = self._clock
        self._clock = step, time.monotonic()
        pictures = (step - before) * self.batch
        values = {**values, "images/s": pictures / max(self._clock[1] - then, 1e-9)}
        self._losses = [*self._losses[:1], values["loss"]]
        self._keep(step, values)
        text = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        if self._bar:
            self._bar.update(self._task, completed=step, description=text)
        elif self._time_to_say() or step == self.steps:
            self.say(f"step {step} of {self.steps}: {text}")

    def measured(self, step: int, what: str, figures: Mapping[str, float]) -> None:
        """Keeps and says what verification or validation found; calls out what looks wrong."""
        if not self.first:
            return
        self._keep(step, figures)
        text = ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
        self.say(f"{what} at step {step}: {text}")
        areas = [value for name, value in figures.items() if name.endswith("/auc")]
        falls = bool(self._losses) and self._losses[-1] < FALLEN * self._losses[0]
        if falls and areas and max(areas) < CHANCE:
            self.say(
                "warning: the loss falls, but verification is no better than chance: labels, "
                "alignment or colours of the two sets may differ, or the network only memorises"
            )

    def _print(self, text: str) -> None:
        if self._bar:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)  # noqa: T201

    def _time_to_say(self) -> bool:
        now = time.monotonic()
        if now - self._said < SECONDS_BETWEEN_LINES:
            return False
        self._said = now
        return True

    def _keep(self, step: int, values: Mapping[str, float]) -> None:
        if self._lines:
            self._lines.write(json.dumps({"step": step, **values}) + "\n")
            self._lines.flush()
        if self._events:
            for name, value in values.items():
                self._events.add_scalar(name, value, step)


def _kept(path: Path, start: int) -> list[dict[str, float]]:
    """The values of steps that will not come again; a line that a crash tore is none."""
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            values = json.loads(line)
        except ValueError:
            continue
        if values["step"] <= start:
            kept.append(values)
    return kept


def _rewritten(path: Path, lines: Sequence[Mapping[str, float]]) -> IO[str]:
    """The file with these lines, open for more."""
    partial = path.with_name(f"{path.name}.tmp")
    partial.write_text("".join(json.dumps(values) + "\n" for values in lines), encoding="utf-8")
    partial.replace(path)
    return path.open("a", encoding="utf-8")


def _events(folder: Path, start: int) -> Any:
    try:
        from tensorboardX import SummaryWriter  # type: ignore[import-untyped]
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=start + 1, filename_suffix=f".{start}")
