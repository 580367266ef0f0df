"""One vector that stands for a person."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mindface.gallery.rows import FaceRow
from mindface.results import Array

LEAST = 1e-6


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
