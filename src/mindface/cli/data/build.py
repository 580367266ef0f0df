"""`mindface data build`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from mindface.cli.data.shared import Row, Same, Unlike, listed, open_recognizer, set_lines
from mindface.cli.options import Json, ModelOptions, Score, runs_models
from mindface.cli.progress import track


@runs_models()
def build(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="A folder of photos per person.")],
    target: Annotated[Path, typer.Argument(metavar="DST", help="The folder to write.")],
    size: Annotated[int, typer.Option(min=16, max=2048, help="Height of a crop, pixels.")] = 112,
    template: Annotated[
        str, typer.Option(help="arcface_112x112, or arcface_112x96: narrower.")
    ] = "arcface_112x112",
    kind: Annotated[str, typer.Option("--format", help="jpg, of quality 95, or png.")] = "jpg",
    least: Annotated[int, typer.Option(min=1, help="People with fewer faces are few.")] = 2,
    drop: Annotated[
        str | None,
        typer.Option(metavar="FAULT,...", help="What to leave out: wrong, duplicates, few."),
    ] = None,
    same: Same = 0.45,
    unlike: Unlike = 0.2,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing, only report.")] = False,
    score: Score = 0.5,
    as_json: Json = False,
    *,
    models: ModelOptions,
) -> None:
    """Cut aligned faces out of a folder of photos per person, and find what is wrong with it.

    Writes DST/person/photo.jpg and the report DST/build.json. The largest face of a photo is
    taken; with a recogniser, of several faces the one most like the person's other photos. Likely
    wrong labels, near duplicates, people under two names and people with few faces are reported,
    and left out only where --drop says so. A stopped build goes on when the same command is given
    again, and later only new and changed photos are worked on. --recognizer none does without.

    With --json: counts (people, photos, faces), lists (unreadable, no_face, several_faces, few,
    dropped, gone) and check, as mindface data check prints it of all faces before any is dropped.

    Example: mindface data build photos/ faces/ --drop wrong,duplicates
    """
    from mindface.datasets.build import build as build_set
    from mindface.datasets.cut import Cut
    from mindface.datasets.noise import Limits

    report = build_set(
        source,
        None if dry_run else target,
        models.open_detector(score_threshold=score),
        open_recognizer(models),
        cut=Cut(template, size, kind),
        limits=Limits(same=same, unlike=unlike),
        least=least,
        drop=drop.split(",") if drop else (),
        track=track,
    )
    print(json.dumps(report) if as_json else "\n".join(_lines(report)))


def _lines(report: Row) -> Iterator[str]:
    yield (
        f"{report['target'] or 'nothing written'}: {report['faces']} faces of {report['photos']} "
        f"photos of {report['people']} people"
    )
    for title in ("unreadable", "no_face"):
        rows = [f"{row['photo']}: {row['reason']}" for row in report[title]]
        yield from listed(title.replace("_", " "), rows)
    several = report["several_faces"]
    if several:
        chosen = sum(row["similarity"] is not None for row in several)
        yield (
            f"  several faces: {len(several)} photos; in {chosen} the one most like the person's "
            f"others was taken, in {len(several) - chosen} the largest"
        )
    yield from listed("few faces", [f"{row['person']}: {row['faces']}" for row in report["few"]])
    yield from listed("dropped", [f"{row['photo']}: {row['why']}" for row in report["dropped"]])
    if report["gone"]:
        yield from listed("photos gone, and so their crops", report["gone"])
    yield from set_lines(report["check"])
