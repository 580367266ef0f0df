"""`mindface calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mindface.cli.options import Json, ModelOptions, runs_models
from mindface.cli.progress import report_skipped, track
from mindface.errors import ModelError

if TYPE_CHECKING:
    from mindface.zoo.record import Calibration


@runs_models("recognizer")
def calibrate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A name or an ONNX file.")],
    folder: Annotated[
        Path, typer.Option(metavar="DIR", help="A folder per person, of people like yours.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(metavar="CAL.json", help="Where to; else into the record beside MODEL."),
    ] = None,
    rate: Annotated[
        list[float] | None,
        typer.Option(help="A false match rate that must be answered; may be repeated."),
    ] = None,
    extrapolate: Annotated[
        bool, typer.Option("--extrapolate", help="Rates beyond the data, from a fitted tail.")
    ] = False,
    aligned: Annotated[
        bool, typer.Option("--aligned", help="The photos are aligned faces.")
    ] = False,
    name: Annotated[str | None, typer.Option(help="What was measured on; default: DIR.")] = None,
    seed: Annotated[int, typer.Option(help="Of the intervals.")] = 0,
    as_json: Json = False,
    *,
    models: ModelOptions,
) -> None:
    """Measure which similarity means "the same person", at stated false match rates.

    Every photo is compared with every other. A rate that the people cannot support is refused,
    and how many it would take is said; without --rate those of 1e-2 .. 1e-6 that can be measured.

    Example: mindface calibrate r50.onnx --folder people/ --output calibration.json
    """
    from dataclasses import replace

    from mindface.features import extract, manifest
    from mindface.recognition import calibration
    from mindface.recognition.folder_protocol import folder_pairs
    from mindface.recognition.metrics import RATES, ScoreTable
    from mindface.zoo.record import write_calibration

    try:
        protocol = folder_pairs(folder)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--folder") from error
    target = output or _record_of(model)
    analyzer = replace(models, recognizer=model).open_analyzer(aligned=aligned)
    found = extract(
        analyzer,
        protocol.photos,
        aligned=aligned,
        track=lambda items, total: track(items, total, "calibrate"),
    )
    shown = ~found.failed
    facts = manifest(analyzer, flip=False, aligned=aligned)
    measured = calibration.calibrate(
        ScoreTable.of_all_pairs(found.embeddings[shown], protocol.people[shown]),
        name or folder.name,
        analyzer.recognizer.record.contract,
        rates=rate or (RATES if extrapolate else None),
        extrapolate=extrapolate,
        seed=seed,
        manifest={**facts, "lists": protocol.hashes, "without_face": int(found.failed.sum())},
    )
    pairs = zip(protocol.names, found.reasons, strict=True)
    report_skipped([(path, why) for path, why in pairs if why], len(protocol.names))
    if output:
        write_calibration(measured, output)
    else:
        calibration.write_into_record(measured, target)
    print(measured.model_dump_json() if as_json else _table(measured, target))


def _record_of(model: str) -> Path:
    path = Path(model).with_suffix(".json")
    if not path.is_file():
        raise ModelError(f"{model}: no record lies beside it: give --output")
    return path


def _table(measured: Calibration, target: Path) -> str:
    lines = [
        f"{target}: {measured.name}, {measured.people} people, {measured.photos} photos",
        "false match rate   threshold   95% interval of the rate   true accept rate",
    ]
    for point in measured.thresholds:
        low, high = point.interval
        accepted = "-" if point.true_accept_rate is None else f"{point.true_accept_rate:.4f}"
        lines.append(
            f"{point.false_match_rate:<16g}   {point.threshold:9.4f}   {low:.2g} to {high:<12.2g}"
            f"         {accepted}{'  extrapolated' if point.extrapolated else ''}"
        )
    return "\n".join(lines)
