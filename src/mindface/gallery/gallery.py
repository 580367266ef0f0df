"""Enrolled people, and who of them somebody is."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mindface.errors import ContractError, GalleryError
from mindface.gallery.audit import Audit, Check, audit, strangers
from mindface.gallery.decisions import DOUBTFUL, FPIR, MARGIN, Match, Policy
from mindface.gallery.embedded import Embedded, Precision
from mindface.gallery.encryption import Key
from mindface.gallery.identify import Filter, identify
from mindface.gallery.journal import Journal
from mindface.gallery.opening import open_backend
from mindface.gallery.person import Person, person_of
from mindface.gallery.receipt import Receipt
from mindface.gallery.recovery import Recovery, recover
from mindface.gallery.rows import Details, Entry, FaceRow, PersonRow, Sample, content_of, unit_rows
from mindface.results import Array, Face

if TYPE_CHECKING:
    from mindface.zoo.record import Calibration

StrPath = str | os.PathLike[str]
Faces = Sequence[Sample] | Sequence[Face] | Array


class Gallery:
    """Enrolled people.

    Names are any text, told apart exactly; the names of merged people go on as aliases. What is
    returned was written durably. Threads may share a gallery, and processes a file.

        with Gallery("people.db", record.contract, 512, calibration=record.calibration) as people:
            people.enroll("Ada Lovelace", embeddings)
            people.identify(probes)

    Args:
        url: a path, `postgresql://`, `milvus://` or `milvus+lite://`; see `opening`. What is not
            there is made; a file is then readable by its owner alone.
        contract: the embedding contract (`ModelRecord.contract`); may be left out where the
            gallery is there.
        size: of an embedding; likewise.
        calibration: of the model; without it nobody is a match.
        fpir: how often a stranger may be taken for somebody; see `Policy`.
        doubtful: how often a stranger may be uncertain; likewise.
        margin: by which a match leads the second person; likewise.
        search: what is scanned in a file's gallery: "float32", or copies of the templates in
            "float16" or "int8", which are read in a half or a quarter of the time, with answers
            that are the same to the bit. Or "hnsw", a graph that is walked instead (see `hnsw`;
            up to 16,384 people all are scanned): similarities are exact and filters hold, but a
            person may be missed, who then is unknown, and does not keep somebody else who is
            nearly as alike from being a match. It may differ from opening to opening.
        key: of a file's gallery that is encrypted; a new one then is. The templates are kept in
            memory alone, and made anew from the faces before the first search.

    Raises:
        ConfigError: there is no such way to search, or not on that backend, which has no keys.
        GalleryKeyError: the key is missing or another's, or the gallery is not encrypted.
        MissingExtraError: what it needs is not installed.
        ContractError: the gallery or the calibration is of another model.
        GalleryError: it cannot be opened, has a newer schema, or is not there and it was not said
            whose embeddings it will hold; or the URL is of a kind that is not known.
        IntegrityError: it is damaged.
        ValueError: a rate or the margin is out of range.
    """

    def __init__(
        self,
        url: StrPath,
        contract: str | None = None,
        size: int | None = None,
        *,
        calibration: Calibration | None = None,
        fpir: float = FPIR,
        doubtful: float = DOUBTFUL,
        margin: float = MARGIN,
        search: Precision = "float32",
        key: Key | None = None,
    ) -> None:
        self.policy = Policy(calibration, fpir, doubtful, margin)
        self.backend = open_backend(url, contract, size, search, key)
        measured = calibration.contract if calibration else None
        if measured not in (None, self.backend.contract):
            self.backend.close()
            raise ContractError(
                f"{self.backend.where}: the calibration was measured with another model than the "
                "gallery's, so its thresholds say nothing here"
            )
        self.journal = Journal(self.backend)

    def __enter__(self) -> Gallery:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Frees what is held."""
        self.backend.close()

    # who is there

    def people(self) -> list[Person]:
        """Everybody, in the order of enrolment."""
        with self.backend.reading():
            rows = self.backend.people()
            roots, counts = self.backend.roots(), self.backend.counts()
        groups: dict[int, list[PersonRow]] = {row.id: [] for row in rows if row.id not in roots}
        for row in rows:
            groups[roots.get(row.id, row.id)].append(row)
        return [person_of(groups[row.id], counts) for row in rows if row.id in groups]

    def faces(self, name: str) -> list[FaceRow]:
        """The faces of a person, by id.

        Raises:
            GalleryError: there is nobody of that name.
        """
        with self.backend.reading():
            return self.backend.faces_of(self.journal.group(self.journal.root(name).id))

    def crop(self, face: int) -> bytes | None:
        """The stored crop of a face, as JPEG, or None where there is none."""
        return self.backend.crop(face)

    def entries(self) -> list[Entry]:
        """The journal, from the first entry on."""
        return list(self.backend.entries())

    # enrolment

    def enroll(
        self,
        name: str,
        faces: Faces,
        *,
        tags: Collection[str] | None = None,
        valid_from: datetime | None = None,
        valid_until: datetime | None = None,
        operation: str | None = None,
        note: Mapping[str, Any] | None = None,
    ) -> Entry:
        """Adds faces to a person, who is made where there is nobody of that name.

        Args:
            name: of the person, or an alias.
            faces: `(N, D)` float32 of unit length, or samples, or faces with embeddings.
            tags: of a new person; of one who is there they must be the same.
            valid_from: likewise; a time with its zone.
            valid_until: likewise, the first moment at which it is no longer valid.
            operation: an id to be given again should the answer not have come: what was done is
                not done twice.
            note: plain values that the journal keeps with it; no names, since a forgetting does
                not look for them here.

        Raises:
            GalleryError: an embedding that is not of unit length, a face that was rejected for
                this person, other tags or validity than the person has, or it cannot be written.
            ContractError: embeddings of another size.
        """
        details = {}
        if tags is not None or valid_from is not None or valid_until is not None:
            details[name] = _details(tags or (), valid_from, valid_until)
        return self.journal.enroll({name: _samples(faces)}, details, operation, note)

    def add_many(
        self,
        people: Mapping[str, Faces] | Iterable[tuple[str, Faces]],
        operation: str | None = None,
    ) -> Entry:
        """Adds faces to many people in one transaction, as `enroll` does for one."""
        pairs = people.items() if isinstance(people, Mapping) else people
        samples: dict[str, list[Sample]] = {}
        for name, faces in pairs:
            samples.setdefault(name, []).extend(_samples(faces))
        return self.journal.enroll(samples, operation=operation)

    # identification

    def identify(
        self,
        embeddings: Array,
        *,
        contents: Sequence[str] | None = None,
        tags: Collection[str] = (),
        at: datetime | None = None,
    ) -> list[Match]:
        """Who each face is.

        Args:
            embeddings: `(N, D)` float32 of unit length.
            contents: what names each face of each photo (`Sample.content`), by which rejections
                and confirmations are obeyed; None: hashes of the embeddings.
            tags: only people who have all of these.
            at: only people who are valid at that moment, a time with its zone; None: now.

        Raises:
            ContractError: embeddings of another size.
            GalleryError: they are not of unit length, or the matrix cannot be written.
            IntegrityError: a row that is needed is damaged.
        """
        queries = unit_rows(embeddings)
        if queries.shape[1] != self.backend.size:
            raise ContractError(
                f"{self.backend.where}: holds embeddings of {self.backend.size} values, not of "
                f"{queries.shape[1]}: they come from another model"
            )
        names = [content_of(row) for row in queries] if contents is None else list(contents)
        if len(names) != len(queries):
            raise GalleryError(f"{len(names)} contents were given for {len(queries)} embeddings")
        moment = time.time() if at is None else _seconds(at)
        if not len(queries):
            return []
        return identify(self.backend, self.policy, queries, names, Filter(tags, moment))

    def check(self, count: int = 10) -> Check:
        """The people who are most like each other, before anybody relies on the gallery.

        Raises:
            IntegrityError: a row is damaged.
        """
        at_size = self.policy.thresholds(len(self.people()))
        return Check(strangers(self.backend, count), at_size.match, at_size.extrapolated)

    def audit(self, outlier: float | None = None, duplicate: float | None = None) -> Audit:
        """Faces unlike their person's others, people who may be one, and people with few faces.

        Args:
            outlier: a face below this similarity to the person's other faces; None: the
                calibration's threshold for two photos, at `fpir`.
            duplicate: two people from this similarity on; None: likewise.

        Raises:
            GalleryError: there is no calibration, and a number is missing.
        """
        alone = self.policy.thresholds(1).match
        limits = [alone if each is None else each for each in (outlier, duplicate)]
        if limits[0] is None or limits[1] is None:
            raise GalleryError(
                "without a calibration it has to be said what an outlier and a duplicate are: "
                "give both similarities, or a calibration"
            )
        return audit(self.backend, limits[0], limits[1])

    # corrections

    def reject(self, name: str, face: str | Array, operation: str | None = None) -> Entry:
        """This face does not show that person: it is never said to again, nor counts for it.

        Args:
            name: of the person.
            face: its content (`Sample.content`), or its embedding `(D,)`.
            operation: see `enroll`.
        """
        return self.journal.reject(name, _content(face), operation)

    def confirm(self, name: str, face: str | Array, operation: str | None = None) -> Entry:
        """This face shows that person, however it looks."""
        return self.journal.confirm(name, _content(face), operation)

    def merge(self, name: str, other: str, operation: str | None = None) -> Entry:
        """The other is that person: its name becomes an alias, its faces count for the person."""
        return self.journal.merge(name, other, operation)

    def split(
        self, name: str, faces: Collection[int], new: str, operation: str | None = None
    ) -> Entry:
        """Some of a person's faces, by id, are somebody else, who gets a new name."""
        return self.journal.split(name, faces, new, operation)

    def rename(self, name: str, new: str, operation: str | None = None) -> Entry:
        """Gives a person, or an alias, another name."""
        return self.journal.rename(name, new, operation)

    def edit(
        self,
        name: str,
        *,
        tags: Collection[str] = (),
        valid_from: datetime | None = None,
        valid_until: datetime | None = None,
        operation: str | None = None,
    ) -> Entry:
        """Gives a person these tags and this time of validity instead of those it has."""
        return self.journal.edit(name, _details(tags, valid_from, valid_until), operation)

    def remove(self, faces: Collection[int], operation: str | None = None) -> Entry:
        """Removes faces by id, for good."""
        return self.journal.remove(faces, operation)

    def undo(self, entry: int | None = None, operation: str | None = None) -> Entry:
        """Takes an entry of the journal back; None: the last one that stands."""
        return self.journal.undo(entry, operation)

    # forgetting

    def forget(self, name: str) -> Receipt:
        """Removes a person with all aliases without a trace, and looks for one.

        What `mindface evaluate` keeps of the person's photos is no part of a gallery: see
        `mindface.features.discard`.

        Raises:
            GalleryError: there is nobody of that name, it cannot be written, or the files could
                not be searched.
        """
        return self.journal.forget([self.journal.root(name).id])

    def purge_expired(self, at: datetime | None = None) -> Receipt | None:
        """Forgets everybody whose time of validity is over; None where nobody's is."""
        moment = time.time() if at is None else _seconds(at)
        people = self.backend.expired(moment)
        return self.journal.forget(people) if people else None

    # the file

    def integrity(self) -> list[str]:
        """Reads everything, and says what is damaged, a sentence each; empty: nothing is."""
        return self.backend.integrity()

    def recover(self, to: StrPath) -> Recovery:
        """Saves what is not damaged into a new gallery, with the same key; see `recovery.recover`.

        Raises:
            GalleryError: `to` is there already, or this gallery is on a server.
            IntegrityError: not even the tables can be read.
        """
        if not isinstance(self.backend, Embedded):
            raise GalleryError(f"{self.backend.where}: is on a server: restore a backup of it")
        return recover(self.backend.path, Path(to), self.backend.key)


def _samples(faces: Faces) -> list[Sample]:
    if isinstance(faces, np.ndarray):
        return [Sample(row) for row in unit_rows(faces)]
    return [Sample.of(face) if isinstance(face, Face) else face for face in faces]


def _content(face: str | Array) -> str:
    return face if isinstance(face, str) else content_of(unit_rows(np.asarray(face)[None])[0])


def _details(
    tags: Collection[str], valid_from: datetime | None, valid_until: datetime | None
) -> Details:
    moments = (None if each is None else _seconds(each) for each in (valid_from, valid_until))
    return Details(tuple(sorted(set(tags))), *moments)


def _seconds(moment: datetime) -> float:
    if moment.tzinfo is None:
        raise GalleryError(f"{moment}: say in which time zone, such as {moment}+00:00")
    return moment.timestamp()
