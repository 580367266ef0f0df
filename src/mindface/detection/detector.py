"""The detector: images in, boxes and landmarks out."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, Unpack

import cv2
import numpy as np
from numpy.typing import NDArray

from mindface import golden, zoo
from mindface.detection.anchors import anchors, decode_boxes, decode_landmarks
from mindface.engines import EngineOptions, EngineSettings, Session, Sessions
from mindface.engines.inputs import normalise
from mindface.errors import ImageError
from mindface.geometry import nms
from mindface.imaging import Photo, Source, open_image, or_error
from mindface.pipeline import batches_ahead
from mindface.results import Array, Detections

if TYPE_CHECKING:
    from mindface.zoo.record import Preprocessing, RetinaFaceHead

Image = NDArray[np.uint8]
BUCKET = 32
MAX_CANDIDATES = 5000
SMALL = 64  # pixels of a face, as the network sees it, beside which there may be smaller ones
SURE = 0.5  # score of a face that counts for that
SEEN_BY_BOTH = 32, 96  # pixels of faces that both looks may find; smaller ones the closer alone


@dataclass(frozen=True)
class Thresholds:
    """What counts as a face.

    Attributes:
        score: least confidence, 0 to 1.
        overlap: IoU above which the weaker of two boxes is dropped.
        min_face: least shorter side of a box, in pixels of the image.
        max_faces: keep this many at most, best scores first; None for all.
    """

    score: float = 0.5
    overlap: float = 0.4
    min_face: float = 0
    max_faces: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("score", self.score), ("overlap", self.overlap)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} threshold must lie in 0..1, not {value}")
        if self.max_faces is not None and self.max_faces < 1:
            raise ValueError(f"max_faces must be at least 1, not {self.max_faces}")


class Detector:
    """A RetinaFace that finds faces in photos of any size.

    Every photo is scaled until its long side is `input_size` times each of `scales`; what the
    scales find is merged. The largest scale finds the small faces, the other the faces that fill
    the picture (larger than the largest anchor). Where the largest shows a face of less than 64
    pixels, there may be smaller ones: those of less than 32 are taken from a closer look at the
    photo, those of less than 96 from either.

    Args:
        model: a name of the catalogue or an ONNX file.
        record: the record of an ONNX file that the catalogue does not know.
        licence_policy: "permissive" refuses weights that forbid commercial use.
        input_size: long side of the network's input at scale 1, in pixels.
        scales: relative sizes at which each photo is looked at.
        closer: how many times the largest scale's size a closer look has; None: there is none.
        score_threshold: least confidence, 0 to 1.
        nms_threshold: IoU above which the weaker of two boxes is dropped.
        min_face: least shorter side of a box, in pixels of the photo.
        max_faces: keep this many at most, best first; None for all.
        **settings: engine, device, precision, threads; see `mindface.engines.EngineOptions`.

    Raises:
        ModelError: the model is unknown, damaged or no detector.
        EngineError: engine, device or precision cannot be had.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = zoo.DEFAULT_DETECTOR,
        *,
        record: str | os.PathLike[str] | None = None,
        licence_policy: zoo.LicencePolicy = "any",
        input_size: int = 640,
        scales: Sequence[float] = (1.0, 0.25),
        closer: float | None = 2.0,
        score_threshold: float = 0.5,
        nms_threshold: float = 0.4,
        min_face: float = 0,
        max_faces: int | None = None,
        **settings: Unpack[EngineSettings],
    ) -> None:
        if input_size < 32:
            raise ValueError(f"input_size must be at least 32 pixels, not {input_size}")
        if not scales or min(scales) <= 0:
            raise ValueError(f"scales must be positive numbers, not {tuple(scales)}")
        if closer is not None and closer <= 1:
            raise ValueError(f"closer must be above 1, not {closer}")
        self.model = zoo.resolve(
            model, task="detection", record=record, licence_policy=licence_policy
        )
        self.options = EngineOptions(**settings)
        self.input_size = input_size
        self.scales = tuple(scales)
        self.closer = closer
        self.thresholds = Thresholds(score_threshold, nms_threshold, min_face, max_faces)

    @property
    def record(self) -> zoo.ModelRecord:
        """The record of the weights in use."""
        return self.model.record

    @property
    def engine(self) -> str:
        """The engine in use, "onnxruntime" or "openvino"."""
        return self._sessions.settled.engine

    @property
    def precision(self) -> str:
        """The precision in use, such as "fp32"."""
        return self._sessions.settled.precision

    @property
    def long_side(self) -> int:
        """The long side that a photo needs so that no scale has to enlarge it, in pixels."""
        return round(self.input_size * max(self.scales))

    def detect(self, source: Source) -> Detections:
        """Finds the faces of one photo.

        Args:
            source: a path, bytes, a file object, a PIL image or an RGB uint8 array.

        Returns:
            The faces, best score first; empty where there is none.

        Raises:
            ImageError: the photo cannot be read.
        """
        return self.detect_opened([self.open(source)])[0]

    def detect_batch(self, sources: Iterable[Source]) -> list[Detections]:
        """Finds the faces of many photos, all held in memory; see `stream` for any number.

        Returns:
            The results of `detect`, in input order.

        Raises:
            ImageError: a photo cannot be read.
        """
        return self.detect_opened([self.open(source) for source in sources])

    def stream(
        self, sources: Iterable[Source], *, batch_size: int = 32
    ) -> Iterator[Detections | ImageError]:
        """Finds the faces of any number of photos, decoding ahead.

        Args:
            sources: photos; taken as they are needed.
            batch_size: how many photos are worked on together.

        Yields:
            For each photo, in input order, its faces or why it cannot be read.
        """
        for item in self.stream_opened(sources, batch_size=batch_size):
            yield item if isinstance(item, ImageError) else item[1]

    def stream_opened(
        self, sources: Iterable[Source], *, batch_size: int = 32
    ) -> Iterator[tuple[Opened, Detections] | ImageError]:
        """As `stream`, with the pixels that the faces were found in, to cut them out."""
        for batch in self.open_ahead(sources, batch_size):
            readable = [item for item in batch if not isinstance(item, ImageError)]
            found = iter(zip(readable, self.detect_opened(readable), strict=True))
            yield from (item if isinstance(item, ImageError) else next(found) for item in batch)

    def open(self, source: Source) -> Opened:
        """Opens and decodes a photo, hardly larger than the network's input needs.

        Raises:
            ImageError: the photo cannot be read.
        """
        return Opened.at(open_image(source), self.long_side)

    def open_ahead(
        self, sources: Iterable[Source], batch_size: int
    ) -> Iterator[list[Opened | ImageError]]:
        """Batches of opened photos, decoded while the batch before is worked on."""
        open_or_error = partial(or_error, self.open)
        return batches_ahead(open_or_error, sources, batch_size, self.options.thread_count)

    def detect_opened(self, images: Sequence[Opened]) -> list[Detections]:
        """Finds the faces of photos that are decoded already, grouped by shape.

        Returns:
            For each photo its faces, in pixels of the photo at full size.
        """
        looks = [
            Look.at(image, self.input_size, scale) for image in images for scale in self.scales
        ]
        found = iter(self.candidates(looks, alone=len(images) == 1))
        parts = [[next(found) for _ in self.scales] for _ in images]
        self._look_closer(images, parts)
        return [
            merge(part, self.thresholds).on(image.photo, self.record)
            for image, part in zip(images, parts, strict=True)
        ]

    def _look_closer(self, images: Sequence[Opened], parts: list[list[Candidates]]) -> None:
        """Takes the small faces of photos that show some from a closer look.

        A photo that can no longer be read stays as it was seen.
        """
        if self.closer is None:
            return
        scale = max(self.scales)
        largest, shown = self.scales.index(scale), self.input_size * scale
        looks, pixels = {}, {}
        for index, (image, part) in enumerate(zip(images, parts, strict=True)):
            pixels[index] = max(image.photo.width, image.photo.height) / shown
            seen = part[largest]
            if (seen.sides[seen.scores >= SURE] < SMALL * pixels[index]).any():
                with suppress(ImageError):
                    closer = Opened.at(image.photo, round(shown * self.closer))
                    looks[index] = Look.at(closer, self.input_size, scale * self.closer)
        found = self.candidates([*looks.values()], alone=len(looks) == 1)
        for index, closer_seen in zip(looks, found, strict=True):
            seen = parts[index][largest]
            least, most = (side * pixels[index] for side in SEEN_BY_BOTH)
            parts[index][largest] = seen.select(np.flatnonzero(seen.sides >= least))
            parts[index].append(closer_seen.select(np.flatnonzero(closer_seen.sides < most)))

    def candidates(self, looks: Sequence[Look], *, alone: bool = False) -> list[Candidates]:
        """What the network finds in each look, before suppression.

        Args:
            looks: photos at any scales.
            alone: one after the other with all threads, not side by side.

        Returns:
            For each look its candidates, in pixels of the photo at full size.
        """
        groups = grouped([look.shape for look in looks], 1 if self.options.device == "cpu" else 32)
        found = self._sessions.map(
            lambda session, group: self._run(session, [looks[index] for index in group]),
            groups,
            alone=alone,
        )
        in_place = dict(zip(chain(*groups), chain(*found), strict=True))
        return [in_place[index] for index in range(len(looks))]

    @cached_property
    def _sessions(self) -> Sessions:
        return Sessions(self.model, self.options, self._probe)

    def _probe(self) -> Array:
        """A real input, by which precision "auto" is judged."""
        opened = [self.open(np.ascontiguousarray(face.image[:512])) for face in golden.portraits()]
        looks = [Look.at(portrait, 512, 1.0) for portrait in opened]
        return to_input(looks, self.record.preprocessing)

    def _run(self, session: Session, looks: Sequence[Look]) -> list[Candidates]:
        """The candidates of looks of one shape, in pixels of their photos at full size."""
        assert self.record.detection is not None  # zoo.resolve made sure of the task
        outputs = session.run(to_input(looks, self.record.preprocessing))
        return [
            decode(
                [output[row] for output in outputs],
                look.shape,
                self.record.detection,
                self.thresholds.score,
            ).scaled(look.enlargement)
            for row, look in enumerate(looks)
        ]


