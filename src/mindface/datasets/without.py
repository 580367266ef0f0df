"""Some pictures of a set of faces."""

from __future__ import annotations

import re
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from mindface.datasets.faceset import FaceSet, Ints, numbered
from mindface.errors import ConfigError

_PICTURE = re.compile(r"#([0-9]{1,18})")


class Subset:
    """A `FaceSet` of some pictures of another; its people are renumbered without gaps.

    Args:
        faces: the other.
        kept: numbers of the pictures, rising.

    Raises:
        ConfigError: no picture is kept.
    """

    def __init__(self, faces: FaceSet, kept: Ints) -> None:
        if not len(kept):
            raise ConfigError(f"{faces.source}: no picture is left of {len(faces)}: name others")
        self.source = faces.source
        self._faces, self._kept = faces, kept
        self.labels, people = numbered(faces.labels[kept])
        self.class_names = tuple(faces.class_names[person] for person in people)

    def __len__(self) -> int:
        return len(self._kept)

    def read(self, index: int) -> bytes:
        """See `FaceSet.read`."""
        return self._faces.read(int(self._kept[index]))

    def describe(self, index: int) -> str:
        """As the whole set describes the picture."""
        return self._faces.describe(int(self._kept[index]))

    def order(self, rng: np.random.Generator) -> Ints:
        """The order of the whole set, so that its storage serves it fast."""
        places = np.full(len(self._faces), -1)
        places[self._kept] = np.arange(len(self))
        order = places[self._faces.order(rng)]
        return order[order >= 0]


class Without(Subset):
    """A set without some of its people and pictures.

    Args:
        faces: the set.
        names: people as in `class_names`; `#7` is picture 7, counted from 0 and as long as nothing
            is added to the set, unless somebody is called so. Empty names are passed over.

    Raises:
        ConfigError: a name is not in the set, or no picture is left.
    """

    def __init__(self, faces: FaceSet, names: Collection[str]) -> None:
        super().__init__(faces, np.flatnonzero(~_named(faces, names)))


class Only(Subset):
    """What `Without` leaves out."""

    def __init__(self, faces: FaceSet, names: Collection[str]) -> None:
        super().__init__(faces, np.flatnonzero(_named(faces, names)))


def _named(faces: FaceSet, names: Collection[str]) -> NDArray[np.bool_]:
    """Which pictures `(N,)` are of the people, or are the pictures, that the names mean."""
    numbers = {name: number for number, name in enumerate(faces.class_names)}
    people, pictures, unknown = list[int](), list[int](), list[str]()
    for name in sorted(set(names) - {""}):
        picture = _PICTURE.fullmatch(name)
        if name in numbers:
            people.append(numbers[name])
        elif picture and int(picture[1]) < len(faces):
            pictures.append(int(picture[1]))
        else:
            unknown.append(name)
    if unknown:
        more = f" and {len(unknown) - 10} more" if len(unknown) > 10 else ""
        raise ConfigError(
            f"{faces.source}: not in the set: {', '.join(map(repr, unknown[:10]))}{more}: name "
            f"people as the set does, or pictures as #0 to #{len(faces) - 1}"
        )
    named = np.isin(faces.labels, people)
    named[pictures] = True
    return named
