"""An export that is read: each file held against its hash, each row against what it may be."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path, PurePosixPath

import numpy as np

from mindface.errors import GalleryError, IntegrityError
from mindface.files import open_regular
from mindface.gallery.checks import check_name
from mindface.gallery.exchange.lines import Crop, EntryLine, FaceLine, PersonLine, read_lines
from mindface.gallery.exchange.manifest import FACES, JOURNAL, PEOPLE, Counts, read_manifest
from mindface.gallery.rows import Entry, FaceRow, Ints, PersonRow, unit_rows
from mindface.results import Array

SHARD = 8192  # embeddings in a file; of 512 values they are 16 MB
MAX_SHARD = 1 << 16
MAX_CROP = 1 << 24

Cropped = tuple[FaceRow, bytes | None]


class Export:
    """A folder that `export_gallery` wrote; `restore.Contents` says what its parts are.

    Opening it reads the manifest alone. Iterating checks what is read.

    Args:
        folder: where it lies.

    Raises:
        GalleryError: it is no export, of a newer version, or a file of it is missing.
        IntegrityError: a file is not what was written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = manifest = read_manifest(folder)
        self.contract, self.size = manifest.contract, manifest.size
        self.last_person, self.last_face = manifest.last_person, manifest.last_face
        self.last_entry = manifest.last_entry

    def check(self) -> Iterator[FaceRow]:
        """Reads everything, yielding each face once it was checked.

        Raises:
            GalleryError: a file is missing, or rows cannot be or do not belong together.
            IntegrityError: a file is not what was written.
        """
        for name in self.manifest.files:
            self._check_file(name)
        people = {row.id for row in self.people()}
        faces = crops = 0
        for face, crop in self.faces():
            if face.person not in people:
                raise GalleryError(f"{self.folder}: face {face.id} is of nobody who is there")
            faces, crops = faces + 1, crops + (crop is not None)
            yield face
        entries = last = 0
        for entry in self.entries():
            entries, last = entries + 1, entry.id
        found = Counts(people=len(people), faces=faces, crops=crops, entries=entries)
        if found != self.manifest.counts or last != self.last_entry:
            raise GalleryError(
                f"{self.folder}: holds other numbers of rows than its manifest says: "
                f"{found!r}, not {self.manifest.counts!r}"
            )

    def people(self) -> list[PersonRow]:
        """People and aliases by id."""
        rows = [line.row() for line in read_lines(self._path(PEOPLE), PersonLine)]
        into = {row.id: row.merged_into for row in rows}
        names: set[str] = set()
        for row in rows:
            check_name(row.name)
            if row.name in names or row.id > self.last_person:
                raise GalleryError(f"{self.folder}: the name or id of {row.name!r:.80} cannot be")
            names.add(row.name)
            _check_alias(self.folder, into, row.id)
        return rows

    def faces(self) -> Iterator[Cropped]:
        """Faces by id, each with its crop."""
        embeddings = self._embeddings()
        for line in read_lines(self._path(FACES), FaceLine):
            number, embedding = next(embeddings, (0, None))
            if embedding is None or number != line.id or number > self.last_face:
                raise GalleryError(f"{self.folder}: face {line.id} has no embedding in its place")
            crop = None if line.crop is None else self._crop(line.id, line.crop)
            yield line.row(embedding), crop
        if next(embeddings, None) is not None:
            raise GalleryError(f"{self.folder}: has more embeddings than faces")

    def entries(self) -> Iterator[Entry]:
        """The journal by number."""
        return (line.row() for line in read_lines(self._path(JOURNAL), EntryLine))

    def _embeddings(self) -> Iterator[tuple[int, Array]]:
        for name in sorted(self.manifest.files):
            if name.startswith("embeddings/"):
                yield from zip(*self._shard(self._path(name)), strict=True)

    def _shard(self, path: Path) -> tuple[list[int], Array]:
        most = MAX_SHARD * (4 * self.size + 8) + 4096
        try:
            with open_regular(path) as file:
                with zipfile.ZipFile(file) as archive:
                    if sum(part.file_size for part in archive.infolist()) > most:
                        raise GalleryError(f"{path}: larger than {MAX_SHARD} embeddings are")
                with np.load(file, allow_pickle=False) as arrays:
                    ids, vectors = arrays["ids"], arrays["embeddings"]
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
            raise GalleryError(f"{path}: not embeddings with their ids: {error}") from error
        self._check_shard(path, ids, vectors)
        return ids.tolist(), unit_rows(vectors)

    def _check_shard(self, path: Path, ids: Ints, vectors: Array) -> None:
        if (
            ids.shape != vectors.shape[:1]
            or ids.dtype.kind != "i"
            or vectors.shape[1:] != (self.size,)
            or vectors.dtype != np.float32
        ):
            raise GalleryError(
                f"{path}: holds {ids.dtype} {ids.shape} and {vectors.dtype} {vectors.shape}, not "
                f"ids (N,) and float32 embeddings (N, {self.size})"
            )

    def _crop(self, face: int, crop: Crop) -> bytes:
        path = self._path(crop.file)
        with self._opened(path) as file:
            data = file.read(MAX_CROP + 1)
        if len(data) > MAX_CROP:
            raise GalleryError(f"{path}: larger than {MAX_CROP} bytes")
        if hashlib.sha256(data).hexdigest() != crop.sha256:
            raise _altered(path)
        return data

    def _check_file(self, name: str) -> None:
        path, facts = self._path(name), self.manifest.files[name]
        with self._opened(path) as file:
            size = os.fstat(file.fileno()).st_size
            if (
                size != facts.bytes
                or hashlib.file_digest(file, "sha256").hexdigest() != facts.sha256
            ):
                raise _altered(path)

    def _opened(self, path: Path) -> BufferedReader:
        try:
            return open_regular(path)
        except OSError as error:
            raise GalleryError(
                f"{path}: belongs to the export and cannot be read: {error.strerror}"
            ) from error

    def _path(self, name: str) -> Path:
        """A file below the folder, wherever links lead.

        Raises:
            GalleryError: it lies outside.
        """
        parts = PurePosixPath(name).parts
        path = self.folder.joinpath(*parts)
        outside = not parts or parts[0] == "/" or {"..", "//"} & {*parts} or {*"\\:\0"} & {*name}
        root = os.path.realpath(self.folder)
        if outside or os.path.commonpath([root, os.path.realpath(path)]) != root:
            raise GalleryError(f"{self.folder}: {name!r:.80} would lie outside the export")
        return path


def _check_alias(folder: Path, into: dict[int, int | None], person: int) -> None:
    seen = {person}
    while (above := into[person]) is not None:
        if above in seen or above not in into:
            raise GalleryError(f"{folder}: person {person} is the alias of nobody")
        seen.add(above)
        person = above


def _altered(path: Path) -> IntegrityError:
    return IntegrityError(f"{path}: is not what was exported: its sha256 differs: export it anew")
