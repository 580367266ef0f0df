"""The faces of an album into people: read, sorted among those that are there, and judged."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mindface.album.labels import begin
from mindface.album.names import Said
from mindface.album.people import DIGITS, Decision, SortedFace
from mindface.album.store import FaceStore
from mindface.clustering import Clusters, assign
from mindface.gallery.rows import face_content
from mindface.results import Array

Ints = NDArray[np.int64]

SAID = ("confirmed", "enrolled")  # by somebody: nothing to doubt
CLEAR = 0.55  # 40 held-out people of celeba200: what was wrongly joined was shorter, 2% of the rest
DOUBT = 0.05  # faces of less confidence, and joins less than this above the threshold


@dataclass(frozen=True, eq=False)
class Faces:
    """The faces of an album, ordered by the path of the photo and their score.

    Attributes:
        embeddings: `(N, D)` float32 of unit length.
        boxes: `(N, 4)` float32.
        clear: `(N,)`, whether there is enough of the face to tell people by.
        paths: `(N,)` of the photos.
        contents: `(N,)` what names each face; see `SortedFace.face`.
    """

    embeddings: Array
    boxes: Array
    clear: NDArray[np.bool_]
    paths: Sequence[Path]
    contents: Sequence[str]

    def __len__(self) -> int:
        return len(self.paths)


def load(store: FaceStore, photos: Iterable[Path]) -> Faces:
    """The faces of photos, as a store has them; photos that it does not know are left out.

    A face is clear where its embedding was at least `CLEAR` times as long as that of a clear
    portrait: what a network sees little of has a short one (Meng et al., "MagFace", CVPR 2021,
    section 3), and all those are like each other.
    """
    parts = [np.zeros(0, store.row_type)["embedding"]]
    boxes, norms = [np.zeros((0, 4), np.float32)], [np.zeros(0, np.float32)]
    paths: list[Path] = []
    contents: list[str] = []
    for path in sorted(photos):
        photo = store.photo(path)
        if photo is None or not len(photo.faces):
            continue
        parts.append(photo.faces["embedding"])
        boxes.append(photo.faces["box"])
        norms.append(photo.faces["norm"])
        paths += [path] * len(photo.faces)
        contents += [face_content(photo.content, number) for number in range(len(photo.faces))]
    clear = np.concatenate(norms) >= CLEAR * store.clear_norm
    return Faces(np.concatenate(parts), np.concatenate(boxes), clear, paths, contents)


class Join(NamedTuple):
    """Two groups of faces that became one.

    Attributes:
        person: whose faces they are now.
        faces: the most alike of them, by their numbers.
        similarity: of the two groups.
    """

    person: int
    faces: tuple[int, int]
    similarity: float


@dataclass(frozen=True, eq=False)
class Album:
    """Faces as people.

    Attributes:
        faces: in the order in which they were given.
        joins: those that are doubtful, of those that were made now; the most doubtful first.
    """

    faces: Sequence[SortedFace]
    joins: Sequence[Join]


def sort_faces(
    faces: Faces,
    threshold: float,
    *,
    old: Iterable[SortedFace] = (),
    said: Sequence[Said] | None = None,
) -> Album:
    """Sorts faces into people.

    A face that is not clear is nobody's, unless it was somebody's before or a gallery knows it.

    Args:
        faces: of the album.
        threshold: least similarity of faces that are joined; see `mindface.clustering.strictness`.
        old: what was sorted before. Those faces stay where they are, unless a gallery says
            otherwise, and the others join them; without them all faces are sorted at once.
        said: what a gallery says of each face (`mindface.album.names.ask`): people of different
            names are never joined, nor a face with a person for whom it was rejected.
    """
    before = _before(faces, old)
    start = begin(before, said)
    order = np.concatenate([np.flatnonzero(start.settled), np.flatnonzero(~start.settled)])
    place = np.argsort(order)
    count = int(np.count_nonzero(start.settled))
    there, new = order[:count], order[count:]
    shown = (faces.clear | (start.labels >= 0))[:, None]  # rows of zeros are nobody
    found = assign(
        faces.embeddings[new] * shown[new],
        Clusters(
            faces.embeddings[there] * shown[there],
            start.labels[there],
            threshold,
            [faces.paths[face] for face in there],
        ),
        photos=[faces.paths[face] for face in new],
        cannot=place[start.apart],
    )
    labels = found.labels[place]
    sure = np.fmin(found.confidence[place], _old_confidence(before, labels))
    beside = _beside(faces, labels)
    sorted_faces = [
        _sorted(faces, face, label, start.names.get(label), decision, sure[face], face in beside)
        for face, (label, decision) in enumerate(
            zip(labels.tolist(), _decisions(before, said), strict=True)
        )
    ]
    close = found.similarities < threshold + DOUBT
    pairs = zip(order[found.joins[close]].tolist(), found.similarities.tolist(), strict=False)
    joins = [Join(int(labels[a]), (a, b), similarity) for (a, b), similarity in pairs]
    return Album(sorted_faces, joins)


def _before(faces: Faces, old: Iterable[SortedFace]) -> list[SortedFace | None]:
    """What each face was: itself, else the same face in a photo that lay elsewhere."""
    by_face: dict[str, SortedFace] = {}
    by_place: dict[tuple[str, Path], SortedFace] = {}
    for each in old:
        by_face.setdefault(each.face, each)
        by_place[each.face, each.path] = each
    return [
        by_place.get((content, path), by_face.get(content))
        for content, path in zip(faces.contents, faces.paths, strict=True)
    ]


def _old_confidence(before: Sequence[SortedFace | None], labels: Ints) -> Array:
    """Of faces that stayed: old faces were not compared again, so that their doubts hold."""
    return np.array(
        [
            face.confidence
            if face and face.confidence is not None and face.person == label
            else np.nan
            for face, label in zip(before, labels.tolist(), strict=True)
        ],
        np.float32,
    )


def _decisions(
    before: Sequence[SortedFace | None], said: Sequence[Said] | None
) -> list[Decision | None]:
    if said is not None:
        return [each.decision for each in said]
    return [face.decision if face else None for face in before]


def _sorted(
    faces: Faces,
    face: int,
    label: int,
    name: str | None,
    decision: Decision | None,
    confidence: float,
    beside: bool,
) -> SortedFace:
    x1, y1, x2, y2 = faces.boxes[face].tolist()
    return SortedFace(
        faces.paths[face],
        faces.contents[face],
        (x1, y1, x2, y2),
        None if label < 0 else label,
        name,
        decision,
        None if np.isnan(confidence) else round(float(confidence), DIGITS),
        decision not in SAID and (bool(confidence < DOUBT) or beside),
        bool(faces.clear[face]),
    )


def _beside(faces: Faces, labels: Ints) -> Collection[int]:
    """Faces that share a photo with another face of their person."""
    found: dict[tuple[Path, int], list[int]] = {}
    for face, (path, label) in enumerate(zip(faces.paths, labels.tolist(), strict=True)):
        if label >= 0:
            found.setdefault((path, label), []).append(face)
    return {face for group in found.values() if len(group) > 1 for face in group}
