"""The features of many photos for evaluation: computed once, kept by content, resumed.

What is kept depends on nothing but the photo's bytes, the two weights and the options, which are
all in its key; so one cache serves every protocol, and stopped work goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
import PIL
from numpy.typing import NDArray

from mindface._version import __version__
from mindface.analyzer import FaceAnalyzer
from mindface.crops import cut_faces, in_detail, plausible
from mindface.engines import engine_version
from mindface.errors import AlignmentError, ImageError, IntegrityError
from mindface.files import open_regular
from mindface.geometry import align
from mindface.imaging import open_image, or_error, read
from mindface.pipeline import batches_ahead
from mindface.results import Analysis, Array, Quality
from mindface.zoo import cache_directory

if TYPE_CHECKING:
    from mindface.recognition.ijb import IjbSet
    from mindface.recognition.recognizer import Recognizer

BATCH = 32
FOLDER = "features"  # of the cache
MEASURES = tuple(field.name for field in fields(Quality))
SCHEMA = "CREATE TABLE IF NOT EXISTS photo (key TEXT PRIMARY KEY, reason TEXT, features BLOB)"
Track = Callable[[Iterable[int], int], Iterator[int]]


@dataclass(frozen=True, eq=False)
class Features:
    """What is known of each photo of a protocol.

    Attributes:
        embeddings: `(M, D)` float32 of unit length; zeros where there is none.
        measures: per name `(M,)` float32, NaN where there is no face: "norm" (of the embedding
            before it was scaled) and the fields of `mindface.results.Quality`.
        reasons: why a photo has no embedding, or None where it has one.
    """

    embeddings: Array
    measures: dict[str, Array]
    reasons: tuple[str | None, ...]

    @property
    def failed(self) -> NDArray[np.bool_]:
        """Which photos `(M,)` have no embedding."""
        return np.array([reason is not None for reason in self.reasons], bool)


def extract(
    analyzer: FaceAnalyzer,
    photos: Sequence[str | bytes],
    *,
    flip: bool = False,
    aligned: bool = False,
    track: Track = lambda items, total: iter(items),
) -> Features:
    """Embeds the largest face of each photo, or takes it from the cache.

    Args:
        analyzer: detector and recogniser.
        photos: paths, or the bytes of pictures.
        flip: the flip test; see `Recognizer.features`.
        aligned: the photos are aligned faces.
        track: is given the numbers of the photos to be computed, and how many there are; shows
            the progress.
    """
    with closing(_open(analyzer, flip, aligned)) as store:
        keys = [_key(photo) for photo in photos]
        missing = [index for index, key in enumerate(keys) if key and not _known(store, key)]
        found = analyzer.stream(
            (photos[index] for index in missing),
            largest=True,
            flip=flip,
            aligned=aligned,
            quality=True,
        )
        done = zip(track(missing, len(missing)), found, strict=True)
        while batch := list(islice(done, BATCH)):
            rows = [(keys[index], *_row(analysis)) for index, analysis in batch]
            store.executemany("INSERT OR REPLACE INTO photo VALUES (?, ?, ?)", rows)
            store.commit()
        return _collect(store, keys, photos, analyzer.recognizer.embedding_size)


def discard(photos: Collection[str]) -> int:
    """Takes photos out of the cache and writes zeros over what was kept of them.

    Args:
        photos: sha256 of their contents, in hexadecimal.

    Returns:
        Of how many photos something was kept.

    Raises:
        IntegrityError: a file of the cache is damaged, or in use.
    """
    found: set[str] = set()
    for path in sorted((cache_directory() / FOLDER).glob("*.sqlite")):
        try:
            with closing(sqlite3.connect(path, timeout=60)) as store:
                store.execute("PRAGMA secure_delete=ON")
                kept = [key for key in photos if _known(store, key)]
                store.executemany("DELETE FROM photo WHERE key = ?", [(key,) for key in kept])
                store.commit()
                found.update(kept)
                if kept and store.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                    raise sqlite3.OperationalError("another process reads an older state")
        except sqlite3.Error as error:
            raise IntegrityError(f"{path}: {error}: remove this file, it is a cache") from error
    return len(found)


def _open(analyzer: FaceAnalyzer, flip: bool, aligned: bool) -> sqlite3.Connection:
    facts = {
        "contract": analyzer.recognizer.record.contract,
        "precision": analyzer.recognizer.precision,
        "flip": flip,
        "aligned": aligned,
    }
    if not aligned:
        detector = analyzer.detector
        facts |= {
            "detector": detector.record.sha256,
            "scales": detector.scales,
            "closer": detector.closer,
            "input_size": detector.input_size,
            "thresholds": asdict(detector.thresholds),
            "detector_precision": detector.precision,
        }
    name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
    store = sqlite3.connect(_folder() / f"{name}.sqlite", timeout=60)
    store.execute("PRAGMA journal_mode=WAL")
    store.execute(SCHEMA)
    return store


def _folder() -> Path:
    folder = cache_directory() / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _key(photo: str | bytes) -> str | None:
    """The sha256 of a photo's content; None where it cannot be read."""
    if isinstance(photo, bytes):
        return hashlib.sha256(photo).hexdigest()
    try:
        with open_regular(photo) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _known(store: sqlite3.Connection, key: str) -> bool:
    return store.execute("SELECT 1 FROM photo WHERE key = ?", (key,)).fetchone() is not None


