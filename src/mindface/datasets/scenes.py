"""Pictures with labelled faces to train detectors on, whatever their labels are written in.

A set is a `SceneSet`: `label.txt`, WIDER FACE's own lists, COCO JSON, or several as one
`SceneMixture`.
"""

from __future__ import annotations

import math
import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mindface.detection.scene import Scene
from mindface.errors import ConfigError, ImageError, IntegrityError
from mindface.files import open_regular
from mindface.formats.coco import read_coco
from mindface.formats.retinaface_labels import read_labels
from mindface.formats.wider_face import read_annotations
from mindface.imaging import read

Ints = NDArray[np.int64]

SUFFIXES = (".json", ".txt")
_WIDER = "_bbx_gt.txt"
_INVALID = 7  # the column of WIDER FACE's lists
_PHOTOS = (".jpg", ".jpeg", ".png")


class Labels(NamedTuple):
    """The faces of a picture, in pixels of the upright picture.

    Attributes:
        boxes: `(N, 4)` float32 xyxy; may reach out of the picture.
        landmarks: `(N, 5, 2)` float32, in the order of `Face.landmarks`; NaN for a face whose
            landmarks nobody marked.
        ignored: `(N,)` bool: neither faces that must be found nor background.
    """

    boxes: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    ignored: NDArray[np.bool_]


class SceneSet(Protocol):
    """Pictures with labelled faces, read by number.

    Threads may share one, and it can be pickled for the workers of a data loader.

    Attributes:
        source: what to call the set in messages: the path of its labels.
    """

    source: str

    def __len__(self) -> int: ...

    def read(self, index: int) -> bytes:
        """The encoded picture: JPEG, PNG, ...

        Raises:
            ImageError: its file cannot be read.
        """
        ...

    def labels(self, index: int) -> Labels:
        """The faces of the picture."""
        ...

    def describe(self, index: int) -> str:
        """Where the picture is, for messages: "train/images/0--Parade/1.jpg"."""
        ...


def load_scene(scenes: SceneSet, index: int) -> Scene:
    """A picture, decoded and upright, with its faces.

    Raises:
        ImageError: the picture cannot be read, or is none; the message has its place.
        MissingExtraError: a kind of picture that needs an extra.
    """
    content = scenes.read(index)
    try:
        image = read(content)
    except ImageError as error:
        raise ImageError(error.reason, scenes.describe(index)) from error
    return Scene(image, *scenes.labels(index))


class _Listed(NamedTuple):
    """A picture of a list: its name below the folder, and its faces; boxes are x y width height."""

    name: str
    boxes: NDArray[Any]
    landmarks: NDArray[Any]
    ignored: NDArray[np.bool_]


class SceneFiles:
    """A `SceneSet` of picture files, whose labels are in memory: 57 bytes a face.

    Args:
        source: the path of the labels, for messages.
        folder: of the pictures.
        pictures: what is listed.

    Raises:
        IntegrityError: a picture is listed twice, or its name leads out of the folder.

    Attributes:
        folder: of the pictures.
        names: of the pictures below it, with `/`.
    """

    def __init__(self, source: str, folder: Path, pictures: Iterable[_Listed]) -> None:
        self.source, self.folder = source, folder
        listed = list(pictures)
        self.names = tuple(_inside(source, picture.name) for picture in listed)
        seen = set[str]()
        for name in self.names:
            if name in seen:
                raise IntegrityError(f"{source}: the picture {name!r:.100} comes twice")
            seen.add(name)
        self._ends = np.cumsum([len(picture.boxes) for picture in listed], dtype=np.int64)
        boxes = np.concatenate([picture.boxes for picture in listed]).astype(np.float64)
        boxes[:, 2:] += boxes[:, :2]
        self._boxes = boxes.astype(np.float32)
        landmarks = np.concatenate([picture.landmarks for picture in listed])
        self._landmarks = landmarks.astype(np.float32)
        empty = (self._boxes[:, 2:] <= self._boxes[:, :2]).any(1)
        self._ignored = np.concatenate([picture.ignored for picture in listed]) | empty

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int) -> bytes:
        """See `SceneSet.read`."""
        path = self.describe(index)
        try:
            with open_regular(path) as file:
                return file.read()
        except OSError as error:
            raise ImageError(f"cannot be read: {error.strerror or error}", path) from error

    def labels(self, index: int) -> Labels:
        """See `SceneSet.labels`; the arrays are the set's own."""
        faces = slice(self._ends[index - 1] if index else 0, self._ends[index])
        return Labels(self._boxes[faces], self._landmarks[faces], self._ignored[faces])

    def describe(self, index: int) -> str:
        """The path of the file."""
        return str(self.folder / self.names[index])


