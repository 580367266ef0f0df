"""Unknown faces into people: all at once, or new ones among those that are there."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mindface.clustering.clusters import NOBODY, Clusters, checked_embeddings
from mindface.clustering.components import connected
from mindface.clustering.confidence import confidence
from mindface.clustering.constraints import (
    check_contradictions,
    checked_pairs,
    numbered,
    photo_pairs,
)
from mindface.clustering.linkage import FLOOR, Apart, Groups, agglomerate
from mindface.clustering.neighbours import neighbours
from mindface.results import Array

Ints = NDArray[np.int64]
Doubles = NDArray[np.float64]

NEIGHBOURS = 32  # 16 and 64 gave the same people among 6,931 faces
LAST = np.iinfo(np.int64).max


def cluster(
    embeddings: ArrayLike,
    *,
    threshold: float,
    photos: Sequence[Hashable] | None = None,
    quality: ArrayLike | None = None,
    must: ArrayLike | None = None,
    cannot: ArrayLike | None = None,
) -> Clusters:
    """Sorts faces into people, whatever their order: average linkage on nearest neighbours.

    Args:
        embeddings: `(N, D)` of unit length; rows of zeros show no face.
        threshold: least similarity of two faces that are joined, above 0; see `strictness`.
            Higher is stricter: purer people, in more parts.
        photos: the photo of each face, such as a path, or None where it is not known: faces of one
            photo are seldom one person, so they are joined only if they are very alike.
        quality: `(N,)` above 0, the weight of each face in what its person looks like.
        must: `(P, 2)` numbers of faces that are one person, whatever they look like.
        cannot: `(P, 2)` numbers of faces that are not.

    Raises:
        ValueError: an argument has another shape, or values that cannot be.
        ConfigError: `must` and `cannot` contradict each other.
    """
    faces = checked_embeddings(embeddings)
    none = Clusters(faces[:0], np.zeros(0, np.int64), threshold)
    return assign(faces, none, photos=photos, quality=quality, must=must, cannot=cannot)


def assign(
    new: ArrayLike,
    clusters: Clusters,
    *,
    photos: Sequence[Hashable] | None = None,
    quality: ArrayLike | None = None,
    must: ArrayLike | None = None,
    cannot: ArrayLike | None = None,
) -> Clusters:
    """Sorts new faces among old people, who stay as they are.

    New faces join old people, old faces of nobody and each other. No old person loses a face or is
    joined with another, but where `must` says so; what `cluster` would make of all of them may be
    better. A person keeps the label, and new people have labels above all old ones.

    Args:
        new: `(M, D)` embeddings, as in `cluster`.
        clusters: N faces that were clustered before.
        photos: the photo of each new face; those that `clusters` names are the same photos.
        quality: `(M,)` the weight of each new face; 1 where `clusters` has weights and this not.
        must: `(P, 2)` as in `cluster`: an old face has its old number, the new ones follow.
        cannot: `(P, 2)` likewise.

    Returns:
        All N + M faces. The joins are those that were made now.

    Raises:
        ValueError: an argument has another shape, or values that cannot be.
        ConfigError: `must`, `cannot` and old people contradict each other.
    """
    faces = _together(clusters, new, photos, quality)
    since, count, threshold = len(clusters), len(faces), clusters.threshold
    must, cannot = checked_pairs("must", must, count), checked_pairs("cannot", cannot, count)
    names = connected(count, *np.concatenate([must, _bonds(faces.labels)]).T)
    check_contradictions(cannot, names)
    order = _by_content(faces.embeddings, since)
    place = np.argsort(order)

    # From here to the result faces are numbered by their content.
    rows, photo = faces.embeddings[order], numbered(_photos(faces))[order]
    weights, labels = _weights(faces)[order], faces.labels[order]
    group = _numbered(names[order])
    kept = np.bincount(group, labels >= 0) > 0
    groups = Groups.of(rows, weights, group, kept)
    pairs = neighbours(rows, NEIGHBOURS, FLOOR * threshold, since)
    apart = _apart(group, photo_pairs(photo), place[cannot], len(kept))
    ends, joins = agglomerate(groups, group, pairs, apart, threshold)

    person = ends[group]
    sure = confidence(rows, weights, person, groups, pairs, threshold)
    doubtful = np.argsort(joins.similarity, kind="stable")
    links = joins.link[doubtful]
    return replace(
        faces,
        labels=_labels(person, labels)[place],
        confidence=sure[place],
        joins=order[np.column_stack([pairs.first[links], pairs.second[links]])],
        similarities=joins.similarity[doubtful],
    )


def _together(
    old: Clusters, new: ArrayLike, photos: Sequence[Hashable] | None, quality: ArrayLike | None
) -> Clusters:
    """Old faces, and new ones that are nobody's yet."""
    embeddings = checked_embeddings(new)
    weights = None if quality is None else np.asarray(quality, np.float32)
    nobody = np.full(len(embeddings), NOBODY)
    fresh = Clusters(embeddings, nobody, old.threshold, photos, weights)
    if not len(old):
        return fresh
    if embeddings.shape[1] != old.embeddings.shape[1]:
        raise ValueError(
            f"new embeddings have {embeddings.shape[1]} values and old ones "
            f"{old.embeddings.shape[1]}: they come from different models"
        )
    weighted = old.quality is not None or weights is not None
    placed = old.photos is not None or photos is not None
    return Clusters(
        np.concatenate([old.embeddings, embeddings]),
        np.concatenate([old.labels, nobody]),
        old.threshold,
        (*_photos(old), *_photos(fresh)) if placed else None,
        np.concatenate([_weights(old), _weights(fresh)]).astype(np.float32) if weighted else None,
    )


