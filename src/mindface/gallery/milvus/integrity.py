"""Whether everything of a gallery in Milvus is what was written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from mindface.errors import IntegrityError
from mindface.gallery.codec import damaged
from mindface.gallery.milvus import rows
from mindface.gallery.milvus.records import WINDOW, between
from mindface.gallery.milvus.texts import texts_of
from mindface.gallery.templates import pooled, same

if TYPE_CHECKING:
    from mindface.gallery.milvus.backend import Milvus


def faults(store: Milvus) -> list[str]:
    """Reads every row, then makes every template; a sentence for each fault."""
    return [*_rows(store)] or [*_templates(store)]


def _rows(store: Milvus) -> Iterator[str]:
    where, people, facts = store.where, set(), store.facts()
    for record in store.windows(store.people_records, facts["people"], "*"):
        people.add(record["id"])
        yield from _said(rows.read_person_record, where, record)
        yield from _said(rows.read_template, where, record)
    for record in store.windows(store.face_records, facts["faces"], "*"):
        yield from _said(rows.read_face_record, where, record)
        if record["person"] not in people:
            yield f"{where}: face {record['id']} is of nobody"
    for start in range(1, facts["faces"] + 1, WINDOW):
        yield from _said(_crops, store, start)
    for number in range(1, facts["entry"] + 1):
        yield from _said(_entry, store, number)


def _crops(store: Milvus, start: int) -> None:
    some = between("number", start, start + WINDOW)
    for number, text in texts_of(store.text_records, "crop", some).items():
        rows.read_crop(store.where, number, text)


def _entry(store: Milvus, number: int) -> None:
    if not [*store.entries(number, number)]:
        raise damaged(store.where, f"entry {number} of the journal")


def _said(read: Callable[..., object], *what: Any) -> Iterator[str]:
    try:
        read(*what)
    except IntegrityError as error:
        yield str(error)


def _templates(store: Milvus) -> Iterator[str]:
    for some in pooled(store, [row.id for row in store.people()]):
        held = store.templates([row.id for row, _ in some])
        for row, vector in some:
            if not same(vector, held.get(row.id)):
                yield f"{store.where}: the template of person {row.id} is not of its faces"
