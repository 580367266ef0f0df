"""The first file of an export: what it is, and what belongs to it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mindface.errors import GalleryError
from mindface.files import open_regular
from mindface.gallery.exchange.lines import Hash, fault

NAME = "manifest.json"
FORMAT: Final = "mindface-gallery"
VERSION: Final = 1
MAX_BYTES = 1 << 26

PEOPLE, FACES, JOURNAL = "people.jsonl", "faces.jsonl", "journal.jsonl"
_NAMES = re.compile(r"people\.jsonl|faces\.jsonl|journal\.jsonl|embeddings/[0-9]{5,9}\.npz")

Count = Annotated[int, Field(ge=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Facts(_Strict):
    """A file of the export."""

    bytes: Count
    sha256: Hash


class Counts(_Strict):
    """How many rows there are; aliases count as people."""

    people: Count
    faces: Count
    crops: Count
    entries: Count


class Manifest(_Strict):
    """What an export is.

    Attributes:
        contract: the embedding contract (`ModelRecord.contract`).
        size: of an embedding.
        written: when, as ISO 8601.
        writer: which program, with its version.
        last_person: the highest id that any person ever had; it is not given again.
        last_face: likewise for faces.
        last_entry: the number of the newest entry of the journal, 0 where there is none.
        counts: of rows.
        files: of the export but the crops, whose hashes stand in the faces' lines.
    """

    format: Literal["mindface-gallery"]
    version: Literal[1]
    contract: Annotated[str, Field(min_length=1)]
    size: Annotated[int, Field(ge=1, le=65536)]
    written: str
    writer: str
    last_person: Count
    last_face: Count
    last_entry: Count
    counts: Counts
    files: dict[str, Facts]


def read_manifest(folder: Path) -> Manifest:
    """Reads and checks the manifest of an export.

    Raises:
        GalleryError: there is none, it is of a newer version, or it says something impossible.
    """
    path = folder / NAME
    try:
        with open_regular(path) as file:
            text = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise GalleryError(
            f"{folder}: not a gallery's export: {NAME} cannot be read: {error.strerror}"
        ) from error
    if len(text) > MAX_BYTES:
        raise GalleryError(f"{path}: larger than {MAX_BYTES} bytes")
    _check_version(path, text)
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        raise GalleryError(f"{path}: {fault(error)}") from error
    wrong = [name for name in manifest.files if not _NAMES.fullmatch(name)]
    missing = {PEOPLE, FACES, JOURNAL} - {*manifest.files}
    if wrong or missing:
        what = f"{wrong[0]!r:.80} does not belong to it" if wrong else f"lacks {min(missing)}"
        raise GalleryError(f"{path}: not a gallery's export: {what}")
    return manifest


def _check_version(path: Path, text: bytes) -> None:
    try:
        facts = json.loads(text)
        known, version = facts["format"] == FORMAT, int(facts["version"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise GalleryError(f"{path}: not a gallery's export: no format and version") from error
    if not known:
        raise GalleryError(f"{path}: not a gallery's export: the format {facts['format']!r:.80}")
    if version > VERSION:
        raise GalleryError(
            f"{path}: has version {version}, and this MindFace knows up to {VERSION}: "
            "run  pip install --upgrade mindface"
        )
