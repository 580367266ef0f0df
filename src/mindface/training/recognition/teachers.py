"""Embeddings of teachers as targets: computed once, kept on disk, fused into one space."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from mindface.datasets import FaceSet, decode
from mindface.recognition.recognizer import Recognizer, unit
from mindface.results import Array

BATCH = 64
Track = Callable[[Iterable[int], int, str], Iterator[int]]


def teacher_embeddings(
    faces: FaceSet, teacher: Recognizer, cache: Path, track: Track
) -> np.ndarray:
    """A teacher's embeddings of each face and its mirror image, added and scaled to length 1.

    They are kept in the cache under the teacher's hash and the set's labels and path, so that a
    stopped run goes on, and a picture that changes in its place is not seen.

    Args:
        faces: aligned faces of the teacher's size.
        teacher: any recogniser.
        cache: the folder.
        track: shows the progress: given what to go through, how many, and what it is.

    Returns:
        `(N, D)` float32, read from the disk as needed.
    """
    facts = f"{teacher.record.contract}\0{faces.source}\0{len(faces)}".encode()
    name = hashlib.sha256(facts + faces.labels.tobytes()).hexdigest()[:32]
    path, mark = cache / f"{name}.npy", cache / f"{name}.done"
    cache.mkdir(parents=True, exist_ok=True)
    there = path.exists() and mark.exists()
    rows = np.lib.format.open_memmap(
        path, "r+" if there else "w+", np.dtype(np.float32), (len(faces), teacher.embedding_size)
    )
    done = int(mark.read_text()) if there else 0
    what = f"embeddings of {teacher.record.name}"
    for start in track(range(done, len(faces), BATCH), -(-(len(faces) - done) // BATCH), what):
        stop = min(start + BATCH, len(faces))
        crops = [decode(faces.read(i), faces.describe(i)) for i in range(start, stop)]
        mirrored = [np.ascontiguousarray(crop[:, ::-1]) for crop in crops]
        both = [unit(teacher.features(each, aligned=True)) for each in (crops, mirrored)]
        rows[start:stop] = unit(both[0] + both[1])
        rows.flush()
        mark.write_text(str(stop))
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
        ValueError: the teachers have fewer values together.
    """
    joined = np.concatenate(teachers, axis=1)
    if joined.shape[1] < size:
        raise ValueError(
            f"teachers of {joined.shape[1]} values cannot teach {size}: lower "
            "network.embedding_size"
        )
    if joined.shape[1] == size:
        return joined
    _, directions = np.linalg.eigh(joined.T @ joined)
    targets = joined @ directions[:, -size:]
    if teachers[0].shape[1] == size:
        left, _, right = np.linalg.svd(targets.T @ teachers[0])
        targets = targets @ (left @ right)
    return unit(targets)
