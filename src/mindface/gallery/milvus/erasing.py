"""Forgetting people in Milvus, as far as a client can bring a server to it."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from mindface.errors import GalleryError, IntegrityError
from mindface.gallery.forgetting import former_names
from mindface.gallery.milvus import rows
from mindface.gallery.milvus.records import Record, among
from mindface.gallery.receipt import Receipt
from mindface.gallery.rows import Entry

if TYPE_CHECKING:
    from mindface.gallery.milvus.backend import Milvus

UNPROMISED = (
    "Milvus marks rows as removed; its segments hold them until it compacts them, and its storage "
    "until garbage is collected there",
    "its message log (write-ahead log) holds them until it is cut",
    "backups and snapshots of its storage keep what they have",
)


def erase(store: Milvus, people: Sequence[int], entry: Entry) -> Receipt:
    """Removes people with all their aliases, and asks for compaction.

    Args:
        store: where they are.
        people: ids, no aliases.
        entry: to be put into the journal, under the number that it gets there.

    Raises:
        GalleryError: it cannot be written.
    """
    with store.writing():
        records = _people(store, people)
        ids = [each["id"] for each in records]
        faces = store.face_records.find(among("person", ids), fields=("id", "content", "person"))
        kinds = among("kind", ["crop"]), among("number", [face["id"] for face in faces])
        crops = {row["number"] for row in store.text_records.find(*kinds, fields=("id", "number"))}
        names = _names(store, records)
        number = store.last_entry() + 1
        store.delete_faces([face["id"] for face in faces])
        store.delete_people(ids, number)
        emptied = _scrub(store, ids, {face["content"] for face in faces})
        store.add_entry(replace(entry, id=number))
    return Receipt(
        people=len(people),
        names=len(names),
        faces=len(faces),
        crops=len(crops),
        entries=emptied,
        files={},
        windows=0,
        residue=(),
        rewritten=False,
        checkpointed=True,
        compacted=tuple(_compacted(store)),
        unpromised=UNPROMISED,
    )


def _people(store: Milvus, people: Sequence[int]) -> list[Record]:
    """The records of people and their aliases, unchecked: what is damaged must go too."""
    there = store.people_records.find(among("id", people), among("into", [0]))
    if not there:
        raise GalleryError(f"{store.where}: nobody of them is there: forgotten meanwhile")
    aliases = [alias for alias, root in store.roots().items() if root in people]
    return [*there, *store.people_records.find(among("id", aliases))]


def _names(store: Milvus, records: Sequence[Record]) -> set[str]:
    """All names that they have or had, of rows that can be read."""
    names = set()
    for each in records:
        with suppress(IntegrityError):
            names.add(rows.read_person_record(store.where, each).name)
    for entry in _about(store, [each["id"] for each in records]).values():
        if entry.kind == "rename":
            names.update(former_names(json.dumps(entry.payload)))
    return names


def _about(store: Milvus, people: Collection[int]) -> dict[int, Entry]:
    """Entries about people, by number."""
    found = [*store.entries_of(among("person", people)), *store.entries_of(among("other", people))]
    return {entry.id: entry for entry in found}


def _scrub(store: Milvus, people: Collection[int], contents: Collection[str]) -> int:
    """Empties the journal's entries about people and their faces; returns how many."""
    shared = store.face_records.find(among("content", contents), fields=("id", "content"))
    alone = {*contents} - {face["content"] for face in shared}
    found = _about(store, people)
    found |= {entry.id: entry for entry in store.entries_of(among("content", alone))}
    for entry in found.values():
        store.put_entry(replace(entry, payload={}, content=None))
    return len(found)


def _compacted(store: Milvus) -> list[str]:
    """Asks for compaction; it may take place later, and of Milvus Lite only by itself."""
    asked = []
    for each in store.collections.values():
        with suppress(GalleryError), store.server.translated():
            store.server.client.flush(each.name)
            store.server.client.compact(each.name)
            asked.append(f"flush and compact {each.name}, not waited for")
    return asked
