"""What the commands of `mindface data` share: the recogniser that may be absent, names, lines."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mindface.cli.options import ModelOptions
from mindface.errors import ModelError
from mindface.zoo import DEFAULT_RECOGNIZER

if TYPE_CHECKING:
    from mindface.recognition.recognizer import Recognizer

Same = Annotated[
    float, typer.Option(min=0, max=1, help="From which similarity on two people are one.")
]
Unlike = Annotated[
    float, typer.Option(min=-1, max=1, help="Below which similarity a label seems wrong.")
]

LISTED = 20

Row = dict[str, Any]


def open_recognizer(models: ModelOptions) -> Recognizer | None:
    """The recogniser; None for the name "none", or where the default one is not on the machine."""
    if models.recognizer == "none":
        return None
    try:
        return models.open_recognizer()
    except ModelError as error:
        if models.recognizer != DEFAULT_RECOGNIZER:
            raise
        print(f"no recogniser: {error}", file=sys.stderr)
        return None


def read_names(path: Path) -> list[str]:
    """The lines of a list of people."""
    return path.read_text(encoding="utf-8", errors="surrogateescape").split("\n")


def write_names(path: Path, names: Iterable[str]) -> None:
    """Writes a list of people, one a line, whole or not at all."""
    partial = path.with_name(f"{path.name}.tmp")
    text = "".join(f"{name}\n" for name in names)
    partial.write_text(text, encoding="utf-8", errors="surrogateescape")
    partial.replace(path)


def listed(title: str, rows: Sequence[str] | None) -> Iterator[str]:
    """How many there are, and the first of them; None: they were not looked for."""
    if rows is None:
        yield f"  {title}: not looked for: no recogniser"
        return
    yield f"  {title}: {len(rows)}"
    yield from (f"    {row}" for row in rows[:LISTED])
    if len(rows) > LISTED:
        yield f"    and {len(rows) - LISTED} more (--json lists all)"


def set_lines(report: Row) -> Iterator[str]:
    """What was found in a set; see `mindface.datasets.check.Checked.report`."""
    counts = report["pictures_per_person"]
    yield f"{report['set']}: {report['pictures']} pictures"
    if report["people"]:
        yield (
            f"  {report['people']} people with {counts['min']:g} to {counts['max']:g} pictures "
            f"(median {counts['median']:g}), {report['people_with_one']} with one"
        )
    if report["nobodys"]:
        yield f"  {report['nobodys']} of nobody in particular"
    sizes = [f"{size} ({count})" for size, count in report["sizes"].items()]
    more = f" and {len(sizes) - 3} more" if len(sizes) > 3 else ""
    yield (
        f"  sizes {', '.join(sizes[:3])}{more}; gray {report['gray']}; "
        f"black corners {report['black_corners']}"
    )
    for title in ("damaged", "unfit"):
        yield from listed(title, [f"{row['picture']}: {row['reason']}" for row in report[title]])
    for fault, found in report["faults"].items():
        yield f"  {fault}: {found if found is True else len(found)}"
    yield from listed("likely wrong labels", told(report["wrong_labels"], _wrong))
    yield from listed("near duplicates", told(report["duplicates"], _duplicate))
    yield from listed("people under two names", told(report["same_people"], _same))


def told(rows: list[Row] | None, tell: Callable[[Row], str]) -> list[str] | None:
    """Each row in words; None stays."""
    return None if rows is None else [tell(row) for row in rows]


def _wrong(row: Row) -> str:
    nearest = f", {row['nearest_similarity']} to {row['nearest']}" if row["nearest"] else ""
    return f"{row['picture']}: {row['similarity']} to {row['person']}{nearest}"


def _duplicate(row: Row) -> str:
    return f"{row['picture']} is {row['earlier']}: {row['similarity']}"


def _same(row: Row) -> str:
    return f"{row['person']} is {row['other']}: {row['similarity']}"
