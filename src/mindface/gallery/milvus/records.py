"""Rows of a Milvus collection by id, seen as they will be once what is pending is written."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from mindface.gallery.milvus.server import Server

BATCH = 200  # rows of a message, each of up to 64 KiB and a vector
WINDOW = 1000  # ids of which the rows are read at once
LISTED = 1000  # values in one condition
NEVER, ALWAYS = -1e300, 1e300  # times; Milvus compares finite numbers

Record = dict[str, Any]
Id = int | str


class Condition(NamedTuple):
    """What a field is: one of some values, or from a first number to before another."""

    field: str
    values: Sequence[Any] | None = None
    first: int = 0
    stop: int = 0

    def __str__(self) -> str:
        """As Milvus reads it. Values are numbers and hashes, so nothing needs quoting."""
        if self.values is None:
            return f"{self.field} >= {self.first} and {self.field} < {self.stop}"
        return f"{self.field} in {json.dumps([*self.values])}"

    def holds(self, record: Record) -> bool:
        """Whether it is so."""
        value = record[self.field]
        if self.values is None:
            return bool(self.first <= value < self.stop)
        return value in self.values


def among(field: str, values: Collection[Any]) -> Condition:
    """The field has one of these values."""
    return Condition(field, sorted(set(values)))


def between(field: str, first: int, stop: int) -> Condition:
    """The field is from `first` to before `stop`."""
    return Condition(field, None, first, stop)


class Records:
    """The rows of a collection. `put` and `remove` wait until `write` takes them.

    Args:
        server: where it is.
        name: of the collection.
        lock: held by who writes; others see nothing of what is pending.
    """

    def __init__(self, server: Server, name: str, lock: AbstractContextManager[object]) -> None:
        self.server = server
        self.name = name
        self.lock = lock
        self.pending: dict[Id, Record | None] = {}

    def find(self, *conditions: Condition, fields: Collection[str] = ("*",)) -> list[Record]:
        """Rows of which all conditions hold, by id; those that are pending are whole."""
        with self.lock:
            found = self._stored(conditions, fields)
            for key, row in self.pending.items():
                if row is not None and all(each.holds(row) for each in conditions):
                    found[key] = row
        return [found[key] for key in sorted(found)]

    def put(self, rows: Iterable[Record]) -> None:
        """Writes rows, over those with the same ids."""
        self.pending |= {row["id"]: row for row in rows}

    def remove(self, ids: Iterable[Id]) -> None:
        """Removes rows."""
        self.pending |= dict.fromkeys(ids)

    def write(self, changes: Iterable[tuple[Id, Record | None]]) -> None:
        """Makes changes at the server: the rows as they will be, None: removed."""
        made = dict(changes)
        rows = [row for row in made.values() if row is not None]
        gone = [key for key, row in made.items() if row is None]
        with self.server.translated():
            for start in range(0, len(rows), BATCH):
                self.server.client.upsert(self.name, rows[start : start + BATCH])
            for start in range(0, len(gone), LISTED):
                self.server.client.delete(self.name, ids=gone[start : start + LISTED])

    def _stored(self, conditions: Sequence[Condition], fields: Collection[str]) -> dict[Id, Record]:
        """Rows at the server of which nothing is pending."""
        found: dict[Id, Record] = {}
        for some in _split(conditions):
            with self.server.translated():
                rows = self.server.client.query(
                    self.name,
                    filter=" and ".join(str(each) for each in some),
                    output_fields=[*fields],
                    consistency_level="Strong",
                )
            found |= {row["id"]: row for row in rows if row["id"] not in self.pending}
        return found


def _split(conditions: Sequence[Condition]) -> Iterator[list[Condition]]:
    """Cuts a long list of values into shorter ones."""
    long = next((each for each in conditions if len(each.values or ()) > LISTED), None)
    if any(each.values is not None and not each.values for each in conditions):
        return
    if long is None or long.values is None:
        yield [*conditions]
        return
    others = [each for each in conditions if each is not long]
    for start in range(0, len(long.values), LISTED):
        yield [long._replace(values=long.values[start : start + LISTED]), *others]
