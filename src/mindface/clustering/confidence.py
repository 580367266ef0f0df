"""How sure it is that a face is with the right people."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mindface.clustering.linkage import Groups, expected_length, inner_products
from mindface.clustering.neighbours import Pairs
from mindface.results import Array

Ints = NDArray[np.int64]


def confidence(
    embeddings: Array,
    weights: NDArray[np.float64],
    person: Ints,
    people: Groups,
    pairs: Pairs,
    threshold: float,
) -> Array:
    """By how much a face is more similar to the rest of its person than to anybody else.

    Somebody else is looked for among the people of faces that are as similar as the threshold.
    Where nobody is, the threshold itself is what the similarity is compared with.

    Args:
        embeddings: `(N, D)`.
        weights: `(N,)`.
        person: `(N,)`, the row of each face's person in `people`.
        people: what the faces were joined into.
        pairs: the graph of faces.
        threshold: least similarity of two groups that were joined.

    Returns:
        `(N,)` float32; NaN for a face that is alone.
    """
    near = pairs.similarity >= threshold
    first, second = pairs.first[near], pairs.second[near]
    face = np.concatenate([first, second]).astype(np.int64)
    other = person[np.concatenate([second, first])]
    count = len(people.sizes)
    foreign = other != person[face]
    face, other = np.divmod(np.unique(face[foreign] * count + other[foreign]), count)
    next_best = np.full(len(embeddings), threshold, np.float32)
    similarity = inner_products(embeddings, face, people.sums, other) / people.lengths(other)
    np.maximum.at(next_best, face, similarity.astype(np.float32))
    return _to_the_rest(embeddings, weights, person, people) - next_best


def _to_the_rest(
    embeddings: Array, weights: NDArray[np.float64], person: Ints, people: Groups
) -> Array:
    """The similarity of each face to the other faces of its person; NaN where there is none."""
    faces = np.arange(len(embeddings))
    dots = inner_products(embeddings, faces, people.sums, person) - weights
    squares = people.squares[person] - weights**2
    several = people.sizes[person] > 1
    length = np.where(several, expected_length(people.weights[person] - weights, squares), np.nan)
    return np.asarray(dots / length, np.float32)
