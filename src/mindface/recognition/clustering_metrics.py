"""How well clusters of faces are the people whom they should be.

Amigó, Gonzalo, Artiles, Verdejo, "A comparison of extrinsic clustering evaluation metrics based on
formal constraints", Information Retrieval 2009: purity and inverse purity in section 3.1, pairs in
3.2, B-cubed in 3.4. Everything is read off the counts of faces of one person in one cluster, of
which there are as many as faces at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ints = NDArray[np.int64]


class Agreement(NamedTuple):
    """How much of what was joined belongs together, and how much of what belongs was joined."""

    precision: float
    recall: float

    @property
    def f(self) -> float:
        """The harmonic mean of precision and recall; 0 where both are."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


@dataclass(frozen=True)
class ClusteringScores:
    """What clusters are worth; all shares from 0 to 1.

    Attributes:
        pairwise: over pairs of faces. Where nothing was joined, nothing was joined wrongly: the
            precision is 1; so is the recall where nothing belongs together.
        b_cubed: for each face, over the faces of its cluster and of its person; then the mean.
        purity: the share of faces whose person is the most frequent one of their cluster.
        completeness: the share of faces whose cluster is the most frequent one of their person
            (Amigó's inverse purity).
        faces: how many there are.
        people: how many there are in truth.
        clusters: how many were found, faces of nobody counted one by one.
    """

    pairwise: Agreement
    b_cubed: Agreement
    purity: float
    completeness: float
    faces: int
    people: int
    clusters: int


def score_clusters(labels: ArrayLike, truth: ArrayLike) -> ClusteringScores:
    """Compares clusters with people.

    Args:
        labels: `(N,)` integers, the cluster of each face; a face below 0 is alone, in a cluster of
            its own.
        truth: `(N,)` integers, the person of each face.

    Raises:
        ValueError: the two are not of one length, or empty.
    """
    found, people = np.asarray(labels), np.asarray(truth)
    if found.ndim != 1 or found.shape != people.shape or not len(found):
        raise ValueError(
            f"labels of shape {found.shape} and truth of shape {people.shape}: both must be (N,) "
            "of the same N, at least 1"
        )
    clusters, sizes = _numbered(_alone(found))
    persons, photos = _numbered(people)
    codes, shared = np.unique(clusters * len(photos) + persons, return_counts=True)
    cluster, person = np.divmod(codes, len(photos))
    faces, squares = len(found), shared.astype(np.float64) ** 2
    most_of_cluster, most_of_person = np.zeros_like(sizes), np.zeros_like(photos)
    np.maximum.at(most_of_cluster, cluster, shared)
    np.maximum.at(most_of_person, person, shared)
    together = _pairs(shared)
    return ClusteringScores(
        Agreement(_share(together, _pairs(sizes)), _share(together, _pairs(photos))),
        Agreement(
            float((squares / sizes[cluster]).sum() / faces),
            float((squares / photos[person]).sum() / faces),
        ),
        purity=int(most_of_cluster.sum()) / faces,
        completeness=int(most_of_person.sum()) / faces,
        faces=faces,
        people=len(photos),
        clusters=len(sizes),
    )


def _alone(labels: NDArray[np.int64]) -> Ints:
    """Labels in which each face of nobody has a cluster of its own."""
    nobody = labels < 0
    beyond = int(labels.max()) + 1 if not nobody.all() else 0
    own = labels.astype(np.int64)
    own[nobody] = beyond + np.arange(np.count_nonzero(nobody))
    return own


def _numbered(labels: Ints) -> tuple[Ints, Ints]:
    """Labels from 0 on without gaps, and how many faces have each."""
    _, numbers, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return numbers, counts


def _pairs(counts: Ints) -> int:
    return int((counts * (counts - 1) // 2).sum())


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0