def _row(found: Analysis) -> tuple[str | None, bytes]:
    """Why there is no embedding, or norm, measures and embedding as float32."""
    if found.reason:
        return found.reason, b""
    quality = [getattr(found.quality[0], name) for name in MEASURES]
    head = np.array([found.norms[0], *quality], "<f4")
    return None, head.tobytes() + found.embeddings[0].astype("<f4").tobytes()


def _collect(
    store: sqlite3.Connection, keys: Sequence[str | None], photos: Sequence[str | bytes], size: int
) -> Features:
    names = ("norm", *MEASURES)
    rows = np.zeros((len(keys), len(names) + size), np.float32)
    reasons: list[str | None] = []
    for index, (key, photo) in enumerate(zip(keys, photos, strict=True)):
        if key is None:
            reason, content = _unreadable(photo), b""
        else:
            reason, content = store.execute(
                "SELECT reason, features FROM photo WHERE key = ?", (key,)
            ).fetchone()
        rows[index] = np.frombuffer(content, "<f4") if content else 0
        rows[index, : len(names)] = rows[index, : len(names)] if content else np.nan
        reasons.append(reason)
    measures = {name: rows[:, column] for column, name in enumerate(names)}
    return Features(np.ascontiguousarray(rows[:, len(names) :]), measures, tuple(reasons))


def _unreadable(photo: str | bytes) -> str:
    found = or_error(open_image, photo)
    return found.reason if isinstance(found, ImageError) else "it changed while it was read"


def face_of(
    analyzer: FaceAnalyzer, photo: str | bytes, *, aligned: bool
) -> NDArray[np.uint8] | None:
    """The aligned face `(H, W, 3)` RGB uint8 that `extract` embeds, for people to look at."""
    try:
        if aligned:
            return read(photo)
        opened = analyzer.detector.open(photo)
    except ImageError:
        return None
    faces, _ = plausible(analyzer.detector.detect_opened([opened])[0])
    if not len(faces):
        return None
    points = faces.landmarks[[faces.largest_index()]]
    detailed = in_detail(opened, points, "arcface_112x112")
    return cut_faces(detailed, points, "arcface_112x112")[0]


