"""What can be saved of a damaged gallery, row by row, into a new one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from mindface.errors import GalleryError, IntegrityError
from mindface.gallery.codec import FACES, JOURNAL, PEOPLE, Row
from mindface.gallery.encryption import Key, open_database, sqlite_errors
from mindface.gallery.rows import PersonRow, checksum
from mindface.gallery.schema import translated
from mindface.gallery.store import Store

COLUMNS = {"people": PEOPLE, "faces": FACES, "crops": "face, jpeg", "journal": JOURNAL}
SAID = 100  # losses that are named


@dataclass(frozen=True)
class Recovery:
    """What was saved.

    Attributes:
        people: how many, with aliases; faces, crops and entries of the journal likewise.
        unnamed: people whose row is lost, but not all their faces: they are named
            "recovered person 7", valid from now on without limits.
        lost: what could not be saved, each in a sentence; the first hundred.
    """

    people: int
    faces: int
    crops: int
    entries: int
    unnamed: int
    lost: tuple[str, ...]


def recover(path: Path, to: Path, key: Key | None = None) -> Recovery:
    """Copies every row whose checksum is right into a new gallery.

    Rows that the damage made unfindable are lost without a trace.

    Args:
        path: of the damaged gallery; nothing is changed in it.
        to: of the new one.
        key: of an encrypted gallery; the new one gets it too.

    Raises:
        GalleryKeyError: the key is missing or another's, or the gallery is not encrypted.
        GalleryError: `to` is there already.
        IntegrityError: not even the tables, or whose embeddings they are, can be read.
    """
    if to.exists():
        raise GalleryError(f"{to}: is there already: name a new file")
    if not path.is_file():
        raise GalleryError(f"{path}: no such gallery")
    lost: list[str] = []
    with translated(path):
        source = _Source(path, key)
        try:
            facts: dict[str, str] = dict(source.rows("SELECT key, value FROM meta"))
            expected = checksum([facts.get(key) for key in ("contract", "size", "created")])
            if facts.get("checksum") != str(expected):
                raise IntegrityError(f"{path}: whose embeddings it holds cannot be read")
            target = Store(to, facts["contract"], int(facts["size"]), key)
            try:
                with target.writing():
                    return _filled(target, source, lost)
            finally:
                target.close()
        finally:
            source.close()


class _Source:
    """The damaged database, opened again after an error: SQLCipher reads no further after one."""

    def __init__(self, path: Path, key: Key | None) -> None:
        self.path, self.key = path, key
        self._open()

    def close(self) -> None:
        self.connection.close()

    def rows(self, statement: str, *values: object) -> list[Row]:
        try:
            return self.connection.execute(statement, values).fetchall()
        except BaseException:
            self.close()
            self._open()
            raise

    def _open(self) -> None:
        self.connection = open_database(self.path, self.key)
        self.connection.execute("PRAGMA query_only = ON")


def _filled(target: Store, source: _Source, lost: list[str]) -> Recovery:
    people = {row[0]: row for row in _whole(source, "people", lost)}
    target.run(_insert("people", "changed"), [(*row, 0) for row in people.values()])
    for person in target.people():
        if person.merged_into is not None and person.merged_into not in people:
            target.put_person(replace(person, merged_into=None), 0)
    faces: set[int] = set()
    unnamed: set[int] = set()
    for row in _whole(source, "faces", lost):
        if row[1] not in people and row[1] not in unnamed:
            unnamed.add(row[1])
            name = f"recovered person {row[1]}"
            target.add_people([PersonRow(row[1], name, (), None, None, time.time())], 0)
        target.run(_insert("faces"), [row])
        faces.add(row[0])
    crops = entries = 0
    for row in _whole(source, "crops", lost):
        if row[0] in faces:
            target.run(_insert("crops"), [row])
            crops += 1
    for row in _whole(source, "journal", lost):
        target.run(_insert("journal"), [row])
        entries += 1
    for table in ("people", "faces"):  # an id that was somebody's is never given again
        top = _top(source, table)
        target.run("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", [(top, table)])
    return Recovery(len(people), len(faces), crops, entries, len(unnamed), tuple(lost[:SAID]))


def _insert(table: str, *others: str) -> str:
    columns = [*COLUMNS[table].split(", "), "checksum", *others]
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({','.join('?' * len(columns))})"


def _whole(source: _Source, table: str, lost: list[str]) -> Iterator[Row]:
    """The rows whose checksum is right, with it."""
    key = COLUMNS[table].split(",")[0]
    statement = f"SELECT {COLUMNS[table]}, checksum FROM {table} WHERE {key} = ?"
    for number in range(1, _top(source, table) + 1):
        try:
            found = source.rows(statement, number)
        except sqlite_errors("DatabaseError", UnicodeDecodeError) as error:
            lost.append(f"{table} {number}: {error}")
            continue
        for row in found:
            if checksum(row[:-1]) == row[-1]:
                yield row
            else:
                lost.append(f"{table} {number}: its checksum is wrong")


def _top(source: _Source, table: str) -> int:
    """The highest key that a row may have."""
    key = COLUMNS[table].split(",")[0]
    statements = [f"SELECT max({key}) FROM {table}"]
    if table == "journal":
        statements.append("SELECT max(changed) FROM people")
    else:
        counted = "people" if table == "people" else "faces"
        statements.append(f"SELECT seq FROM sqlite_sequence WHERE name = '{counted}'")
    found = 0
    for statement in statements:
        with suppress(*sqlite_errors("DatabaseError")):
            found = max([found, *(row[0] or 0 for row in source.rows(statement))])
    return found
