"""Embeddings of teachers as targets: computed once, kept on disk, fused into one space."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from mindface.datasets import FaceSet, decode
from mindface.errors import ConfigError, ImageError
from mindface.recognition.recognizer import Recognizer, unit
from mindface.results import Array
from mindface.training.distributed import World
from mindface.training.loading import Pixels
from mindface.training.recognition.data import check_size

BATCH = 64
Track = Callable[[Iterable[int], int, str], Iterator[int]]


def teacher_embeddings(
    faces: FaceSet, teacher: Recognizer, cache: Path, world: World, track: Track
) -> Array:
    """A teacher's embeddings of each face and its mirror image, added and scaled to length 1.

    The processes share the work. It is kept in the cache under the teacher's hash and the set's
    labels and path, so that a stopped run goes on; a picture that changes in its place is not seen.

    Args:
        faces: aligned faces of the teacher's size.
        teacher: any recogniser.
        cache: the folder, one for all processes.
        world: the processes; all call it together.
        track: shows the progress: given what to go through, how many, and what it is.

    Returns:
        `(N, D)` float32, read from the disk as needed; zeros for a picture that cannot be read.

    Raises:
        ImageError: a picture has another size.
    """
    facts = f"{teacher.record.contract}\0{faces.source}\0{len(faces)}".encode()
    name = hashlib.sha256(facts + faces.labels.tobytes()).hexdigest()[:32]
    path, progress = cache / f"{name}.npy", cache / f"{name}.done.npy"
    if world.first and not progress.exists():
        cache.mkdir(parents=True, exist_ok=True)
        open_memmap(path, "w+", np.dtype(np.float32), (len(faces), teacher.embedding_size))
        partial = cache / f".{name}.partial.npy"
        np.save(partial, np.zeros(-(-len(faces) // BATCH), np.bool_))
        partial.replace(progress)
    world.wait()
    rows, done = open_memmap(path, "r+"), open_memmap(progress, "r+")
    mine = [part for part in range(world.rank, len(done), world.processes) if not done[part]]
    for part in track(mine, len(mine), f"embeddings of {teacher.record.name}"):
        start = part * BATCH
        stop = min(start + BATCH, len(faces))
        rows[start:stop] = _embedded(
            teacher, [_face(faces, i, teacher) for i in range(start, stop)]
        )
        rows.flush()
        done[part] = True
        done.flush()
    world.wait()
    return rows


def _face(faces: FaceSet, index: int, teacher: Recognizer) -> Pixels | None:
    """A picture, or None; one that cannot be read is named when its turn in the training comes."""
    where = faces.describe(index)
    try:
        face = decode(faces.read(index), where)
    except ImageError:
        return None
    check_size(face, teacher.crop_size, where)
    return face


def _embedded(teacher: Recognizer, faces: Sequence[Pixels | None]) -> Array:
    rows = np.zeros((len(faces), teacher.embedding_size), np.float32)
    there = [index for index, face in enumerate(faces) if face is not None]
    crops = [face for face in faces if face is not None]
    mirrored = [np.ascontiguousarray(crop[:, ::-1]) for crop in crops]
    both = [unit(teacher.features(each, aligned=True)) for each in (crops, mirrored)]
    rows[there] = unit(both[0] + both[1])
    return rows


def fuse(teachers: Sequence[Array], size: int) -> Array:
    """One target of `size` values whose cosines are about the means of the teachers' cosines.

    The embeddings side by side are projected on their main directions, which keeps their inner
    products best of all projections, then rotated as near to the first teacher's as can be
    (orthogonal Procrustes) where that has as many values: a teacher more then changes targets
    little. One teacher of this size stays as it is.

    Args:
        teachers: `(N, D)` float32 of unit length each.
        size: values in a target.

    Returns:
        `(N, size)` float32 of unit length.

    Raises:
        ConfigError: the teachers have fewer values together.
    """
    if len(teachers) == 1 and teachers[0].shape[1] == size:
        return teachers[0]
    joined = np.concatenate(teachers, axis=1) / np.float32(math.sqrt(len(teachers)))
    if joined.shape[1] < size:
        raise ConfigError(
            f"distillation.teachers: {joined.shape[1]} values cannot teach {size}: set "
            f"network.embedding_size={joined.shape[1]}"
        )
    _, directions = np.linalg.eigh(joined.T @ joined)
    targets = joined @ directions[:, -size:]
    if teachers[0].shape[1] == size:
        left, _, right = np.linalg.svd(targets.T @ teachers[0])
        targets = targets @ (left @ right)
    return unit(targets)
