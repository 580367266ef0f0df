"""A gallery in PostgreSQL: the same tables as an embedded one, and templates in pgvector's type.

Templates are made anew by the transaction that changes their faces, so that what is searched is
always in step. Searching is exact, through every row; or, where the URL says `index=hnsw`, by
pgvector's HNSW index, whose answers are the nearest people mostly, not always
(https://github.com/pgvector/pgvector#hnsw).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from urllib.parse import SplitResult

import numpy as np
import psycopg

from mindface.errors import GalleryError
from mindface.gallery.backend import Candidates, Capabilities
from mindface.gallery.claim import FACTS, agreed
from mindface.gallery.codec import Row, damaged
from mindface.gallery.integrity import TABLES, row_faults
from mindface.gallery.nearest import nearest
from mindface.gallery.postgres.connection import connect, parameters, shown, translated
from mindface.gallery.postgres.erasing import erase
from mindface.gallery.receipt import Receipt
from mindface.gallery.rows import Entry, FaceRow, Ints, PersonRow, Sample, checksum
from mindface.gallery.tables import Tables
from mindface.gallery.templates import pooled, same
from mindface.results import Array

INDEXED = 2000  # values of a vector that pgvector can index
LEAST_EF = 100  # candidates that HNSW keeps while it looks


class Postgres(Tables):
    """A gallery in a schema of a PostgreSQL database.

    Several processes may read and write: writers take turns by an advisory lock, readers see one
    moment (REPEATABLE READ). A lost connection is made anew at the next use.

    Args:
        address: the URL as libpq takes it.
        gallery: the schema; made if absent.
        index: "exact" or "hnsw".
        contract: the embedding contract; None: whatever the gallery has.
        size: of an embedding; None: likewise.

    Raises:
        ContractError: the gallery holds embeddings of another model.
        GalleryError: see `connection.connect`; or HNSW cannot index so many values.
        IntegrityError: what the gallery is, is damaged.
    """

    capabilities = Capabilities(
        atomic_batches=True, several_processes=True, secure_forgetting=False, any_text=False
    )

    def __init__(
        self,
        address: SplitResult,
        gallery: str,
        index: str = "exact",
        contract: str | None = None,
        size: int | None = None,
    ) -> None:
        super().__init__(shown(address, gallery))
        self.index = index
        self._address, self._gallery = address, gallery
        self._touched: set[int] = set()
        self.connection = connect(self.where, address, gallery, contract, size)
        try:
            facts = {key: self.meta(key) for key in (*FACTS, "checksum")}
            self.contract, self.size = agreed(self.where, facts, contract, size)
            if index == "hnsw":
                self._make_index()
        except BaseException:
            self.connection.close()
            raise

    def close(self) -> None:
        """Closes the connection."""
        with self._lock:
            self.connection.close()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A transaction that writes; an exception takes everything back.

        Raises:
            GalleryError: another process writes for too long, or the server refuses.
        """
        with self._transaction("BEGIN ISOLATION LEVEL READ COMMITTED") as outermost:
            if outermost:
                key = f"mindface {self._gallery}"
                self.rows("SELECT pg_advisory_xact_lock(hashtextextended(?, 0))", key)
                self._touched = set()
            yield
            if outermost:
                self._pool(self._touched)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Everything read inside is of one moment."""
        with self._transaction("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"):
            yield

    def last(self, table: str) -> int:
        """The highest id that a row of `people` or `faces` ever had."""
        return int(self.rows("SELECT last FROM numbers WHERE relation = ?", table)[0][0])

    def reserve(self, person: int, face: int) -> None:
        """Ids up to these are not given to anybody new."""
        self.run(
            "UPDATE numbers SET last = greatest(last, ?) WHERE relation = ?",
            [(person, "people"), (face, "faces")],
        )

    # writing

    def add_people(self, rows: Sequence[PersonRow], entry: int) -> None:
        """New people."""
        super().add_people(rows, entry)
        self.reserve(max((row.id for row in rows), default=0), 0)
        self._touched.update(row.id for row in rows)

    def touch(self, ids: Collection[int], entry: int) -> None:
        """Notes that the templates of these people, and of whom they stand for, changed."""
        super().touch(ids, entry)
        self._touched.update(ids)

    def add_faces(self, samples: Sequence[tuple[int, Sample]]) -> list[int]:
        """New faces of people, by id; returns their ids."""
        ids = super().add_faces(samples)
        self.reserve(0, max(ids, default=0))
        return ids

    def restore_faces(self, faces: Sequence[tuple[FaceRow, bytes | None]]) -> None:
        """New faces with their crops, under the ids and with the `created` that they have."""
        super().restore_faces(faces)
        self.reserve(0, max((face.id for face, _ in faces), default=0))
        self._touched.update(face.person for face, _ in faces)

    def _pool(self, touched: Collection[int]) -> None:
        """Makes the templates of people anew, inside a transaction."""
        roots = self.roots()
        people = {*touched, *(roots[each] for each in touched if each in roots)}
        self.run("DELETE FROM templates WHERE person = ?", [(each,) for each in sorted(people)])
        for some in pooled(self, people):
            rows = [_template(row, vector) for row, vector in some if vector is not None]
            self.run("INSERT INTO templates VALUES (?, ?::real[]::vector, ?, ?, ?)", rows)

    def rebuild(self) -> None:
        """Makes all templates anew from the faces."""
        with self.writing():
            self.run("DELETE FROM templates", [()])
            self._pool([each for (each,) in self.rows("SELECT id FROM people")])

    # search

    def search(
        self, queries: Array, k: int, tags: Collection[str] = (), at: float | None = None
    ) -> Candidates:
        """The `k` people most like each query; see `Backend.search`."""
        people = np.zeros((len(queries), k), np.int64)
        scores = np.full((len(queries), k), -1, np.float32)
        condition, values = self._filter(tags, at)
        with self.reading():
            count = self.rows(f"SELECT count(*) FROM templates WHERE {condition}", *values)[0][0]
            if self.index == "exact":
                self.rows("SET LOCAL enable_indexscan = off")
            else:
                self.rows("SET LOCAL hnsw.iterative_scan = strict_order")
            for number, query in enumerate(queries):

                def find(limit: int, query: Array = query) -> tuple[Ints, Array]:
                    return self._nearest(query, limit, condition, values)

                people[number], scores[number] = nearest(find, query, k)
        return Candidates(people, scores, int(count))

    def templates(self, people: Collection[int]) -> dict[int, Array]:
        """The templates `(D,)` of people; not of those who have no face that counts."""
        statement = f"SELECT {_TEMPLATE} FROM templates WHERE person IN ({{}}) ORDER BY person"
        return dict(self._read(row) for row in self.chunked(statement, people))

    def _filter(self, tags: Collection[str], at: float | None) -> tuple[str, list[object]]:
        conditions, values = ["TRUE"], list[object]()
        if tags:
            conditions.append("person = ANY(?)")
            values.append(self.tagged(tags))
        if at is not None:
            conditions.append("since <= ? AND ? < until")
            values += [at, at]
        return " AND ".join(conditions), values

    def _nearest(
        self, query: Array, limit: int, condition: str, values: Sequence[object]
    ) -> tuple[Ints, Array]:
        if self.index == "hnsw":
            self.rows(f"SET LOCAL hnsw.ef_search = {min(max(LEAST_EF, limit), 1000)}")
        rows = self.rows(
            f"SELECT {_TEMPLATE} FROM templates WHERE {condition} "
            "ORDER BY vector <#> ?::real[]::vector LIMIT ?",
            *values,
            query.tolist(),
            limit,
        )
        found = [self._read(row) for row in rows]
        vectors = np.array([vector for _, vector in found], np.float32).reshape(-1, self.size)
        return np.array([person for person, _ in found], np.int64), vectors

    def _read(self, row: Row) -> tuple[int, Array]:
        person, values, since, until, expected = row
        vector = np.array(values, "<f4")
        if checksum((person, vector.tobytes(), since, until)) != expected:
            raise damaged(self.where, f"the template of person {person}")
        return person, vector

    def _make_index(self) -> None:
        if self.size > INDEXED:
            raise GalleryError(
                f"{self.where}: HNSW indexes vectors of up to {INDEXED} values, not of {self.size}:"
                " leave  index=hnsw  out"
            )
        with self.writing():
            self.rows(
                "CREATE INDEX IF NOT EXISTS templates_hnsw ON templates "
                "USING hnsw (vector vector_ip_ops)"
            )

    # all of it

    def integrity(self) -> list[str]:
        """Reads everything, and says what is damaged, a sentence each."""
        found = [fault for table in TABLES for fault in row_faults(self, table)]
        if found:
            return found
        with self.reading():
            ids = [each for (each,) in self.rows("SELECT id FROM people")]
            there = {each for (each,) in self.rows("SELECT person FROM templates")}
            for some in pooled(self, ids):
                held = self.templates([row.id for row, _ in some])
                for row, vector in some:
                    there.discard(row.id)
                    if not same(vector, held.get(row.id)):
                        found.append(
                            f"{self.where}: the template of person {row.id} is not of its faces"
                        )
        return found + [f"{self.where}: a template of nobody: {each}" for each in sorted(there)]

    def erase(self, people: Sequence[int], entry: Entry) -> Receipt:
        """Removes people, and has the tables written anew; see `erasing.erase`."""
        return erase(self, people, entry)

    # the connection

    def _execute(self, statement: str, values: Sequence[object] = ()) -> list[Row]:
        if self.connection.closed and not self._depth:
            self.connection = connect(self.where, self._address, self._gallery, None, None)
        cursor = self.connection.execute(*parameters(statement, values))
        return cursor.fetchall() if cursor.description else []

    def _execute_many(self, statement: str, rows: Sequence[Row]) -> None:
        with self.connection.cursor() as cursor:
            cursor.executemany(parameters(statement, ())[0], rows)

    def _translated(self) -> AbstractContextManager[None]:
        return translated(self.where)

    def _roll_back(self) -> None:
        with suppress(psycopg.OperationalError):  # of a connection that is lost
            self.connection.rollback()


_TEMPLATE = "person, vector::real[], since, until, checksum"


def _template(row: PersonRow, vector: Array) -> Row:
    since = -np.inf if row.valid_from is None else row.valid_from
    until = np.inf if row.valid_until is None else row.valid_until
    total = checksum((row.id, vector.tobytes(), since, until))
    return row.id, vector.tolist(), since, until, total
