"""People kept back for validation."""

from __future__ import annotations

import hashlib

import numpy as np

from mindface.datasets.faceset import FaceSet


def held_out(faces: FaceSet, share: float, *, least: int = 2, seed: int = 0) -> tuple[str, ...]:
    """Chooses people by a hash of their names, so that who is added changes nothing for the others.

    Args:
        faces: the set.
        share: the chance of each person to be chosen, 0 to 1.
        least: people with fewer pictures, of whom no pair can be made, are not chosen.
        seed: another one chooses others.

    Returns:
        Names, in the order of `class_names`.
    """
    counts = np.bincount(faces.labels[faces.labels >= 0], minlength=len(faces.class_names))
    return tuple(
        name
        for name, count in zip(faces.class_names, counts, strict=True)
        if count >= least and _lot(name, seed) < share
    )


def _lot(name: str, seed: int) -> float:
    """A number from 0 to below 1 that nothing but the name and the seed decides."""
    digest = hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:6]) / 2**48
