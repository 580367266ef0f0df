"""What MindFace returns: frozen, checked at construction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from mindface.errors import ImageError

Array = NDArray[np.float32]


def _checked(name: str, value: Any, shape: tuple[int | None, ...]) -> Array:
    array = np.asarray(value, np.float32)
    if array.ndim != len(shape) or any(
        want not in (None, have) for have, want in zip(array.shape, shape, strict=True)
    ):
        wanted = tuple("N" if side is None else side for side in shape)
        raise ValueError(f"{name} must have shape {wanted}, not {array.shape}")
    return array


@dataclass(frozen=True, eq=False)
class Face:
    """One face.

    Attributes:
        box: `(4,)` float32, x1 y1 x2 y2 in pixels of the upright image; may reach beyond it.
        score: the detector's confidence, 0 to 1.
        landmarks: `(5, 2)` float32: left eye, right eye, nose, left mouth corner, right mouth
            corner, as seen in the image.
        embedding: `(D,)` float32 of unit length, or None where none was asked for.
    """

    box: Array
    score: float
    landmarks: Array
    embedding: Array | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "box", _checked("box", self.box, (4,)))
        object.__setattr__(self, "landmarks", _checked("landmarks", self.landmarks, (5, 2)))
        object.__setattr__(self, "score", float(self.score))

    def to_dict(self) -> dict[str, Any]:
        """Box, score and landmarks as plain numbers, rounded to a hundredth of a pixel."""
        return {
            "box": [round(float(value), 2) for value in self.box],
            "score": round(self.score, 4),
            "landmarks": [[round(float(x), 2), round(float(y), 2)] for x, y in self.landmarks],
        }


@dataclass(frozen=True, eq=False)
class Detections(Sequence[Face]):
    """The faces of one image, best score first: a sequence of `Face` over arrays.

    Attributes:
        boxes: `(N, 4)` float32, x1 y1 x2 y2 in pixels of the upright image.
        scores: `(N,)` float32.
        landmarks: `(N, 5, 2)` float32.
        width: of the upright image, in pixels.
        height: likewise.
        path: where the image came from, or None.
        model: name of the detector, or None where nothing was detected (aligned faces).
        licence: of the detector's weights, likewise.
    """

    boxes: Array
    scores: Array
    landmarks: Array
    width: int
    height: int
    path: str | None = None
    model: str | None = None
    licence: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "boxes", _checked("boxes", self.boxes, (None, 4)))
        count = len(self.boxes)
        object.__setattr__(self, "scores", _checked("scores", self.scores, (count,)))
        object.__setattr__(self, "landmarks", _checked("landmarks", self.landmarks, (count, 5, 2)))

    def __len__(self) -> int:
        return len(self.boxes)

    @overload
    def __getitem__(self, index: int) -> Face: ...
    @overload
    def __getitem__(self, index: slice) -> list[Face]: ...
    def __getitem__(self, index: int | slice) -> Face | list[Face]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return Face(self.boxes[index], float(self.scores[index]), self.landmarks[index])

    def __iter__(self) -> Iterator[Face]:
        return (self[i] for i in range(len(self)))

    def select(self, indices: Any) -> Detections:
        """The faces at `indices` (integers or a mask), in that order."""
        return replace(
            self,
            boxes=self.boxes[indices],
            scores=self.scores[indices],
            landmarks=self.landmarks[indices],
        )

    def largest_index(self) -> int:
        """Index of the face with the largest box.

        Raises:
            ValueError: there is no face.
        """
        sides = self.boxes[:, 2:] - self.boxes[:, :2]
        return int(np.argmax(sides[:, 0] * sides[:, 1]))

    def to_dict(self) -> dict[str, Any]:
        """`{"path", "width", "height", "faces", "model", "licence"}` of plain values."""
        return {
            "path": self.path,
            "width": self.width,
            "height": self.height,
            "faces": [face.to_dict() for face in self],
            "model": self.model,
            "licence": self.licence,
        }


@dataclass(frozen=True)
class Quality:
    """Measures of one face.

    Attributes:
        sharpness: variance of the Laplacian of the gray face aligned to 112 x 112 pixels, in
            squared gray levels; blur, and enlarging a small face, lower it, noise raises it.
            Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000,
            section 2.
        side: shorter side of the box, in pixels.
        eye_distance: between the eyes' landmarks, in pixels.
        yaw: degrees, about; positive when the nose points to the right as seen in the image.
        pitch: degrees, about; positive when the nose points up.
        roll: degrees, exact; positive when the head is turned clockwise as seen in the image.
        truncation: share of the box that lies outside the image, 0 to 1.
        score: the detector's confidence, 0 to 1.
    """

    sharpness: float
    side: float
    eye_distance: float
    yaw: float
    pitch: float
    roll: float
    truncation: float
    score: float


@dataclass(frozen=True, eq=False)
class Analysis:
    """What was found in one photo.

    Attributes:
        faces: the faces that were embedded, with the photo's path and size.
        embeddings: `(N, D)` float32 of unit length, one row a face.
        norms: `(N,)` float32, the lengths of the embeddings before they were scaled.
        candidates: how many faces the detector found.
        rejected: why faces could not be aligned.
        quality: of each face, where it was asked for.
        error: why the photo could not be read, or None.
    """

    faces: Detections
    embeddings: Array
    norms: Array
    candidates: int
    rejected: tuple[str, ...] = ()
    quality: tuple[Quality, ...] = ()
    error: str | None = None

    def __post_init__(self) -> None:
        _checked("embeddings", self.embeddings, (len(self.faces), None))
        _checked("norms", self.norms, (len(self.faces),))

    @classmethod
    def failed(cls, error: ImageError) -> Analysis:
        """The result for a photo that cannot be read."""
        none = np.zeros((0, 0), np.float32)
        faces = Detections(
            none.reshape(0, 4), none.reshape(0), none.reshape(0, 5, 2), 0, 0, error.path
        )
        return cls(faces, none, none[0:0].reshape(0), 0, error=error.reason)

    @property
    def name(self) -> str:
        """The photo's path, or `"<image>"` where it has none."""
        return self.faces.path or "<image>"

    @property
    def reason(self) -> str | None:
        """Why there is no embedding, or None where there is one."""
        if len(self.faces):
            return None
        return self.error or "; ".join(self.rejected) or "no face found"

    @property
    def embedded(self) -> list[Face]:
        """The faces with their embeddings."""
        pairs = zip(self.faces, self.embeddings, strict=True)
        return [replace(face, embedding=vector) for face, vector in pairs]


