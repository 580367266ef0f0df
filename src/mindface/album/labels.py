"""Which person each face stands with before faces are compared: what was, and what is said."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mindface.album.names import Said
from mindface.album.people import SortedFace
from mindface.clustering.clusters import NOBODY

Ints = NDArray[np.int64]


class Start(NamedTuple):
    """Where sorting begins.

    Attributes:
        labels: `(N,)`, the person of each face, -1 where there is none.
        settled: `(N,)`, faces of people, and those of nobody that nothing new could change.
        names: of people, by label; of those who have one.
        apart: `(P, 2)`, faces that are not one person.
    """

    labels: Ints
    settled: NDArray[np.bool_]
    names: dict[int, str]
    apart: Ints


def begin(old: Sequence[SortedFace | None], said: Sequence[Said] | None) -> Start:
    """Settles what is known.

    A face that a gallery knows stands with the person of that name, wherever it stood before. An
    old person gets the name that more than half of its faces have; one who had a name gets the most
    frequent one, and none where the gallery knows none of its faces any more. A face leaves a
    person for whom it was rejected. All other faces stay where they were. Without a gallery, old
    names stay too.

    Args:
        old: what each face was before; None: new.
        said: what a gallery says of each face; None: there is no gallery.
    """
    labels = before = np.array([_label(face) for face in old], np.int64)
    names, apart = _old_names(old), np.zeros((0, 2), np.int64)
    if said is not None:
        names = _names(before, names, said)
        labels = _labels(before, names, said)
        apart = _apart(labels, names, said)
    known = np.array([face is not None for face in old], bool)
    moved = bool((labels != before).any())  # then somebody may be like those of nobody
    return Start(labels, (labels >= 0) | (known & (not moved)), names, apart)


def _label(face: SortedFace | None) -> int:
    return NOBODY if face is None or face.person is None else face.person


def _old_names(old: Sequence[SortedFace | None]) -> dict[int, str]:
    return {
        face.person: face.name for face in old if face and face.name and face.person is not None
    }


def _names(before: Ints, named: Mapping[int, str], said: Sequence[Said]) -> dict[int, str]:
    """The names of people who are there, and labels for those who come with a name."""
    votes: dict[int, Counter[str | None]] = defaultdict(Counter)
    for label, each in zip(before.tolist(), said, strict=True):
        if label >= 0:
            votes[label][each.name] += 1
    names = {}
    for label, counts in sorted(votes.items()):
        least = 0 if label in named else counts.total() / 2
        found = sorted((-count, name) for name, count in counts.items() if name)
        if found and -found[0][0] > least:
            names[label] = found[0][1]
    free = int(before.max(initial=NOBODY)) + 1
    new = sorted({each.name for each in said if each.name} - {*names.values()})
    return names | dict(enumerate(new, free))


def _labels(before: Ints, names: Mapping[int, str], said: Sequence[Said]) -> Ints:
    """People of one name are one, under the lowest of their numbers."""
    label_of: dict[str, int] = {}
    for label in sorted(names):
        label_of.setdefault(names[label], label)
    labels = before.copy()
    for face, (label, each) in enumerate(zip(before.tolist(), said, strict=True)):
        name = names.get(label)
        if each.name is not None:
            labels[face] = label_of[each.name]
        elif name in each.rejected:
            labels[face] = NOBODY
        elif name is not None:
            labels[face] = label_of[name]
    return labels


def _apart(labels: Ints, names: Mapping[int, str], said: Sequence[Said]) -> Ints:
    """Each face with one of each person for whom it was rejected."""
    faces = {label: face for face, label in enumerate(labels.tolist()) if label in names}
    of_name = {names[label]: face for label, face in faces.items()}
    pairs = [
        (face, of_name[name])
        for face, each in enumerate(said)
        for name in sorted(each.rejected)
        if name in of_name
    ]
    return np.array(pairs, np.int64).reshape(-1, 2)
