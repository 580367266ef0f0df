"""Whether labels of faces in pictures can be trusted: missing pictures, impossible faces."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain, pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mindface.datasets.scenes import Labels, SceneFiles, SceneSet
from mindface.datasets.survey import Track, untracked
from mindface.errors import ImageError, MissingExtraError
from mindface.geometry import iou
from mindface.imaging import find_images, read
from mindface.pipeline import batches_ahead

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

BATCH = 32
TOLERANCE = 0.25
SAME = 0.9
UPRIGHT = 0.2  # of the height of a face, the least distance of eyes that are exchanged for sure
BANDS = (8, 16, 32, 64, 128, 256)
FAULTS = ("no_area", "outside", "landmarks_outside", "mirrored", "twice")


def face_faults(labels: Labels, size: tuple[int, int] | None) -> dict[str, Bools]:
    """Which faces of a picture cannot be as they are labelled.

    Args:
        labels: of the picture.
        size: (height, width) in pixels; None where the picture cannot be read.

    Returns:
        For each of `FAULTS` a mask `(N,)`. `no_area`: the box has no width or height, or negative
        ones. Of faces that are not ignored: `outside`: the centre of the box lies outside the
        picture; `landmarks_outside`: a landmark lies outside the box by more than `TOLERANCE` of
        its longer side; `mirrored`: left and right are exchanged in an upright face; `twice`: the
        box is that of an earlier face once more, by an IoU of `SAME`.
    """
    boxes, landmarks, ignored = labels
    low, high = boxes[:, :2], boxes[:, 2:]
    centre = (low + high) / 2
    limit = np.inf if size is None else np.array(size[::-1])
    outside = (size is not None) & ((centre < 0) | (centre > limit)).any(1)
    reach = TOLERANCE * (high - low).max(1, initial=0)[:, None, None]
    beyond = (landmarks < low[:, None] - reach) | (landmarks > high[:, None] + reach)
    across = landmarks[:, 1] - landmarks[:, 0] + landmarks[:, 4] - landmarks[:, 3]
    down = landmarks[:, 3:].sum(1) - landmarks[:, :2].sum(1)
    mirrored = (down[:, 1] > np.abs(down[:, 0])) & (across[:, 0] < -UPRIGHT * down[:, 1])
    return {
        "no_area": (high <= low).any(1),
        "outside": outside & ~ignored,
        "landmarks_outside": beyond.any((1, 2)) & ~ignored,
        "mirrored": mirrored & ~ignored,
        "twice": _twice(boxes, ignored),
    }


def _twice(boxes: NDArray[np.float32], ignored: Bools) -> Bools:
    counted = np.flatnonzero(~ignored)
    overlaps = np.tril(iou(boxes[counted], boxes[counted]), -1)
    twice = np.zeros(len(boxes), bool)
    twice[counted] = (overlaps >= SAME).any(1)
    return twice


class Fault(NamedTuple):
    """A face that cannot be as it is labelled: numbers of picture and face, and the box."""

    picture: int
    face: int
    box: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class CheckedScenes:
    """A set and what was found in it.

    Attributes:
        scenes: the set of N pictures.
        sizes: `(N, 2)`, height and width; zeros where the picture cannot be read.
        unreadable: why a picture cannot be read, by its number.
        duplicates: the number of the earlier picture with the same content, by that of the later.
        unlisted: pictures in the folder that the labels do not name.
    """

    scenes: SceneSet
    sizes: Ints
    unreadable: dict[int, str]
    duplicates: dict[int, int]
    unlisted: tuple[str, ...]

    @cached_property
    def faults(self) -> dict[str, list[Fault]]:
        """The faces that cannot be as they are labelled, for each of `FAULTS`."""
        found: dict[str, list[Fault]] = {name: [] for name in FAULTS}
        for number, size in enumerate(self.sizes.tolist()):
            labels = self.scenes.labels(number)
            masks = face_faults(labels, tuple(size) if all(size) else None)
            for name, mask in masks.items():
                for face in np.flatnonzero(mask).tolist():
                    found[name].append(Fault(number, face, tuple(labels.boxes[face].tolist())))
        return found

    @property
    def damaged(self) -> bool:
        """Whether pictures cannot be read, or faces cannot be as they are labelled."""
        return bool(self.unreadable or any(self.faults.values()))

    @property
    def suspicious(self) -> bool:
        """Whether anything was found that somebody should look at."""
        return bool(self.damaged or self.duplicates or self.unlisted or self._without_faces())

    def report(self) -> dict[str, Any]:
        """All of it as plain values.

        Returns:
            Counts: `pictures`, `faces` (that are not ignored), `with_landmarks`, `ignored`,
            `sides` (faces by the shorter side of the box in pixels: "8-16": count) and
            `reaching_out` (boxes that reach out of their picture by more than a pixel, which is no
            fault). Lists: `unreadable` (`picture`, `reason`); each of `FAULTS` (`picture`, `face`,
            `box` as xyxy in pixels); `duplicates` (`picture`, `earlier`); `without_faces`
            (pictures) and `unlisted` (pictures in the folder that the labels do not name).
            `labels`: the set.
        """
        called, faces = self.scenes.describe, [*map(self.scenes.labels, range(len(self.scenes)))]
        boxes, landmarks, ignored = map(np.concatenate, zip(*faces, strict=True))
        sides = (boxes[:, 2:] - boxes[:, :2]).min(1)[~ignored]
        return {
            "labels": self.scenes.source,
            "pictures": len(self.scenes),
            "faces": int((~ignored).sum()),
            "with_landmarks": int((np.isfinite(landmarks).all((1, 2)) & ~ignored).sum()),
            "ignored": int(ignored.sum()),
            "sides": _banded(sides),
            "reaching_out": sum(map(_reaching_out, faces, self.sizes)),
            "unreadable": [{"picture": called(n), "reason": r} for n, r in self.unreadable.items()],
            **{name: [*map(self._row, found)] for name, found in self.faults.items()},
            "duplicates": [
                {"picture": called(n), "earlier": called(earlier)}
                for n, earlier in self.duplicates.items()
            ],
            "without_faces": [called(number) for number in self._without_faces()],
            "unlisted": list(self.unlisted),
        }

    def _without_faces(self) -> list[int]:
        return [n for n in range(len(self.scenes)) if not len(self.scenes.labels(n).boxes)]

    def _row(self, fault: Fault) -> dict[str, Any]:
        box = [round(value, 2) for value in fault.box]
        return {"picture": self.scenes.describe(fault.picture), "face": fault.face, "box": box}


def check_scenes(scenes: SceneSet, track: Track = untracked) -> CheckedScenes:
    """Decodes every picture of a set and looks at the labels of its faces.

    Args:
        scenes: the set.
        track: shows the progress; see `survey`.

    Raises:
        ImageError: a folder of pictures cannot be listed.
    """
    sizes = np.zeros((len(scenes), 2), np.int64)
    unreadable: dict[int, str] = {}
    duplicates: dict[int, int] = {}
    earlier: dict[bytes, int] = {}
    threads = os.cpu_count() or 1
    looks = batches_ahead(partial(_look, scenes), range(len(scenes)), BATCH, threads)
    numbers = track(range(len(scenes)), len(scenes), f"look at {scenes.source}")
    for number, look in zip(numbers, chain.from_iterable(looks), strict=True):
        if isinstance(look, str):
            unreadable[number] = look
            continue
        sizes[number] = look.size
        first = earlier.setdefault(look.key, number)
        if first != number:
            duplicates[number] = first
    return CheckedScenes(scenes, sizes, unreadable, duplicates, tuple(_unlisted(scenes)))


class _Look(NamedTuple):
    size: tuple[int, int]
    key: bytes


def _look(scenes: SceneSet, number: int) -> _Look | str:
    """A picture's (height, width) and hash, or why it cannot be read."""
    try:
        content = scenes.read(number)
        height, width, _ = read(content).shape
    except ImageError as error:
        return error.reason
    except MissingExtraError as error:
        return str(error)
    return _Look((height, width), hashlib.sha256(content).digest()[:16])


def _unlisted(scenes: SceneSet) -> Iterator[str]:
    if isinstance(scenes, SceneFiles):
        listed = set(scenes.names)
        for path in find_images([scenes.folder]):
            if path.relative_to(scenes.folder).as_posix() not in listed:
                yield str(path)


def _banded(sides: NDArray[np.float32]) -> dict[str, int]:
    edges = ["0", *map(str, BANDS)]
    names = [f"{a}-{b}" for a, b in pairwise(edges)] + [f"{edges[-1]}-"]
    counts = np.bincount(np.searchsorted(BANDS, sides, "right"), minlength=len(names))
    return dict(zip(names, counts.tolist(), strict=True))


def _reaching_out(labels: Labels, size: Ints) -> int:
    """How many faces of a picture that can be read reach out of it."""
    beyond = (labels.boxes[:, :2] < -1) | (labels.boxes[:, 2:] > size[::-1] + 1)
    return int((beyond.any(1) & ~labels.ignored).sum()) if size.all() else 0
