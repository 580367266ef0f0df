"""`mindface data synth`: sets to try things out on."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from mindface.cli.progress import track

app = typer.Typer(
    name="synth",
    help="Make small sets to try things out on.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def synth() -> None:
    """Make small sets to try things out on."""


@app.command()
def faces(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder.")],
    people: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    pictures: Annotated[int, typer.Option(min=1, help="Photos of each.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Another one makes others.")] = 0,
) -> None:
    """Make photos of people who do not exist, to try the commands out; no use for a real model.

    Example: mindface data synth faces photos/ --people 20 --pictures 10
    """
    from mindface.datasets.synth import synth_faces

    show = partial(track, total=people, what="people")
    synth_faces(folder, people, pictures, seed, progress=show)
    print(f"{folder}: {people * pictures} photos of {people} people")


@app.command()
def scenes(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder.")],
    pictures: Annotated[int, typer.Option(min=1, help="How many.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Another one makes others.")] = 0,
    size: Annotated[int, typer.Option(min=64, max=4096, help="Height and width, pixels.")] = 320,
) -> None:
    """Make pictures with up to 12 faces of many sizes, and their label.txt, to train detectors.

    Example: mindface data synth scenes scenes/ --pictures 200
    """
    from mindface.datasets.scene_synth import synth_scenes

    show = partial(track, total=pictures, what="pictures")
    synth_scenes(folder, pictures, seed, size, progress=show)
    print(f"{folder}: {pictures} pictures, and label.txt")
