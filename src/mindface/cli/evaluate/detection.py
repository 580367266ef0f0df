"""`mindface evaluate detection`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mindface.cli.evaluate.shared import (
    Report,
    Run,
    as_onnx,
    check_report,
    demanded_precision,
    print_runs,
)
from mindface.cli.options import Json, ModelOptions, runs_models
from mindface.cli.progress import track

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mindface.detection.detector import Detector
    from mindface.detection.evaluation import Case, Curve, Matches

POINTS = 101
CASES = 50


@runs_models("detector", "recognizer")
def detection(
    ground_truth: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="WIDER FACE's four .mat files; or a list like its bbx_gt.txt."
        ),
    ],
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="A name, an ONNX file, or weights of our networks."),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(metavar="DIR_OR_ZIP", help="Instead of MODEL: predictions made before."),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="WIDER_val/images: a folder per event.")
    ] = None,
    scales: Annotated[
        str, typer.Option(help="Sizes of the photos: original, vga640, mxnet or multiscale.")
    ] = "original",
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="With MODEL: where its predictions go.")
    ] = None,
    report: Report = None,
    as_json: Json = False,
    *,
    models: ModelOptions,
) -> None:
    """Measure a detector on WIDER FACE: average precision on easy, medium and hard faces.

    Predictions are kept in WIDER FACE's format, so stopped work goes on where it was. --scales is
    original: photos as they are; vga640: the long side 640 pixels; mxnet: the short side 1600, but
    the long one at most 2150; or multiscale: short sides of 500, 800, 1100, 1400 and 1700, but the
    long one at most half as much again, each mirrored too, with box voting.

    Example: mindface evaluate detection r50.onnx --images WIDER_val/images --ground-truth eval/
    --scales mxnet --output predictions/
    """
    from mindface.detection.evaluation import match
    from mindface.detection.policies import POLICIES
    from mindface.detection.predictions import manifest, predict
    from mindface.formats.wider_face import read_ground_truth, read_predictions

    check_report(report)
    if scales not in POLICIES:
        raise typer.BadParameter(f"choose one of {', '.join(POLICIES)}", param_hint="--scales")
    truth = read_ground_truth(ground_truth)
    if model and images and output and not predictions:
        detector = _detector(models, model)
        predict(detector, scales, truth.images, images, output, lambda x, n: track(x, n, "detect"))
        predictions = output
    elif model or output or not predictions:
        raise typer.BadParameter("give MODEL with --images and --output, or --predictions")
    matches = match(truth, read_predictions(predictions, truth.images))
    run = _run(matches, manifest(predictions), predictions.name)
    if report:
        from mindface.reports import write_report

        write_report([run], report, crop=_crop(run, images))
    print_runs([run], as_json, _lines)


def _detector(models: ModelOptions, model: str) -> Detector:
    from mindface.detection.policies import SCORE, SUPPRESSION

    options = replace(models, detector=as_onnx(model), precision=demanded_precision(models))
    return options.open_detector(score_threshold=SCORE, nms_threshold=SUPPRESSION)


def _run(matches: Matches, facts: dict[str, Any], source: str) -> Run:
    curves = {subset: matches.curve(subset) for subset in matches.truth.counted}
    widest = max(curves, key=lambda subset: curves[subset].faces)
    policy = facts.get("scales", {}).get("policy")
    return {
        "task": "detection",
        "protocol": f"WIDER FACE, scales {policy}" if policy else "WIDER FACE",
        "model": facts.get("model", source),
        "licence": facts.get("licence"),
        "photos": len(matches.truth.images),
        **{subset: curve.average_precision for subset, curve in curves.items()},
        "precision_recall": {subset: _curve(curve) for subset, curve in curves.items()},
        "worst": {
            "misses": [_case(case) for case in matches.misses(widest, CASES)],
            "false_alarms": [_case(case) for case in matches.false_alarms(widest, CASES)],
        },
        "manifest": facts,
    }


def _curve(curve: Curve) -> dict[str, Any]:
    thin = curve.thinned(POINTS)
    return {
        "average_precision": curve.average_precision,
        "faces": curve.faces,
        "threshold": thin.threshold.tolist(),
        "precision": thin.precision.tolist(),
        "recall": thin.recall.tolist(),
    }


def _case(case: Case) -> dict[str, Any]:
    box = case.box.tolist()
    place = " ".join(f"{value:.0f}" for value in box)
    return {"a": f"{case.image} [{place}]", "image": case.image, "box": box, "score": case.score}


def _crop(run: Run, images: Path | None) -> Callable[[str], NDArray[np.uint8] | None]:
    """Shows a case of the report by its name; nothing where the photos are not given."""
    from mindface.detection.predictions import find_photo
    from mindface.drawing import close_up
    from mindface.errors import ImageError
    from mindface.imaging import read

    cases = {case["a"]: case for kind in run["worst"].values() for case in kind}

    def crop(name: str) -> NDArray[np.uint8] | None:
        photo = find_photo(images, cases[name]["image"]) if images else None
        try:
            return close_up(read(photo), cases[name]["box"]) if photo else None
        except ImageError:
            return None

    return crop


def _lines(run: Run) -> Iterator[str]:
    yield f"{run['model']} on {run['protocol']}: {run['photos']:,} photos"
    for subset, curve in run["precision_recall"].items():
        yield (
            f"  {subset:7} average precision {100 * curve['average_precision']:6.2f}% "
            f"({curve['faces']:,} faces)"
        )
