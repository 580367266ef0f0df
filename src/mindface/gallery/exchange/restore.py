"""Rows into a gallery as they were elsewhere: under the same ids, at the same moments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from mindface.errors import GalleryError
from mindface.gallery.backend import Backend
from mindface.gallery.exchange.folder import Cropped
from mindface.gallery.exchange.items import Watch, batches, unwatched
from mindface.gallery.rows import Entry, PersonRow

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


def fill(backend: Backend, contents: Contents, watch: Watch = unwatched, total: int = 0) -> None:
    """Writes contents into a gallery that is empty, or holds the beginning of them.

    Wholly or not at all; where the backend has no transactions, what was stopped goes on where it
    was when it is given again. The journal comes last: a gallery without it is not whole.

    Args:
        backend: of any kind.
        contents: what is written; not checked here.
        watch: sees the faces go by.
        total: how many there are.

    Raises:
        GalleryError: the gallery holds something else, or it cannot be written.
    """
    with backend.writing():
        people = contents.people()
        _check_beginning(backend, contents, people)
        there = {row.id for row in backend.people()}
        new = [row for row in people if row.id not in there]
        if new:
            backend.add_people(new, contents.last_entry)
        for faces in batches(watch(contents.faces(), total), BATCH):
            known = {face.id for face in backend.faces([face.id for face, _ in faces])}
            backend.restore_faces([each for each in faces if each[0].id not in known])
        backend.reserve(contents.last_person, contents.last_face)
        done = backend.last_entry()
        for entry in contents.entries():
            if entry.id > done:
                backend.add_entry(entry)


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
