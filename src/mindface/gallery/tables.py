"""People, faces and journal in SQL that SQLite and PostgreSQL both understand.

Each row has a checksum that is checked whenever the row is read.
"""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from threading import RLock
from typing import TypeVar

from mindface.gallery.codec import (
    FACES,
    JOURNAL,
    PEOPLE,
    Row,
    entry_values,
    face_values,
    person_values,
    read_entry,
    read_face,
    read_person,
    whole,
)
from mindface.gallery.roots import roots_of
from mindface.gallery.rows import Entry, FaceRow, PersonRow, Sample, checksum

Key = TypeVar("Key", int, str)

CHUNK = 500  # parameters of a statement; SQLite's older limit is 999


class Tables(ABC):
    """The tables of a gallery over one connection, whose threads take turns.

    Attributes:
        where: the database's path or URL, for messages.
        contract: the embedding contract.
        size: of an embedding.
    """

    where: str
    contract: str
    size: int

    def __init__(self, where: str) -> None:
        self.where = where
        self._lock = RLock()
        self._depth = 0

    @abstractmethod
    def writing(self) -> AbstractContextManager[None]:
        """A transaction that writes; see `Backend.writing`."""

    @abstractmethod
    def reading(self) -> AbstractContextManager[None]:
        """Everything read inside is of one moment."""

    @abstractmethod
    def last(self, table: str) -> int:
        """The highest id that a row of `people` or `faces` ever had."""

    @abstractmethod
    def _execute(self, statement: str, values: Sequence[object] = ()) -> list[Row]:
        """What a statement answers; its parameters are written `?`."""

    @abstractmethod
    def _execute_many(self, statement: str, rows: Sequence[Row]) -> None:
        """A statement for each row of values."""

    @abstractmethod
    def _translated(self) -> AbstractContextManager[None]:
        """Turns the database's errors into `GalleryError` and `IntegrityError`."""

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[bool]:
        """A transaction, or a part of the one around it; gives whether it is the outermost."""
        with self._lock, self._translated():
            if self._depth:
                yield False
                return
            self._execute(begin)
            self._depth += 1
            try:
                yield True
                self._execute("COMMIT")
            except BaseException:
                self._roll_back()
                raise
            finally:
                self._depth -= 1

    @abstractmethod
    def _roll_back(self) -> None:
        """Takes a transaction back that failed, where the database did not do so itself."""

    def rows(self, statement: str, *values: object) -> list[Row]:
        """What a statement answers; its parameters are written `?`."""
        with self._lock, self._translated():
            return self._execute(statement, values)

    def run(self, statement: str, rows: Sequence[Row]) -> None:
        """A statement for each row of values, inside a transaction."""
        if rows:
            with self._lock, self._translated():
                self._execute_many(statement, rows)

    def chunked(self, statement: str, keys: Collection[Key]) -> list[Row]:
        """What a statement with `IN ({})` answers for many keys, in their ascending order."""
        ordered = sorted(set(keys))
        found: list[Row] = []
        for start in range(0, len(ordered), CHUNK):
            some = ordered[start : start + CHUNK]
            found += self.rows(statement.format(",".join("?" * len(some))), *some)
        return found

    # people

    def person(self, name: str) -> PersonRow | None:
        """The person or alias of that name."""
        return self.named([name]).get(name)

    def named(self, names: Collection[str]) -> dict[str, PersonRow]:
        """People and aliases by name, those who exist."""
        statement = f"SELECT {PEOPLE}, checksum FROM people WHERE name IN ({{}})"
        people = [read_person(self.where, row) for row in self.chunked(statement, names)]
        return {person.name: person for person in people}

    def people(self, ids: Collection[int] | None = None) -> list[PersonRow]:
        """People and aliases by id; all, or those of `ids` that exist."""
        if ids is None:
            found = self.rows(f"SELECT {PEOPLE}, checksum FROM people ORDER BY id")
        else:
            found = self.chunked(
                f"SELECT {PEOPLE}, checksum FROM people WHERE id IN ({{}}) ORDER BY id", ids
            )
        return [read_person(self.where, row) for row in found]

    def roots(self) -> dict[int, int]:
        """For each alias, the id of the person it stands for."""
        found = self.rows("SELECT id, merged_into FROM people WHERE merged_into IS NOT NULL")
        return roots_of(dict(found))

    def last_person(self) -> int:
        """The highest id that any person ever had."""
        return self.last("people")

    def add_people(self, rows: Sequence[PersonRow], entry: int) -> None:
        """New people."""
        values = [(*person_values(row), entry) for row in rows]
        self.run(
            f"INSERT INTO people ({PEOPLE}, checksum, changed) VALUES (?,?,?,?,?,?,?,?,?)", values
        )

    def put_person(self, row: PersonRow, entry: int) -> None:
        """Writes over a person."""
        number, *values = person_values(row)
        columns = ", ".join(f"{name} = ?" for name in PEOPLE.split(", ")[1:])
        self.run(
            f"UPDATE people SET {columns}, checksum = ?, changed = ? WHERE id = ?",
            [(*values, entry, number)],
        )
        self.touch([row.id], entry)

    def delete_people(self, ids: Collection[int], entry: int) -> None:
        """People who have no faces left."""
        self.run("DELETE FROM people WHERE id = ?", [(each,) for each in ids])
        self.run("INSERT INTO gone (person, entry) VALUES (?, ?)", [(each, entry) for each in ids])

    def touch(self, ids: Collection[int], entry: int) -> None:
        """Notes that the templates of these people, and of whom they stand for, changed."""
        roots = self.roots()
        touched = {*ids, *(roots[each] for each in ids if each in roots)}
        self.run("UPDATE people SET changed = ? WHERE id = ?", [(entry, each) for each in touched])

    def expired(self, at: float) -> list[int]:
        """People (no aliases) who are no longer valid."""
        found = self.rows(
            "SELECT id FROM people WHERE valid_until <= ? AND merged_into IS NULL ORDER BY id", at
        )
        return [each for (each,) in found]

    def tagged(self, tags: Collection[str]) -> list[int]:
        """People (no aliases) who have all of these tags."""
        wanted = set(tags)
        found = self.rows("SELECT id, tags FROM people WHERE tags != '[]' AND merged_into IS NULL")
        return [each for each, text in found if wanted <= set(json.loads(text))]

    def changed_since(self, entry: int) -> list[int]:
        """People and aliases whose templates changed after an entry, or who are gone since."""
        found = self.rows(
            "SELECT id FROM people WHERE changed > ? UNION SELECT person FROM gone WHERE entry > ? "
            "ORDER BY 1",
            entry,
            entry,
        )
        return [each for (each,) in found]

    # faces

    def add_faces(self, samples: Sequence[tuple[int, Sample]]) -> list[int]:
        """New faces of people, by id; returns their ids."""
        first, now = self.last("faces") + 1, time.time()
        numbered = [(first + place, *each) for place, each in enumerate(samples)]
        self._insert_faces(
            [face_values(number, person, sample, now) for number, person, sample in numbered],
            [(number, sample.crop) for number, _, sample in numbered],
        )
        return [number for number, _, _ in numbered]

    def restore_faces(self, faces: Sequence[tuple[FaceRow, bytes | None]]) -> None:
        """New faces with their crops, under the ids and with the `created` that they have."""
        self._insert_faces(
            [face_values(face.id, face.person, face.sample(), face.created) for face, _ in faces],
            [(face.id, crop) for face, crop in faces],
        )

    def _insert_faces(self, rows: Sequence[Row], crops: Sequence[tuple[int, bytes | None]]) -> None:
        self.run(f"INSERT INTO faces ({FACES}, checksum) VALUES (?,?,?,?,?,?,?,?,?,?)", rows)
        self.run(
            "INSERT INTO crops (face, jpeg, checksum) VALUES (?,?,?)",
            [
                (number, crop, checksum((number, crop)))
                for number, crop in crops
                if crop is not None
            ],
        )

    def faces(self, ids: Collection[int]) -> list[FaceRow]:
        """Those of these faces that exist, by id."""
        statement = f"SELECT {FACES}, checksum FROM faces WHERE id IN ({{}}) ORDER BY id"
        return [read_face(self.where, row) for row in self.chunked(statement, ids)]

    def faces_of(self, people: Collection[int]) -> list[FaceRow]:
        """All faces of these people, by id; aliases have their own."""
        statement = f"SELECT {FACES}, checksum FROM faces WHERE person IN ({{}})"
        faces = [read_face(self.where, row) for row in self.chunked(statement, people)]
        return sorted(faces, key=lambda face: face.id)

    def faces_in(self, photo: str) -> list[FaceRow]:
        """All faces of a photo, by id; `rows.face_content` names them."""
        statement = (
            f"SELECT {FACES}, checksum FROM faces WHERE content >= ? AND content < ? ORDER BY id"
        )
        rows = self.rows(statement, f"{photo}:", f"{photo};")  # ";" comes after ":"
        return [read_face(self.where, row) for row in rows]

    def scan(self) -> Iterator[FaceRow]:
        """All faces, by id."""
        last = 0
        while found := self.rows(
            f"SELECT {FACES}, checksum FROM faces WHERE id > ? ORDER BY id LIMIT {CHUNK}", last
        ):
            yield from (read_face(self.where, row) for row in found)
            last = found[-1][0]

    def counts(self) -> dict[int, int]:
        """How many faces each person or alias has, where any."""
        return dict(self.rows("SELECT person, count(*) FROM faces GROUP BY person"))

    def crop(self, face: int) -> bytes | None:
        """The stored crop of a face."""
        found = self.rows("SELECT face, jpeg, checksum FROM crops WHERE face = ?", face)
        if not found:
            return None
        _, crop = whole(self.where, f"the crop of face {face}", found[0])
        return bytes(crop)

    def move_faces(self, ids: Collection[int], person: int) -> None:
        """Gives faces to another person."""
        statement = f"SELECT {FACES}, checksum FROM faces WHERE id IN ({{}}) ORDER BY id"
        moved = []
        for row in self.chunked(statement, ids):
            read_face(self.where, row)
            number, _, *others = row[:-1]
            moved.append((person, checksum((number, person, *others)), number))
        self.run("UPDATE faces SET person = ?, checksum = ? WHERE id = ?", moved)

    def delete_faces(self, ids: Collection[int]) -> None:
        """Removes faces with their crops."""
        self.run("DELETE FROM faces WHERE id = ?", [(each,) for each in ids])

    # journal

    def last_entry(self) -> int:
        """The number of the newest entry, 0 where there is none."""
        return int(self.rows("SELECT coalesce(max(id), 0) FROM journal")[0][0])

    def mark(self) -> tuple[int, bytes]:
        """The newest entry and its operation: what no other state of any gallery has."""
        found = self.rows("SELECT id, operation FROM journal ORDER BY id DESC LIMIT 1")
        return (int(found[0][0]), bytes(found[0][1])) if found else (0, bytes(32))

    def has(self, mark: tuple[int, bytes]) -> bool:
        """Whether this gallery once had that newest entry."""
        if mark[0] == 0:
            return True
        found = self.rows("SELECT operation FROM journal WHERE id = ?", mark[0])
        return bool(found) and found[0][0] == mark[1]

    def add_entry(self, entry: Entry) -> None:
        """The entry after `last_entry`."""
        values = entry_values(entry)
        self.run(
            f"INSERT INTO journal ({JOURNAL}, checksum) VALUES (?,?,?,?,?,?,?,?,?,?,?)", [values]
        )

    def entry_of(self, operation: bytes) -> Entry | None:
        """The entry of an operation."""
        found = self.rows(f"SELECT {JOURNAL}, checksum FROM journal WHERE operation = ?", operation)
        return read_entry(self.where, found[0]) if found else None

    def entries(self, first: int = 1, last: int | None = None) -> Iterator[Entry]:
        """Entries by number."""
        until = self.last_entry() if last is None else last
        while first <= until:
            stop = min(first + CHUNK, until + 1)
            statement = (
                f"SELECT {JOURNAL}, checksum FROM journal WHERE id >= ? AND id < ? ORDER BY id"
            )
            yield from (read_entry(self.where, row) for row in self.rows(statement, first, stop))
            first = stop

    def put_entry(self, entry: Entry) -> None:
        """Writes over an entry: to note that it was undone, or to forget what it held."""
        number, *values = entry_values(entry)
        columns = ", ".join(f"{name} = ?" for name in JOURNAL.split(", ")[1:])
        self.run(f"UPDATE journal SET {columns}, checksum = ? WHERE id = ?", [(*values, number)])

    def verdicts(self, contents: Collection[str]) -> list[Entry]:
        """Standing rejections and confirmations of these faces, by number."""
        if not self.rows("SELECT 1 FROM journal WHERE content IS NOT NULL LIMIT 1"):
            return []
        statement = (
            f"SELECT {JOURNAL}, checksum FROM journal WHERE content IN ({{}}) AND undone_by IS NULL"
        )
        entries = [read_entry(self.where, row) for row in self.chunked(statement, contents)]
        return sorted(entries, key=lambda entry: entry.id)

    # meta

    def meta(self, key: str) -> str | None:
        """A fact about the gallery."""
        found = self.rows("SELECT value FROM meta WHERE key = ?", key)
        return found[0][0] if found else None

    def put_meta(self, key: str, value: str | None) -> None:
        """Notes a fact, or None: that there is none."""
        self.run("DELETE FROM meta WHERE key = ?", [(key,)])
        if value is not None:
            self.run("INSERT INTO meta (key, value) VALUES (?, ?)", [(key, value)])