class Opened(NamedTuple):
    """A photo and its pixels `(h, w, 3)` RGB uint8, at full size or reduced."""

    photo: Photo
    pixels: Image

    @classmethod
    def at(cls, photo: Photo, long_side: int) -> Opened:
        """Decodes a photo, its longer side hardly longer than needed.

        Raises:
            ImageError: it cannot be read.
        """
        pixels = photo.read(long_side)
        ratio = long_side / max(pixels.shape[:2])
        if ratio < 0.5:
            size = [max(1, round(side * ratio)) for side in pixels.shape[1::-1]]
            pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
        return cls(photo, pixels)

    @property
    def ratio(self) -> Array:
        """What x and y of the photo at full size are multiplied by to lie in the pixels: `(2,)`."""
        height, width = self.pixels.shape[:2]
        return np.array([width / self.photo.width, height / self.photo.height], np.float32)


@dataclass(frozen=True)
class Look:
    """A photo as the network is shown it at one scale.

    Attributes:
        opened: the photo.
        size: (height, width) the photo is scaled to.
        shape: (height, width) of the input it stands in: `size` rounded up to a few shapes, so
            that engines prepare each once.
    """

    opened: Opened
    size: tuple[int, int]
    shape: tuple[int, int]

    @classmethod
    def at(cls, opened: Opened, input_size: int, scale: float) -> Look:
        """Scales a photo so that its long side is `input_size * scale` pixels."""
        return cls.enlarged(opened, input_size * scale / max(opened.pixels.shape[:2]))

    @classmethod
    def enlarged(cls, opened: Opened, ratio: float) -> Look:
        """Scales a photo's pixels, as they were read, by `ratio`."""
        height, width = (max(1, round(side * ratio)) for side in opened.pixels.shape[:2])
        shape = (-(-height // BUCKET) * BUCKET, -(-width // BUCKET) * BUCKET)
        return cls(opened, (height, width), shape)

    @property
    def enlargement(self) -> Array:
        """What x and y of the input are multiplied by to lie in the photo at full size: `(2,)`."""
        photo, (height, width) = self.opened.photo, self.size
        return np.array([photo.width / width, photo.height / height], np.float32)


def grouped(shapes: Sequence[tuple[int, int]], most: int) -> list[list[int]]:
    """Indices of equal shapes together, at most `most` in a group, the largest shapes first.

    One shape after the other, because engines prepare anew where the shape changes.
    """
    by_shape: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, shape in enumerate(shapes):
        by_shape[shape].append(index)
    return [
        indices[start : start + most]
        for _, indices in sorted(by_shape.items(), key=lambda item: -math.prod(item[0]))
        for start in range(0, len(indices), most)
    ]


@dataclass(frozen=True)
class Candidates:
    """Boxes `(N, 4)`, scores `(N,)` and landmarks `(N, 5, 2)` before they belong to a photo."""

    boxes: Array
    scores: Array
    landmarks: Array

    def scaled(self, ratio: Array) -> Candidates:
        """The same with x and y multiplied by `ratio` `(2,)`."""
        return Candidates(self.boxes * np.tile(ratio, 2), self.scores, self.landmarks * ratio)

    @property
    def sides(self) -> Array:
        """The longer sides `(N,)` of the boxes."""
        return np.asarray((self.boxes[:, 2:] - self.boxes[:, :2]).max(1), np.float32)

    def select(self, indices: NDArray[np.intp]) -> Candidates:
        """The candidates at `indices`, in that order."""
        return Candidates(self.boxes[indices], self.scores[indices], self.landmarks[indices])

    def on(self, photo: Photo, record: zoo.ModelRecord) -> Detections:
        """The candidates as the faces that the model of this record found in a photo."""
        return Detections(
            self.boxes,
            self.scores,
            self.landmarks,
            photo.width,
            photo.height,
            photo.path,
            record.name,
            record.licence,
        )


def to_input(looks: Sequence[Look], preprocessing: Preprocessing) -> Array:
    """Scales photos into the upper left corner of a normalised batch `(B, 3, H, W)` float32.

    What the photos leave free is zero: the mean colour.
    """
    batch = np.zeros((len(looks), 3, *looks[0].shape), np.float32)
    for look, planes in zip(looks, batch, strict=True):
        image, (height, width) = look.opened.pixels, look.size
        shrinks = image.shape[0] > 2 * height
        scaled = cv2.resize(
            image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        )
        normalise(np.asarray(scaled, np.uint8), preprocessing, planes[:, :height, :width])
    return batch


def decode(
    outputs: list[Array],
    shape: tuple[int, ...],
    head: RetinaFaceHead,
    threshold: float,
) -> Candidates:
    """The candidates above `threshold` in the outputs of one image.

    Args:
        outputs: encoded boxes `(A, 4)`, probabilities `(A, 2)` and encoded landmarks `(A, 10)`,
            in the head's order.
        shape: (height, width) of the input.
        head: the model's head.
        threshold: least confidence.

    Returns:
        Candidates in pixels of the input, at most `MAX_CANDIDATES`, best first.
    """
    by_name = dict(zip(head.outputs, outputs, strict=True))
    scores = by_name["scores"][:, 1]
    keep = np.flatnonzero(scores >= threshold)
    keep = keep[np.argsort(-scores[keep], kind="stable")][:MAX_CANDIDATES]
    grid = anchors(shape[0], shape[1], head.strides, head.min_sizes)[keep]
    return Candidates(
        decode_boxes(by_name["boxes"][keep], grid, head.variances),
        scores[keep],
        decode_landmarks(by_name["landmarks"][keep], grid, head.variances),
    )


def merge(parts: Sequence[Candidates], thresholds: Thresholds) -> Candidates:
    """Joins what several scales found: suppression over all, then the limits on size and count."""
    boxes = np.concatenate([part.boxes for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    landmarks = np.concatenate([part.landmarks for part in parts])
    kept = nms(boxes, scores, thresholds.overlap)
    sides = (boxes[kept, 2:] - boxes[kept, :2]).min(1)
    kept = kept[sides >= thresholds.min_face][: thresholds.max_faces]
    return Candidates(boxes, scores, landmarks).select(kept)
