"""Options that several commands share."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from mindface.zoo import DEFAULT_DETECTOR, DEFAULT_RECOGNIZER

if TYPE_CHECKING:
    from mindface.analyzer import FaceAnalyzer
    from mindface.detection.detector import Detector
    from mindface.recognition.recognizer import Recognizer
    from mindface.zoo.record import ModelRecord

Paths = Annotated[list[Path], typer.Argument(help="Photos, or folders that are walked.")]
Json = Annotated[bool, typer.Option("--json", help="Print only JSON on standard output.")]
Strict = Annotated[bool, typer.Option("--strict", help="An unreadable photo is an error.")]
Largest = Annotated[bool, typer.Option("--largest", help="Only the largest face of a photo.")]
Score = Annotated[float, typer.Option("--score", min=0, max=1, help="Least confidence.")]

SHARED = {
    "detector": (
        Annotated[str, typer.Option(metavar="NAME_OR_FILE", help="Detector.")],
        DEFAULT_DETECTOR,
    ),
    "recognizer": (
        Annotated[str, typer.Option(metavar="NAME_OR_FILE", help="Recogniser.")],
        DEFAULT_RECOGNIZER,
    ),
    "record": (
        Annotated[
            list[Path] | None,
            typer.Option(metavar="FILE", help="Record of a model file that has none beside it."),
        ],
        None,
    ),
    "licence_policy": (
        Annotated[str, typer.Option(help="any, or permissive: refuse non-commercial weights.")],
        "any",
    ),
    "engine": (Annotated[str, typer.Option(help="auto, onnxruntime or openvino.")], "auto"),
    "device": (Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...: a demand.")], "cpu"),
    "precision": (Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")], "auto"),
    "threads": (
        Annotated[int | None, typer.Option(min=1, help="Processor threads; default: all.")],
        None,
    ),
}


@dataclass(frozen=True)
class ModelOptions:
    """The models a command runs and how; arrives as the argument `models`."""

    detector: str
    recognizer: str
    record: list[Path] | None
    licence_policy: Any
    engine: Any
    device: str
    precision: Any
    threads: int | None

    def open_detector(self, **options: Any) -> Detector:
        """The detector, with options of its own."""
        from mindface.detection.detector import Detector

        detector = Detector(
            self.detector, record=self._record("detection"), **options, **self._settings()
        )
        _say_if_restricted(detector.record)
        return detector

    def open_recognizer(self, calibration: Path | None = None) -> Recognizer:
        """The recogniser, with a calibration of its own if given."""
        from mindface.recognition.recognizer import Recognizer

        recognizer = Recognizer(
            self.recognizer,
            record=self._record("recognition"),
            calibration=calibration,
            **self._settings(),
        )
        _say_if_restricted(recognizer.record)
        return recognizer

    def open_analyzer(self, *, aligned: bool = False, **options: Any) -> FaceAnalyzer:
        """Detector, with options of its own, and recogniser; only the latter for aligned faces."""
        from mindface.analyzer import FaceAnalyzer

        detector = None if aligned else self.open_detector(**options)
        return FaceAnalyzer(detector, self.open_recognizer())

    def _settings(self) -> dict[str, Any]:
        names = ("licence_policy", "engine", "device", "precision", "threads")
        return {name: getattr(self, name) for name in names}

    def _record(self, task: str) -> Path | None:
        from mindface.zoo.record import read_record

        matching = [path for path in self.record or [] if read_record(path).task == task]
        return matching[0] if matching else None


def _say_if_restricted(record: ModelRecord) -> None:
    if record.licence_class == "non-commercial":
        print(f"{record.name}: for non-commercial use only ({record.licence})", file=sys.stderr)


def runs_models(*left_out: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Adds the options of every command that runs a model; they arrive as `models`.

    Args:
        left_out: names of `SHARED` that the command does without.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def wrapper(**arguments: Any) -> None:
            given = {name: arguments.pop(name, default) for name, (_, default) in SHARED.items()}
            command(**arguments, models=ModelOptions(**given))

        hints = get_type_hints(command, include_extras=True)
        own = [
            parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
            for name, parameter in inspect.signature(command).parameters.items()
            if name != "models"
        ]
        shared = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value, annotation=kind)
            for name, (kind, value) in SHARED.items()
            if name not in left_out
        ]
        wrapper.__signature__ = inspect.Signature([*own, *shared])  # type: ignore[attr-defined]
        wrapper.__annotations__ = {p.name: p.annotation for p in [*own, *shared]}
        return wrapper

    return decorate
