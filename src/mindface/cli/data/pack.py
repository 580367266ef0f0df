"""`mindface data pack`."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from mindface.cli.data.shared import read_names
from mindface.cli.options import Json
from mindface.cli.progress import track


def pack(
    faces: Annotated[
        str, typer.Argument(metavar="SET", help="A folder per person, a .rec, or tars.")
    ],
    output: Annotated[
        Path, typer.Argument(metavar="OUT", help="X.rec, or a new folder for tar shards.")
    ],
    shard_size: Annotated[int, typer.Option(min=1, help="Pictures in a tar.")] = 10_000,
    people: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Only these people, one a line.")
    ] = None,
    without: Annotated[
        Path | None, typer.Option(metavar="FILE", help="All but these people, one a line.")
    ] = None,
    unlabelled: Annotated[
        bool, typer.Option("--unlabelled", help="The set's labels say nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a set, or some of its people, as RecordIO or tar shards, which are read faster.

    The pictures stay as they are encoded. A .rec has numbers instead of people's names.

    Example: mindface data pack faces/ shards/ --without held_out.txt
    """
    from mindface.datasets import Only, Without, open_faces, pack_records, pack_tars

    if people and without:
        raise typer.BadParameter("give --people or --without")
    chosen = open_faces(faces, labelled=not unlabelled)
    if people:
        chosen = Only(chosen, read_names(people))
    if without:
        chosen = Without(chosen, read_names(without))
    show = partial(track, what="pack")
    if output.suffix == ".rec":
        pack_records(chosen, output, track=show)
    else:
        pack_tars(chosen, output, per_shard=shard_size, track=show)
    result = {
        "output": str(output),
        "pictures": len(chosen),
        "people": len(chosen.class_names),
    }
    print(
        json.dumps(result)
        if as_json
        else f"{output}: {len(chosen)} pictures of {len(chosen.class_names)} people"
    )
