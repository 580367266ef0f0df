"""What is done to a gallery, entry by entry: each once, however often it is asked for.

An operation has an id. Asked for again, after a broken connection or a restart, it does nothing
and gives the first time's entry. Entries are never removed; undoing is an entry of its own. One
may be undone as long as what it changed is as it left it, whatever else happened since.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import uuid4

from mindface.errors import ContractError, GalleryError
from mindface.gallery import undo
from mindface.gallery.backend import Backend
from mindface.gallery.checks import check_details, check_free, check_name, check_text
from mindface.gallery.receipt import Receipt
from mindface.gallery.rows import Details, Entry, Kind, PersonRow, Sample, details_of
from mindface.gallery.verdicts import standing


class Done(NamedTuple):
    """What an operation leaves in its entry."""

    payload: dict[str, Any]
    person: int | None = None
    other: int | None = None
    content: str | None = None


class Journal:
    """The operations on a gallery.

    Every method takes an `operation`: an id to be given again should the answer not have come; None
    gives it one of its own. All raise `GalleryError` where the gallery does not allow what is asked
    for, and for an id that was used for something else.

    Args:
        backend: where it is stored.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def enroll(
        self,
        people: Mapping[str, Sequence[Sample]],
        details: Mapping[str, Details] | None = None,
        operation: str | None = None,
        note: Mapping[str, Any] | None = None,
    ) -> Entry:
        """Adds faces to people, who are made where they are not there; wholly or not at all.

        Args:
            people: faces by name.
            details: of new people, by name; of people who are there they must be the same.
            operation: see `Journal`.
            note: plain values that the entry keeps.

        Raises:
            ContractError: an embedding of another size.
        """
        details = details or {}
        faces = [(name, sample) for name, samples in people.items() for sample in samples]
        for _, sample in faces:
            if len(sample.embedding) != self.backend.size:
                raise ContractError(
                    f"{self.backend.where}: holds embeddings of {self.backend.size} values, not of "
                    f"{len(sample.embedding)}: they come from another model"
                )
        request = [
            [name, details.get(name), [_facts(sample) for sample in samples]]
            for name, samples in people.items()
        ]

        def act(number: int) -> Done:
            ids, created = self._people(people, details, number)
            self._not_rejected(ids, faces)
            added = self.backend.add_faces([(ids[name], sample) for name, sample in faces])
            self.backend.touch({*ids.values()} - {*created}, number)
            span = [added[0], len(added)] if added else [0, 0]
            payload = {"faces": span, "created": created, "people": _runs(ids, faces)}
            return Done(payload | ({"note": dict(note)} if note else {}))

        return self._once("enroll", operation, request, act)

    def remove(self, faces: Collection[int], operation: str | None = None) -> Entry:
        """Removes faces for good; it cannot be undone. Who has none left stays, by name."""

        def act(number: int) -> Done:
            found = self.backend.faces(faces)
            _all_found(faces, [face.id for face in found])
            self.backend.delete_faces([face.id for face in found])
            self.backend.touch({face.person for face in found}, number)
            return Done({"faces": sorted(set(faces))})

        return self._once("remove", operation, sorted(set(faces)), act)

    def reject(self, person: str, content: str, operation: str | None = None) -> Entry:
        """This face does not show that person: it is never said to again, nor counts for it."""
        return self._verdict("reject", person, content, operation)

    def confirm(self, person: str, content: str, operation: str | None = None) -> Entry:
        """This face shows that person, however it looks; takes an earlier rejection back."""
        return self._verdict("confirm", person, content, operation)

    def merge(self, person: str, other: str, operation: str | None = None) -> Entry:
        """The other is that person: its name becomes an alias, its faces count for the person."""

        def act(number: int) -> Done:
            keep, away = self.root(person), self.root(other)
            if keep.id == away.id:
                raise GalleryError(f"{person!r:.80} and {other!r:.80} are one person already")
            self.backend.put_person(replace(away, merged_into=keep.id), number)
            return Done({"into": keep.id}, keep.id, away.id)

        return self._once("merge", operation, [person, other], act)

    def split(
        self, person: str, faces: Collection[int], name: str, operation: str | None = None
    ) -> Entry:
        """Some of a person's faces are somebody else, who gets a new name."""

        def act(number: int) -> Done:
            owner = self.root(person)
            check_free(self.backend, name)
            mine = {face.id: face.person for face in self.backend.faces_of(self.group(owner.id))}
            _all_found(faces, mine)
            moved = {face: mine[face] for face in sorted(set(faces))}
            if not moved or len(moved) == len(mine):
                raise GalleryError(
                    f"{person!r:.80}: {len(moved)} of {len(mine)} faces cannot be split off: "
                    "name some of them, not all; or rename the person"
                )
            new = self.backend.last_person() + 1
            row = PersonRow(new, name, owner.tags, owner.valid_from, owner.valid_until, time.time())
            self.backend.add_people([row], number)
            self.backend.move_faces(list(moved), new)
            self.backend.touch({owner.id}, number)
            return Done({"faces": [*moved.items()]}, owner.id, new)

        return self._once("split", operation, [person, sorted(set(faces)), name], act)

    def rename(self, person: str, name: str, operation: str | None = None) -> Entry:
        """Gives a person, or an alias, another name."""

        def act(number: int) -> Done:
            row = self._row(person)
            check_free(self.backend, name)
            self.backend.put_person(replace(row, name=name), number)
            return Done({"from": row.name, "to": name}, row.id)

        return self._once("rename", operation, [person, name], act)

    def edit(self, person: str, details: Details, operation: str | None = None) -> Entry:
        """Gives a person other tags and another time of validity."""

        def act(number: int) -> Done:
            row = self.root(person)
            check_details(person, details)
            self.backend.put_person(replace(row, **details._asdict()), number)
            return Done({"from": details_of(row), "to": details}, row.id)

        return self._once("edit", operation, [person, details], act)

    def undo(self, entry: int | None = None, operation: str | None = None) -> Entry:
        """Takes an entry back; None: the last that was not taken back yet."""

        def act(number: int) -> Done:
            target = undo.find(self.backend, entry)
            undo.take_back(self.backend, target, number)
            return Done({"entry": target.id}, target.person, target.other)

        return self._once("undo", operation, entry, act)

    def forget(self, people: Collection[int]) -> Receipt:
        """Removes people by id without a trace."""
        entry = _entry("forget", uuid4().hex, sorted(people), Done({}), 0)
        return self.backend.erase(sorted(people), entry)

    def done(self, operation: str) -> Entry | None:
        """The entry of an operation, where it was done."""
        return self.backend.entry_of(_digest(operation))

    def root(self, name: str) -> PersonRow:
        """The person of that name, or whom that alias stands for."""
        row = self._row(name)
        root = self.backend.roots().get(row.id)
        return row if root is None else self.backend.people([root])[0]

    def group(self, person: int) -> list[int]:
        """The ids of a person and of all aliases."""
        return [person, *(alias for alias, root in self.backend.roots().items() if root == person)]

    def _once(
        self, kind: Kind, operation: str | None, request: Any, act: Callable[[int], Done]
    ) -> Entry:
        """Does something unless that operation was done, and notes it; wholly or not at all."""
        name = uuid4().hex if operation is None else operation
        with self.backend.writing():
            number = self.backend.last_entry() + 1
            asked = _entry(kind, name, request, Done({}), number)
            found = self.backend.entry_of(asked.operation)
            if found is None:
                found = _entry(kind, name, request, act(number), number)
                self.backend.add_entry(found)
            elif found.request != asked.request:
                raise GalleryError(
                    f"the operation {name!r:.80} was entry {found.id} ({found.kind}), which asked "
                    "for something else: give each operation an id of its own"
                )
        return found

    def _verdict(self, kind: Kind, person: str, content: str, operation: str | None) -> Entry:
        def act(number: int) -> Done:
            check_text(content, "face's content")
            row = self.root(person)
            self.backend.touch({row.id}, number)
            return Done({}, row.id, content=content)

        return self._once(kind, operation, [person, content], act)

    def _row(self, name: str) -> PersonRow:
        row = self._found(name)
        if row is None:
            raise GalleryError(f"{self.backend.where}: there is nobody named {name!r:.80}")
        return row

    def _found(self, name: str) -> PersonRow | None:
        check_text(name, "name")
        return self.backend.person(name)

    def _roots_named(self, names: Collection[str]) -> dict[str, PersonRow]:
        """For each of these names that is there, the person, or whom the alias stands for."""
        for name in names:
            check_text(name, "name")
        found = self.backend.named(names)
        roots = self.backend.roots() if found else {}
        ids = {name: roots.get(row.id, row.id) for name, row in found.items()}
        people = {row.id: row for row in self.backend.people({*ids.values()})}
        return {name: people[each] for name, each in ids.items()}

    def _people(
        self, names: Collection[str], details: Mapping[str, Details], number: int
    ) -> tuple[dict[str, int], list[int]]:
        """The people of these names, made where they are not there, and who was made."""
        ids: dict[str, int] = {}
        new: list[PersonRow] = []
        free = self.backend.last_person() + 1
        there = self._roots_named(names)
        for name in names:
            wanted = details.get(name)
            row = there.get(name)
            if row is None:
                check_name(name)
                check_details(name, wanted or Details())
                row = PersonRow(free + len(new), name, *(wanted or Details()), time.time())
                new.append(row)
            elif wanted is not None and details_of(row) != wanted:
                raise GalleryError(
                    f"{name!r:.80} has other tags or another time of validity: change them "
                    "first (edit), or enroll without"
                )
            ids[name] = row.id
        self.backend.add_people(new, number)
        return ids, [row.id for row in new]

    def _not_rejected(self, ids: Mapping[str, int], faces: Sequence[tuple[str, Sample]]) -> None:
        contents = {str(sample.content) for _, sample in faces}
        verdicts = standing(self.backend, contents)
        for name, sample in faces:
            if verdicts.against(str(sample.content), ids[name]):
                raise GalleryError(
                    f"{name!r:.80}: the face {sample.path or sample.content!r} was rejected for "
                    "this person: undo that, or leave it out"
                )


