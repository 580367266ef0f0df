"""Rows of the database and what they mean; the last column of each is its checksum."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from mindface.errors import IntegrityError
from mindface.gallery.rows import Entry, FaceRow, PersonRow, Sample, checksum
from mindface.results import Array

Row = tuple[Any, ...]

PEOPLE = "id, name, tags, valid_from, valid_until, created, merged_into"
FACES = "id, person, embedding, quality, path, content, box, landmarks, created"
JOURNAL = "id, operation, request, kind, person, other, content, payload, undone_by, created"


def damaged(where: str, what: str) -> IntegrityError:
    """The error that names what is damaged."""
    return IntegrityError(f"{where}: {what} is damaged: restore a backup, or recover what is left")


def whole(where: str, what: str, row: Row) -> Row:
    """A row without its checksum.

    Raises:
        IntegrityError: the checksum is not the row's.
    """
    *values, expected = row
    if checksum(values) != expected:
        raise damaged(where, what)
    return tuple(values)


def read_person(where: str, row: Row) -> PersonRow:
    """A row of `PEOPLE`; raises `IntegrityError` as `whole`."""
    number, name, tags, *others = whole(where, f"person {row[0]}", row)
    return PersonRow(number, name, tuple(json.loads(tags)), *others)


def read_face(where: str, row: Row) -> FaceRow:
    """A row of `FACES`; raises `IntegrityError` as `whole`."""
    number, person, vector, quality, photo, content, box, landmarks, created = whole(
        where, f"face {row[0]} of person {row[1]}", row
    )
    return FaceRow(
        id=number,
        person=person,
        embedding=np.frombuffer(vector, "<f4"),
        quality=quality,
        path=photo and photo.decode("utf-8", "surrogateescape"),
        content=content,
        box=_floats(box),
        landmarks=_floats(landmarks, (5, 2)),
        created=created,
    )


def read_entry(where: str, row: Row) -> Entry:
    """A row of `JOURNAL`; raises `IntegrityError` as `whole`."""
    values = list(whole(where, f"entry {row[0]} of the journal", row))
    values[7] = json.loads(values[7])
    return Entry(*values)


def person_values(row: PersonRow) -> Row:
    """What `PEOPLE` holds, and its checksum."""
    values = (
        row.id,
        row.name,
        json.dumps(row.tags, ensure_ascii=False),
        row.valid_from,
        row.valid_until,
        row.created,
        row.merged_into,
    )
    return (*values, checksum(values))


def face_values(number: int, person: int, sample: Sample, created: float) -> Row:
    """What `FACES` holds, and its checksum."""
    values = (
        number,
        person,
        sample.embedding.tobytes(),
        sample.quality,
        sample.path and sample.path.encode("utf-8", "surrogateescape"),
        sample.content,
        None if sample.box is None else sample.box.tobytes(),
        None if sample.landmarks is None else sample.landmarks.tobytes(),
        created,
    )
    return (*values, checksum(values))


def entry_values(entry: Entry) -> Row:
    """What `JOURNAL` holds, and its checksum."""
    values = (
        entry.id,
        entry.operation,
        entry.request,
        entry.kind,
        entry.person,
        entry.other,
        entry.content,
        json.dumps(entry.payload, ensure_ascii=False, sort_keys=True),
        entry.undone_by,
        entry.created,
    )
    return (*values, checksum(values))


def _floats(data: bytes | None, shape: tuple[int, ...] = (-1,)) -> Array | None:
    return None if data is None else np.frombuffer(data, "<f4").reshape(shape)
