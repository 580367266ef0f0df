"""Rows into a gallery as they were elsewhere: under the same ids, at the same moments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from mindface.errors import GalleryError
from mindface.gallery.backend import Backend
from mindface.gallery.exchange.folder import Cropped
from mindface.gallery.exchange.items import Watch, batches, unwatched
from mindface.gallery.rows import Entry, PersonRow
from mindface.gallery.store import Store

BATCH = 500


class Contents(Protocol):
    """All that a gallery holds. Iterators give the same each time they are asked for.

    Attributes:
        contract: the embedding contract.
        size: of an embedding.
        last_person: the highest id that any person ever had.
        last_face: likewise for faces.
        last_entry: the number of the newest entry of the journal.
    """

    contract: str
    size: int
    last_person: int
    last_face: int
    last_entry: int

    def people(self) -> list[PersonRow]:
        """People and aliases by id."""

    def faces(self) -> Iterator[Cropped]:
        """Faces by id, each with its crop."""

    def entries(self) -> Iterator[Entry]:
        """The journal by number."""


@runtime_checkable
class Restoring(Protocol):
    """What a backend must be able to do besides `Backend` so that it can be imported into."""

    def restore_faces(self, faces: Sequence[Cropped]) -> None:
        """New faces with their crops, under the ids and with the `created` that they have."""

    def reserve(self, person: int, face: int) -> None:
        """Ids up to these are not given to anybody new."""


def fill(backend: Backend, contents: Contents, watch: Watch = unwatched, total: int = 0) -> None:
    """Writes contents into a gallery that is empty, or holds the beginning of them.

    Wholly or not at all; where the backend has no transactions, what was stopped goes on where it
    was when it is given again. The journal comes last: a gallery without it is not whole.

    Args:
        backend: an embedded one, or one that is `Restoring`.
        contents: what is written; not checked here.
        watch: sees the faces go by.
        total: how many there are.

    Raises:
        GalleryError: the gallery holds something else, or it cannot be written.
    """
    target = _restoring(backend)
    with backend.writing():
        people = contents.people()
        _check_beginning(backend, contents, people)
        there = {row.id for row in backend.people()}
        new = [row for row in people if row.id not in there]
        if new:
            backend.add_people(new, contents.last_entry)
        for faces in batches(watch(contents.faces(), total), BATCH):
            known = {face.id for face in backend.faces([face.id for face, _ in faces])}
            target.restore_faces([each for each in faces if each[0].id not in known])
        target.reserve(contents.last_person, contents.last_face)
        done = backend.last_entry()
        for entry in contents.entries():
            if entry.id > done:
                backend.add_entry(entry)


def _restoring(backend: Backend) -> Restoring:
    if isinstance(backend, Restoring):
        return backend
    if isinstance(backend, Store):
        return _InStore(backend)
    raise GalleryError(
        f"{backend.where}: this kind of gallery cannot take an import: import into a file"
    )


def _check_beginning(backend: Backend, contents: Contents, people: Sequence[PersonRow]) -> None:
    wanted = {row.id: row for row in people}
    same = (
        all(wanted.get(row.id) == row for row in backend.people())
        and backend.last_entry() <= contents.last_entry
        and all(a == b for a, b in zip(backend.entries(), contents.entries(), strict=False))
    )
    if not same:
        raise GalleryError(
            f"{backend.where}: is not empty: import into a new gallery; two galleries are not "
            "joined, since one name may be two people's"
        )


class _InStore:
    """An embedded gallery, whose ids SQLite counts."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def restore_faces(self, faces: Sequence[Cropped]) -> None:
        self.store.restore_faces(faces)

    def reserve(self, person: int, face: int) -> None:
        for table, last in (("people", person), ("faces", face)):
            self.store.run(
                "INSERT INTO sqlite_sequence (name, seq) SELECT ?, 0 WHERE NOT EXISTS "
                "(SELECT 1 FROM sqlite_sequence WHERE name = ?)",
                [(table, table)],
            )
            self.store.run(
                "UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", [(last, table)]
            )
