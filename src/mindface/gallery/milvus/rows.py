"""People, faces and entries as records of Milvus, and back; each with its checksum."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from hashlib import sha256
from typing import Any

import numpy as np

from mindface.errors import GalleryError
from mindface.gallery.codec import (
    FACES,
    JOURNAL,
    PEOPLE,
    Row,
    damaged,
    entry_values,
    face_values,
    person_values,
    read_entry,
    read_face,
    read_person,
    whole,
)
from mindface.gallery.milvus.records import ALWAYS, NEVER, Record
from mindface.gallery.milvus.schema import LONGEST, TAGS
from mindface.gallery.milvus.texts import text_rows
from mindface.gallery.rows import Entry, FaceRow, PersonRow, Sample, checksum, photo_of
from mindface.results import Array

CROPS = "face, jpeg"
EMBEDDING = 2  # its place in `codec.FACES`


def key(text: str) -> str:
    """By what a name, a tag or a content is found."""
    return sha256(text.encode()).hexdigest()


def person_record(person: PersonRow, template: Array | None, size: int) -> Record:
    """A person with its template; None: it is an alias, or has no face that counts.

    Raises:
        GalleryError: a name that is too long, or too many tags.
    """
    body = _packed(person_values(person))
    if len(body.encode()) > LONGEST or len(person.tags) > TAGS:
        raise GalleryError(
            f"{person.name!r:.80}: Milvus stores names with their tags up to {LONGEST} bytes, and "
            f"{TAGS} tags"
        )
    vector = np.eye(1, size, dtype="<f4")[0] if template is None else template
    record = {
        "id": person.id,
        "name": key(person.name),
        "into": person.merged_into or 0,
        "since": NEVER if person.valid_from is None else person.valid_from,
        "until": ALWAYS if person.valid_until is None else person.valid_until,
        "tags": [key(tag) for tag in person.tags],
        "searched": template is not None,
        "body": body,
        "vector": vector.tolist(),
    }
    return record | {"total": _total(record)}


def read_person_record(where: str, record: Record) -> PersonRow:
    """The person of a record; raises `IntegrityError` where it is damaged."""
    what = f"person {record['id']}"
    person = read_person(where, _unpacked(where, what, record["body"], PEOPLE))
    told = (key(person.name), person.merged_into or 0, [key(tag) for tag in person.tags])
    if (record["name"], record["into"], [*record["tags"]]) != told or record["id"] != person.id:
        raise damaged(where, what)
    return person


def read_template(where: str, record: Record) -> Array:
    """The template of a person's record; raises `IntegrityError` where it is damaged."""
    if _total(record) != record["total"]:
        raise damaged(where, f"the template of person {record['id']}")
    return np.array(record["vector"], "<f4")


def face_record(number: int, person: int, sample: Sample, created: float) -> Record:
    """A face.

    Raises:
        GalleryError: its path and content are too long.
    """
    values = face_values(number, person, sample, created)
    return _face(values)


def moved_record(where: str, record: Record, person: int) -> Record:
    """The record of a face that goes to another person."""
    _, _, *others = whole(where, f"face {record['id']}", _face_row(where, record))
    values = (record["id"], person, *others)
    return _face((*values, checksum(values)))


def read_face_record(where: str, record: Record) -> FaceRow:
    """The face of a record; raises `IntegrityError` where it is damaged."""
    face = read_face(where, _face_row(where, record))
    if (face.id, face.person) != (record["id"], record["person"]):
        raise damaged(where, f"face {record['id']}")
    return face


def entry_rows(entry: Entry) -> list[Record]:
    """An entry of the journal as texts."""
    content = "" if entry.content is None else key(entry.content)
    return text_rows(
        "entry",
        entry.id,
        _packed(entry_values(entry)),
        people=(entry.person or 0, entry.other or 0),
        keys=(entry.operation.hex(), content),
    )


def read_entry_text(where: str, number: int, text: str) -> Entry:
    """The entry of a text; raises `IntegrityError` where it is damaged."""
    return read_entry(where, _unpacked(where, f"entry {number} of the journal", text, JOURNAL))


def crop_text(number: int, crop: bytes) -> str:
    """A crop as text."""
    return _packed((number, crop, checksum((number, crop))))


def read_crop(where: str, number: int, text: str) -> bytes:
    """The crop of a text; raises `IntegrityError` where it is damaged."""
    what = f"the crop of face {number}"
    _, crop = whole(where, what, _unpacked(where, what, text, CROPS))
    return bytes(crop)


def _face(values: Row) -> Record:
    number, person, embedding, _, _, content, *_ = values
    body = _packed((*values[:EMBEDDING], None, *values[EMBEDDING + 1 :]))
    if len(body.encode()) > LONGEST:
        raise GalleryError(
            f"{content!r:.80}: Milvus stores what is known of a face up to {LONGEST} bytes"
        )
    return {
        "id": number,
        "person": person,
        "content": key(content),
        "photo": key(photo_of(content)),
        "body": body,
        "vector": np.frombuffer(embedding, "<f4").tolist(),
    }


def _face_row(where: str, record: Record) -> Row:
    row = _unpacked(where, f"face {record['id']}", record["body"], FACES)
    vector = np.array(record["vector"], "<f4").tobytes()
    return (*row[:EMBEDDING], vector, *row[EMBEDDING + 1 :])


def _total(record: Record) -> int:
    vector = np.array(record["vector"], "<f4").tobytes()
    return checksum((record["id"], vector, float(record["since"]), float(record["until"])))


def _packed(row: Row) -> str:
    return json.dumps(
        [{"b64": b64encode(each).decode()} if isinstance(each, bytes) else each for each in row],
        ensure_ascii=False,
    )


def _unpacked(where: str, what: str, text: str, columns: str) -> Row:
    """A row of these columns with its checksum."""
    try:
        values: list[Any] = json.loads(text)
        row = tuple(b64decode(each["b64"]) if isinstance(each, dict) else each for each in values)
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(where, what) from error
    if len(row) != columns.count(",") + 2:
        raise damaged(where, what)
    return row
