"""`mindface evaluate clustering`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mindface.cli.evaluate.shared import Run, print_runs
from mindface.cli.options import Json
from mindface.errors import ConfigError

if TYPE_CHECKING:
    from mindface.album import Comparison
    from mindface.recognition.clustering_metrics import Agreement, ClusteringScores


def clustering(
    people: Annotated[Path, typer.Argument(metavar="PEOPLE.jsonl", help="From mindface cluster.")],
    truth: Annotated[
        Path,
        typer.Option(metavar="DIR_OR_CSV", help="A folder per person, or columns path,person."),
    ],
    as_json: Json = False,
) -> None:
    """Measure how well faces were sorted into people: pairwise and B-cubed F, purity.

    Of each photo of the truth the largest face is taken to be the person's. Photos of which no face
    was found are counted as missed, and are in no figure.

    Example: mindface evaluate clustering people.jsonl --truth photos/
    """
    from mindface.album import compare, read_people, read_truth

    known = read_truth(truth)
    found = compare(read_people(people), known)
    if found.scores is None:
        raise ConfigError(
            f"{people}: has no face of the {len(known)} photos of {truth}: are they the same files?"
        )
    print_runs([_run(people, truth, found, found.scores)], as_json, _lines)


def _run(people: Path, truth: Path, found: Comparison, scores: ClusteringScores) -> Run:
    return {
        "people_file": str(people),
        "truth": str(truth),
        "faces": scores.faces,
        "people": scores.people,
        "found": found.found,
        "alone": found.alone,
        "pairwise": _agreement(scores.pairwise),
        "b_cubed": _agreement(scores.b_cubed),
        "purity": scores.purity,
        "completeness": scores.completeness,
        "missed": [str(path) for path in found.missed],
        "other_faces": found.others,
        "faces_of_other_photos": found.strangers,
    }


def _agreement(found: Agreement) -> dict[str, Any]:
    return {"f": found.f, "precision": found.precision, "recall": found.recall}


def _lines(run: Run) -> Iterator[str]:
    yield (
        f"{run['people_file']} on {run['truth']}: {run['faces']:,} faces of {run['people']:,} "
        f"people, found as {run['found']:,} people and {run['alone']:,} faces of nobody"
    )
    yield "  purity   completeness  B-cubed F  precision  recall   pairwise F  precision  recall"
    b, pairs = run["b_cubed"], run["pairwise"]
    yield (
        f"  {run['purity']:.4f}   {run['completeness']:.4f}        {b['f']:.4f}     "
        f"{b['precision']:.4f}     {b['recall']:.4f}   {pairs['f']:.4f}      "
        f"{pairs['precision']:.4f}     {pairs['recall']:.4f}"
    )
    yield (
        f"  missed: {len(run['missed']):,} photos without a face; not in the truth: "
        f"{run['other_faces']:,} further faces of its photos, {run['faces_of_other_photos']:,} "
        "faces of other photos"
    )
