"""What should be looked at in a gallery before anybody relies on it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mindface.gallery.backend import Backend
from mindface.gallery.rows import FaceRow, Ints

BATCH = 1024


@dataclass(frozen=True)
class Stranger:
    """An enrolled face and the person, of all others, whom it is most like.

    Attributes:
        person: whose face it is.
        face: its id.
        path: the photo it comes from, where known.
        other: the name of the other person.
        similarity: of the face to the other's template.
    """

    person: str
    face: int
    path: str | None
    other: str
    similarity: float


@dataclass(frozen=True)
class Check:
    """How close people come to each other: a stranger may come as close.

    Attributes:
        strangers: the closest face of each pair of people, closest first.
        threshold: of a match at the gallery's present size, or None.
        extrapolated: whether it was read off a fitted tail.
    """

    strangers: tuple[Stranger, ...]
    threshold: float | None
    extrapolated: bool

    @property
    def passed(self) -> bool:
        """Whether nobody reaches the threshold of somebody else; False where there is none."""
        if self.threshold is None:
            return False
        return not any(each.similarity >= self.threshold for each in self.strangers)


@dataclass(frozen=True)
class Outlier:
    """A face that is unlike the person's others: its similarity to their template."""

    person: str
    face: int
    path: str | None
    similarity: float


@dataclass(frozen=True)
class Audit:
    """What may be wrong.

    Attributes:
        outliers: least similar first.
        duplicates: pairs of people who may be one, most similar first, with the similarity of
            their templates.
        single: people with one face.
        empty: people without any.
    """

    outliers: tuple[Outlier, ...]
    duplicates: tuple[tuple[str, str, float], ...]
    single: tuple[str, ...]
    empty: tuple[str, ...]


def strangers(backend: Backend, count: int) -> tuple[Stranger, ...]:
    """The closest faces of different people, one a pair of people."""
    roots = backend.roots()
    closest: dict[tuple[int, int], tuple[float, FaceRow]] = {}
    for faces in _batches(backend.scan()):
        owners = np.array([roots.get(face.person, face.person) for face in faces])
        queries = np.array([face.embedding for face in faces])
        for row, (other, score) in _others(backend, queries, owners):
            pair = int(min(owners[row], other)), int(max(owners[row], other))
            if score > closest.get(pair, (-2.0, None))[0]:
                closest[pair] = score, faces[row]
    best = sorted(closest.items(), key=lambda item: (-item[1][0], item[0]))[:count]
    names = {
        row.id: row.name for row in backend.people({each for pair, _ in best for each in pair})
    }
    found = []
    for pair, (score, face) in best:
        if not {*pair} <= {*names}:
            continue  # removed meanwhile
        owner = roots.get(face.person, face.person)
        other = pair[0] if pair[1] == owner else pair[1]
        found.append(Stranger(names[owner], face.id, face.path, names[other], score))
    return tuple(found)


def audit(backend: Backend, outlier: float, duplicate: float) -> Audit:
    """See `Gallery.audit`."""
    roots = backend.roots()
    names = {row.id: row.name for row in backend.people() if row.id not in roots}
    faces: dict[int, int] = defaultdict(int)
    for person, count in backend.counts().items():
        faces[roots.get(person, person)] += count
    outliers = [
        each
        for person, count in faces.items()
        if count > 1
        for each in _outliers(backend, person, names[person], outlier)
    ]
    pairs = {
        (min(one, other), max(one, other)): score
        for one, other, score in _alike(backend, sorted(faces))
        if score >= duplicate
    }
    ordered = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
    return Audit(
        outliers=tuple(sorted(outliers, key=lambda each: (each.similarity, each.face))),
        duplicates=tuple((names[a], names[b], score) for (a, b), score in ordered),
        single=tuple(names[each] for each in sorted(faces) if faces[each] == 1),
        empty=tuple(name for each, name in names.items() if each not in faces),
    )


def _outliers(backend: Backend, person: int, name: str, least: float) -> Iterator[Outlier]:
    """Faces less like the template of the person's others than `least`."""
    aliases = [alias for alias, root in backend.roots().items() if root == person]
    faces = backend.faces_of([person, *aliases])
    vectors = np.array([face.embedding for face in faces], np.float64)
    weighted = vectors * np.array([face.quality for face in faces])[:, None]
    others = weighted.sum(axis=0) - weighted
    lengths = np.maximum(np.linalg.norm(others, axis=1), 1e-12)
    for face, score in zip(faces, (vectors * others).sum(axis=1) / lengths, strict=True):
        if score < least:
            yield Outlier(name, face.id, face.path, float(score))


def _alike(backend: Backend, people: list[int]) -> Iterator[tuple[int, int, float]]:
    """Each person and the one most alike."""
    for start in range(0, len(people), BATCH):
        templates = backend.templates(people[start : start + BATCH])
        if templates:
            owners = np.array([*templates])
            queries = np.array([*templates.values()])
            for row, (other, score) in _others(backend, queries, owners):
                yield int(owners[row]), other, score


def _others(
    backend: Backend, queries: np.ndarray, owners: Ints
) -> Iterator[tuple[int, tuple[int, float]]]:
    """For each query's number the nearest person but its owner, where there is one."""
    found = backend.search(queries, 2)
    for row, (people, scores) in enumerate(zip(found.people, found.scores, strict=True)):
        for person, score in zip(people.tolist(), scores.tolist(), strict=True):
            if person not in (0, owners[row]):
                yield row, (person, score)
                break


def _batches(faces: Iterator[FaceRow]) -> Iterator[list[FaceRow]]:
    batch: list[FaceRow] = []
    for face in faces:
        batch.append(face)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
