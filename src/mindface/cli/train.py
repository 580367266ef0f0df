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

    from mindface.training.checkpoint import Checkpoint

app = typer.Typer(name="train", help="Train a network.", no_args_is_help=True)

Preset = Annotated[str, typer.Argument(metavar="PRESET", help="A preset's name, or a file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE...", help="Changes, such as optimizer.lr=0.05."),
]
Show = Annotated[bool, typer.Option("--show", help="Print the whole configuration and stop.")]


@app.command()
def recognition(
    preset: Preset, overrides: Overrides = None, show: Show = False, as_json: Json = False
) -> None:
    """Train a recogniser; the same command goes on with one that was stopped.

    Presets: casia_ or ms1mv2_ with mobilefacenet, r50, r100, vit_t, vit_s, vit_b or vit_l;
    finetune, distill, quick. On several devices: torchrun --nproc_per_node N -m mindface train ...

    Example:  mindface train recognition quick 'data.sets=[{path: faces}]'
    """
    _prepare_memory()
    from mindface.training.config import dump_config, load_config
    from mindface.training.recognition.config import RecognitionConfig

    found = _preset(preset, "mindface.training.recognition")
    config = load_config(RecognitionConfig, found, overrides or [])
    if show:
        print(dump_config(config), end="")
        return
    from mindface.training.recognition.train import train

    _report(train(config), as_json)


@app.command()
def detection(
    preset: Preset, overrides: Overrides = None, show: Show = False, as_json: Json = False
) -> None:
    """Train a detector; the same command goes on with one that was stopped.

    Presets: retinaface_mobilenet025, retinaface_resnet50, finetune, quick. On several devices:
    torchrun --nproc_per_node N -m mindface train ...

    Example:  mindface train detection quick 'data.sets=[{path: scenes/label.txt}]'
    """
    _prepare_memory()
    from mindface.training.config import dump_config, load_config
    from mindface.training.detection.config import DetectionConfig

    found = _preset(preset, "mindface.training.detection")
    config = load_config(DetectionConfig, found, overrides or [])
    if show:
        print(dump_config(config), end="")
        return
    from mindface.training.detection.train import train

    _report(train(config), as_json)


def _prepare_memory() -> None:
    """Asks for huge pages under Linux, which torch reads when it first allocates: fewer faults."""
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def _report(checkpoint: Checkpoint, as_json: bool) -> None:
    """Says, in the first process, where the result is."""
    if int(os.environ.get("RANK", "0")):
        return
    if as_json:
        result = {
            "checkpoint": str(checkpoint.folder),
            "step": checkpoint.step,
            "verification": checkpoint.facts.get("verification"),
        }
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
