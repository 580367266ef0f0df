"""One vector that stands for a person."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np

from mindface.gallery.rows import FaceRow, PersonRow
from mindface.gallery.verdicts import Journalled, standing
from mindface.results import Array

LEAST = 1e-6
PEOPLE = 400  # whose templates are made at once


class Enrolled(Journalled, Protocol):
    """Where people, their faces and what was said of these are kept; see `Backend`."""

    def people(self, ids: Collection[int] | None = None) -> list[PersonRow]:
        """People and aliases by id; all, or those of `ids` that exist."""

    def faces_of(self, people: Collection[int]) -> list[FaceRow]:
        """All faces of these people, by id; aliases have their own."""


def pool(faces: Sequence[FaceRow]) -> Array | None:
    """The mean of a person's embeddings `(D,)`, each weighted by its quality, of unit length.

    The length that an embedding had before it was scaled grows with the quality of the photo:
    Meng et al., "MagFace", CVPR 2021, section 3. A single face is its own template, to the bit.

    Args:
        faces: of one person; they are pooled in the order of their ids.

    Returns:
        The template, or None where there is no face, or the faces cancel each other.
    """
    if len(faces) == 1:
        return faces[0].embedding
    if not faces:
        return None
    ordered = sorted(faces, key=lambda face: face.id)
    weights = np.array([face.quality for face in ordered])
    vectors = np.array([face.embedding for face in ordered], np.float64)
    total = (weights[:, None] / weights.sum() * vectors).sum(axis=0)
    length = np.sqrt((total * total).sum())
    if length < LEAST:
        return None
    return np.asarray(total / length, "<f4")


def pooled(where: Enrolled, ids: Iterable[int]) -> Iterator[list[tuple[PersonRow, Array | None]]]:
    """People (no aliases) with their templates, some people at a time.

    The faces of aliases count for the person; those that were rejected for it do not.

    Args:
        where: the gallery.
        ids: of people; aliases, and who is not there, are passed over.
    """
    aliases: dict[int, list[int]] = defaultdict(list)
    for alias, root in where.roots().items():
        aliases[root].append(alias)
    ordered = sorted(ids)
    for start in range(0, len(ordered), PEOPLE):
        rows = where.people(ordered[start : start + PEOPLE])
        people = [row for row in rows if row.merged_into is None]
        owners = {alias: row.id for row in people for alias in (row.id, *aliases.get(row.id, ()))}
        faces = _counting(where, owners)
        yield [(row, pool(faces.get(row.id, ()))) for row in people]


def _counting(where: Enrolled, owners: Mapping[int, int]) -> dict[int, list[FaceRow]]:
    """The faces of each person that were not rejected."""
    faces = where.faces_of(owners)
    verdicts = standing(where, {face.content for face in faces})
    kept: dict[int, list[FaceRow]] = defaultdict(list)
    for face in faces:
        owner = owners[face.person]
        if not verdicts.against(face.content, owner):
            kept[owner].append(face)
    return kept


def same(one: Array | None, other: Array | None) -> bool:
    """Whether two templates are equal to the bit, or both are not there."""
    if one is None or other is None:
        return one is other
    return bool(np.array_equal(one, other))
