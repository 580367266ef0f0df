"""The embedded backend: a store, and a matrix that follows it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from mindface.errors import ConfigError, MindFaceError
from mindface.gallery.backend import Candidates, Capabilities
from mindface.gallery.encryption import Key
from mindface.gallery.forgetting import erase, finish
from mindface.gallery.hnsw import Graph, shred_graph, usearch
from mindface.gallery.integrity import faults
from mindface.gallery.matrix import DamagedRow, Matrix, Rows, View, rows_for
from mindface.gallery.memory import CodesInMemory, MatrixInMemory
from mindface.gallery.quantised import CodesFile, QuantisedSearch, kernels, shred_copies
from mindface.gallery.receipt import Receipt
from mindface.gallery.rows import Entry
from mindface.gallery.schema import beside
from mindface.gallery.search import ExactSearch, Search
from mindface.gallery.store import Store
from mindface.gallery.templates import pooled
from mindface.results import Array
from mindface.zoo.lock import locked

Precision = Literal["float32", "float16", "int8", "hnsw"]


class Embedded(Store):
    """A gallery in one SQLite file, with the matrix beside it; see `Store`.

    Several processes may read and write: SQLite makes writers take turns, and whoever finds the
    matrix behind the store brings it in step before searching.

    Args:
        path: see `Store`, and contract and size likewise.
        precision: what is scanned; see `Gallery`.
        key: of an encrypted gallery, whose matrix is kept in memory alone.

    Raises:
        ConfigError: there is no such precision.
        MissingExtraError: what it needs is not installed.
    """

    def __init__(
        self,
        path: Path,
        contract: str | None = None,
        size: int | None = None,
        precision: Precision = "float32",
        key: Key | None = None,
    ) -> None:
        if precision not in get_args(Precision):
            raise ConfigError(f"search={precision!r}: choose {', '.join(get_args(Precision))}")
        if precision == "hnsw":
            usearch()
        elif precision != "float32":
            kernels()
        super().__init__(path, contract, size, key)
        self.capabilities = Capabilities(
            atomic_batches=True, several_processes=True, secure_forgetting=key is None
        )
        self.precision: Precision = precision
        self.matrix, self._codes = self._in_files() if key is None else self._in_memory()
        self._graph: Graph | None = None
        if precision == "hnsw":
            self._graph = Graph(beside(path, "hnsw") if key is None else None, self.size)
        self.lock_path = beside(path, "lock")
        self._seen: tuple[View, Search] | None = None
        try:
            self._finish_erasing()
        except BaseException:
            self.connection.close()
            raise

    def close(self) -> None:
        """Brings the matrix in step, where that can be done, and closes the database."""
        self._seen = None
        if isinstance(self.matrix, Matrix):
            with suppress(MindFaceError), locked(self.lock_path):  # else the next search says it
                self.catch_up()
        super().close()

    def view(self) -> View:
        """The matrix in step with the store.

        Raises:
            GalleryError: it cannot be written.
            IntegrityError: a row of the store is damaged.
        """
        return self._current()[0]

    def _current(self) -> tuple[View, Search]:
        seen = self._seen
        if seen is None or seen[0].mark != self.mark():
            with locked(self.lock_path):
                self.catch_up()
                view = self.matrix.view()
                self._seen = seen = view, self._search_in(view)
        return seen

    def _search_in(self, view: View) -> Search:
        """What finds rows of the matrix; the lock is held."""
        if self._graph is not None:
            return self._graph.follow(view)
        if self._codes is None:
            return ExactSearch(view.vectors)
        codes = self._codes.follow(view)
        return QuantisedSearch(view.vectors, codes, self._codes.precision)

    def _in_files(self) -> tuple[Matrix | MatrixInMemory, CodesFile | CodesInMemory | None]:
        """What is searched, as it lies beside the database."""
        matrix = Matrix(self.path, f"{self.contract} {self.meta('created')}", self.size)
        if self.precision == "float32" or self.precision == "hnsw":
            return matrix, None
        return matrix, CodesFile(self.path, self.precision, self.size)

    def _in_memory(self) -> tuple[Matrix | MatrixInMemory, CodesFile | CodesInMemory | None]:
        matrix = MatrixInMemory(self.path, self.size)
        if self.precision == "float32" or self.precision == "hnsw":
            return matrix, None
        return matrix, CodesInMemory(self.precision, self.size)

    def rebuild(self) -> None:
        """Makes the matrix anew from the store, and what is made from it."""
        self._seen = None
        with locked(self.lock_path):
            shred_copies(self.path)
            shred_graph(self.path)
            if self._graph is not None:
                self._graph.clear()
            self._replace()

    def search(
        self, queries: Array, k: int, tags: Collection[str] = (), at: float | None = None
    ) -> Candidates:
        """The `k` people most like each query; see `Backend.search`."""
        try:
            view, found = self._search(queries, k, tags, at)
        except DamagedRow:
            self.rebuild()
            view, found = self._search(queries, k, tags, at)
        if self.rows("SELECT 1 FROM journal WHERE kind = 'forget' AND id > ?", view.mark[0]):
            return self.search(queries, k, tags, at)  # rows may have been wiped meanwhile
        return found

    def templates(self, people: Collection[int]) -> dict[int, Array]:
        """The templates `(D,)` of people; not of those who have no face that counts."""
        return {
            int(record["person"]): vector
            for vectors, records in self.parts(people)
            for vector, record in zip(vectors, records, strict=True)
        }

    def integrity(self) -> list[str]:
        """Reads everything, and says what is damaged, a sentence each."""
        return faults(self)

    def erase(self, people: Sequence[int], entry: Entry) -> Receipt:
        """Removes people without a trace, and looks for one; see `forgetting.erase`."""
        self._seen = None
        return erase(self, people, entry)

    def _finish_erasing(self) -> None:
        if self.meta("erasing"):
            with locked(self.lock_path):
                if self.meta("erasing"):  # not finished by another process meanwhile
                    finish(self)

    def _search(
        self, queries: Array, k: int, tags: Collection[str], at: float | None
    ) -> tuple[View, Candidates]:
        view, finder = self._current()
        mask = view.people != 0
        if tags:
            mask &= np.isin(view.people, np.array(self.tagged(tags), np.int64))
        if at is not None:
            mask &= (view.since <= at) & (at < view.until)
        rows, scores = finder.top(queries, k, None if mask.all() else mask, view.people)
        for row in np.unique(rows[rows >= 0]):
            view.row(row)
        people = np.zeros(rows.shape, np.int64)
        people[rows >= 0] = view.people[rows[rows >= 0]]
        return view, Candidates(people, scores, int(mask.sum()))

    def catch_up(self) -> None:
        """Brings the matrix in step; the lock is held."""
        header = self.matrix.header()
        with self.reading():
            mark = self.mark()
            if header is None or not self.has(header.mark):
                self._replace()
            elif header.mark != mark:
                changed = self.changed_since(header.mark[0])
                roots = self.roots()
                affected = {*changed, *(roots[each] for each in changed if each in roots)}
                self.matrix.update(affected, self.parts(affected), mark)

    def _replace(self) -> None:
        with self.reading():
            everybody = [each for (each,) in self.rows("SELECT id FROM people")]
            self.matrix.replace(self.parts(everybody), self.mark())

    def parts(self, ids: Iterable[int]) -> Iterator[Rows]:
        """Templates of people with their records, some people at a time."""
        for people in pooled(self, ids):
            found = [(row, vector) for row, vector in people if vector is not None]
            if found:
                yield rows_for(
                    [row.id for row, _ in found],
                    [vector for _, vector in found],
                    [row.valid_from for row, _ in found],
                    [row.valid_until for row, _ in found],
                )
