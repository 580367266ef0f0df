"""Faces that other programs named in photos, and names given to photos for them to read.

Boxes are in pixels of the upright photo here; `formats.xmp` says how files have them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mindface.errors import ImageError
from mindface.files import open_regular
from mindface.formats import xmp
from mindface.formats.xmp import Region, Regions
from mindface.geometry import iou
from mindface.imaging import containers, open_image
from mindface.results import Array

SAME = 0.3  # overlap of two boxes of one face; programs draw them differently
ALIKE = 0.01  # by how much, as a share, the sides' ratio of one picture may differ


@dataclass(frozen=True, eq=False)
class NamedFace:
    """A face of a photo.

    Attributes:
        name: whose, where it is known.
        box: `(4,)` float32, in pixels of the upright photo.
    """

    name: str | None
    box: Array


@dataclass(frozen=True)
class Written:
    """What became of a photo's names.

    Attributes:
        sidecar: the file that has them.
        added: names that were written.
        kept: names that somebody gave these faces before, and that stay.
    """

    sidecar: Path
    added: tuple[str, ...]
    kept: tuple[str, ...]


def sidecars(path: Path) -> tuple[Path, Path]:
    """Where a photo's sidecar may lie: as `photo.jpg.xmp` (darktable, digiKam) or `photo.xmp`."""
    return path.with_name(f"{path.name}.xmp"), path.with_suffix(".xmp")


def named_faces(path: Path) -> list[NamedFace]:
    """The face regions of a photo: of its sidecar if that has any, else those that are embedded.

    Raises:
        ImageError: the photo or the XMP cannot be read, or the regions are of another picture.
    """
    picture = _Picture(path)
    _, found = _existing(path)
    turn = picture.turn(found)
    return [NamedFace(face.name, picture.pixels(face, turn)) for face in found.faces]


def write_names(path: Path, faces: Iterable[NamedFace]) -> Written:
    """Writes names of faces into a photo's sidecar; never into the photo.

    What else a sidecar holds stays as it is, byte by byte, names that a face has already
    included. A new sidecar is `photo.jpg.xmp`; it takes over the regions that the photo embeds,
    since programs that read it may not look there any more.

    Raises:
        ImageError: as `named_faces`, or a name has a character that XML cannot hold.
        OSError: the sidecar cannot be written.
    """
    picture = _Picture(path)
    sidecar, found = _existing(path)
    turn = picture.turn(found)
    boxes = [picture.pixels(face, turn) for face in found.faces]
    new, added, kept = [], [], []
    for face in faces:
        same = _same(face.box, boxes)
        there = None if same is None else found.faces[same]
        if there is None or not there.name:
            box = picture.shares(face.box, turn) if there is None else there.box
            new.append(Region(face.name, box))
            added.append(str(face.name))
        else:
            kept.append(there.name)
    target = sidecar or next(filter(Path.exists, sidecars(path)), sidecars(path)[0])
    if new:
        before = _read(target) if target.exists() else None
        if sidecar is None:  # the regions there are, are embedded
            named = {region.box for region in new}
            new = [face for face in found.faces if face.box not in named] + new
        size = found.size or picture.stored
        _write(target, xmp.add_regions(before, Regions(size, tuple(new))))
    return Written(target, tuple(added), tuple(kept))


class _Picture:
    """A photo's size and orientation."""

    def __init__(self, path: Path) -> None:
        photo = open_image(path)
        with open_regular(path) as file:
            self.orientation = containers.content(file).orientation
        self.path = path
        self.upright = (photo.width, photo.height)
        self.stored = self.upright[::-1] if self.orientation >= 5 else self.upright

    def turn(self, regions: Regions) -> int:
        """The orientation by which regions are turned to be upright.

        The standard wants those of the stored picture; some programs write the upright one's,
        which their size gives away.

        Raises:
            ImageError: they were drawn on a picture of another shape.
        """
        if regions.size is None or _alike(regions.size, self.stored):
            return self.orientation
        if _alike(regions.size, self.upright):
            return 1
        width, height = regions.size
        raise ImageError(
            f"its regions are of a picture of {width:g} x {height:g} pixels, and it has "
            f"{self.stored[0]} x {self.stored[1]}: it was cropped or turned since",
            str(self.path),
        )

    def pixels(self, face: Region, turn: int) -> Array:
        shares = np.array(xmp.turned(face.box, turn))
        return np.asarray(shares * np.tile(self.upright, 2), np.float32)

    def shares(self, box: Array, turn: int) -> xmp.Box:
        left, top, right, bottom = np.clip(box / np.tile(self.upright, 2), 0, 1).tolist()
        return xmp.turned((left, top, right, bottom), {6: 8, 8: 6}.get(turn, turn))


def _alike(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return abs(a[0] * b[1] - a[1] * b[0]) <= ALIKE * a[0] * b[1]


def _same(box: Array, others: Sequence[Array]) -> int | None:
    """Which of the boxes overlaps most, if it does enough."""
    overlaps = iou(np.asarray(box, np.float32)[None], np.array(others).reshape(-1, 4))[0]
    best = int(overlaps.argmax()) if len(overlaps) else 0
    return best if len(overlaps) and overlaps[best] >= SAME else None


def _existing(path: Path) -> tuple[Path | None, Regions]:
    """The sidecar that has regions, with them; or none, with those that the photo embeds."""
    for sidecar in filter(Path.exists, sidecars(path)):
        found = _regions(_read(sidecar), sidecar)
        if found.faces:
            return sidecar, found
    with open_regular(path) as file:
        embedded = xmp.jpeg_xmp(file)
    return None, Regions() if embedded is None else _regions(embedded, path)


def _regions(packet: bytes, path: Path) -> Regions:
    try:
        return xmp.read_regions(packet)
    except ImageError as error:
        raise ImageError(error.reason, str(path)) from error


def _read(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            return file.read(xmp.MAX_BYTES + 1)
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror or error}", str(path)) from error


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            partial.chmod(path.stat().st_mode & 0o7777)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