def manifest(analyzer: FaceAnalyzer, *, flip: bool, aligned: bool) -> dict[str, Any]:
    """What makes features reproducible: weights, options, versions."""
    recognizer = analyzer.recognizer
    record = recognizer.record
    facts = {
        "model": {
            "name": record.name,
            "sha256": record.sha256,
            "contract": record.contract,
            "licence": record.licence,
            "engine": recognizer.engine,
            "precision": recognizer.precision,
        },
        "aligner": recognizer.template,
        "face": "aligned before" if aligned else "the largest that the detector found",
        "flip": "features of the face and its mirror image added" if flip else "none",
        "false_match": "share of impostor pairs with a score of at least the threshold",
        "versions": {
            "mindface": __version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "opencv": cv2.__version__,
            "pillow": PIL.__version__,
            recognizer.engine: engine_version(recognizer.engine),
        },
    }
    if not aligned:
        detector = analyzer.detector
        facts["detector"] = {
            "name": detector.record.name,
            "sha256": detector.record.sha256,
            "engine": detector.engine,
            "precision": detector.precision,
            "input_size": detector.input_size,
            "scales": list(detector.scales),
            "closer": detector.closer,
            "thresholds": asdict(detector.thresholds),
        }
    return facts


def ijb_features(
    recognizer: Recognizer,
    ijb: IjbSet,
    images: Path,
    failures: dict[str, str],
    track: Track = lambda items, total: iter(items),
) -> Iterator[tuple[Array, Array]]:
    """Raw features of the images of IJB and of their mirror images, batch by batch.

    They are kept in the cache (4 KB an image for 512 values), so that a stopped run goes on.

    Args:
        recognizer: the model.
        ijb: the set.
        images: the folder `loose_crop`.
        failures: takes up why images could not be used, by name; their features are zeros.
        track: shows the progress.

    Yields:
        Two arrays `(B, D)` float32, in the order of `ijb.images`; for `mindface.recognition.ijb
        .pool`.
    """
    height, width = recognizer.crop_size

    def crop(index: int) -> NDArray[np.uint8] | None:
        try:
            return align(
                read(images / ijb.images[index]), ijb.landmarks[index], recognizer.template
            )
        except (ImageError, AlignmentError) as error:
            failures[ijb.images[index]] = getattr(error, "reason", str(error))
            return None

    count, step = len(ijb.images), 4 * BATCH
    rows, mark = _ijb_store(recognizer, ijb)
    done = int(mark.read_text()) if mark.is_file() else 0
    for start in range(0, done, step):
        kept = np.array(rows[start : min(start + step, done)])
        for index in np.flatnonzero(~kept.any(axis=(1, 2))):
            crop(start + int(index))  # says again why there is none
        yield kept[:, 0], kept[:, 1]
    steps = track(range(done, count), count - done)
    for crops in batches_ahead(crop, steps, step, recognizer.options.thread_count):
        there = np.array([[c is not None] for c in crops], np.float32)
        shown = [np.zeros((height, width, 3), np.uint8) if c is None else c for c in crops]
        mirrored = [np.ascontiguousarray(c[:, ::-1]) for c in shown]
        both = [recognizer.features(each, aligned=True) * there for each in (shown, mirrored)]
        rows[done : done + len(crops)] = np.stack(both, axis=1)
        rows.flush()
        done += len(crops)
        mark.write_text(str(done))
        yield both[0], both[1]


def _ijb_store(recognizer: Recognizer, ijb: IjbSet) -> tuple[np.memmap[Any, Any], Path]:
    """The features `(N, 2, D)` float32 on disk, and the file that says how many there are."""
    facts = json.dumps([recognizer.record.contract, recognizer.precision, ijb.images])
    name = hashlib.sha256(facts.encode("utf-8", "surrogatepass") + ijb.landmarks.tobytes())
    path = _folder() / f"ijb-{name.hexdigest()[:32]}.npy"
    mark = path.with_suffix(".done")
    if not path.is_file():
        mark.unlink(missing_ok=True)
    shape = (len(ijb.images), 2, recognizer.embedding_size)
    mode: Literal["r+", "w+"] = "r+" if path.is_file() else "w+"
    rows = np.lib.format.open_memmap(path, mode, np.dtype(np.float32), shape)
    return rows, mark
