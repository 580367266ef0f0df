"""`mindface evaluate ijb`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mindface.cli.evaluate.shared import (
    Models,
    Run,
    Seed,
    open_analyzer,
    print_runs,
    progress,
    rate_lines,
)
from mindface.cli.options import Json, ModelOptions, runs_models

if TYPE_CHECKING:
    from mindface.analyzer import FaceAnalyzer
    from mindface.recognition.ijb import IjbSet


@runs_models("detector", "recognizer")
def ijb(
    model: Models,
    folder: Annotated[
        Path, typer.Option(metavar="DIR", help="Holds meta/ and loose_crop/ of the set.")
    ],
    name: Annotated[str, typer.Option("--set", help="ijbb or ijbc.")] = "ijbc",
    flip: Annotated[bool, typer.Option(help="Add the features of mirrored faces.")] = True,
    detector_score: Annotated[
        bool, typer.Option(help="Weight features by the detector's score.")
    ] = True,
    feature_norm: Annotated[bool, typer.Option(help="Keep the features' lengths.")] = True,
    seed: Seed = 0,
    as_json: Json = False,
    *,
    models: ModelOptions,
) -> None:
    """Measure recognisers on IJB-B or IJB-C, 1:1 and 1:N, from the official lists.

    What was computed is kept, so stopped work goes on where it was.

    Example: mindface evaluate ijb r50.onnx --folder IJBC/ --set ijbc
    """
    from mindface.recognition.ijb import read_ijb

    try:
        ijb_set = read_ijb(folder, name)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    options = {"flip": flip, "detector_score": detector_score, "feature_norm": feature_norm}
    runs = [
        _run(
            open_analyzer(models, each, aligned=True), ijb_set, folder / "loose_crop", options, seed
        )
        | {"protocol": name}
        for each in model
    ]
    print_runs(runs, as_json, _lines)


def _run(
    analyzer: FaceAnalyzer, ijb_set: IjbSet, images: Path, options: dict[str, bool], seed: int
) -> Run:
    from mindface.features import ijb_features, manifest
    from mindface.recognition.ijb import pool, search, verify
    from mindface.recognition.metrics import RATES
    from mindface.recognition.verification import rate_dict, rate_name

    failures: dict[str, str] = {}
    features = ijb_features(analyzer.recognizer, ijb_set, images, failures, progress("ijb"))
    templates = pool(ijb_set, features, **options)
    pairs, searches = verify(ijb_set, templates), search(ijb_set, templates)
    record = analyzer.recognizer.record
    return {
        "task": "ijb",
        "model": record.name,
        "licence": record.licence,
        "images": len(ijb_set.images),
        "templates": len(templates.ids),
        "pairs": len(ijb_set.labels),
        "reference_tar_at_far": {rate_name(r): tar for r, tar in pairs.reference.items()},
        "tar_at_far": {
            rate_name(rate): rate_dict(found)
            for rate, found in zip(RATES, pairs.table.rates(RATES, seed=seed), strict=True)
        },
        "auc": pairs.table.auc(),
        "eer": pairs.table.eer(),
        "rank1": searches.found(1),
        "rank5": searches.found(5),
        "rank10": searches.found(10),
        "tpir_at_fpir": {rate_name(rate): searches.tpir(rate) for rate in (0.1, 0.01)},
        "skipped": [{"path": path, "reason": reason} for path, reason in failures.items()],
        "manifest": {**manifest(analyzer, flip=options["flip"], aligned=True), **options},
    }


def _lines(run: Run) -> Iterator[str]:
    yield (
        f"{run['model']} on {run['protocol']}: {run['images']} images, {run['templates']} "
        f"templates, {run['pairs']} pairs"
    )
    tars = (f"{rate} {tar:.4f}" for rate, tar in run["reference_tar_at_far"].items())
    yield f"  TAR at FAR as InsightFace reads it: {', '.join(tars)}"
    yield from rate_lines(run["tar_at_far"], "FAR", "TAR")
    yield "  " + ", ".join(f"rank {k} {100 * run[f'rank{k}']:.2f}%" for k in (1, 5, 10))
    for rate, tpir in run["tpir_at_fpir"].items():
        yield f"  TPIR at FPIR {rate}: {'too few people' if tpir is None else f'{tpir:.4f}'}"
    if run["skipped"]:
        yield f"  {len(run['skipped'])} images could not be used (--json lists them)"
