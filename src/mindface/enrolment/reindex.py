"""A gallery's embeddings made anew by another model, beside the old ones until all are there.

1. What the new model says of each face is kept in `X-reindex`, so that stopped work goes on there.
2. The new gallery is written whole into `X-reindexed`.
3. Nobody else having the gallery open, the new file takes the place of the old one.

Should somebody write between 1 and 3, it begins again with what is missing; a forgetting removes
these files, so that it begins with nothing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from time import time
from typing import Any, Protocol
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from mindface.crops import cut_faces
from mindface.detection.detector import Opened
from mindface.enrolment.crop import crop_landmarks
from mindface.enrolment.photos import photo_hash
from mindface.errors import (
    AlignmentError,
    GalleryError,
    ImageError,
    MissingExtraError,
    ModelError,
)
from mindface.gallery import Entry
from mindface.gallery.embedded import Embedded
from mindface.gallery.encryption import Key, open_database, sqlite_errors
from mindface.gallery.exchange.export import last_enrolled
from mindface.gallery.exchange.folder import Cropped
from mindface.gallery.exchange.items import Watch, batches, unwatched
from mindface.gallery.exchange.restore import fill
from mindface.gallery.gallery import StrPath
from mindface.gallery.rows import FaceRow, PersonRow, checksum, photo_of
from mindface.gallery.schema import beside, translated
from mindface.gallery.store import Store
from mindface.imaging import open_image
from mindface.results import Array
from mindface.zoo.lock import locked

Image = NDArray[np.uint8]

BATCH = 64
PATIENCE = 5.0  # seconds for others to close the gallery


class Embedder(Protocol):
    """What of a `Recognizer` is needed."""

    @property
    def record(self) -> Any:
        """Has the embedding contract."""

    @property
    def template(self) -> str:
        """The alignment template of the crops."""

    @property
    def embedding_size(self) -> int:
        """The number of values in an embedding."""

    def features(self, images: Sequence[Image], /, *, aligned: bool) -> Array:
        """What the network says of aligned faces, before it is scaled to unit length."""


@dataclass(frozen=True)
class Missing:
    """A face that cannot be recomputed.

    Attributes:
        face: its id.
        person: the name it is enrolled under.
        path: of the photo, where it is known.
        reason: why not.
    """

    face: int
    person: str
    path: str | None
    reason: str


@dataclass(frozen=True)
class Reindexed:
    """What became of a gallery.

    Attributes:
        switched: whether it holds the new model's embeddings now.
        faces: how many it holds, or would hold.
        missing: the faces that could not be recomputed; if `switched`, they were removed.
    """

    switched: bool
    faces: int
    missing: tuple[Missing, ...] = ()


def reindex(
    url: StrPath,
    recognizer: Embedder,
    *,
    drop_missing: bool = False,
    watch: Watch = unwatched,
    key: Key | None = None,
) -> Reindexed:
    """Makes all embeddings of a gallery file anew, from stored crops or else the photos.

    Ids, names, tags, validity, aliases and the journal stay as they are; templates are weighted
    by the new embeddings' lengths. Killed at any moment, the gallery is the old or the new one;
    given again, it goes on where it was. Meanwhile others may use the gallery, until the end.

    Args:
        url: of the gallery: a file.
        recognizer: the new model.
        drop_missing: remove faces that cannot be recomputed (an entry of the journal, which
            cannot be undone); otherwise the gallery stays as it is where there are any.
        watch: sees the faces go by, as they are recomputed and as they are written.
        key: of an encrypted gallery; whatever is written is encrypted with it.

    Raises:
        GalleryKeyError: the key is missing or another's, or the gallery is not encrypted.
        GalleryError: it is not a file, another process has it open at the end, or it cannot be
            written.
        IntegrityError: it is damaged.
        ModelError: the model gives a vector without length.
    """
    path = Path(url)
    if "://" in os.fspath(url) or not path.is_file():
        raise GalleryError(
            f"{url}: no gallery file: of a server's gallery, export it, import it into a file, "
            "reindex that, and bring it back likewise"
        )
    with translated(path), locked(beside(path, "reindexing")):
        while (done := _try(path, recognizer, drop_missing, watch, key)) is None:
            continue  # somebody wrote meanwhile
        if done.switched:
            _clear(path, "reindex", "reindexed")
    return done


def _try(
    path: Path, recognizer: Embedder, drop: bool, watch: Watch, key: Key | None
) -> Reindexed | None:
    contract = recognizer.record.contract
    with closing(Embedded(path, key=key)) as old:
        if old.contract == contract:
            old.rebuild()  # the switch may have been the last that was done
            return Reindexed(True, sum(old.counts().values()))
        owner = f"{old.meta('created')} {old.contract} {contract}"
        failures: tuple[type[Exception], ...] = (*sqlite_errors(), GalleryError, OSError)
        with closing(_Features(beside(path, "reindex"), owner, key)) as features:
            try:
                written = _written(path, old, recognizer, features, drop, watch)
            except failures:
                if features.path.exists():
                    raise
                return None  # a forgetting removed what was begun
    if written is None:
        return None
    mark, done = written
    if mark is not None:
        if not _switched(path, mark, key):
            return None
        with closing(Embedded(path, key=key)) as new:
            new.rebuild()
    return done


def _written(
    path: Path,
    old: Embedded,
    recognizer: Embedder,
    features: _Features,
    drop: bool,
    watch: Watch,
) -> tuple[tuple[int, bytes] | None, Reindexed] | None:
    """Writes the new gallery; returns of which state it is, or None for that where faces lack."""
    missing = _recompute(old, recognizer, features, watch)
    if missing and not drop:
        found = sum(old.counts().values()) - len(missing)
        return None, Reindexed(False, found, tuple(missing))
    with old.reading():
        mark = old.mark()
        faces = [face.id for face in old.scan()]
        if features.lacking(faces) != {each.face for each in missing}:
            return None
        contract, size = recognizer.record.contract, recognizer.embedding_size
        _write(path, _Contents(old, features, contract, size, missing), watch, len(faces))
    return mark, Reindexed(True, len(faces) - len(missing), tuple(missing))


def _recompute(
    old: Embedded, recognizer: Embedder, features: _Features, watch: Watch
) -> list[Missing]:
    missing: list[Missing] = []
    for faces in batches(watch(old.scan(), sum(old.counts().values())), BATCH):
        lacking = features.lacking([face.id for face in faces])
        crops: dict[int, Image] = {}
        for face in (face for face in faces if face.id in lacking):
            try:
                crops[face.id] = _aligned(old, face, recognizer.template)
            except (ImageError, AlignmentError, MissingExtraError) as error:
                reason = error.reason if isinstance(error, ImageError) else str(error)
                for person in old.people([face.person]):  # nobody, if forgotten meanwhile
                    missing.append(Missing(face.id, person.name, face.path, reason))
        if crops:
            vectors = recognizer.features([*crops.values()], aligned=True)
            features.add(dict(zip(crops, vectors, strict=True)))
    return missing


def _aligned(old: Embedded, face: FaceRow, template: str) -> Image:
    """A face cut for the new model: from the stored crop, or else the photo.

    Raises:
        ImageError: neither can be used.
        AlignmentError: landmarks that no face can have.
    """
    crop = old.crop(face.id)
    if crop is not None:
        try:
            return _cut(crop, crop_landmarks(crop), template)
        except ImageError:
            pass  # not one that keeps its landmarks
    if face.path is None or face.landmarks is None:
        raise ImageError("it has no crop with landmarks, and no photo with landmarks")
    photo = photo_of(face.content)
    if photo and photo != photo_hash(face.path):
        raise ImageError("the photo is not the one that was enrolled")
    return _cut(face.path, face.landmarks, template)


def _cut(source: str | bytes, landmarks: Array, template: str) -> Image:
    photo = open_image(source)
    return cut_faces(Opened(photo, photo.read()), landmarks[None], template)[0]


class _Features:
    """What the new model says of faces, on disk; each row has a checksum.

    Args:
        path: of the file.
        owner: names the gallery and both models; rows of another are thrown away.
        key: of an encrypted gallery.
    """

    def __init__(self, path: Path, owner: str, key: Key | None) -> None:
        self.path = path
        if not path.exists():
            path.touch(mode=0o600)
        self.connection = open_database(path, key)
        self.connection.execute("PRAGMA secure_delete = ON")
        self.connection.execute(
            "CREATE TABLE IF NOT EXISTS features "
            "(face INTEGER PRIMARY KEY, vector BLOB NOT NULL, checksum INTEGER NOT NULL)"
        )
        self.connection.execute("CREATE TABLE IF NOT EXISTS owner (name TEXT PRIMARY KEY)")
        if self.connection.execute("SELECT name FROM owner").fetchall() != [(owner,)]:
            self.connection.execute("BEGIN")
            self.connection.execute("DELETE FROM features")
            self.connection.execute("DELETE FROM owner")
            self.connection.execute("INSERT INTO owner VALUES (?)", (owner,))
            self.connection.execute("COMMIT")

    def close(self) -> None:
        self.connection.close()

    def add(self, vectors: dict[int, Array]) -> None:
        wrong = [
            face for face, vector in vectors.items() if not 0 < np.linalg.norm(vector) < np.inf
        ]
        if wrong:
            raise ModelError(f"face {wrong[0]}: the model's answer is zero or not finite")
        rows = [(face, np.asarray(vector, "<f4").tobytes()) for face, vector in vectors.items()]
        self.connection.execute("BEGIN")
        self.connection.executemany(
            "INSERT OR REPLACE INTO features VALUES (?, ?, ?)",
            [(*row, checksum(row)) for row in rows],
        )
        self.connection.execute("COMMIT")

    def get(self, face: int) -> Array | None:
        row = self.connection.execute("SELECT * FROM features WHERE face = ?", (face,)).fetchone()
        if row is None or checksum(row[:2]) != row[2]:
            return None
        return np.frombuffer(row[1], "<f4")

    def lacking(self, faces: Collection[int]) -> set[int]:
        """Those of these faces that were not recomputed."""
        return {face for face in faces if self.get(face) is None}


class _Contents:
    """The old gallery with the new model's embeddings; see `gallery.exchange.Contents`."""

    def __init__(
        self,
        old: Embedded,
        features: _Features,
        contract: str,
        size: int,
        missing: Sequence[Missing],
    ) -> None:
        self.old, self.features, self.contract, self.size = old, features, contract, size
        self.removed = _removal(old, missing) if missing else None
        self.last_person = old.last_person()
        self.last_face = max((last_enrolled(entry) for entry in old.entries()), default=0)
        self.last_entry = old.last_entry() + (self.removed is not None)

    def people(self) -> list[PersonRow]:
        return self.old.people()

    def faces(self) -> Iterator[Cropped]:
        for face in self.old.scan():
            if (vector := self.features.get(face.id)) is not None:
                length = float(np.linalg.norm(vector))
                made = replace(face, embedding=vector / np.float32(length), quality=length)
                yield made, self.old.crop(face.id)

    def entries(self) -> Iterator[Entry]:
        yield from self.old.entries()
        if self.removed is not None:
            yield self.removed


