"""`mindface data check`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mindface.cli.data.check_scenes import check_scenes
from mindface.cli.data.shared import (
    Row,
    Same,
    Unlike,
    listed,
    open_recognizer,
    set_lines,
    told,
    write_names,
)
from mindface.cli.options import Json, ModelOptions, runs_models
from mindface.cli.progress import track
from mindface.errors import IntegrityError

if TYPE_CHECKING:
    from mindface.datasets.check import Checked
    from mindface.datasets.noise import Limits

LABELS = (".json", ".txt")


@runs_models("detector")
def check(
    sets: Annotated[
        list[str],
        typer.Argument(
            metavar="SET...", help="A folder per person, a .rec, tars, or labels: .json, .txt."
        ),
    ],
    unlabelled: Annotated[
        list[str] | None,
        typer.Option(metavar="SET", help="One of the sets, whose labels say nothing."),
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="SET", help="For validation: who is in it, too?")
    ] = None,
    exclude_list: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --against: write them, for data.sets.0.exclude."),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="With labels: their pictures; default: images beside them."
        ),
    ] = None,
    same: Same = 0.45,
    unlike: Unlike = 0.2,
    strict: Annotated[
        bool, typer.Option("--strict", help="What is suspicious is an error, too.")
    ] = False,
    as_json: Json = False,
    *,
    models: ModelOptions,
) -> None:
    """Find what is wrong with sets of aligned faces, or with labels to train detectors with.

    Every picture is decoded. Of aligned faces: damage, label noise, people in two sets. With a
    recogniser, likely wrong labels, near duplicates, people under two names and people in two of
    the sets are found by their embeddings, which are kept in the cache. Damage is an error (exit
    code 5). --recognizer none does without.

    With --json: sets (of each pictures, people, nobodys, pictures_per_person, people_with_one,
    sizes, gray, black_corners, damaged, unfit, faults, wrong_labels, duplicates, same_people),
    shared_people and against (set, name, other_set, other, similarity); null: not looked for.

    Of labels (label.txt, WIDER FACE's lists, COCO JSON) errors are pictures that are missing or
    unreadable, boxes without an area or outside the picture, landmarks outside their box or with
    left and right exchanged, and faces that are there twice; pictures without faces, twice, or
    without labels are suspicious. With --json: sets (of each labels, pictures, faces,
    with_landmarks, ignored, sides, reaching_out, unreadable, no_area, outside, landmarks_outside,
    mirrored, twice, duplicates, without_faces, unlisted).

    Example: mindface data check faces/ --against lfw/ --exclude-list exclude.txt
    """
    labels = [path for path in sets if Path(path).suffix in LABELS]
    if labels and len(labels) < len(sets):
        raise typer.BadParameter("give labels for detectors or sets of faces, not both")
    if labels:
        check_scenes(sets, images, strict=strict, as_json=as_json)
        return
    if images:
        raise typer.BadParameter("goes with labels: .json or .txt", param_hint="--images")
    from mindface.datasets import open_faces
    from mindface.datasets.check import check as check_set
    from mindface.datasets.noise import Limits

    if exclude_list and not (against and len(sets) == 1):
        raise typer.BadParameter("goes with --against and one SET", param_hint="--exclude-list")
    silent = unlabelled or []
    if not set(silent) <= set(sets):
        raise typer.BadParameter("names one of the SETs", param_hint="--unlabelled")
    recognizer, limits = open_recognizer(models), Limits(same=same, unlike=unlike)
    if against and recognizer is None:
        raise typer.BadParameter("needs a recogniser", param_hint="--against")

    def checked(path: str) -> Checked:
        faces = open_faces(path, labelled=path not in silent)
        return check_set(faces, recognizer, limits, track)

    found = [checked(path) for path in sets]
    pairs = combinations(found, 2)
    shared = [row for a, b in pairs for row in _overlap(a, b, limits, nobodys=False)]
    result: Row = {
        "recognizer": recognizer and recognizer.record.name,
        "sets": [each.report() for each in found],
        "shared_people": shared if recognizer else None,
        "against": None,
    }
    if against:
        other = checked(against)
        result["against"] = [
            row for each in found for row in _overlap(each, other, limits, nobodys=True)
        ]
        if exclude_list:
            write_names(exclude_list, [row["name"] for row in result["against"]])
    print(json.dumps(result) if as_json else "\n".join(_lines(result)))
    damaged = [each.faces.source for each in found if each.damaged]
    if damaged:
        raise IntegrityError(f"{', '.join(damaged)}: damaged: build or fetch it again")
    if strict and (shared or result["against"] or any(each.suspicious for each in found)):
        raise IntegrityError(f"{', '.join(sets)}: not above suspicion, as --strict demands")


def _overlap(a: Checked, b: Checked, limits: Limits, *, nobodys: bool) -> Iterator[Row]:
    for name, other, similarity in a.overlap(b, limits, nobodys=nobodys):
        yield {
            "set": a.faces.source,
            "name": name,
            "other_set": b.faces.source,
            "other": other,
            "similarity": round(similarity, 3),
        }


def _lines(result: Row) -> Iterator[str]:
    for report in result["sets"]:
        yield from set_lines(report)
    if len(result["sets"]) > 1:
        yield from listed("people in two sets", told(result["shared_people"], _match))
    if result["against"] is not None:
        yield from listed("in the validation set, too", told(result["against"], _match))


def _match(row: Row) -> str:
    one, other = f"{row['name']} of {row['set']}", f"{row['other']} of {row['other_set']}"
    return f"{one} is {other}: {row['similarity']}"
