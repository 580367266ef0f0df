"""Label noise, found in embeddings: wrong labels, near duplicates, people under two names.

The defaults of `Limits` come from looking at what EdgeFace-XS finds in 30,794 labelled faces of
CelebA, Pins and Glint360K. Another recogniser may want others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mindface.recognition.recognizer import unit
from mindface.results import Array

Ints = NDArray[np.int64]
Rows = Callable[[Ints], Array]
"""Numbers of pictures `(n,)` -> something of each, `(n, D)` float32."""

BLOCK = 1 << 24  # similarities held at once, 64 MB
ROUNDS = 10


@dataclass(frozen=True)
class Limits:
    """From where on something is reported; cosines but for the last.

    Attributes:
        same: least similarity of the centers of one person. Of those from 0.5 on nearly all are,
            of those between 0.45 and 0.5 half.
        unlike: below it a picture is unlike its person. In CelebA's photos the valley between
            right and wrong labels lies here: of 40 pictures below it 30 show somebody else, the
            others half a face or a profile. Of 23 in Pins, which was cleaned, hardly any do.
        duplicate: least similarity of two pictures of one photo.
        correlation: least correlation of their gray thumbnails, -1 to 1.
    """

    same: float = 0.45
    unlike: float = 0.2
    duplicate: float = 0.9
    correlation: float = 0.97


DEFAULT_LIMITS = Limits()


class WrongLabel(NamedTuple):
    """A picture that seems to show somebody else than its label says.

    Attributes:
        picture: its number.
        similarity: to the center of the person's other pictures.
        nearest: the other person that it is most like, or None where there is no other.
        nearest_similarity: to that person's center.
    """

    picture: int
    similarity: float
    nearest: int | None
    nearest_similarity: float | None


class Match(NamedTuple):
    """Two people, or a picture and a person, that seem to be one."""

    first: int
    second: int
    similarity: float


class Duplicate(NamedTuple):
    """A picture of the same photo as an earlier picture of the person."""

    picture: int
    earlier: int
    similarity: float
    correlation: float


@dataclass(frozen=True, eq=False)
class Noise:
    """What embeddings say about the labels of a set.

    Attributes:
        people: `(C, D)`, the centers; zeros for a person without a picture.
        wrong: pictures that seem to show somebody else.
        duplicates: pictures of a photo that the person has already.
        same: people who seem to be one.
    """

    people: Array
    wrong: list[WrongLabel]
    duplicates: list[Duplicate]
    same: list[Match]


def find_noise(
    embeddings: Rows, thumbnails: Rows, labels: Ints, count: int, limits: Limits
) -> Noise:
    """Looks for all kinds of label noise.

    Args:
        embeddings: of the pictures, of unit length.
        thumbnails: of the pictures, gray, `(n, pixels)`.
        labels: `(N,)`, 0 to `count` - 1; -1 for a picture to leave out.
        count: of people.
        limits: from where on something is reported.
    """
    pictures = pictures_of(labels, count)
    people, similarities = centers(embeddings, pictures, len(labels))
    return Noise(
        people,
        wrong_labels(embeddings, labels, people, similarities, limits),
        duplicates(embeddings, thumbnails, pictures, limits),
        same_people(people, limits),
    )


def pictures_of(labels: Ints, count: int) -> list[Ints]:
    """The numbers of the pictures of each person, rising.

    Args:
        labels: `(N,)`, 0 to `count` - 1; -1 for a picture to leave out.
        count: of people.
    """
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.searchsorted(labels[order], np.arange(count + 1)))[1:-1]


def majority(embeddings: Array) -> NDArray[np.bool_]:
    """Which of a person's pictures `(n,)` are most alike: the smallest majority.

    The nearest to their own mean, found by repetition as in least trimmed squares (Rousseeuw,
    "Least median of squares regression", JASA 1984), so that wrong pictures do not move it.

    Args:
        embeddings: `(n, D)` of unit length.
    """
    chosen = np.ones(len(embeddings), bool)
    for _ in range(ROUNDS):
        similarities = embeddings @ embeddings[chosen].sum(0)
        nearest = np.argsort(-similarities, kind="stable")[: len(embeddings) // 2 + 1]
        before, chosen = chosen, np.zeros(len(embeddings), bool)
        chosen[nearest] = True
        if np.array_equal(before, chosen):
            break
    return chosen


def center(embeddings: Array) -> Array:
    """What a person looks like: the direction of `majority`, `(D,)` of unit length.

    Args:
        embeddings: of the person's pictures, `(n, D)` of unit length.
    """
    return np.asarray(unit(embeddings[majority(embeddings)].sum(0, keepdims=True))[0])


def centers(embeddings: Rows, pictures: Sequence[Ints], count: int) -> tuple[Array, Array]:
    """What each person looks like, and how much each picture is like its person.

    Args:
        embeddings: of the pictures, of unit length.
        pictures: of each person; see `pictures_of`. One person's are in memory at a time.
        count: N, of all pictures.

    Returns:
        The centers `(C, D)` of unit length, zeros for a person without a picture, and the
        similarities `(N,)` to the center of the person's other pictures, NaN where there is none.
    """
    found = np.zeros((len(pictures), embeddings(np.zeros(0, np.int64)).shape[1]), np.float32)
    similarities = np.full(count, np.nan, np.float32)
    for row, numbers in zip(found, pictures, strict=True):
        rows = embeddings(numbers)
        chosen = majority(rows)
        total = rows[chosen].sum(0)
        row[:] = unit(total[None])[0]
        if len(rows) > 1:
            others = unit(total - rows * chosen[:, None])
            similarities[numbers] = (rows * others).sum(1)
    return found, similarities


def wrong_labels(
    embeddings: Rows, labels: Ints, people: Array, similarities: Array, limits: Limits
) -> list[WrongLabel]:
    """Pictures unlike their person, or more like another one, the least like first.

    A picture that is as like a person who is the same as its own is no fault of the picture.

    Args:
        embeddings: of the pictures, of unit length.
        labels: `(N,)`.
        people: `(C, D)`, the centers; see `centers`.
        similarities: `(N,)`, of the pictures to their people.
        limits: `same` and `unlike` are looked at.
    """
    suspects = np.flatnonzero(similarities < max(limits.same, limits.unlike))
    found = []
    for numbers in _blocks(suspects, len(people)):
        own, mine = labels[numbers], similarities[numbers]
        alike = embeddings(numbers) @ people.T
        alike[people[own] @ people.T >= limits.same] = -np.inf
        alike[np.arange(len(own)), own] = -np.inf
        nearest = alike.argmax(1)
        best = alike[np.arange(len(own)), nearest]
        wrong = (mine < limits.unlike) | ((best >= limits.same) & (best > mine))
        for row in np.flatnonzero(wrong):
            other = (
                (int(nearest[row]), float(best[row])) if np.isfinite(best[row]) else (None, None)
            )
            found.append(WrongLabel(int(numbers[row]), float(mine[row]), *other))
    return sorted(found, key=_similarity)


def same_people(people: Array, limits: Limits) -> list[Match]:
    """People of one set who seem to be one person: each with the one that is most alike.

    Args:
        people: `(C, D)`, the centers.
        limits: `same` is looked at.

    Returns:
        Each pair once, the most alike first.
    """
    pairs: dict[tuple[int, int], float] = {}
    for numbers in _blocks(np.arange(len(people)), len(people)):
        alike = people[numbers] @ people.T
        alike[np.arange(len(numbers)), numbers] = -1
        for first, second, similarity in _best(numbers, alike, limits.same):
            pairs[min(first, second), max(first, second)] = similarity
    found = [Match(*pair, similarity) for pair, similarity in pairs.items()]
    return sorted(found, key=_similarity, reverse=True)


def matches(vectors: Rows, numbers: Ints, people: Array, limits: Limits) -> list[Match]:
    """Vectors that seem to show somebody of another set: each with whom it is most like.

    Args:
        vectors: centers of people or embeddings of pictures, of unit length.
        numbers: `(n,)`, which of them are asked for.
        people: `(C, D)`, the centers of the other set.
        limits: `same` is looked at.

    Returns:
        The most alike first.
    """
    found = [
        match
        for block in _blocks(numbers, len(people))
        for match in _best(block, vectors(block) @ people.T, limits.same)
    ]
    return sorted(found, key=_similarity, reverse=True)


def duplicates(
    embeddings: Rows, thumbnails: Rows, pictures: Sequence[Ints], limits: Limits
) -> list[Duplicate]:
    """Pictures of the same photo as an earlier picture of the person, cut or coloured otherwise.

    Args:
        embeddings: of the pictures, of unit length.
        thumbnails: of the pictures, gray, `(n, pixels)`.
        pictures: of each person; see `pictures_of`.
        limits: `duplicate` and `correlation` are looked at.
    """
    found: list[Duplicate] = []
    for numbers in pictures:
        faces, looks = embeddings(numbers), _contrast(thumbnails(numbers))
        for block in _blocks(np.arange(len(numbers)), len(numbers)):
            similar, correlation = faces[block] @ faces.T, looks[block] @ looks.T
            one = (similar >= limits.duplicate) & (correlation >= limits.correlation)
            one = np.tril(one, block[0] - 1)  # only with earlier pictures
            rows = np.flatnonzero(one.any(1))
            first = one[rows].argmax(1)
            columns = numbers[block[rows]], numbers[first], similar[rows, first]
            found += map(Duplicate, *(c.tolist() for c in (*columns, correlation[rows, first])))
    return found


_similarity = attrgetter("similarity")


def _blocks(numbers: Ints, columns: int) -> Iterator[Ints]:
    """Parts of the numbers, so that a part times `columns` is `BLOCK` at most."""
    step = max(1, BLOCK // max(columns, 1))
    yield from (numbers[start : start + step] for start in range(0, len(numbers), step))


def _best(numbers: Ints, alike: Array, least: float) -> Iterator[Match]:
    """Of each row its number and the best column, where that is at least `least`."""
    if alike.shape[1]:
        best = alike.argmax(1)
        value = alike[np.arange(len(best)), best]
        columns = (column[value >= least].tolist() for column in (numbers, best, value))
        yield from map(Match, *columns)


def _contrast(thumbnails: Array) -> Array:
    """Thumbnails `(n, pixels)`, scaled so that inner products are correlations."""
    return unit(thumbnails - thumbnails.mean(1, keepdims=True))
