"""Taking an entry of the journal back: possible while what it changed is as it left it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from mindface.errors import GalleryError
from mindface.gallery.backend import Backend
from mindface.gallery.checks import check_free
from mindface.gallery.rows import Details, Entry, details_of


def find(backend: Backend, number: int | None) -> Entry:
    """The entry to take back: that one, or the last that stands and whose people are there.

    Raises:
        GalleryError: there is none, it was undone, it is final, or its people are gone.
    """
    if number is None:
        return _last_standing(backend)
    entry = next(backend.entries(number, number), None)
    if entry is None:
        raise GalleryError(f"{backend.where}: there is no entry {number}")
    if entry.undone_by or entry.kind not in WAYS:
        why = f"entry {entry.undone_by} did it" if entry.undone_by else "it is final"
        raise GalleryError(f"entry {number} ({entry.kind}) cannot be undone: {why}")
    if not _whole(backend, entry):
        raise GalleryError(f"entry {number} ({entry.kind}) is of people who are gone")
    return entry


def take_back(backend: Backend, entry: Entry, number: int) -> None:
    """Reverses an entry, on behalf of the entry `number`.

    Raises:
        GalleryError: what it changed was changed again since.
    """
    WAYS[entry.kind](backend, entry, number)
    backend.put_entry(replace(entry, undone_by=number))


def _last_standing(backend: Backend) -> Entry:
    for number in range(backend.last_entry(), 0, -1):
        for entry in backend.entries(number, number):
            if not entry.undone_by and entry.kind in WAYS and _whole(backend, entry):
                return entry
    raise GalleryError(f"{backend.where}: there is nothing to undo")


def _whole(backend: Backend, entry: Entry) -> bool:
    """Whether the people of an entry are still there."""
    wanted = {each for each in (entry.person, entry.other) if each is not None}
    return len(backend.people(wanted)) == len(wanted)


def _enroll(backend: Backend, entry: Entry, number: int) -> None:
    first, count = entry.payload["faces"]
    owners = [person for person, run in entry.payload["people"] for _ in range(run)]
    found = backend.faces(range(first, first + count))
    for face in found:
        _check_unmoved(entry, face.id, face.person, owners[face.id - first])
    backend.delete_faces([face.id for face in found])
    backend.touch({face.person for face in found}, number)
    _drop_unused(backend, entry.payload["created"], number)


def _verdict(backend: Backend, entry: Entry, number: int) -> None:
    backend.touch({_id(entry.person)}, number)


def _merge(backend: Backend, entry: Entry, number: int) -> None:
    (away,) = backend.people([_id(entry.other)])
    if away.merged_into != entry.payload["into"]:
        raise GalleryError(f"entry {entry.id}: {away.name!r:.80} was merged anew: undo that")
    backend.put_person(replace(away, merged_into=None), number)
    backend.touch({_id(entry.person)}, number)


def _split(backend: Backend, entry: Entry, number: int) -> None:
    before: dict[int, int] = dict(entry.payload["faces"])
    owners = set(before.values())
    if len(backend.people(owners)) < len(owners):
        raise GalleryError(f"entry {entry.id}: the faces were of people who are gone")
    new = _id(entry.other)
    found = backend.faces(before)
    for face in found:
        _check_unmoved(entry, face.id, face.person, new)
    for owner in sorted(owners):
        backend.move_faces([face.id for face in found if before[face.id] == owner], owner)
    backend.touch({*owners, new}, number)
    _drop_unused(backend, [new], number)


def _rename(backend: Backend, entry: Entry, number: int) -> None:
    (row,) = backend.people([_id(entry.person)])
    if row.name != entry.payload["to"]:
        raise GalleryError(f"entry {entry.id}: {row.name!r:.80} was renamed since: undo that")
    check_free(backend, entry.payload["from"])
    backend.put_person(replace(row, name=entry.payload["from"]), number)


def _edit(backend: Backend, entry: Entry, number: int) -> None:
    (row,) = backend.people([_id(entry.person)])
    before, after = (Details.read(entry.payload[key]) for key in ("from", "to"))
    if details_of(row) != after:
        raise GalleryError(f"entry {entry.id}: {row.name!r:.80} was changed since: undo that")
    backend.put_person(replace(row, **before._asdict()), number)


WAYS: dict[str, Callable[[Backend, Entry, int], None]] = {
    "enroll": _enroll,
    "reject": _verdict,
    "confirm": _verdict,
    "merge": _merge,
    "split": _split,
    "rename": _rename,
    "edit": _edit,
}
"""How each kind of entry is reversed; the others are final."""


def _check_unmoved(entry: Entry, face: int, person: int, expected: int) -> None:
    if person != expected:
        raise GalleryError(
            f"entry {entry.id} ({entry.kind}): face {face} went to another person since: undo that"
        )


def _drop_unused(backend: Backend, people: Collection[int], number: int) -> None:
    """Removes those whom nothing refers to: no face, no alias, not an alias."""
    used = {face.person for face in backend.faces_of(people)} | {*backend.roots().values()}
    rows = backend.people(people)
    unused = [row.id for row in rows if row.id not in used and row.merged_into is None]
    backend.delete_people(unused, number)


def _id(person: int | None) -> int:
    if person is None:
        raise GalleryError("the entry does not say whom it is about: it was forgotten")
    return person
