"""`mindface data split`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mindface.cli.data.shared import write_names
from mindface.cli.options import Json
from mindface.errors import ConfigError


def split(
    faces: Annotated[
        str, typer.Argument(metavar="SET", help="A folder per person, a .rec, or tars.")
    ],
    output: Annotated[Path, typer.Option(metavar="FILE", help="Their names, one a line.")],
    share: Annotated[float, typer.Option(min=0, max=1, help="Of the people, about.")] = 0.2,
    least: Annotated[int, typer.Option(min=1, help="Only people with so many pictures.")] = 2,
    seed: Annotated[int, typer.Option(help="Another one chooses others.")] = 0,
    as_json: Json = False,
) -> None:
    """Choose people to keep back for validation.

    By a hash of their names, so that the choice stands when people are added. The list serves
    data.sets.0.exclude in a training's configuration, and  mindface data pack --people, --without.

    Example: mindface data split faces/ --share 0.1 --output held_out.txt
    """
    from mindface.datasets import held_out, open_faces

    opened = open_faces(faces)
    names = held_out(opened, share, least=least, seed=seed)
    if not names:
        raise ConfigError(
            f"{faces}: nobody of {len(opened.class_names)} people is chosen: raise --share or "
            "lower --least"
        )
    write_names(output, names)
    result = {"output": str(output), "people": len(opened.class_names), "held_out": len(names)}
    print(
        json.dumps(result)
        if as_json
        else f"{output}: {len(names)} of {len(opened.class_names)} people"
    )
