"""People, faces and journal as lines of JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mindface.errors import GalleryError
from mindface.files import open_regular
from mindface.gallery.rows import Entry, FaceRow, Kind, PersonRow
from mindface.results import Array

MAX_LINE = 1 << 26  # bytes; an entry that enrolled a million people has less

Id = Annotated[int, Field(ge=1, lt=1 << 63)]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Number = Annotated[float, Field(allow_inf_nan=False)]
Pair = tuple[Number, Number]


class Line(BaseModel):
    """A line of a file; nothing else may stand in it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PersonLine(Line):
    """A person or an alias; see `rows.PersonRow`."""

    id: Id
    name: str
    tags: tuple[str, ...]
    valid_from: Number | None
    valid_until: Number | None
    created: Number
    merged_into: Id | None

    def row(self) -> PersonRow:
        """What the gallery holds."""
        return PersonRow(**self.model_dump())


class Crop(Line):
    """A face cut out, in a file of its own.

    Attributes:
        file: its path below the export, parted by slashes.
        sha256: of the file.
    """

    file: str
    sha256: Hash


class FaceLine(Line):
    """A face without its embedding; see `rows.FaceRow`.

    Attributes:
        path: of the photo, where it is Unicode text.
        path_hex: its bytes in hexadecimal, where it is not.
    """

    id: Id
    person: Id
    quality: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    path: str | None
    path_hex: Annotated[str, Field(pattern=r"^([0-9a-f]{2})+$")] | None = None
    content: str
    box: tuple[Number, Number, Number, Number] | None
    landmarks: tuple[Pair, Pair, Pair, Pair, Pair] | None
    created: Number
    crop: Crop | None

    def row(self, embedding: Array) -> FaceRow:
        """What the gallery holds."""
        path = self.path
        if self.path_hex is not None:
            path = bytes.fromhex(self.path_hex).decode("utf-8", "surrogateescape")
        return FaceRow(
            id=self.id,
            person=self.person,
            embedding=embedding,
            quality=self.quality,
            path=path,
            content=self.content,
            box=None if self.box is None else np.array(self.box, "<f4"),
            landmarks=None if self.landmarks is None else np.array(self.landmarks, "<f4"),
            created=self.created,
        )


class EntryLine(Line):
    """An entry of the journal; see `rows.Entry`. Hashes in hexadecimal."""

    id: Id
    operation: Hash
    request: Hash
    kind: Kind
    person: Id | None
    other: Id | None
    content: str | None
    payload: dict[str, Any]
    undone_by: Id | None
    created: Number

    def row(self) -> Entry:
        """What the gallery holds."""
        facts = dict(self)
        hashes = {name: bytes.fromhex(facts[name]) for name in ("operation", "request")}
        return Entry(**(facts | hashes))


Kept = TypeVar("Kept", PersonLine, FaceLine, EntryLine)


def person_line(row: PersonRow) -> bytes:
    """A person's line."""
    return _line(PersonLine.model_validate(vars(row)))


def face_line(row: FaceRow, crop: bytes | None) -> bytes:
    """A face's line.

    Raises:
        GalleryError: numbers that are not finite.
    """
    path = b"" if row.path is None else row.path.encode("utf-8", "surrogateescape")
    plain = path.decode(errors="replace").encode() == path
    facts = {
        "id": row.id,
        "person": row.person,
        "quality": row.quality,
        "path": row.path if plain else None,
        "path_hex": None if plain else path.hex(),
        "content": row.content,
        "box": None if row.box is None else row.box.tolist(),
        "landmarks": None if row.landmarks is None else row.landmarks.tolist(),
        "created": row.created,
        "crop": None
        if crop is None
        else {"file": crop_file(row.id), "sha256": sha256(crop).hexdigest()},
    }
    try:
        return _line(FaceLine.model_validate(facts))
    except ValidationError as error:
        raise GalleryError(f"face {row.id} cannot be exported: {fault(error)}") from error


def entry_line(entry: Entry) -> bytes:
    """The line of an entry of the journal."""
    hashes = {"operation": entry.operation.hex(), "request": entry.request.hex()}
    return _line(EntryLine.model_validate(vars(entry) | hashes))


def crop_file(face: int) -> str:
    """Where the crop of a face lies: a thousand in a folder."""
    return f"crops/{face // 1000:06}/{face}.jpg"


def read_lines(path: Path, kind: type[Kept]) -> Iterator[Kept]:
    """The lines of a file, whose ids must ascend.

    Raises:
        GalleryError: a line that cannot be; it is named.
    """
    last = 0
    with open_regular(path) as file:
        number = 0
        while text := file.readline(MAX_LINE + 1):
            number += 1
            if len(text) > MAX_LINE:
                raise GalleryError(f"{path}, line {number}: longer than {MAX_LINE} bytes")
            try:
                line = kind.model_validate_json(text)
            except ValidationError as error:
                raise GalleryError(f"{path}, line {number}: {fault(error)}") from error
            if line.id <= last:
                raise GalleryError(f"{path}, line {number}: the ids do not ascend")
            last = line.id
            yield line


def fault(error: ValidationError) -> str:
    """All that is wrong, in a sentence."""
    return "; ".join(
        ": ".join(filter(None, (".".join(map(str, each["loc"])), each["msg"])))
        for each in error.errors()
    )


def _line(line: Line) -> bytes:
    left_out = {"path_hex"} if getattr(line, "path_hex", None) is None else set()
    facts = line.model_dump(mode="json", exclude=left_out)
    return json.dumps(facts, ensure_ascii=False).encode() + b"\n"
