"""What a gallery says of the faces of an album: who they are, and who they are not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from mindface.album.people import Decision
from mindface.gallery import Gallery, Match
from mindface.gallery.rows import photo_of
from mindface.gallery.verdicts import Verdicts, standing
from mindface.results import Array

CHUNK = 1024  # faces that are asked for together


class Said(NamedTuple):
    """What is said of one face.

    Attributes:
        name: of the person it shows, or None.
        decision: what says so, or None.
        rejected: names of people whom it does not show.
    """

    name: str | None
    decision: Decision | None
    rejected: frozenset[str]


def ask(gallery: Gallery, contents: Sequence[str], embeddings: Array) -> Iterator[Said]:
    """What a gallery says of faces: its decisions and its journal.

    What somebody said goes first: a confirmation, then an enrolment; then the gallery's decision,
    as `Gallery.identify` makes it.

    Args:
        gallery: with a policy.
        contents: what names each face, as `mindface.gallery.rows.face_content` does.
        embeddings: `(N, D)`.

    Yields:
        What is said of each face.
    """
    for start in range(0, len(contents), CHUNK):
        some = contents[start : start + CHUNK]
        rows = np.ascontiguousarray(embeddings[start : start + CHUNK])
        yield from _ask(gallery, some, gallery.identify(rows, contents=some))


def _ask(gallery: Gallery, contents: Sequence[str], matches: Sequence[Match]) -> Iterator[Said]:
    verdicts = standing(gallery.backend, {*contents})
    enrolled = _enrolled(gallery, contents, verdicts)
    people = {*enrolled.values(), *(p for some in verdicts.rejected.values() for p in some)}
    names = {row.id: row.name for row in gallery.backend.people(people)} if people else {}
    for content, match in zip(contents, matches, strict=True):
        rejected = verdicts.rejected.get(content, ())
        not_these = frozenset(names[person] for person in rejected if person in names)
        owner = names.get(enrolled.get(content, 0))
        if match.confirmed:
            yield Said(match.person, "confirmed", not_these)
        elif owner is not None:
            yield Said(owner, "enrolled", not_these)
        elif match.decision == "match":
            yield Said(match.person, "match", not_these)
        else:
            yield Said(None, None, not_these)


def _enrolled(gallery: Gallery, contents: Sequence[str], verdicts: Verdicts) -> dict[str, int]:
    """The person for whom a face is enrolled, where it is one."""
    backend = gallery.backend
    roots = backend.roots()
    owners: dict[str, set[int]] = {}
    for photo in dict.fromkeys(map(photo_of, contents)):
        for row in backend.faces_in(photo):
            person = roots.get(row.person, row.person)
            if not verdicts.against(row.content, person):
                owners.setdefault(row.content, set()).add(person)
    return {content: people.pop() for content, people in owners.items() if len(people) == 1}
