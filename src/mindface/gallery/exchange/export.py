"""From a gallery, whatever stores it, to a folder of open files."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from mindface._version import __version__
from mindface.errors import GalleryError
from mindface.gallery.backend import Backend
from mindface.gallery.exchange.folder import MAX_CROP, SHARD
from mindface.gallery.exchange.items import Watch, batches, unwatched
from mindface.gallery.exchange.lines import crop_file, entry_line, face_line, person_line
from mindface.gallery.exchange.manifest import (
    FACES,
    FORMAT,
    JOURNAL,
    NAME,
    PEOPLE,
    VERSION,
    Counts,
    Facts,
    Manifest,
)
from mindface.gallery.gallery import Gallery, StrPath
from mindface.gallery.rows import Entry, FaceRow

OURS = {NAME, PEOPLE, FACES, JOURNAL, "embeddings", "crops"}


def export_gallery(gallery: Gallery, folder: StrPath, *, watch: Watch = unwatched) -> Manifest:
    """Writes all that a gallery holds, as it was at one moment, into a new folder.

    The folder appears when it is whole; its owner alone may read it. Memory does not grow with
    the number of faces.

    Args:
        gallery: of any backend.
        folder: must not be there, or be empty.
        watch: sees the faces go by.

    Raises:
        GalleryError: the folder is there, something cannot be written, or the gallery was written
            to meanwhile and its backend has no transactions.
        IntegrityError: a row is damaged.
    """
    folder = Path(os.path.abspath(folder))
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise GalleryError(f"{folder}: is there already: name a new folder")
    try:
        with _unfinished(folder) as partial, gallery.backend.reading():
            return _written(gallery.backend, partial, watch)
    except OSError as error:
        raise GalleryError(f"{folder}: not exported: {error.strerror or error}") from error


@contextmanager
def _unfinished(folder: Path) -> Iterator[Path]:
    """A folder beside the one that is meant, which it becomes in the end."""
    partial = folder.with_name(f"{folder.name}.unfinished")
    if partial.exists():  # of an export that was killed
        if not {each.name for each in partial.iterdir()} <= OURS:
            raise GalleryError(f"{partial}: is in the way: move it elsewhere")
        shutil.rmtree(partial)
    partial.mkdir(mode=0o700, parents=True)
    try:
        yield partial
        if hasattr(os, "sync"):
            os.sync()
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _written(backend: Backend, folder: Path, watch: Watch) -> Manifest:
    before = backend.last_entry()
    people = [person_line(row) for row in backend.people()]
    _write(folder / PEOPLE, people)
    total = sum(backend.counts().values())
    faces = _Faces(backend, folder, watch(backend.scan(), total))
    _write(folder / FACES, faces.lines())
    journal = _Journal(backend.entries())
    _write(folder / JOURNAL, journal.lines())
    if (backend.last_entry(), sum(backend.counts().values())) != (before, total):
        raise GalleryError(f"{backend.where}: was written to meanwhile: export it again")
    manifest = Manifest(
        format=FORMAT,
        version=VERSION,
        contract=backend.contract,
        size=backend.size,
        written=datetime.now(UTC).isoformat(timespec="seconds"),
        writer=f"mindface {__version__}",
        last_person=backend.last_person(),
        last_face=max(faces.last, journal.last_face),
        last_entry=journal.last,
        counts=Counts(
            people=len(people), faces=faces.count, crops=faces.crops, entries=journal.count
        ),
        files={name: _facts(folder / name) for name in (PEOPLE, FACES, JOURNAL, *faces.shards)},
    )
    _write(folder / NAME, [manifest.model_dump_json(indent=2).encode(), b"\n"])
    return manifest


class _Faces:
    """Writes embeddings and crops while the lines go by, and counts."""

    def __init__(self, backend: Backend, folder: Path, rows: Iterable[FaceRow]) -> None:
        self.backend, self.folder, self.rows = backend, folder, rows
        self.count = self.crops = self.last = 0
        self.shards: list[str] = []

    def lines(self) -> Iterator[bytes]:
        for rows in batches(self.rows, SHARD):
            self._embeddings(rows)
            for row in rows:
                yield face_line(row, self._crop(row.id))
            self.count += len(rows)
            self.last = rows[-1].id

    def _embeddings(self, rows: list[FaceRow]) -> None:
        name = f"embeddings/{len(self.shards):05}.npz"
        (self.folder / name).parent.mkdir(exist_ok=True)
        ids = np.array([row.id for row in rows], "<i8")
        vectors = np.array([row.embedding for row in rows], "<f4")
        with (self.folder / name).open("xb") as file:
            np.savez(file, allow_pickle=False, ids=ids, embeddings=vectors)
        self.shards.append(name)

    def _crop(self, face: int) -> bytes | None:
        crop = self.backend.crop(face)
        if crop is not None:
            if len(crop) > MAX_CROP:
                raise GalleryError(f"the crop of face {face} is larger than {MAX_CROP} bytes")
            path = self.folder / crop_file(face)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(crop)
            self.crops += 1
        return crop


class _Journal:
    """Lets entries go by, and keeps what the manifest says of them."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries = entries
        self.count = self.last = self.last_face = 0

    def lines(self) -> Iterator[bytes]:
        for entry in self.entries:
            yield entry_line(entry)
            self.count += 1
            self.last = entry.id
            self.last_face = max(self.last_face, last_enrolled(entry))


def last_enrolled(entry: Entry) -> int:
    """The highest id of the faces that an entry brought, 0 where it brought none."""
    if entry.kind != "enroll" or "faces" not in entry.payload:
        return 0
    first, count = entry.payload["faces"]
    return int(first + count - 1) if count else 0


def _write(path: Path, pieces: Iterable[bytes]) -> None:
    with path.open("xb") as file:
        file.writelines(pieces)


def _facts(path: Path) -> Facts:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Facts(bytes=path.stat().st_size, sha256=digest)
