"""`mindface gallery reindex`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from typing import Annotated

import typer

from mindface.cli.gallery.shared import KeyFile, Url, gallery_key, gallery_url
from mindface.cli.options import Json, ModelOptions, runs_models
from mindface.cli.progress import track
from mindface.errors import GalleryError


@runs_models("detector", "recognizer")
def reindex(
    model: Annotated[str, typer.Option(metavar="NAME_OR_FILE", help="The new recogniser.")],
    gallery: Url = None,
    key_file: KeyFile = None,
    drop_missing: Annotated[
        bool, typer.Option("--drop-missing", help="Remove faces that cannot be recomputed.")
    ] = False,
    as_json: Json = False,
    *,
    models: ModelOptions,
) -> None:
    """Make all embeddings anew by another model, from the stored crops or else the photos.

    People, names and the journal stay. The gallery is the old one until all is there; stopped
    work goes on where it was. Faces that cannot be recomputed are listed; then nothing is changed
    unless --drop-missing is given (exit code 15).

    Example: mindface gallery reindex --model arcface_r50 --gallery people.db
    """
    from mindface.enrolment.reindex import reindex as run

    url = gallery_url(gallery)
    recognizer = replace(models, recognizer=model).open_recognizer()
    done = run(
        url,
        recognizer,
        drop_missing=drop_missing,
        watch=lambda faces, total: track(faces, total, "reindex"),
        key=gallery_key(key_file),
    )
    for each in done.missing:
        where = each.path or "no path"
        print(
            f"missing: face {each.face} of {each.person} ({where}): {each.reason}", file=sys.stderr
        )
    if as_json:
        print(json.dumps(asdict(done), ensure_ascii=False))
    elif done.switched:
        dropped = f", {len(done.missing)} removed" if done.missing else ""
        print(f"{url}: {done.faces} faces by {recognizer.record.name}{dropped}")
    if not done.switched:
        raise GalleryError(
            f"{url}: {len(done.missing)} faces cannot be recomputed, so nothing was changed: bring "
            "back their photos, or say --drop-missing; what was recomputed is kept"
        )
