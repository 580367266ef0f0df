"""`mindface evaluate verification`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    from mindface.recognition.protocols import Protocol


@runs_models("recognizer")
def verification(
    model: Models,
    pairs: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="LFW's pairs.txt, a CSV, or CFP's folder Protocol."),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="With --pairs: where the photos lie.")
    ] = None,
    kind: Annotated[
        str | None, typer.Option(metavar="FF|FP", help="With CFP: which of its lists.")
    ] = None,
    bins: Annotated[
        list[Path] | None,
        typer.Option("--bin", metavar="FILE...", help="Sets of InsightFace, one or several."),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A folder per person: every photo against every other."),
    ] = None,
    draw: Annotated[
        int | None, typer.Option(metavar="N", help="With --folder: N pairs, in ten folds.")
    ] = None,
    groups: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="CSV of person and group: error rates by group."),
    ] = None,
    flip: Flip = False,
    aligned: Aligned = False,
    seed: Seed = 0,
    report: Report = None,
    output: Annotated[
        Path | None, typer.Option(metavar="RUN.json", help="Keep the run for evaluate compare.")
    ] = None,
    as_json: Json = False,
    *,
    models: ModelOptions,
) -> None:
    """Measure how well recognisers tell whether two photos show one person.

    The largest face of a photo counts. A photo without a face matches nobody; the figures without
    such photos stand beside. What was computed is kept, so stopped work goes on where it was.

    Example: mindface evaluate verification r50.onnx --bin lfw.bin --flip --report report/
    """
    from mindface.features import face_of

    check_report(report)
    # Of several files after --bin all but the first arrive among the models.
    bins = [*(bins or []), *(Path(name) for name in model if name.endswith(".bin"))]
    model = [name for name in model if not name.endswith(".bin")]
    if not model:
        raise typer.BadParameter("give a MODEL before --bin")
    protocols = _protocols(pairs, images, kind, bins, folder, draw, seed)
    runs = []
    for name in model:
        analyzer = open_analyzer(models, name, aligned=aligned)
        for protocol in protocols:
            runs.append(_run(analyzer, protocol, flip, aligned, seed, groups))
    if output:
        partial = output.with_name(f"{output.name}.tmp")
        partial.write_text(json.dumps(runs[0] if len(runs) == 1 else runs), encoding="utf-8")
        partial.replace(output)
    if report:
        from mindface.reports import write_report

        photos = {
            name: photo
            for protocol in protocols
            for name, photo in zip(protocol.names, protocol.photos, strict=True)
        }
        write_report(runs, report, crop=lambda x: face_of(analyzer, photos[x], aligned=aligned))
    print_runs([{**run, "listed": None} for run in runs], as_json, _lines)


def _protocols(
    pairs: Path | None,
    images: Path | None,
    kind: str | None,
    bins: list[Path],
    folder: Path | None,
    draw: int | None,
    seed: int,
) -> list[Protocol]:
    from mindface.recognition.folder_protocol import folder_pairs
    from mindface.recognition.protocols import bin_set, read_pairs

    if sum(map(bool, (pairs, bins, folder))) != 1:
        raise typer.BadParameter("give one of --pairs, --bin and --folder")
    try:
        if pairs:
            return [read_pairs(pairs, images, kind)]
        if folder:
            return [folder_pairs(folder, draw, seed)]
        return [bin_set(path) for path in bins]
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _run(
    analyzer: FaceAnalyzer,
    protocol: Protocol,
    flip: bool,
    aligned: bool,
    seed: int,
    groups: Path | None,
) -> Run:
    from mindface.features import extract, manifest
    from mindface.recognition.verification import evaluate
    from mindface.recognition.verification_details import discard, fairness, listed

    found = extract(
        analyzer, protocol.photos, flip=flip, aligned=aligned, track=progress(protocol.name)
    )
    facts = manifest(analyzer, flip=flip, aligned=aligned)
    result = evaluate(protocol, found.embeddings, found.reasons, seed=seed, manifest=facts)
    record = analyzer.recognizer.record
    return {
        "model": record.name,
        "licence": record.licence,
        **result.to_dict(),
        "discard": discard(result, found.embeddings, found.measures),
        "groups": fairness(result, groups) if groups else None,
        "listed": listed(result, found.embeddings),
    }


def _lines(run: Run) -> Iterator[str]:
    yield f"{run['model']} on {run['protocol']}: {run['pairs']} pairs of {run['people']} people"
    if run["accuracy_mean"] is not None:
        mean, std = 100 * run["accuracy_mean"], 100 * run["accuracy_std"]
        yield f"  accuracy {mean:.2f}% +- {std:.2f} ({run['folds']} folds)"
    yield from rate_lines(run["tar_at_far"], "FAR", "TAR")
    yield f"  AUC {run['auc']:.5f}, EER {100 * run['eer']:.2f}%"
    if run["discard"]:
        best = ", ".join(f"{x['score']} {x['relative_area']:.2f}" for x in run["discard"][:3])
        yield f"  best measures of quality (0 is ideal, 1 is chance): {best}"
    lost = run["failure_to_acquire"]
    if lost["failed"]:
        yield f"  {lost['failed']} of {lost['photos']} photos show no face or cannot be read:"
        yield from (f"    {skip['path']}: {skip['reason']}" for skip in run["skipped"][:20])
        if lost["failed"] > 20:
            yield f"    and {lost['failed'] - 20} more (--json lists all)"
        yield "  without them:"
        yield from rate_lines(run["without_failures"]["tar_at_far"], "FAR", "TAR")
    for group in (run["groups"] or {}).get("rows", []):
        yield (
            f"  group {group['group']}: FMR {group['fmr']:.2e}, FNMR {group['fnmr']:.4f}"
            f"{'  ' + group['warning'] if group['warning'] else ''}"
        )
