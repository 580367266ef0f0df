"""`mindface gallery integrity` and `recover`: what is damaged, and what is saved of the rest."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mindface.cli.gallery.shared import KeyFile, Url, gallery_key, gallery_url, open_gallery
from mindface.cli.options import Json
from mindface.errors import GalleryError


def integrity(gallery: Url = None, key_file: KeyFile = None, as_json: Json = False) -> None:
    """Read everything and say what is damaged.

    Every vector, crop, person and entry of the journal has a checksum; the structure of the
    database and the files beside it are looked at too. Exit code 15: something is damaged.

    Example: mindface gallery integrity --gallery people.db
    """
    with open_gallery(gallery, key_file=key_file) as people:
        faults = people.integrity()
    if as_json:
        print(json.dumps({"faults": faults}, ensure_ascii=False))
    else:
        print("\n".join(faults or ["nothing is damaged"]))
    if faults:
        raise GalleryError(
            f"{len(faults)} faults: restore a backup, or  mindface gallery recover NEW_FILE"
        )


def recover(
    to: Annotated[Path, typer.Argument(metavar="NEW_FILE", help="Where to.")],
    gallery: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Save what is not damaged into a new gallery; the old one is not changed.

    Example: mindface gallery recover saved.db --gallery people.db
    """
    from mindface import gallery as room

    found = room.recover(Path(gallery_url(gallery)), to, gallery_key(key_file))
    if as_json:
        print(json.dumps(asdict(found), ensure_ascii=False))
        return
    print(
        f"{to}: {found.people} people, {found.faces} faces, {found.crops} crops, "
        f"{found.entries} entries of the journal; {found.unnamed} people lost their names"
    )
    for sentence in found.lost:
        print(f"lost: {sentence}")
