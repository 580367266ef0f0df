"""What is known before faces are compared: who is one person, who is not, who shares a photo."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mindface.errors import ConfigError

Ints = NDArray[np.int64]


def checked_pairs(name: str, pairs: ArrayLike | None, count: int) -> Ints:
    """Pairs of faces as `(P, 2)`.

    Raises:
        ValueError: another shape, a number that no face has, or a face paired with itself.
    """
    if pairs is None:
        return np.zeros((0, 2), np.int64)
    array = np.asarray(pairs)
    if not array.size:
        return np.zeros((0, 2), np.int64)
    if array.ndim != 2 or array.shape[1] != 2 or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(
            f"{name} must be pairs of face numbers (P, 2), not {array.dtype} {array.shape}"
        )
    wrong = (array < 0).any(1) | (array >= count).any(1) | (array[:, 0] == array[:, 1])
    if wrong.any():
        pair = array[int(np.argmax(wrong))].tolist()
        raise ValueError(
            f"{name} has the pair {pair}: two different numbers from 0 to {count - 1} are needed"
        )
    return array.astype(np.int64)


def check_contradictions(cannot: Ints, names: Ints) -> None:
    """Refuses pairs that cannot be one person, but were said to be.

    Args:
        cannot: `(P, 2)`.
        names: `(N,)`, the group that each face must be in.

    Raises:
        ConfigError: there are such pairs.
    """
    against = cannot[names[cannot[:, 0]] == names[cannot[:, 1]]]
    if len(against):
        shown = ", ".join(f"{a} and {b}" for a, b in against[:3].tolist())
        raise ConfigError(
            f"faces {shown}{', ...' if len(against) > 3 else ''} cannot be one person, but other "
            "pairs or an old person make them one: take back one of the two"
        )


def numbered(photos: Iterable[Hashable]) -> Ints:
    """The photo of each face as a number; -1 where it is None, which nobody knows."""
    numbers: dict[Hashable, int] = {None: -1}
    return np.array([numbers.setdefault(p, len(numbers) - 1) for p in photos], np.int64)


def photo_pairs(photos: Ints) -> Ints:
    """Pairs `(P, 2)` of faces of one photo.

    Args:
        photos: `(N,)`, the photo of each face; below 0 where it is not known.
    """
    faces = np.argsort(photos, kind="stable")
    faces = faces[photos[faces] >= 0]
    found, step = [np.zeros((0, 2), np.int64)], 1
    while True:
        same = np.flatnonzero(photos[faces[step:]] == photos[faces[:-step]])
        if not len(same):
            return np.concatenate(found)
        found.append(np.column_stack([faces[same], faces[same + step]]))
        step += 1
