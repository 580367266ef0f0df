"""Every picture of a set looked at once: does it decode, what is it like, who does it show?"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from mindface.datasets.faceset import FaceSet, decode
from mindface.datasets.store import MISSING, EmbeddingStore
from mindface.errors import AlignmentError, ImageError, IntegrityError, MissingExtraError
from mindface.geometry import fit_crop
from mindface.pipeline import batches_ahead
from mindface.recognition.recognizer import unit
from mindface.results import Array
from mindface.zoo import cache_directory

if TYPE_CHECKING:
    from mindface.recognition.recognizer import Recognizer

Pixels = NDArray[np.uint8]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Track = Callable[[Iterable[int], int, str], Iterator[int]]

BATCH = 64
SIDE = 16  # of a thumbnail
COLOR = 2.0  # gray levels between a pixel's channels on average: JPEG tints gray by less
BLACK, CORNER = 8, 3


@dataclass(frozen=True, eq=False)
class Survey:
    """What was seen in the N pictures of a set.

    Attributes:
        damaged: why a picture cannot be read, by its number.
        unfit: why a picture that can be read is no aligned face for the recogniser, by its number.
        sizes: `(N, 2)`, height and width; zeros where it is damaged.
        gray: `(N,)`, whether it has no colour.
        black: `(N,)`, whether a corner is black: alignment reached beyond the photo.
        rows: `(N,)`, where in the store it is; `MISSING` for one without an embedding.
        store: of the embeddings; None without a recogniser.
    """

    damaged: dict[int, str]
    unfit: dict[int, str]
    sizes: Ints
    gray: Bools
    black: Bools
    rows: Ints
    store: EmbeddingStore | None

    @property
    def embedded(self) -> Bools:
        """Which pictures `(N,)` have an embedding."""
        return np.asarray(self.rows != MISSING)

    def embeddings(self, numbers: Ints) -> Array:
        """Of pictures that have one: `(n, D)` float32 of unit length."""
        assert self.store is not None  # without a recogniser nobody asks
        return unit(self.store.embeddings(self.rows[numbers]))

    def thumbnails(self, numbers: Ints) -> Array:
        """Of pictures that have an embedding: gray, `(n, 256)` float32."""
        assert self.store is not None
        return self.store.thumbnails(self.rows[numbers])


def untracked(items: Iterable[int], total: int, what: str) -> Iterator[int]:
    """Shows no progress."""
    return iter(items)


def survey(
    faces: FaceSet, recognizer: Recognizer | None = None, track: Track = untracked
) -> Survey:
    """Decodes every picture and embeds it, or takes its embedding from the cache.

    Embeddings are kept in `embeddings/` in the cache, 1.3 KB a picture for 512 values.

    Args:
        faces: the set.
        recognizer: whose embeddings; None for none.
        track: shows the progress: given what to go through, how many there are, and what it is.
    """
    count, store = len(faces), _store(recognizer) if recognizer else None
    found = Survey(
        {},
        {},
        np.zeros((count, 2), np.int64),
        np.zeros(count, bool),
        np.zeros(count, bool),
        np.full(count, MISSING),
        store,
    )
    look = partial(_look, faces, recognizer.template if recognizer else None)
    threads = recognizer.options.thread_count if recognizer else os.cpu_count() or 1
    looks = chain.from_iterable(batches_ahead(look, range(count), BATCH, threads))
    done = zip(track(range(count), count, f"look at {faces.source}"), looks, strict=True)
    while batch := list(islice(done, BATCH)):
        crops = list(_noted(batch, found))
        if recognizer and store and crops:
            _embed(crops, found.rows, store, recognizer)
    return found


class _Look(NamedTuple):
    """A picture that can be read; it fits the recogniser where there is a crop."""

    size: tuple[int, int]
    gray: bool
    black: bool
    key: int
    thumbnail: Pixels
    crop: Pixels | None
    unfit: str | None


def _look(faces: FaceSet, template: str | None, number: int) -> _Look | str:
    """What a picture is like, or why it cannot be read."""
    try:
        content = faces.read(number)
        pixels = decode(content, "")
    except ImageError as error:
        return error.reason
    except (IntegrityError, MissingExtraError) as error:
        return str(error)
    crop, unfit = None, None
    if template:
        try:
            crop = fit_crop(pixels, template)
        except AlignmentError as error:
            unfit = str(error)
    plain = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return _Look(
        (pixels.shape[0], pixels.shape[1]),
        bool(np.ptp(pixels, axis=2).mean() < COLOR),
        any(corner.max() <= BLACK for corner in _corners(plain)),
        int.from_bytes(hashlib.sha256(content).digest()[:8]),
        np.asarray(cv2.resize(plain, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8).ravel(),
        crop,
        unfit,
    )


def _corners(gray: NDArray[np.generic]) -> Iterator[NDArray[np.generic]]:
    for rows in (gray[:CORNER], gray[-CORNER:]):
        yield rows[:, :CORNER]
        yield rows[:, -CORNER:]


def _noted(
    batch: list[tuple[int, _Look | str]], found: Survey
) -> Iterator[tuple[int, _Look, Pixels]]:
    """Notes down what was seen; yields what can be embedded."""
    for number, look in batch:
        if isinstance(look, str):
            found.damaged[number] = look
            continue
        found.sizes[number] = look.size
        found.gray[number], found.black[number] = look.gray, look.black
        if look.unfit:
            found.unfit[number] = look.unfit
        if look.crop is not None:
            yield number, look, look.crop


def _embed(
    batch: list[tuple[int, _Look, Pixels]],
    rows: Ints,
    store: EmbeddingStore,
    recognizer: Recognizer,
) -> None:
    numbers = np.array([number for number, _, _ in batch])
    keys = np.array([look.key for _, look, _ in batch], np.uint64)
    rows[numbers] = store.find(keys)
    new = np.flatnonzero(rows[numbers] == MISSING)
    if len(new):
        features = recognizer.features([batch[i][2] for i in new], aligned=True)
        thumbnails = np.stack([batch[i][1].thumbnail for i in new])
        rows[numbers[new]] = store.append(keys[new], thumbnails, unit(features))


def _store(recognizer: Recognizer) -> EmbeddingStore:
    name = f"{recognizer.record.contract[:32]}-{recognizer.precision}.rows"
    path = cache_directory() / "embeddings" / name
    return EmbeddingStore(path, recognizer.embedding_size, SIDE * SIDE)
