"""What a gallery's storage must be able to do; what it means is decided above it, once.

`tests/gallery/conformance.py` holds every backend to this.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from mindface.gallery.receipt import Receipt
from mindface.gallery.rows import Entry, FaceRow, Ints, PersonRow, Sample
from mindface.results import Array


@dataclass(frozen=True)
class Capabilities:
    """What backends differ in.

    Attributes:
        atomic_batches: nobody ever sees a part of what is done in `writing`.
        several_processes: others may read and write at the same time.
        secure_forgetting: `erase` leaves nothing in files, and looks for it.
        any_text: names and tags may have a NUL in them.
    """

    atomic_batches: bool
    several_processes: bool
    secure_forgetting: bool
    any_text: bool = True


class Candidates(NamedTuple):
    """The people most like each probe, most similar first; of equals the lowest id.

    Attributes:
        people: `(Q, k)` int64 ids, 0 where there are fewer than k.
        scores: `(Q, k)` float32 cosines to the people's templates, -1 where there is nobody.
        compared: how many people each probe was compared with.
    """

    people: Ints
    scores: Array
    compared: int


class Backend(Protocol):
    """Rows of people, faces and journal, and the search for the nearest template.

    Whatever is read is checked against its checksum (`IntegrityError`).

    Attributes:
        where: its path or URL, for messages.
        contract: the embedding contract.
        size: of an embedding.
        capabilities: what it can do.
    """

    where: str
    contract: str
    size: int
    capabilities: Capabilities

    def writing(self) -> AbstractContextManager[None]:
        """A transaction that writes: others wait; an exception takes everything back."""

    def reading(self) -> AbstractContextManager[None]:
        """Everything read inside is of one moment."""

    # people

    def person(self, name: str) -> PersonRow | None:
        """The person or alias of that name."""

    def named(self, names: Collection[str]) -> dict[str, PersonRow]:
        """People and aliases by name, those who exist."""

    def people(self, ids: Collection[int] | None = None) -> list[PersonRow]:
        """People and aliases by id; all, or those of `ids` that exist."""

    def roots(self) -> dict[int, int]:
        """For each alias, the id of the person it stands for."""

    def last_person(self) -> int:
        """The highest id that any person ever had."""

    def add_people(self, rows: Sequence[PersonRow], entry: int) -> None:
        """New people, whose ids follow `last_person`."""

    def put_person(self, row: PersonRow, entry: int) -> None:
        """Writes over a person, and touches it."""

    def delete_people(self, ids: Collection[int], entry: int) -> None:
        """People who have no faces left."""

    def touch(self, ids: Collection[int], entry: int) -> None:
        """Notes that the templates of these people, and of whom they stand for, changed."""

    def expired(self, at: float) -> list[int]:
        """People (no aliases) who are no longer valid."""

    # faces

    def add_faces(self, samples: Sequence[tuple[int, Sample]]) -> list[int]:
        """New faces of people, by id; returns their ids."""

    def restore_faces(self, faces: Sequence[tuple[FaceRow, bytes | None]]) -> None:
        """New faces with their crops, under the ids and with the `created` that they have."""

    def reserve(self, person: int, face: int) -> None:
        """Ids up to these are not given to anybody new."""

    def faces(self, ids: Collection[int]) -> list[FaceRow]:
        """Those of these faces that exist, by id."""

    def faces_of(self, people: Collection[int]) -> list[FaceRow]:
        """All faces of these people, by id; aliases have their own."""

    def faces_in(self, photo: str) -> list[FaceRow]:
        """All faces of a photo, by id; `rows.face_content` names them."""

    def scan(self) -> Iterator[FaceRow]:
        """All faces, by id."""

    def counts(self) -> dict[int, int]:
        """How many faces each person or alias has, where any."""

    def crop(self, face: int) -> bytes | None:
        """The stored crop of a face."""

    def move_faces(self, ids: Collection[int], person: int) -> None:
        """Gives faces to another person."""

    def delete_faces(self, ids: Collection[int]) -> None:
        """Removes faces with their crops."""

    # journal

    def last_entry(self) -> int:
        """The number of the newest entry, 0 where there is none."""

    def add_entry(self, entry: Entry) -> None:
        """The entry after `last_entry`."""

    def put_entry(self, entry: Entry) -> None:
        """Writes over an entry: to note that it was undone, or to forget what it held."""

    def entry_of(self, operation: bytes) -> Entry | None:
        """The entry of an operation."""

    def entries(self, first: int = 1, last: int | None = None) -> Iterator[Entry]:
        """Entries by number."""

    def verdicts(self, contents: Collection[str]) -> list[Entry]:
        """Standing rejections and confirmations of these faces, by number."""

    # search

    def search(
        self, queries: Array, k: int, tags: Collection[str] = (), at: float | None = None
    ) -> Candidates:
        """The `k` people (no aliases) most like each query.

        Args:
            queries: `(Q, D)` float32 of unit length.
            k: at least 1.
            tags: only people who have all of these.
            at: only people valid at that moment, seconds since 1970 UTC; None: all.
        """

    def templates(self, people: Collection[int]) -> dict[int, Array]:
        """The templates `(D,)` of people; not of those who have no face that counts."""

    # all of it

    def erase(self, people: Sequence[int], entry: Entry) -> Receipt:
        """Removes people and their aliases without a trace, and looks for one.

        Args:
            people: ids, no aliases.
            entry: to be put into the journal, under the number that it gets there.
        """

    def integrity(self) -> list[str]:
        """Reads everything, and says what is damaged, a sentence each."""

    def close(self) -> None:
        """Frees what is held."""
