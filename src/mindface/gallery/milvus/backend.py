"""A gallery in Milvus.

Rows and templates are written by `changes`, which stands in for the transactions that Milvus lacks.
One process may write at a time; nothing keeps two from it but the operator. Everything is read with
the consistency level Strong: what was acknowledged is seen.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from threading import RLock
from typing import Any
from urllib.parse import SplitResult

import numpy as np

from mindface.errors import GalleryError, IntegrityError
from mindface.gallery.backend import Candidates, Capabilities
from mindface.gallery.claim import agreed, founded
from mindface.gallery.milvus import changes, rows, schema
from mindface.gallery.milvus.erasing import erase
from mindface.gallery.milvus.integrity import faults
from mindface.gallery.milvus.records import (
    WINDOW,
    Record,
    Records,
    among,
    between,
)
from mindface.gallery.milvus.server import Server, shown
from mindface.gallery.milvus.texts import remove_texts, text_rows, texts_of
from mindface.gallery.nearest import SPARE, nearest
from mindface.gallery.receipt import Receipt
from mindface.gallery.roots import roots_of
from mindface.gallery.rows import Entry, FaceRow, Ints, PersonRow, Sample
from mindface.gallery.templates import pooled
from mindface.results import Array

MOST = 16_384  # answers that Milvus gives to a query
TOGETHER = 64  # queries that are searched at once
LEAST_EF = 100  # candidates that HNSW keeps while it looks
ANY = 1 << 62  # above all ids


class Milvus:
    """A gallery in three collections of Milvus; see `schema`.

    Args:
        address: `milvus://` or `milvus+lite://`.
        gallery: how the names of the collections begin; made if absent.
        index: "exact" or "hnsw".
        secure: over TLS.
        contract: the embedding contract; None: whatever the gallery has.
        size: of an embedding; None: likewise.

    Raises:
        ContractError: the gallery holds embeddings of another model.
        GalleryError: it cannot be reached, is of a newer schema, or is new and it was not said
            whose embeddings it will hold.
        IntegrityError: what the gallery is, is damaged.
    """

    capabilities = Capabilities(
        atomic_batches=False, several_processes=False, secure_forgetting=False
    )

    def __init__(
        self,
        address: SplitResult,
        gallery: str,
        index: str = "exact",
        secure: bool = False,
        contract: str | None = None,
        size: int | None = None,
    ) -> None:
        self.where = shown(address, gallery)
        self.gallery, self.index = gallery, index
        self._lock = RLock()
        self._depth = 0
        self._touched: set[int] = set()
        self.server = Server(self.where, address, secure)
        self.people_records, self.face_records, self.text_records = (
            Records(self.server, f"{gallery}_{name}", self._lock) for name in schema.FIELDS
        )
        self.collections = {
            "people": self.people_records,
            "faces": self.face_records,
            "texts": self.text_records,
        }
        try:
            self.contract, self.size = self._claim(contract, size)
            schema.use_index(self.server, gallery, index)
        except BaseException:
            self.server.close()
            raise

    def close(self) -> None:
        """Closes the connection; of Milvus Lite also the server."""
        with self._lock:
            self.server.close()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """What is written inside is written at its end; an exception takes everything back.

        Raises:
            GalleryError: the server refuses, or cannot be reached. What was begun by then is
                finished by the next that writes, or opens the gallery.
        """
        with self._lock:
            if self._depth:
                yield
                return
            changes.finish(self.collections, self.text_records)
            self._depth, self._touched = 1, set()
            try:
                yield
                self._pool()
                changes.commit(self.collections, self.text_records, self.last_entry())
            finally:
                self._depth = 0
                for each in self.collections.values():
                    each.pending.clear()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """What this process writes is written before or after; not so what others write."""
        with self._lock:
            yield

    # people

    def person(self, name: str) -> PersonRow | None:
        """The person or alias of that name."""
        return self.named([name]).get(name)

    def named(self, names: Collection[str]) -> dict[str, PersonRow]:
        """People and aliases by name, those who exist."""
        found = self.people_records.find(among("name", [rows.key(name) for name in names]))
        people = [rows.read_person_record(self.where, each) for each in found]
        return {person.name: person for person in people if person.name in names}

    def people(self, ids: Collection[int] | None = None) -> list[PersonRow]:
        """People and aliases by id; all, or those of `ids` that exist."""
        if ids is None:
            found = self.windows(self.people_records, self.last_person(), "*")
        else:
            found = iter(self.people_records.find(among("id", ids)))
        return [rows.read_person_record(self.where, each) for each in found]

    def roots(self) -> dict[int, int]:
        """For each alias, the id of the person it stands for."""
        found = self.people_records.find(between("into", 1, ANY), fields=("id", "into"))
        return roots_of({row["id"]: row["into"] for row in found})

    def last_person(self) -> int:
        """The highest id that any person ever had."""
        return int(self.facts()["people"])

    def add_people(self, people: Sequence[PersonRow], entry: int) -> None:
        """New people, whose ids follow `last_person`."""
        self._put_people(people)
        self.reserve(max((row.id for row in people), default=0), 0)

    def put_person(self, row: PersonRow, entry: int) -> None:
        """Writes over a person, and touches it."""
        self._put_people([row])
        self.touch([row.id], entry)

    def delete_people(self, ids: Collection[int], entry: int) -> None:
        """People who have no faces left."""
        self.people_records.remove(ids)

    def touch(self, ids: Collection[int], entry: int) -> None:
        """Notes that the templates of these people, and of whom they stand for, changed."""
        self._touched.update(ids)
        if ids:
            roots = self.roots()  # as they are now: an alias may stop being one
            self._touched.update(roots[each] for each in ids if each in roots)

    def expired(self, at: float) -> list[int]:
        """People (no aliases) who are no longer valid."""
        return [
            row.id
            for row in self.people()
            if row.merged_into is None and row.valid_until is not None and row.valid_until <= at
        ]

    # faces

    def add_faces(self, samples: Sequence[tuple[int, Sample]]) -> list[int]:
        """New faces of people, by id; returns their ids."""
        first, now = int(self.facts()["faces"]) + 1, time.time()
        self._put_faces(
            (first + place, person, sample, now) for place, (person, sample) in enumerate(samples)
        )
        return [*range(first, first + len(samples))]

    def restore_faces(self, faces: Sequence[tuple[FaceRow, bytes | None]]) -> None:
        """New faces with their crops, under the ids and with the `created` that they have."""
        self._put_faces(
            (face.id, face.person, face.sample(crop), face.created) for face, crop in faces
        )

    def reserve(self, person: int, face: int) -> None:
        """Ids up to these are not given to anybody new."""
        facts = self.facts()
        self._put_facts(people=max(facts["people"], person), faces=max(facts["faces"], face))

    def faces(self, ids: Collection[int]) -> list[FaceRow]:
        """Those of these faces that exist, by id."""
        return self._faces(self.face_records.find(among("id", ids)))

    def faces_of(self, people: Collection[int]) -> list[FaceRow]:
        """All faces of these people, by id; aliases have their own."""
        return self._faces(self.face_records.find(among("person", people)))

    def faces_in(self, photo: str) -> list[FaceRow]:
        """All faces of a photo, by id; `rows.face_content` names them."""
        faces = self._faces(self.face_records.find(among("photo", [rows.key(photo)])))
        return [face for face in faces if face.content.startswith(f"{photo}:")]

    def scan(self) -> Iterator[FaceRow]:
        """All faces, by id."""
        for row in self.windows(self.face_records, int(self.facts()["faces"]), "*"):
            yield rows.read_face_record(self.where, row)

    def counts(self) -> dict[int, int]:
        """How many faces each person or alias has, where any."""
        found: dict[int, int] = {}
        last = int(self.facts()["faces"])
        for row in self.windows(self.face_records, last, "id", "person"):
            found[row["person"]] = found.get(row["person"], 0) + 1
        return found

    def crop(self, face: int) -> bytes | None:
        """The stored crop of a face."""
        found = texts_of(self.text_records, "crop", among("number", [face]))
        return rows.read_crop(self.where, face, found[face]) if found else None

    def move_faces(self, ids: Collection[int], person: int) -> None:
        """Gives faces to another person."""
        found = self.face_records.find(among("id", ids))
        self.face_records.put(rows.moved_record(self.where, row, person) for row in found)

    def delete_faces(self, ids: Collection[int]) -> None:
        """Removes faces with their crops."""
        self.face_records.remove(ids)
        remove_texts(self.text_records, "crop", ids)

    # journal

    def last_entry(self) -> int:
        """The number of the newest entry, 0 where there is none."""
        return int(self.facts()["entry"])

    def add_entry(self, entry: Entry) -> None:
        """The entry after `last_entry`."""
        self.text_records.put(rows.entry_rows(entry))
        self._put_facts(entry=entry.id)

    def put_entry(self, entry: Entry) -> None:
        """Writes over an entry: to note that it was undone, or to forget what it held."""
        remove_texts(self.text_records, "entry", [entry.id])
        self.text_records.put(rows.entry_rows(entry))

    def entry_of(self, operation: bytes) -> Entry | None:
        """The entry of an operation."""
        found = self.entries_of(among("key", [operation.hex()]))
        return found[0] if found else None

    def entries(self, first: int = 1, last: int | None = None) -> Iterator[Entry]:
        """Entries by number."""
        until = self.last_entry() if last is None else last
        for start in range(first, until + 1, WINDOW):
            yield from self.entries_of(between("number", start, min(start + WINDOW, until + 1)))

    def verdicts(self, contents: Collection[str]) -> list[Entry]:
        """Standing rejections and confirmations of these faces, by number."""
        found = self.entries_of(among("content", [rows.key(each) for each in contents]))
        return [each for each in found if not each.undone_by]

    # search

    def search(
        self, queries: Array, k: int, tags: Collection[str] = (), at: float | None = None
    ) -> Candidates:
        """The `k` people most like each query; see `Backend.search`."""
        expression = self._filter(tags, at)
        people = np.zeros((len(queries), k), np.int64)
        scores = np.full((len(queries), k), -1, np.float32)
        with self.server.translated():
            (counted,) = self.server.client.query(
                self.people_records.name, expression, ["count(*)"], consistency_level="Strong"
            )
        if not counted["count(*)"]:
            return Candidates(people, scores, 0)
        for start in range(0, len(queries), TOGETHER):
            some = queries[start : start + TOGETHER]
            ready = self._nearest(some, k + SPARE, expression)
            for number, query in enumerate(some):

                def find(
                    limit: int,
                    number: int = number,
                    query: Array = query,
                    ready: list[tuple[Ints, Array]] = ready,
                ) -> tuple[Ints, Array]:
                    if limit == k + SPARE:
                        return ready[number]
                    return self._nearest(query[None], limit, expression)[0]

                place = start + number
                people[place], scores[place] = nearest(find, query, k, MOST)
        return Candidates(people, scores, int(counted["count(*)"]))

    def templates(self, people: Collection[int]) -> dict[int, Array]:
        """The templates `(D,)` of people; not of those who have no face that counts."""
        found = self.people_records.find(among("id", people))
        return {row["id"]: rows.read_template(self.where, row) for row in found if row["searched"]}

    def _filter(self, tags: Collection[str], at: float | None) -> str:
        conditions = ["searched == true"]
        if tags:
            hashes = json.dumps(sorted(rows.key(tag) for tag in set(tags)))
            conditions.append(f"array_contains_all(tags, {hashes})")
        if at is not None:
            conditions.append(f"since <= {float(at)!r} and until > {float(at)!r}")
        return " and ".join(conditions)

    def _nearest(self, queries: Array, limit: int, expression: str) -> list[tuple[Ints, Array]]:
        options: dict[str, Any] = {"metric_type": "IP", "params": {}}
        if self.index == "hnsw":
            options["params"]["ef"] = max(LEAST_EF, limit)
        with self.server.translated():
            answers = self.server.client.search(
                self.people_records.name,
                data=queries.tolist(),
                filter=expression,
                limit=limit,
                output_fields=["id", "since", "until", "total", "vector"],
                search_params=options,
                consistency_level="Strong",
            )
        found = []
        for answer in answers:
            people = [hit["entity"] for hit in answer]
            vectors = [rows.read_template(self.where, each) for each in people]
            found.append(
                (
                    np.array([each["id"] for each in people], np.int64),
                    np.array(vectors, np.float32).reshape(-1, self.size),
                )
            )
        return found

    # all of it

    def rebuild(self) -> None:
        """Makes all templates anew from the faces."""
        with self.writing():
            self._touched.update(row.id for row in self.people())

    def integrity(self) -> list[str]:
        """Reads everything, and says what is damaged, a sentence each."""
        return faults(self)

    def erase(self, people: Sequence[int], entry: Entry) -> Receipt:
        """Removes people, and asks for compaction; see `erasing.erase`."""
        return erase(self, people, entry)

    # rows

    def _put_people(self, people: Sequence[PersonRow]) -> None:
        """People with whatever template; `_pool` makes it."""
        self.people_records.put(rows.person_record(person, None, self.size) for person in people)
        self._touched.update(person.id for person in people)

    def _pool(self) -> None:
        """Makes the templates anew of those who were touched."""
        roots = self.roots() if self._touched else {}
        touched = {*self._touched, *(roots[each] for each in self._touched if each in roots)}
        for some in pooled(self, touched):
            self.people_records.put(
                rows.person_record(person, vector, self.size) for person, vector in some
            )

    def _put_faces(self, faces: Iterator[tuple[int, int, Sample, float]]) -> None:
        last = 0
        for number, person, sample, created in faces:
            self.face_records.put([rows.face_record(number, person, sample, created)])
            if sample.crop is not None:
                text = rows.crop_text(number, sample.crop)
                self.text_records.put(text_rows("crop", number, text))
            self._touched.add(person)
            last = max(last, number)
        self.reserve(0, last)

    def _faces(self, found: Sequence[Record]) -> list[FaceRow]:
        return [rows.read_face_record(self.where, each) for each in found]

    def entries_of(self, *conditions: Any) -> list[Entry]:
        """Entries by number, of which all conditions hold, as of each of their pieces."""
        found = texts_of(self.text_records, "entry", *conditions)
        return [rows.read_entry_text(self.where, number, text) for number, text in found.items()]

    def windows(self, records: Records, last: int, *fields: str) -> Iterator[Record]:
        """All rows, by id."""
        for start in range(1, last + 1, WINDOW):
            yield from records.find(between("id", start, start + WINDOW), fields=fields)

    # what the gallery is

    def facts(self) -> dict[str, Any]:
        """What it is, and the last ids."""
        found = texts_of(self.text_records, "facts")
        if not found:
            raise IntegrityError(f"{self.where}: does not say what it is: restore a backup")
        return dict(json.loads(found[0]))

    def _put_facts(self, **facts: Any) -> None:
        self.text_records.put(text_rows("facts", 0, json.dumps(self.facts() | facts)))

    def _claim(self, contract: str | None, size: int | None) -> tuple[str, int]:
        there = schema.there(self.server, self.gallery)
        if there:
            changes.finish(self.collections, self.text_records)
        if not there or not texts_of(self.text_records, "facts"):
            facts = founded(self.where, contract, size)
            schema.make(self.server, self.gallery, int(facts["size"]), self.index)
            numbers = {"schema": schema.SCHEMA, "people": 0, "faces": 0, "entry": 0}
            new = text_rows("facts", 0, json.dumps(facts | numbers))
            self.text_records.write((row["id"], row) for row in new)
        found = self.facts()
        if found["schema"] > schema.SCHEMA:
            raise GalleryError(
                f"{self.where}: has schema {found['schema']}, and this MindFace knows up to "
                f"{schema.SCHEMA}: run  pip install --upgrade mindface"
            )
        return agreed(self.where, found, contract, size)
