"""`mindface gallery export`, `import`: a gallery as a folder of open files, and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mindface.cli.gallery.shared import KeyFile, Url, gallery_key, gallery_url, open_gallery
from mindface.cli.options import Json
from mindface.cli.progress import track

if TYPE_CHECKING:
    from mindface.gallery.exchange import Manifest


def export_people(
    folder: Annotated[Path, typer.Argument(metavar="NEW_DIR", help="Where to.")],
    gallery: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Write all that a gallery holds into a new folder: JSON lines, npz and crops.

    It is not encrypted; its owner alone may read it. docs/gallery-format.md describes the files.

    Example: mindface gallery export backup/ --gallery people.db
    """
    from mindface.gallery.exchange import export_gallery

    with open_gallery(gallery, key_file=key_file) as people:
        manifest = export_gallery(
            people, folder, watch=lambda faces, total: track(faces, total, "export")
        )
    _say(str(folder), manifest, as_json)


def import_people(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What gallery export wrote.")],
    gallery: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Read an export into a new gallery, every row as it was, after checking all of it.

    Stopped, it can be given again. Galleries are not joined: one name may be two people's.

    Example: mindface gallery import backup/ --gallery copy.db
    """
    from mindface.gallery.exchange import import_gallery

    url = gallery_url(gallery)
    manifest = import_gallery(
        folder,
        url,
        watch=lambda faces, total: track(faces, total, "import"),
        key=gallery_key(key_file),
    )
    _say(url, manifest, as_json)


def _say(where: str, manifest: Manifest, as_json: bool) -> None:
    counts = manifest.counts.model_dump()
    if as_json:
        print(json.dumps(counts))
    else:
        print(f"{where}: " + ", ".join(f"{count} {what}" for what, count in counts.items()))
