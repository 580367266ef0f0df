"""`mindface train`."""

from __future__ import annotations

import json
import os
import sys
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mindface.cli.options import Json

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

app = typer.Typer(name="train", help="Train a network.", no_args_is_help=True)


@app.command()
def recognition(
    preset: Annotated[str, typer.Argument(metavar="PRESET", help="A preset's name, or a file.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE...", help="Changes, such as optimizer.lr=0.05."),
    ] = None,
    show: Annotated[
        bool, typer.Option("--show", help="Print the whole configuration and stop.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train a recogniser; the same command goes on with one that was stopped.

    Presets: casia_ or ms1mv2_ with mobilefacenet, r50, r100, vit_t, vit_s, vit_b or vit_l;
    finetune, distill, quick. On several devices: torchrun --nproc_per_node N -m mindface train ...

    Example:  mindface train recognition quick 'data.sets=[{path: faces}]'
    """
    # Huge pages under Linux, fewer page faults on CPUs; read when torch first allocates.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    from mindface.training.config import dump_config, load_config
    from mindface.training.recognition.config import RecognitionConfig

    found = _preset(preset, "mindface.training.recognition")
    config = load_config(RecognitionConfig, found, overrides or [])
    if show:
        print(dump_config(config), end="")
        return
    from mindface.training.recognition.train import train

    checkpoint = train(config)
    if int(os.environ.get("RANK", "0")):
        return
    facts = checkpoint.facts
    result = {
        "checkpoint": str(checkpoint.folder),
        "step": checkpoint.step,
        "verification": facts.get("verification"),
    }
    if as_json:
        print(json.dumps(result))
        return
    print(f"{checkpoint.folder}: step {checkpoint.step}")
    print(f"next:  mindface export {checkpoint.folder} --output model.onnx", file=sys.stderr)


def _preset(name: str, room: str) -> Traversable | Path:
    """A preset of the package, or the user's own file."""
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    folder = files(room) / "presets"
    names = sorted(
        entry.name.removesuffix(".yaml")
        for entry in folder.iterdir()
        if entry.name.endswith(".yaml") and not entry.name.startswith("_")
    )
    if name not in names:
        close = get_close_matches(name, names, n=1)
        hint = f"; did you mean {close[0]}?" if close else "."
        raise typer.BadParameter(f"{name!r} is no preset{hint} There are {', '.join(names)}")
    return folder / f"{name}.yaml"