def open_scenes(
    path: str | os.PathLike[str], images: str | os.PathLike[str] | None = None
) -> SceneFiles:
    """Opens a set of pictures with labelled faces, known by the name of the file of labels.

    Faces are ignored that WIDER FACE calls invalid, that COCO calls a crowd or `ignore`, and whose
    box has no area. A picture that is missing is only missed when it is read.

    Args:
        path: `.json`: COCO with five keypoints (`formats.coco`); `..._bbx_gt.txt`: a list of WIDER
            FACE (`formats.wider_face`); any other `.txt`: RetinaFace's `label.txt`
            (`formats.retinaface_labels`).
        images: the folder of the pictures; None for the folder `images` beside the file, or the
            file's own folder where there is none.

    Raises:
        ConfigError: a file of another kind.
        ImageError: there is no folder `images`.
        IntegrityError: the labels cannot be read or are not sound, a picture is listed twice, or
            its name leads out of the folder.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise ConfigError(
            f"{path}: no labels of faces: give COCO's .json, WIDER FACE's *{_WIDER} or a label.txt"
        )
    beside = path.parent / "images"
    folder = Path(images) if images else beside if beside.is_dir() else path.parent
    if not folder.is_dir():
        raise ImageError("no such folder: say where the pictures are", str(folder))
    return SceneFiles(str(path), folder, _listed(path, folder))


def _listed(path: Path, folder: Path) -> Iterator[_Listed]:
    if path.suffix == ".json":
        for image in read_coco(path):
            yield _Listed(image.name, image.boxes, image.landmarks, image.ignored)
    elif path.name.endswith(_WIDER):
        for name, rows in read_annotations(path).items():
            landmarks = np.full((len(rows), 5, 2), np.nan)
            yield _Listed(_photo(folder, name), rows[:, :4], landmarks, rows[:, _INVALID] != 0)
    else:
        for name, faces in read_labels(path).items():
            yield _Listed(name, faces.boxes, faces.points, np.zeros(len(faces.boxes), bool))


def _photo(folder: Path, image: str) -> str:
    """The name of an image's file, which WIDER FACE's reader gives without a suffix."""
    names = (f"{image}{suffix}" for suffix in _PHOTOS)
    return next((name for name in names if (folder / name).exists()), f"{image}{_PHOTOS[0]}")


def _inside(source: str, name: str) -> str:
    """The plain form of a name that stays in its folder, whatever the system."""
    for path in (PurePosixPath(name), PureWindowsPath(name)):
        if path.anchor or ".." in path.parts or not path.parts:
            raise IntegrityError(f"{source}: {name!r:.100} leads out of the folder of pictures")
    return str(PurePosixPath(name))


class SceneMixture:
    """A `SceneSet` of several, of which an epoch shows some more often than others.

    An epoch shows `round(weight * len(set))` pictures of each set: weight 1 each once, 0.5 a random
    half of them, 2 each twice.

    Args:
        sets: at least one.
        weights: how often to show a picture of each set in an epoch; None for once.

    Attributes:
        sets: as given.
        draws: how many pictures of each set an epoch shows.

    Raises:
        ConfigError: there is no set, there are not as many weights as sets, or a weight is not
            above 0 or too small to show a picture.
    """

    def __init__(self, sets: Sequence[SceneSet], weights: Sequence[float] | None = None) -> None:
        self.sets = tuple(sets)
        weights = [1.0] * len(self.sets) if weights is None else weights
        if not len(self.sets) == len(weights) > 0:
            raise ConfigError(
                f"{len(self.sets)} sets and {len(weights)} weights: give one set at least, and a "
                "weight for each"
            )
        self.source = " + ".join(scenes.source for scenes in self.sets)
        self.draws = tuple(map(_draws, self.sets, weights))
        self._starts = [0, *accumulate(map(len, self.sets))]

    def __len__(self) -> int:
        return self._starts[-1]

    @property
    def epoch_size(self) -> int:
        """How many pictures `order` shows."""
        return sum(self.draws)

    def read(self, index: int) -> bytes:
        """See `SceneSet.read`."""
        scenes, row = self._place(index)
        return scenes.read(row)

    def labels(self, index: int) -> Labels:
        """See `SceneSet.labels`."""
        scenes, row = self._place(index)
        return scenes.labels(row)

    def describe(self, index: int) -> str:
        """As its set describes the picture."""
        scenes, row = self._place(index)
        return scenes.describe(row)

    def order(self, rng: np.random.Generator) -> Ints:
        """The pictures of an epoch `(epoch_size,)`, in random order: a function of `rng` alone."""
        plan = zip(self._starts, self.sets, self.draws, strict=False)
        drawn = [start + _drawn(len(scenes), count, rng) for start, scenes, count in plan]
        return rng.permutation(np.concatenate(drawn))

    def _place(self, index: int) -> tuple[SceneSet, int]:
        number = bisect_right(self._starts, index) - 1
        return self.sets[number], int(index) - self._starts[number]


def _draws(scenes: SceneSet, weight: float) -> int:
    draws = round(weight * len(scenes)) if 0 < weight < math.inf else 0
    if not draws:
        raise ConfigError(
            f"the weight of {scenes.source} is {weight}, which shows none of its {len(scenes)} "
            "pictures: give one above 0, or leave the set out"
        )
    return draws


def _drawn(size: int, count: int, rng: np.random.Generator) -> Ints:
    """So many of 0..size - 1: each of them equally often, and a random choice once more."""
    whole, rest = divmod(count, size)
    return np.concatenate([np.tile(np.arange(size), whole), rng.permutation(size)[:rest]])