def _photos(faces: Clusters) -> Sequence[Hashable]:
    return (None,) * len(faces) if faces.photos is None else faces.photos


def _weights(faces: Clusters) -> Doubles:
    return np.ones(len(faces)) if faces.quality is None else faces.quality.astype(np.float64)


def _bonds(labels: Ints) -> Ints:
    """Each face of an old person with one face of that person, `(P, 2)`."""
    faces = np.flatnonzero(labels >= 0)
    _, first, person = np.unique(labels[faces], return_index=True, return_inverse=True)
    return np.column_stack([faces[first[person]], faces])


def _by_content(embeddings: Array, since: int) -> Ints:
    """Faces in an order that depends on their embeddings alone, old ones before new ones.

    Faces with the very same embedding keep their order.
    """
    digests = [hashlib.blake2b(row, digest_size=16).digest() for row in embeddings]
    content = np.frombuffer(b"".join(digests), ">u8").reshape(-1, 2)
    return np.lexsort((content[:, 1], content[:, 0], np.arange(len(embeddings)) >= since))


def _numbered(names: Ints) -> Ints:
    """Names as numbers from 0 on, in the order in which they come first."""
    _, first, number = np.unique(names, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[number]


def _apart(group: Ints, photo: Ints, cannot: Ints, groups: int) -> Apart:
    pairs = group[np.concatenate([photo, cannot])]
    counts = np.repeat([1.0, np.inf], [len(photo), len(cannot)])
    return Apart.of(pairs[:, 0], pairs[:, 1], counts, groups)


def _labels(person: Ints, old: Ints) -> Ints:
    """The label of each face; old people keep theirs, new ones follow by their size."""
    known = old >= 0
    labels = np.full(int(person.max(initial=-1)) + 1, LAST)
    np.minimum.at(labels, person[known], old[known])
    sizes = np.bincount(person, minlength=len(labels))
    labels[(labels == LAST) & (sizes < 2)] = NOBODY
    new = np.flatnonzero(labels == LAST)
    new = new[np.argsort(-sizes[new], kind="stable")]
    labels[new] = int(old.max(initial=NOBODY)) + 1 + np.arange(len(new))
    return labels[person]