def _removal(old: Embedded, missing: Sequence[Missing]) -> Entry:
    """The entry of the journal for faces that the new model has not seen."""
    digest = sha256(uuid4().bytes).digest()
    faces = {"faces": [each.face for each in missing]}
    number = old.last_entry() + 1
    return Entry(number, digest, digest, "remove", None, None, None, faces, None, time())


def _write(path: Path, contents: _Contents, watch: Watch, total: int) -> None:
    """Writes the new gallery beside the old one; its matrix is made where it will lie."""
    _clear(path, "reindexed")
    new = Embedded(
        beside(path, "reindexed"), contents.contract, contents.size, key=contents.old.key
    )
    try:
        fill(new, contents, watch, total)
    finally:
        Store.close(new)
    with suppress(FileNotFoundError):  # removed by a forgetting, which the switch will see
        shutil.copymode(path, new.path)


def _switched(path: Path, mark: tuple[int, bytes], key: Key | None) -> bool:
    """Puts the new gallery into the place of the old one, unless that was written to meanwhile.

    Raises:
        GalleryError: another process has it open.
    """
    with locked(beside(path, "lock")):  # nobody opens it meanwhile
        with closing(open_database(path, key, PATIENCE)) as old:
            old.execute("PRAGMA locking_mode = EXCLUSIVE")
            try:
                old.execute("BEGIN EXCLUSIVE")
            except sqlite_errors("OperationalError") as error:
                raise _in_use(path) from error
            last = "SELECT id, operation FROM journal ORDER BY id DESC LIMIT 1"
            if (old.execute(last).fetchone() or (0, bytes(32))) != mark:
                return False
            old.execute("COMMIT")
        if beside(path, "wal").exists():  # it would be taken for the new file's
            raise _in_use(path)
        beside(path, "reindexed").replace(path)
    return True


def _in_use(path: Path) -> GalleryError:
    return GalleryError(
        f"{path}: another process has it open: close it and give the command again; what was "
        "recomputed is kept"
    )


def _clear(path: Path, *what: str) -> None:
    """Removes files beside a gallery, with those beside them."""
    for name in [beside(path, each).name for each in what]:
        for file in [*path.parent.iterdir()]:
            if file.name == name or file.name.startswith(f"{name}-"):
                file.unlink(missing_ok=True)