@dataclass(frozen=True)
class Skipped:
    """An input that gave no embedding, and why."""

    path: str
    reason: str


@dataclass(frozen=True, eq=False)
class Embeddings:
    """The faces of many photos, one row a face, in the order of the photos.

    Attributes:
        embeddings: `(N, D)` float32 of unit length.
        paths: for each row, the photo it comes from (`"<image>"` where it has none).
        boxes: `(N, 4)`, likewise `scores` `(N,)` and `landmarks` `(N, 5, 2)`.
        contract: the embedding contract of the recogniser (`ModelRecord.contract`).
        model: name of the recogniser.
        licence: of the recogniser's weights.
        skipped: photos that were unreadable or showed no face.
    """

    embeddings: Array
    paths: tuple[str, ...]
    boxes: Array
    scores: Array
    landmarks: Array
    contract: str
    model: str
    licence: str
    skipped: tuple[Skipped, ...] = ()

    def __post_init__(self) -> None:
        _checked("embeddings", self.embeddings, (len(self.paths), None))
        _checked("boxes", self.boxes, (len(self.paths), 4))
        _checked("scores", self.scores, (len(self.paths),))
        _checked("landmarks", self.landmarks, (len(self.paths), 5, 2))

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def faces(self) -> list[Face]:
        """One `Face` a row, with its embedding."""
        rows = zip(self.boxes, self.scores, self.landmarks, self.embeddings, strict=True)
        return [Face(box, score, points, vector) for box, score, points, vector in rows]


@dataclass(frozen=True, eq=False)
class Verification:
    """Whether two photos show the same person.

    Attributes:
        same: similarity >= threshold; None while the model has no calibration and no threshold
            was given.
        similarity: cosine of the two embeddings, -1 to 1.
        threshold: the similarity from which on two faces count as one person, or None.
        false_match_rate: the share of pairs of strangers at or above the threshold, as measured
            by the calibration, or None.
        interval: 95% confidence interval of that rate, or None.
        calibration: the name of the calibration, or None.
        extrapolated: whether the threshold was read off a fitted tail and not measured.
        model: name of the recogniser.
        licence: of the recogniser's weights.
        faces: the two faces compared.
        candidates: how many faces each photo shows; of several the largest was taken.
        attack_check: always False: nobody checked that a live person stood before the camera.
    """

    same: bool | None
    similarity: float
    threshold: float | None
    false_match_rate: float | None
    interval: tuple[float, float] | None
    calibration: str | None
    extrapolated: bool
    model: str
    licence: str
    faces: tuple[Face, Face]
    candidates: tuple[int, int]
    attack_check: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if not -1.001 <= self.similarity <= 1.001:
            raise ValueError(f"similarity must be a cosine, not {self.similarity}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `mindface verify --json` prints them."""
        return {
            "same": self.same,
            "similarity": round(self.similarity, 6),
            "threshold": self.threshold,
            "false_match_rate": self.false_match_rate,
            "interval": self.interval and list(self.interval),
            "calibration": self.calibration,
            "extrapolated": self.extrapolated,
            "attack_check": self.attack_check,
            "model": self.model,
            "licence": self.licence,
            "faces": [
                face.to_dict() | {"candidates": count}
                for face, count in zip(self.faces, self.candidates, strict=True)
            ],
        }
