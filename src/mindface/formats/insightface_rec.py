"""InsightFace's layout of training sets in RecordIO: `train.rec`, `train.idx`, `property`.

InsightFace (`recognition/arcface_torch/dataset.py`, `MXFaceDataset`) puts the images at keys from
1 on and after them a record a person with its range of keys; record 0 has the range of those.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mindface.errors import IntegrityError
from mindface.formats.recordio import Floats, Ints, RecordFile, framed, packed, rec_path

EXACT = 1 << 24  # keys and labels are float32, which holds every integer up to here
MAX_PICTURE = 500_000_000
PICTURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")


@dataclass(frozen=True)
class Faults:
    """What is wrong with a set; equal to `Faults()` where nothing is.

    Attributes:
        damaged: keys of images whose record cannot be read or whose label is no whole number.
        foreign: keys of images that are neither JPEG nor PNG.
        gaps: whether the labels are others than 0 to C - 1.
        empty: rows of `people` without an image.
        mixed: rows of `people` whose images have several labels.
        split: labels with images in several rows of `people`.
        outside: keys of images in no row of `people`, or in several.
    """

    damaged: tuple[int, ...] = ()
    foreign: tuple[int, ...] = ()
    gaps: bool = False
    empty: tuple[int, ...] = ()
    mixed: tuple[int, ...] = ()
    split: tuple[int, ...] = ()
    outside: tuple[int, ...] = ()


class IdentityRecords:
    """A training set in InsightFace's layout; images are read by `file.read(key)`.

    Attributes:
        file: its records.
        keys: `(N,)` of the images, ascending.

    Args:
        path: of the `.rec`.

    Raises:
        IntegrityError: as `RecordFile`, or record 0 or a person's record makes no sense.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.file = RecordFile(path)
        self.keys, self._ranges = self._layout()

    def __len__(self) -> int:
        return len(self.keys)

    @cached_property
    def labels(self) -> Ints:
        """`(N,)`, the person of each image as its record has it.

        Raises:
            IntegrityError: a record is damaged, or its label is no whole number up to 2^24.
        """
        labels = self.file.labels(self.keys)
        wrong = ~_whole(labels)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise IntegrityError(
                f"{self.file.path}: record {self.keys[row]} has the label {labels[row]}, which is "
                "the number of no person: damaged, or no set of identities"
            )
        return labels.astype(np.int64)

    @cached_property
    def _numbered(self) -> tuple[Ints, Ints]:
        return np.unique(self.labels, return_inverse=True)

    @property
    def classes(self) -> Ints:
        """`(N,)`, the labels renumbered 0 to C - 1 in their order."""
        return self._numbered[1]

    @property
    def class_names(self) -> tuple[str, ...]:
        """The label of each class, as text."""
        return tuple(map(str, self._numbered[0].tolist()))

    @cached_property
    def people(self) -> Ints:
        """`(P, 2)`, first key and key after the last of each person's images.

        From the people's records. In a set without them, or with keys over 2^24, which these
        records cannot hold exactly, each run of images with one label is a row.
        """
        if self._ranges is not None:
            return self._ranges
        starts = np.flatnonzero(np.diff(self.labels, prepend=self.labels[:1] - 1))
        stops = np.append(starts, len(self.keys))[1:]
        return np.stack([self.keys[starts], self.keys[stops - 1] + 1], axis=1)

    def check(self) -> Faults:
        """Looks at every image, and holds the people's ranges against the images' labels.

        Where images are `damaged`, only `foreign` ones are looked for besides them.
        """
        damaged, foreign = self._unusable()
        if damaged:
            return Faults(damaged, foreign)
        starts, stops = np.searchsorted(self.keys, self.people.T)
        full = starts < stops
        rows, starts, stops = np.flatnonzero(full), starts[full], stops[full]
        changes = np.cumsum(np.diff(self.labels, prepend=self.labels[:1]) != 0)
        covered = np.zeros(len(self) + 1, np.int64)
        np.add.at(covered, starts, 1)
        np.add.at(covered, stops, -1)
        present, _ = self._numbered
        owners, rows_each = np.unique(self.labels[starts], return_counts=True)
        return Faults(
            foreign=foreign,
            gaps=not np.array_equal(present, np.arange(len(present))),
            empty=tuple(np.flatnonzero(~full).tolist()),
            mixed=tuple(rows[changes[starts] != changes[stops - 1]].tolist()),
            split=tuple(owners[rows_each > 1].tolist()),
            outside=tuple(self.keys[np.cumsum(covered[:-1]) != 1].tolist()),
        )

    def _unusable(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Keys of images that are damaged, and of those that are no pictures."""
        damaged, foreign = [], []
        for key in self.keys.tolist():
            try:
                record = self.file.read(key)
            except IntegrityError:
                damaged.append(key)
                continue
            if not _whole(record.label[:1]).all():
                damaged.append(key)
            elif not record.content.startswith(PICTURES):
                foreign.append(key)
        return tuple(damaged), tuple(foreign)

    def _layout(self) -> tuple[Ints, Ints | None]:
        """Keys of the images, and the people's ranges where the file has them."""
        keys = self.file.keys
        header = self.file.read(0) if keys[0] == 0 else None
        if header is None or header.content or len(header.label) < 2:
            return keys, None
        first, last = header.label[:2]
        # Rounded as record 0's range is, which beyond 2^24 may begin a few images early.
        rounded = keys.astype(np.float32)
        complete = keys[-1] == len(keys) - 1 and np.float32(len(keys)) == last
        if not (complete and 1 <= first <= last and first % 1 == 0):
            raise IntegrityError(
                f"{self.file.path}: record 0 says that people are at keys {first} to {last}, "
                f"but there are {len(keys)} keys from 0 to {keys[-1]}: damaged, or cut"
            )
        images, ranges = keys[rounded < first][1:].tolist(), []
        for key in keys[rounded >= first].tolist():
            record = self.file.read(key)
            sides = record.label.tolist()
            if record.content:
                images.append(key)
            elif len(sides) == 2 and all(1 <= side <= first and side % 1 == 0 for side in sides):
                ranges.append(sides)
            else:
                raise IntegrityError(
                    f"{self.file.path}: record {key} has {sides!s:.80}, not the range of a "
                    "person's keys: damaged"
                )
        people = np.array(ranges, np.int64).reshape(-1, 2) if last <= EXACT else None
        return np.array(images, np.int64), people


def write_records(
    path: str | os.PathLike[str],
    people: Iterable[tuple[int, Iterable[bytes]]],
    size: tuple[int, int] = (112, 112),
) -> None:
    """Writes a training set in InsightFace's layout, picture by picture, whole or not at all.

    Args:
        path: ends in `.rec`; `.idx` and `property` are written beside it, so a folder has one set.
        people: each one's label and encoded pictures, JPEG or PNG. InsightFace wants the labels
            0 to C - 1; here any are written that float32 holds.
        size: height and width of the pictures in pixels, for `property`.

    Raises:
        IntegrityError: the files cannot be written, there are no people, one comes twice or has no
            picture, a picture is neither JPEG nor PNG, or there are more than 2^24 records.
    """
    path = rec_path(path)
    files = path, path.with_suffix(".idx"), path.with_name("property")
    partial = [file.with_name(f"{file.name}.{os.getpid()}.tmp") for file in files]
    ranges: dict[int, tuple[int, int]] = {}
    try:
        with partial[0].open("wb") as records, partial[1].open("wb") as index:
            for key, data in enumerate(_contents(path, people, ranges)):
                index.write(b"%d\t%d\n" % (key, records.tell()))
                records.write(framed(data))
            records.seek(0)
            records.write(framed(packed(0, [key + 1 - len(ranges), key + 1])))
            for file in (records, index):
                file.flush()
                os.fsync(file.fileno())
        partial[2].write_text(f"{len(ranges)},{size[0]},{size[1]}\n")
        # Stopped between any two of these, the set can be opened: a missing index is made.
        files[1].unlink(missing_ok=True)
        for new, old in zip(partial, files, strict=True):
            new.replace(old)
    except OSError as error:
        raise IntegrityError(f"{path}: cannot be written: {error}") from error
    finally:
        for new in partial:
            with suppress(OSError):
                new.unlink()


def _contents(
    path: Path, people: Iterable[tuple[int, Iterable[bytes]]], ranges: dict[int, tuple[int, int]]
) -> Iterator[bytes]:
    """What the records hold, in order of their keys; notes each person's range on the way."""
    yield packed(0, [0, 0])  # as long as what will stand there
    first = stop = 1
    for label, pictures in people:
        where = f"{path}: not written: person {label!r:.80}"
        if not isinstance(label, int | np.integer) or abs(label) > EXACT or label in ranges:
            raise IntegrityError(f"{where}: labels are whole numbers up to 2^24, each given once")
        for stop, picture in enumerate(pictures, first + 1):
            if stop + len(ranges) >= EXACT or len(picture) > MAX_PICTURE:
                raise IntegrityError(
                    f"{where}: over 2^24 records, or a picture over 500 MB: make several sets"
                )
            if not picture.startswith(PICTURES):
                raise IntegrityError(f"{where}: picture {stop - first - 1} is no JPEG or PNG")
            yield packed(stop - 1, label, picture)
        if stop == first:
            raise IntegrityError(f"{where} has no picture: leave that person out")
        ranges[label] = first, stop
        first = stop
    if not ranges:
        raise IntegrityError(f"{path}: not written: there are no people")
    for key, sides in enumerate(ranges.values(), first):
        yield packed(key, sides)


def _whole(labels: Floats) -> NDArray[np.bool_]:
    return np.asarray((np.abs(labels) <= EXACT) & (np.floor(labels) == labels), bool)