def _entry(kind: Kind, operation: str, request: Any, done: Done, number: int) -> Entry:
    asked = json.dumps([operation, kind, request], ensure_ascii=True)
    return Entry(
        id=number,
        operation=_digest(operation),
        request=sha256(asked.encode()).digest(),
        kind=kind,
        person=done.person,
        other=done.other,
        content=done.content,
        payload=json.loads(json.dumps(done.payload)),  # as it will be read
        undone_by=None,
        created=time.time(),
    )


def _digest(operation: str) -> bytes:
    return sha256(operation.encode("utf-8", "surrogatepass")).digest()


def _facts(sample: Sample) -> list[Any]:
    parts = [sample.embedding.tobytes(), sample.crop or b""]
    parts += [b"" if each is None else each.tobytes() for each in (sample.box, sample.landmarks)]
    digest = sha256(b"".join(sha256(part).digest() for part in parts)).hexdigest()
    return [digest, sample.quality, sample.path, sample.content]


def _runs(ids: Mapping[str, int], faces: Sequence[tuple[str, Sample]]) -> list[tuple[int, int]]:
    """Whose the faces are, in their order: person and how many."""
    return [(ids[name], count) for name, count in Counter(name for name, _ in faces).items()]


def _all_found(wanted: Collection[int], found: Collection[int]) -> None:
    missing = sorted(set(wanted) - set(found))
    if missing:
        raise GalleryError(f"there is no face {missing[0]} here: list the faces first")
