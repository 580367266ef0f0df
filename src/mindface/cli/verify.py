"""`mindface verify`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mindface.cli.options import Json, ModelOptions, runs_models
from mindface.results import Verification


@runs_models()
def verify(
    a: Annotated[Path, typer.Argument(help="A photo.")],
    b: Annotated[Path, typer.Argument(help="Another photo.")],
    as_json: Json = False,
    false_match_rate: Annotated[
        float, typer.Option(min=0, max=1, help="How many strangers may pass for one person.")
    ] = 1e-3,
    calibration: Annotated[
        Path | None, typer.Option(metavar="CAL.json", help="From mindface calibrate.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(min=-1, max=1, help="Least similarity, instead of a rate.")
    ] = None,
    *,
    models: ModelOptions,
) -> None:
    """Say whether two photos show the same person.

    No check against printed or replayed faces is made. Exit code 3: a photo shows no face.

    Example: mindface verify passport.jpg door.jpg --json
    """
    from mindface.analyzer import FaceAnalyzer

    analyzer = FaceAnalyzer(models.open_detector(), models.open_recognizer(calibration))
    result = analyzer.verify(a, b, false_match_rate=false_match_rate, threshold=threshold)
    print(json.dumps(result.to_dict()) if as_json else _sentences(result, a, b))


def _sentences(result: Verification, a: Path, b: Path) -> str:
    lines = [f"similarity {result.similarity:.4f} ({result.model}, licence {result.licence})"]
    if result.same is None:
        lines.append(
            "no verdict: the model has no calibration; see mindface calibrate, or --threshold"
        )
    elif result.false_match_rate is None:
        lines.append(f"{_verdict(result)}: threshold {result.threshold}, as given")
    else:
        low, high = result.interval or (0, 1)
        lines.append(
            f"{_verdict(result)}: threshold {result.threshold:.4f}, at which "
            f"{result.false_match_rate:g} of strangers match (95% interval {low:.2g} to "
            f"{high:.2g}; {result.calibration}{', extrapolated' if result.extrapolated else ''})"
        )
    for path, count, face in zip((a, b), result.candidates, result.faces, strict=True):
        if count > 1:
            box = " ".join(f"{value:.0f}" for value in face.box)
            lines.append(f"{path}: {count} faces; the largest was taken, box {box}")
    lines.append("no presentation-attack check was made")
    return "\n".join(lines)


def _verdict(result: Verification) -> str:
    return "same person" if result.same else "different people"
