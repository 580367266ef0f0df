"""`mindface evaluate compare`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mindface.cli.options import Json
from mindface.errors import MindFaceError

if TYPE_CHECKING:
    from mindface.recognition.comparison import Difference


def compare(
    first: Annotated[Path, typer.Argument(metavar="A.json", help="A run: see --output.")],
    second: Annotated[Path, typer.Argument(metavar="B.json", help="Another.")],
    replicates: Annotated[int, typer.Option(min=100, help="How often people are drawn.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the drawing.")] = 0,
    as_json: Json = False,
) -> None:
    """Say which of two runs on the same pairs is better, and whether that may be chance.

    Example: mindface evaluate compare before.json after.json
    """
    import numpy as np

    from mindface.recognition import comparison

    one, two = _read(first), _read(second)
    pairs = one["listed"]
    runs = [
        comparison.Run(
            f"{name} ({path})",
            np.array(run["listed"]["scores"], np.float32),
            run["listed"]["hashes"],
        )
        for name, path, run in ((one["model"], first, one), (two["model"], second, two))
    ]
    folds = pairs["folds"] and np.array(pairs["folds"])
    differences = comparison.compare(
        runs[0],
        runs[1],
        np.array(pairs["same"], bool),
        np.array(pairs["people"]),
        folds,
        replicates=replicates,
        seed=seed,
    )
    if as_json:
        print(json.dumps([asdict(difference) for difference in differences]))
        return
    print(f"A {runs[0].name}\nB {runs[1].name}")
    print("figure         A        B      B - A   95% interval          p")
    for difference in differences:
        print(_line(difference))


def _read(path: Path) -> dict[str, Any]:
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MindFaceError(f"{path}: not a run: {error}") from error
    if not isinstance(run, dict) or not run.get("listed"):
        raise MindFaceError(
            f"{path}: no run over a list of pairs: make one with  mindface evaluate verification "
            f"MODEL --pairs ... --output {path}  (with --folder, add --draw)"
        )
    return run


def _line(found: Difference) -> str:
    change = found.difference
    verdict = f"{found.better.split(' (')[0]} is better" if found.better else "may be chance"
    return (
        f"{found.figure:10} {found.first:8.5f} {found.second:8.5f} {change.value:+9.5f}   "
        f"{change.low:+.5f} to {change.high:+.5f}  {found.p_value:.3f}  {verdict}"
    )
