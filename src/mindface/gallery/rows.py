"""What a gallery stores: people, their faces, and what was done, entry by entry."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mindface.errors import GalleryError
from mindface.results import Array, Face

Ints = NDArray[np.int64]
Kind = Literal[
    "enroll", "remove", "reject", "confirm", "merge", "split", "rename", "edit", "undo", "forget"
]

UNIT = 1e-3  # how far an embedding's length may be from 1


@dataclass(frozen=True, eq=False)
class Sample:
    """A face to enroll.

    Attributes:
        embedding: `(D,)` float32 of unit length.
        quality: its weight in the person's template, above 0: the length of the embedding before
            it was scaled, where that is known.
        path: the photo it comes from.
        content: names this face of this photo, such as a hash of the photo with the face's
            number; None: a hash of the embedding. Corrections are kept by it.
        box: `(4,)` float32, in pixels of the upright photo.
        landmarks: `(5, 2)` float32, likewise.
        crop: the face cut out, as JPEG.

    Raises:
        GalleryError: an embedding that is not finite or not of unit length, or a quality that is
            not above 0.
    """

    embedding: Array
    quality: float = 1.0
    path: str | None = None
    content: str | None = None
    box: Array | None = None
    landmarks: Array | None = None
    crop: bytes | None = None

    def __post_init__(self) -> None:
        embedding = unit_rows(np.asarray(self.embedding)[None])[0]
        object.__setattr__(self, "embedding", embedding)
        if not (self.quality > 0 and math.isfinite(self.quality)):
            raise GalleryError(f"the quality of a face is a number above 0, not {self.quality}")
        object.__setattr__(self, "quality", float(self.quality))
        if self.content is None:
            object.__setattr__(self, "content", content_of(embedding))
        for name, shape in (("box", (4,)), ("landmarks", (5, 2))):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, np.asarray(value, "<f4").reshape(shape))

    @classmethod
    def of(cls, face: Face, **others: Any) -> Sample:
        """A sample of a `Face` that has its embedding.

        Raises:
            GalleryError: it has none.
        """
        if face.embedding is None:
            raise GalleryError("a face without an embedding cannot be enrolled: embed it first")
        return cls(face.embedding, box=face.box, landmarks=face.landmarks, **others)


class Details(NamedTuple):
    """What is known of a person besides the name; times in seconds since 1970 UTC."""

    tags: tuple[str, ...] = ()
    valid_from: float | None = None
    valid_until: float | None = None

    @classmethod
    def read(cls, values: Sequence[Any]) -> Details:
        """From JSON."""
        tags, start, stop = values
        return cls(tuple(tags), start, stop)


@dataclass(frozen=True)
class PersonRow:
    """A person, or the alias of one.

    Attributes:
        tags: in order, each once.
        valid_from: seconds since 1970 UTC, or None: always was.
        valid_until: likewise, the first moment at which it is no longer valid.
        created: likewise.
        merged_into: the person whose alias this is.
    """

    id: int
    name: str
    tags: tuple[str, ...]
    valid_from: float | None
    valid_until: float | None
    created: float
    merged_into: int | None = None


@dataclass(frozen=True, eq=False)
class FaceRow:
    """An enrolled face; `Sample` says what its parts are."""

    id: int
    person: int
    embedding: Array
    quality: float
    path: str | None
    content: str
    box: Array | None
    landmarks: Array | None
    created: float

    def sample(self, crop: bytes | None = None) -> Sample:
        """What it was enrolled as."""
        return Sample(
            self.embedding, self.quality, self.path, self.content, self.box, self.landmarks, crop
        )


@dataclass(frozen=True)
class Entry:
    """An entry of the journal.

    Attributes:
        id: from 1 on, without gaps.
        operation: sha256 of the operation's id, which is not kept.
        request: sha256 of that id and what was asked for: the same operation asks for the same.
        kind: what was done.
        person: to whom.
        other: the second person of a merge, or the new one of a split.
        content: the face that a rejection or confirmation speaks of.
        payload: what undoing needs.
        undone_by: the entry that took it back.
        created: seconds since 1970 UTC.
    """

    id: int
    operation: bytes
    request: bytes
    kind: Kind
    person: int | None
    other: int | None
    content: str | None
    payload: dict[str, Any] = field(hash=False)
    undone_by: int | None
    created: float


def details_of(row: PersonRow) -> Details:
    """A person's details."""
    return Details(row.tags, row.valid_from, row.valid_until)


def unit_rows(embeddings: Any) -> Array:
    """Embeddings `(N, D)` as contiguous little-endian float32.

    Raises:
        GalleryError: of another shape, not finite, or not of unit length.
    """
    rows = np.ascontiguousarray(embeddings, "<f4")
    if rows.ndim != 2:
        raise GalleryError(f"embeddings have the shape (N, D), not {rows.shape}")
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    wrong = np.flatnonzero(~(np.abs(lengths - 1) <= UNIT))
    if len(wrong):
        raise GalleryError(
            f"embedding {wrong[0]} has the length {lengths[wrong[0]]:g}: embeddings are of unit "
            "length, as a Recognizer returns them"
        )
    return rows


def content_of(embedding: Array) -> str:
    """What names a face of which only the embedding is known."""
    return sha256(np.ascontiguousarray(embedding, "<f4").tobytes()).hexdigest()


def face_content(photo: str, number: int) -> str:
    """What names a face of a photo: a hash of the file, and the face's place among its faces."""
    return f"{photo}:{number}"


def photo_of(content: str) -> str:
    """The photo of a face that `face_content` names."""
    return content.rpartition(":")[0]


def checksum(values: Iterable[bytes | str | float | None]) -> int:
    """CRC-32 of the length and the bytes of each value, or of its `repr` where it has no bytes."""
    total = 0
    for value in values:
        data = value if isinstance(value, bytes) else repr(value).encode()
        total = zlib.crc32(data, zlib.crc32(struct.pack("<q", len(data)), total))
    return total
