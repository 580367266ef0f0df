"""The protocol of a folder with one folder for each person."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np

from mindface.errors import ImageError
from mindface.imaging import find_images
from mindface.recognition.protocols import FOLDS, Ints, Protocol, StrPath
from mindface.recognition.ten_fold import equal_folds


def folder_pairs(folder: StrPath, pairs: int | None = None, seed: int = 0) -> Protocol:
    """Pairs of the photos in a folder with one folder for each person.

    Args:
        folder: the photos of a person lie in or below the folder of its name.
        pairs: None: every photo against every other, without folds. Else how many are drawn, half
            of them genuine and half impostor, each possible pair of a kind as likely as any other
            and none twice; in ten consecutive folds, genuine pairs first in each, as in LFW.
        seed: of the drawing.

    Raises:
        ValueError: `pairs` is odd or below 20, or the photos make too few pairs of a kind.
        ImageError: there is no such folder, it cannot be listed, has no photo, or has one in no
            person's folder.
    """
    folder = Path(folder)
    if pairs is not None and (pairs < 2 * FOLDS or pairs % 2):
        raise ValueError(f"pairs must be even and {2 * FOLDS} at least, not {pairs}")
    found = _below(folder)
    names, people = np.unique([path.parts[0] for path in found], return_inverse=True)
    photos = tuple(str(folder / path) for path in found)
    listing = b"\0".join(sorted(os.fsencode(path.as_posix()) for path in found))
    hashes, persons = {"paths": hashlib.sha256(listing).hexdigest()}, tuple(names.tolist())
    later = np.arange(1, len(people) + 1)
    others = np.searchsorted(people, people, side="right")  # where the next person begins
    end = np.full_like(others, len(people))
    genuine, impostor = int((others - later).sum()), int((end - others).sum())
    half = 1 if pairs is None else pairs // 2
    if min(genuine, impostor) < half:
        raise ValueError(
            f"{folder}: {len(people)} photos make {genuine} genuine and {impostor} impostor pairs, "
            f"so {2 * min(genuine, impostor)} with as many of each; {2 * half} are wanted"
        )
    if pairs is None:
        return Protocol("folder", photos, photos, people, None, None, None, hashes, persons)
    rng = np.random.default_rng(seed)
    drawn = np.vstack([_drawn(later, others, half, rng), _drawn(others, end, half, rng)])
    folds = np.tile(equal_folds(half), 2)
    order = np.argsort(folds, kind="stable")
    same = order < half
    hashes["pairs"] = hashlib.sha256(drawn[order].astype("<i8").tobytes()).hexdigest()
    return Protocol(
        "folder", photos, photos, people, drawn[order], same, folds[order], hashes, persons
    )


def _below(folder: Path) -> list[Path]:
    """The photos in people's folders, seen from `folder`, all of a person in a row."""
    found = [path.relative_to(folder) for path in find_images([folder])] if folder.is_dir() else []
    if not found:
        raise ImageError("no folder, or one without a photo", str(folder))
    if len(found[0].parts) == 1:  # `find_images` gives files before folders
        raise ImageError("the photo lies in no person's folder", str(folder / found[0]))
    return found


def _drawn(since: Ints, until: Ints, count: int, rng: np.random.Generator) -> Ints:
    """Distinct pairs `(count, 2)` of photo i with one of the photos `since[i]` .. `until[i] - 1`.

    All such pairs are numbered in a row, and `count` of the numbers are drawn.
    """
    ends = np.cumsum(until - since)
    numbers = rng.choice(int(ends[-1]), count, replace=False)
    first = np.searchsorted(ends, numbers, side="right")
    return np.column_stack([first, until[first] - (ends[first] - numbers)])
