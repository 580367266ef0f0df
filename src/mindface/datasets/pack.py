"""From one form of storage to another: any set of faces into RecordIO or tar shards."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

import numpy as np

from mindface.datasets.faceset import FaceSet, decode
from mindface.datasets.tars import CLASSES
from mindface.errors import ImageError, IntegrityError
from mindface.formats.insightface_rec import write_records

Track = Callable[[Iterable[int], int], Iterator[int]]


def pack_records(
    faces: FaceSet,
    path: str | os.PathLike[str],
    *,
    track: Track = lambda items, total: iter(items),
) -> None:
    """Writes a set in InsightFace's layout, picture by picture, whole or not at all.

    A person's pictures stand together, in the order they have in the set. Names are lost: the
    format has numbers only.

    Args:
        faces: every picture of it is written once, as it is encoded.
        path: ends in `.rec`; `.idx` and `property` are written beside it.
        track: is given the numbers of the pictures to write, and how many there are; shows the
            progress.

    Raises:
        ImageError: a picture cannot be read, or is neither JPEG nor PNG.
        IntegrityError: as `write_records`.
    """
    order = np.argsort(faces.labels, kind="stable")
    first = int(order[0])
    height, width, _ = decode(faces.read(first), faces.describe(first)).shape
    numbers = track(map(int, order), len(order))
    people = groupby(numbers, key=lambda index: int(faces.labels[index]))
    pictures = (
        (label, (_encoded(faces, index, ("jpg", "png"))[1] for index in indices))
        for label, indices in people
    )
    write_records(path, pictures, (height, width))


def pack_tars(
    faces: FaceSet,
    folder: str | os.PathLike[str],
    *,
    per_shard: int = 10_000,
    track: Track = lambda items, total: iter(items),
) -> None:
    """Writes a set as tar shards in WebDataset's layout, whole or not at all.

    The pictures are written in one random order, the same each time, because shards are read
    nearly from beginning to end: a shuffle buffer would not mix people that lie far apart.
    `faces-00000.tar` and so on hold `KEY.jpg` and `KEY.cls`, and `classes.json` the names.

    Args:
        faces: every picture of it is written once, as it is encoded.
        folder: that does not exist yet, or is empty.
        per_shard: pictures in a shard.
        track: as in `pack_records`.

    Raises:
        ImageError: a picture cannot be read, or is none of JPEG, PNG and WebP.
        IntegrityError: the folder is not empty, or cannot be written.
        ValueError: `per_shard` is below 1.
    """
    if per_shard < 1:
        raise ValueError(f"a shard must have 1 picture at least, not {per_shard}")
    folder = Path(os.path.abspath(folder))
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
    try:
        if folder.exists() and any(folder.iterdir()):
            raise IntegrityError(f"{folder}: not written: there is something in it: give another")
        partial.mkdir(parents=True)
        order = np.random.default_rng(0).permutation(len(faces))
        numbers = enumerate(track(map(int, order), len(order)))
        for shard, samples in groupby(numbers, key=lambda sample: sample[0] // per_shard):
            with (partial / f"faces-{shard:05d}.tar").open("wb") as file:
                _write_shard(file, faces, samples)
        (partial / CLASSES).write_text(json.dumps(faces.class_names))
        partial.replace(folder)
    except OSError as error:
        raise IntegrityError(f"{folder}: cannot be written: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_shard(file: BinaryIO, faces: FaceSet, samples: Iterable[tuple[int, int]]) -> None:
    with tarfile.open(fileobj=file, mode="w") as archive:
        for key, index in samples:
            kind, picture = _encoded(faces, index, ("jpg", "png", "webp"))
            _add(archive, f"{key:09d}.{kind}", picture)
            _add(archive, f"{key:09d}.cls", b"%d" % faces.labels[index])
    file.flush()
    os.fsync(file.fileno())


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, BytesIO(content))


def _encoded(faces: FaceSet, index: int, kinds: tuple[str, ...]) -> tuple[str, bytes]:
    """The kind of a picture, and the picture."""
    picture = faces.read(index)
    kind = _kind(picture)
    if kind not in kinds:
        raise ImageError(
            f"this storage takes {', '.join(kinds)} only: convert it first", faces.describe(index)
        )
    return kind, picture


def _kind(picture: bytes) -> str:
    if picture.startswith(b"\xff\xd8\xff"):
        return "jpg"
    if picture.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if picture.startswith(b"RIFF") and picture[8:12] == b"WEBP":
        return "webp"
    return "other"
