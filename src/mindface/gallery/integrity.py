"""Whether everything in an embedded gallery is what was written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, get_args

import numpy as np

from mindface.errors import IntegrityError
from mindface.gallery.matrix import DamagedRow
from mindface.gallery.quantised import CodesFile, Quantisation
from mindface.zoo.lock import locked

if TYPE_CHECKING:
    from mindface.gallery.embedded import Embedded
    from mindface.gallery.tables import Tables

TABLES = ("people", "faces", "crops", "journal")
SAID = 100  # faults of SQLite's own


def faults(store: Embedded) -> list[str]:
    """Reads the structure, every row and the matrix; a sentence for each fault."""
    found = list(_structure(store))
    if found and store.key is not None:  # after a page that cannot be decrypted none can be
        return found
    for table in TABLES:
        found += row_faults(store, table)
    if found:
        return found
    with locked(store.lock_path), store.reading():
        store.catch_up()
        return list(_matrix(store))


def _structure(store: Embedded) -> Iterator[str]:
    try:
        if store.key is not None:
            pages = store.rows("PRAGMA cipher_integrity_check")
            yield from (f"{store.path}: {said}" for (said,) in pages)
            if pages:
                return
        answers = store.rows(f"PRAGMA integrity_check({SAID})")
        for (said,) in answers:
            if said != "ok":
                yield f"{store.path}: {said}"
        for table, row, *_ in store.rows("PRAGMA foreign_key_check"):
            yield f"{store.path}: row {row} of {table} refers to a row that is not there"
    except IntegrityError as error:
        yield str(error)


def row_faults(store: Tables, table: str) -> Iterator[str]:
    """Reads the rows of one of `TABLES` one by one; a sentence for each that is damaged."""
    key = "face" if table == "crops" else "id"
    reads: dict[str, Callable[[int], object]] = {
        "people": lambda number: store.people([number]),
        "faces": lambda number: store.faces([number]),
        "crops": store.crop,
        "journal": lambda number: list(store.entries(number, number)),
    }
    try:
        numbers = [each for (each,) in store.rows(f"SELECT {key} FROM {table} ORDER BY {key}")]
    except IntegrityError as error:
        yield str(error)
        return
    for number in numbers:
        try:
            reads[table](number)
        except IntegrityError as error:
            yield str(error)


def _matrix(store: Embedded) -> Iterator[str]:
    """Compares the matrix with the templates of the store."""
    view = store.matrix.view()
    rows = np.flatnonzero(view.people)
    where = dict(zip(view.people[rows].tolist(), rows.tolist(), strict=True))
    if len(where) != len(rows):
        yield f"{store.matrix.where}: a person has two rows: rebuild it"
    templates = store.parts(row.id for row in store.people())
    missing = set(where)
    for vectors, records in templates:
        for person, vector in zip(records["person"].tolist(), vectors, strict=True):
            missing.discard(person)
            try:
                same = person in where and np.array_equal(view.row(where[person]), vector)
            except DamagedRow:
                same = False
            if not same:
                yield f"{store.matrix.where}: the row of person {person} is not its template"
    for person in sorted(missing):
        yield f"{store.matrix.where}: has a row of person {person}, who is not searchable"
    for precision in get_args(Quantisation):
        yield from CodesFile(store.path, precision, store.size).faults(view)
