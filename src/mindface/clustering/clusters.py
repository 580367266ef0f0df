"""What clustering returns."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mindface.results import Array

Ints = NDArray[np.int64]

NOBODY = -1
UNIT = 1e-3  # by how much the length of an embedding may differ from 1


@dataclass(frozen=True, eq=False)
class Clusters:
    """Faces as people.

    To go on with `assign`, what is above `confidence` suffices: it can be stored, and be read into
    a `Clusters` again.

    Attributes:
        embeddings: `(N, D)` float32 of unit length; rows of zeros show no face.
        labels: `(N,)` the person of each face, from 0 on; of `cluster`, the person of most faces
            first. -1 for a face that was joined with no other.
        threshold: least similarity at which faces were joined, above 0.
        photos: the photo of each face, None where it is not known; None where none is.
        quality: `(N,)` float32 above 0, the weights of the faces; None where all weigh the same.
        confidence: `(N,)` float32, by how much a face is more similar to the rest of its person
            than to anybody else, or than the threshold where nobody else is as similar as that.
            Look at faces below 0. NaN for a face that is alone.
        joins: `(J, 2)` the most doubtful first: the two faces, of all the most alike, of two groups
            that became one.
        similarities: `(J,)` float32, rising: how similar the two groups were. Those of large groups
            may pass 1: see `mindface.clustering.linkage`.

    Raises:
        ValueError: something has another shape, or values that cannot be.
    """

    embeddings: Array
    labels: Ints
    threshold: float
    photos: Sequence[Hashable] | None = None
    quality: Array | None = None
    confidence: Array = field(default_factory=lambda: np.zeros(0, np.float32))
    joins: Ints = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    similarities: Array = field(default_factory=lambda: np.zeros(0, np.float32))

    def __post_init__(self) -> None:
        count = len(checked_embeddings(self.embeddings))
        if not 0 < self.threshold <= 1:
            raise ValueError(f"the threshold must be above 0 and at most 1, not {self.threshold:g}")
        if self.labels.shape != (count,) or not np.issubdtype(self.labels.dtype, np.integer):
            raise ValueError(
                f"labels must be integers ({count},), not {self.labels.dtype} {self.labels.shape}"
            )
        if self.photos is not None and len(self.photos) != count:
            raise ValueError(f"{len(self.photos)} photos for {count} faces: one a face is needed")
        if self.quality is not None:
            _check_quality(self.quality, count)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def people(self) -> list[Ints]:
        """The faces of each person, by rising label; faces of nobody are left out."""
        order = np.argsort(self.labels, kind="stable")
        order = order[self.labels[order] >= 0]
        bounds = np.flatnonzero(np.diff(self.labels[order])) + 1
        return np.split(order, bounds) if len(order) else []


def checked_embeddings(embeddings: ArrayLike) -> Array:
    """Embeddings as `(N, D)` float32.

    Raises:
        ValueError: another shape, or a row that is neither of unit length nor of zeros.
    """
    array = np.asarray(embeddings, np.float32)
    if array.ndim != 2 or not array.shape[1]:
        raise ValueError(f"embeddings must have shape (N, D), not {array.shape}")
    squares = np.einsum("nd,nd->n", array, array)
    wrong = ~((np.abs(squares - 1) < 2 * UNIT) | (squares == 0))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"embedding {row} has the length {np.sqrt(squares[row]):g}, and {wrong.sum()} of "
            f"{len(array)} are not of unit length: see mindface.recognition.recognizer.unit"
        )
    return array


def _check_quality(quality: Array, count: int) -> None:
    if quality.shape != (count,) or not (np.isfinite(quality) & (quality > 0)).all():
        raise ValueError(
            f"quality must be {count} finite numbers above 0, one a face; it has the shape "
            f"{quality.shape} and values from {quality.min(initial=np.inf):g} on"
        )
