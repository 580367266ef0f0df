"""What the commands of `mindface evaluate` share: options, models, progress, results."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mindface.cli.options import ModelOptions
from mindface.cli.progress import track
from mindface.errors import MissingExtraError

if TYPE_CHECKING:
    from mindface.analyzer import FaceAnalyzer

Models = Annotated[
    list[str],
    typer.Argument(metavar="MODEL...", help="Names, ONNX files, or weights of our networks."),
]
Flip = Annotated[bool, typer.Option("--flip", help="Add the features of mirrored faces.")]
Aligned = Annotated[bool, typer.Option("--aligned", help="The photos are aligned faces.")]
Seed = Annotated[int, typer.Option(help="Of what is drawn, and of the intervals.")]
Report = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Write a page with curves and worst cases.")
]

Run = dict[str, Any]


def open_analyzer(models: ModelOptions, model: str, *, aligned: bool) -> FaceAnalyzer:
    """The analyzer that evaluates a model: in fp32 where no other precision is demanded.

    Args:
        models: everything but the recogniser.
        model: a name, an ONNX file, or weights of one of our networks, which become one.
        aligned: whether a detector is done without.
    """
    options = replace(models, recognizer=as_onnx(model), precision=demanded_precision(models))
    return options.open_analyzer(aligned=aligned)


def as_onnx(model: str) -> str:
    """A model as it can be run: weights of one of our networks become an ONNX file."""
    from mindface.zoo.model import WEIGHT_SUFFIXES

    if Path(model).suffix.lower() not in WEIGHT_SUFFIXES:
        return model
    from mindface.export import export_weights

    return str(export_weights(model))


def demanded_precision(models: ModelOptions) -> Any:
    """The precision to evaluate in, fp32 unless another is demanded."""
    return "fp32" if models.precision == "auto" else models.precision


def check_report(report: Path | None) -> None:
    """Says before hours of work, not after, that a report cannot be drawn.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    if report and not find_spec("matplotlib"):
        raise MissingExtraError("the report of an evaluation", "evaluate")


def progress(what: str) -> Callable[[Iterable[int], int], Iterator[int]]:
    """Shows how many photos are done; for `mindface.features.extract`."""
    return lambda items, total: track(items, total, what)


def print_runs(runs: Sequence[Run], as_json: bool, lines: Callable[[Run], Iterable[str]]) -> None:
    """Prints results: one JSON value (a list where there are several), or lines for people."""
    if as_json:
        print(json.dumps(runs[0] if len(runs) == 1 else list(runs), ensure_ascii=False))
        return
    print("\n\n".join("\n".join(lines(run)) for run in runs))


def rate_lines(rates: Mapping[str, Any], head: str, name: str) -> Iterator[str]:
    """A table of rates with intervals and thresholds."""
    yield f"  {head:8} {name:>6}   95% interval     threshold"
    for rate, found in rates.items():
        if found is None:
            yield f"  {rate:8} too few people to measure it"
        else:
            low, high = found["low"], found["high"]
            yield (
                f"  {rate:8} {found[name.lower()]:6.4f}   {low:.4f} - {high:.4f}  "
                f"{found['threshold']:7.4f}"
            )
