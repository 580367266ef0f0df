"""`mindface models`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mindface.cli.options import Json

if TYPE_CHECKING:
    from mindface.zoo.http import Progress
    from mindface.zoo.record import ModelRecord

COLUMNS = ("name", "task", "licence", "accuracy", "size", "path")


def models(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME | fetch NAME", help="One model; or download it."),
    ] = None,
    as_json: Json = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="With fetch: only verify what is here.")
    ] = False,
) -> None:
    """List the models that can be named: licence, accuracy, size, local path.

    With fetch: download one and verify its sha256. Interrupted downloads go on where they
    stopped. Environment: MINDFACE_CACHE, MINDFACE_OFFLINE, MINDFACE_MIRROR.

    Example: mindface models fetch edgeface_xs_gamma_06
    """
    from mindface import zoo

    words = words or []
    if offline and words[:1] != ["fetch"]:
        raise typer.BadParameter("--offline goes with fetch")
    match words:
        case []:
            records = zoo.records()
            if as_json:
                _print_json([_facts(record) for record in records])
            else:
                _print_table(records)
        case ["fetch"]:
            raise typer.BadParameter("fetch what? Say  mindface models fetch NAME")
        case ["fetch", name]:
            record = zoo.get(name)
            print(f"{name}: licence {_licence(record)}", file=sys.stderr)
            with _progress(name) as progress:
                path = zoo.fetch(name, offline=offline, progress=progress)
            _print_json(_facts(record)) if as_json else print(path)
        case [name]:
            facts = _facts(zoo.get(name))
            _print_json(facts) if as_json else print("\n".join(_lines(facts)))
        case _:
            raise typer.BadParameter(f"one NAME, not {len(words)} words")


def _facts(record: ModelRecord) -> dict[str, Any]:
    from mindface.zoo import local_path

    path = local_path(record)
    return {**record.model_dump(mode="json"), "path": str(path) if path else None}


def _print_json(content: Any) -> None:
    print(json.dumps(content, indent=2, ensure_ascii=False))


def _lines(facts: dict[str, Any], indent: str = "") -> Iterator[str]:
    for name, value in facts.items():
        if isinstance(value, dict) and value:
            yield f"{indent}{name}:"
            yield from _lines(value, f"{indent}  ")
        elif value not in (None, {}):
            text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
            yield f"{indent}{name}: {text}"


def _print_table(records: list[ModelRecord]) -> None:
    rows = [_row(record) for record in records]
    if not sys.stdout.isatty():
        print("\n".join("\t".join(row) for row in rows))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*COLUMNS)
    for row in rows:
        table.add_row(*map(Text, row))  # as it is: a path may hold what rich takes for markup
    Console().print(table)


def _row(record: ModelRecord) -> tuple[str, ...]:
    from mindface.zoo import local_path

    figures = ", ".join(f"{name} {value:g}" for name, value in record.accuracy.items())
    size = f"{record.bytes / 1e6:.1f} MB" if record.bytes else "-"
    path = local_path(record)
    return (record.name, record.task, _licence(record), figures or "-", size, str(path or "-"))


def _licence(record: ModelRecord) -> str:
    return f"{record.licence}, {record.licence_class}"


@contextmanager
def _progress(name: str) -> Iterator[Progress | None]:
    """A bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

    columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
