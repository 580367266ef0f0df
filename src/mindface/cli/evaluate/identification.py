"""`mindface evaluate identification`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mindface.cli.evaluate.shared import (
    Aligned,
    Flip,
    Models,
    Report,
    Run,
    Seed,
    check_report,
    open_analyzer,
    print_runs,
    progress,
    rate_lines,
)
from mindface.cli.options import Json, ModelOptions, runs_models

if TYPE_CHECKING:
    from mindface.analyzer import FaceAnalyzer
    from mindface.recognition.search_protocols import SearchProtocol


@runs_models("recognizer")
def identification(
    model: Models,
    folder: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A folder per person: gallery and probes are drawn."),
    ] = None,
    gallery: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A folder per person: who is enrolled.")
    ] = None,
    probes: Annotated[
        Path | None, typer.Option(metavar="DIR", help="With --gallery: who is searched.")
    ] = None,
    gallery_photos: Annotated[
        int, typer.Option(min=1, help="With --folder: photos enrolled of a person.")
    ] = 1,
    non_mated: Annotated[
        float, typer.Option(min=0, max=1, help="With --folder: share of people not enrolled.")
    ] = 0.5,
    pooling: Annotated[
        str, typer.Option(help="Photos of a person: max of scores, or mean of embeddings.")
    ] = "max",
    flip: Flip = False,
    aligned: Aligned = False,
    seed: Seed = 0,
    report: Report = None,
    as_json: Json = False,
    *,
    models: ModelOptions,
) -> None:
    """Measure how well recognisers find people in a gallery, and leave strangers alone.

    Example: mindface evaluate identification r50.onnx --folder people/ --report report/
    """
    check_report(report)
    protocol = _protocol(folder, gallery, probes, gallery_photos, non_mated, seed)
    if pooling not in ("max", "mean"):
        raise typer.BadParameter("--pooling is max or mean")
    runs = [
        _run(open_analyzer(models, name, aligned=aligned), protocol, flip, aligned, pooling, seed)
        for name in model
    ]
    if report:
        from mindface.reports import write_report

        write_report(runs, report, crop=lambda name: None)
    print_runs(runs, as_json, _lines)


def _protocol(
    folder: Path | None,
    gallery: Path | None,
    probes: Path | None,
    gallery_photos: int,
    non_mated: float,
    seed: int,
) -> SearchProtocol:
    from mindface.recognition.search_protocols import search_folder, search_folders

    try:
        if folder and not (gallery or probes):
            return search_folder(folder, seed, gallery_photos, non_mated)
        if gallery and probes and not folder:
            return search_folders(gallery, probes)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    raise typer.BadParameter("give --folder, or --gallery and --probes")


def _run(
    analyzer: FaceAnalyzer,
    protocol: SearchProtocol,
    flip: bool,
    aligned: bool,
    pooling: Any,
    seed: int,
) -> Run:
    from mindface.features import extract, manifest
    from mindface.recognition.identification import identify
    from mindface.recognition.search_protocols import to_dict

    found = extract(
        analyzer, protocol.photos, flip=flip, aligned=aligned, track=progress(protocol.name)
    )
    gallery, probes = protocol.gallery, protocol.probes
    result = identify(
        found.embeddings[gallery],
        protocol.people[gallery],
        found.embeddings[probes],
        protocol.people[probes],
        pooling=pooling,
    )
    record = analyzer.recognizer.record
    facts = {**manifest(analyzer, flip=flip, aligned=aligned), "pooling": pooling}
    return {
        "model": record.name,
        "licence": record.licence,
        **to_dict(protocol, result, found.reasons, seed, facts),
    }


def _lines(run: Run) -> Iterator[str]:
    yield (
        f"{run['model']} on {run['protocol']}: {run['enrolled']} people enrolled, "
        f"{run['mated']} probes of them, {run['non_mated']} of others"
    )
    yield f"  rank 1 {100 * run['rank1']:.2f}%, rank 5 {100 * run['rank5']:.2f}%"
    yield from rate_lines(run["fnir_at_fpir"], "FPIR", "FNIR")
    lost = run["failure_to_acquire"]
    if lost["failed"]:
        yield f"  {lost['failed']} of {lost['photos']} photos show no face or cannot be read"
