"""People, faces and journal in SQLite: the durable truth of an embedded gallery."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from mindface.gallery.claim import FACTS, agreed, founded
from mindface.gallery.codec import Row
from mindface.gallery.encryption import Key
from mindface.gallery.schema import connect, translated
from mindface.gallery.tables import Tables


class Store(Tables):
    """The database of a gallery; one connection, whose threads take turns.

    Args:
        path: of the database; made if absent.
        contract: the embedding contract; None: whatever the database has.
        size: of an embedding; None: likewise.
        key: of an encrypted gallery.

    Raises:
        ContractError: the gallery holds embeddings of another model.
        GalleryError: it cannot be opened, is another program's or of a newer schema, or is new
            and it was not said whose embeddings it will hold.
        GalleryKeyError: the key is missing or another's, or the gallery is not encrypted.
        MissingExtraError: SQLCipher is not installed.
        IntegrityError: it is damaged.
    """

    def __init__(
        self,
        path: Path,
        contract: str | None = None,
        size: int | None = None,
        key: Key | None = None,
    ) -> None:
        super().__init__(str(path))
        self.path = path
        self.key = key
        if not path.exists():
            founded(self.where, contract, size)
        self.connection = connect(path, key)
        try:
            self.contract, self.size = self._claim(contract, size)
        except BaseException:
            self.connection.close()
            raise

    def close(self) -> None:
        """Closes the database."""
        with self._lock, translated(self.path):
            self.connection.close()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A transaction that writes; an exception takes everything back.

        Raises:
            GalleryError: another process writes for too long, or the disk is full.
        """
        with self._transaction("BEGIN IMMEDIATE"):
            yield

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Everything read inside is of one moment."""
        with self._transaction("BEGIN"):
            yield

    def last(self, table: str) -> int:
        """The highest id that a row of `people` or `faces` ever had."""
        found = self.rows("SELECT seq FROM sqlite_sequence WHERE name = ?", table)
        return int(found[0][0]) if found else 0

    def reserve(self, person: int, face: int) -> None:
        """Ids up to these are not given to anybody new."""
        for table, last in (("people", person), ("faces", face)):
            self.run(
                "INSERT INTO sqlite_sequence (name, seq) SELECT ?, 0 WHERE NOT EXISTS "
                "(SELECT 1 FROM sqlite_sequence WHERE name = ?)",
                [(table, table)],
            )
            self.run("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", [(last, table)])

    def _execute(self, statement: str, values: Sequence[object] = ()) -> list[Row]:
        return self.connection.execute(statement, values).fetchall()

    def _execute_many(self, statement: str, rows: Sequence[Row]) -> None:
        self.connection.executemany(statement, rows)

    def _translated(self) -> AbstractContextManager[None]:
        return translated(self.path)

    def _roll_back(self) -> None:
        self.connection.rollback()

    def _claim(self, contract: str | None, size: int | None) -> tuple[str, int]:
        if self.meta("contract") is None:
            with self.writing():
                if self.meta("contract") is None:
                    for key, value in founded(self.where, contract, size).items():
                        self.put_meta(key, value)
        facts = {key: self.meta(key) for key in (*FACTS, "checksum")}
        return agreed(self.where, facts, contract, size)
