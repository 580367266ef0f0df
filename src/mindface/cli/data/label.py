"""`mindface data label`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mindface.cli.options import Json, ModelOptions, Score, Strict, runs_models
from mindface.cli.progress import report_skipped, track
from mindface.errors import SkippedInputsError


@runs_models("recognizer")
def label(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of photos.")],
    output: Annotated[Path, typer.Argument(metavar="LABELS.json", help="The file to write.")],
    scales: Annotated[
        str, typer.Option(metavar="X,...", help="Sizes: a long side of 640 pixels times each.")
    ] = "0.5,1,2",
    score: Score = 0.6,
    doubt: Annotated[
        float, typer.Option(min=0, max=1, help="From which score to --score a face is ignored.")
    ] = 0.3,
    mirror: Annotated[
        bool, typer.Option("--mirror", help="Look at mirrored photos, too: twice the time.")
    ] = False,
    strict: Strict = False,
    as_json: Json = False,
    *,
    models: ModelOptions,
) -> None:
    """Label the faces in a folder of photos by a detector, to train another one with.

    Writes COCO JSON: boxes, five landmarks and scores, the mean over all scales that show a face of
    its size well. Faces that the detector doubts are marked to be ignored in training. Photos that
    cannot be read are left out.
    Stopped work goes on when the same command is given again.

    With --json: labels, detector, photos, faces, ignored, and unreadable (photo, reason).

    Example: mindface data label photos/ labels.json --detector retinaface_resnet50
    """
    from mindface.datasets.scene_labels import label_photos

    detector = models.open_detector(scales=_numbers(scales), score_threshold=doubt)
    report = label_photos(folder, output, detector, score=score, mirror=mirror, track=track)
    skipped = [(row["photo"], row["reason"]) for row in report["unreadable"]]
    report_skipped(skipped, report["photos"] + len(skipped))
    print(
        json.dumps(report)
        if as_json
        else f"{output}: {report['faces']} faces in {report['photos']} photos, and "
        f"{report['ignored']} to be ignored"
    )
    if strict and skipped:
        raise SkippedInputsError(f"{len(skipped)} photos cannot be read, as --strict demands")


def _numbers(text: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or not all(0 < number <= 16 for number in numbers):
        raise typer.BadParameter("numbers above 0 with commas: 0.5,1,2", param_hint="--scales")
    return numbers
