"""From photos to embeddings: detection, alignment and recognition, many photos at a time."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from typing import Unpack

import numpy as np
from numpy.typing import NDArray

from mindface import zoo
from mindface.detection.detector import Detector, Opened
from mindface.engines import EngineSettings
from mindface.errors import AlignmentError, ImageError, NoFaceError, SkippedInputsError
from mindface.geometry import (
    TEMPLATES,
    align,
    aligned_landmarks,
    check_landmarks,
    fit_crop,
    similarity_transform,
)
from mindface.imaging import Source, open_image
from mindface.pipeline import batches_ahead
from mindface.recognition.recognizer import Recognizer
from mindface.results import Analysis, Array, Detections, Embeddings, Face, Verification

Image = NDArray[np.uint8]


class FaceAnalyzer:
    """A detector and a recogniser that work together.

    May be called from several threads.

    Args:
        detector: a name of the catalogue, an ONNX file, or a `Detector` with options of its own.
        recognizer: a name of the catalogue, an ONNX file, or a `Recognizer`.
        licence_policy: "permissive" refuses weights that forbid commercial use.
        **settings: engine, device, precision, threads; see `mindface.engines.EngineOptions`.

    Raises:
        ModelError: a model is unknown, damaged or of the wrong task.
        EngineError: engine, device or precision cannot be had.
    """

    def __init__(
        self,
        detector: str | os.PathLike[str] | Detector = zoo.DEFAULT_DETECTOR,
        recognizer: str | os.PathLike[str] | Recognizer = zoo.DEFAULT_RECOGNIZER,
        *,
        licence_policy: zoo.LicencePolicy = "any",
        **settings: Unpack[EngineSettings],
    ) -> None:
        self.detector = (
            detector
            if isinstance(detector, Detector)
            else Detector(detector, licence_policy=licence_policy, **settings)
        )
        self.recognizer = (
            recognizer
            if isinstance(recognizer, Recognizer)
            else Recognizer(recognizer, licence_policy=licence_policy, **settings)
        )

    def detect(self, source: Source) -> Detections:
        """Finds the faces of one photo; see `Detector.detect`."""
        return self.detector.detect(source)

    def analyze(self, source: Source) -> list[Face]:
        """Finds and embeds the faces of one photo.

        Returns:
            The faces, best score first, each with its embedding.

        Raises:
            ImageError: the photo cannot be read.
        """
        return self._analyze([self.detector.open(source)], largest=False)[0].embedded

    def stream(
        self,
        sources: Iterable[Source],
        *,
        batch_size: int = 32,
        largest: bool = False,
        aligned: bool = False,
    ) -> Iterator[Analysis]:
        """Finds and embeds the faces of any number of photos.

        While a batch is worked on, the next one is decoded; no more than two are in memory.

        Args:
            sources: photos; taken as they are needed.
            batch_size: how many photos are worked on together.
            largest: embed only the largest face of each photo.
            aligned: each photo is a face that was aligned before, such as `mindface align`
                writes: nothing is detected.

        Yields:
            One result a photo, in input order, equal to that photo's alone. A photo that cannot
            be read, or is not of an aligned face's shape, has `error`, and no faces.
        """
        if aligned:
            threads = self.recognizer.options.thread_count
            for crops in batches_ahead(self._open_crop, sources, batch_size, threads):
                yield from self._embed(crops)
        else:
            for batch in self.detector.open_ahead(sources, batch_size):
                yield from self._analyze(batch, largest)

    def embed(
        self,
        sources: Iterable[Source],
        *,
        batch_size: int = 32,
        largest: bool = False,
        aligned: bool = False,
        strict: bool = False,
    ) -> Embeddings:
        """Embeds the faces of many photos; see `stream` for the arguments.

        Args:
            sources: photos.
            batch_size: how many photos are worked on together.
            largest: one row a photo, its largest face, instead of one row a face.
            aligned: the photos are aligned faces; nothing is detected.
            strict: an unreadable photo is an error; otherwise it is in `skipped`.

        Returns:
            One row a face, in the order of the photos; photos without a face are in `skipped`.

        Raises:
            SkippedInputsError: with `strict`, at the first unreadable photo.
        """
        done = []
        for analysis in self.stream(
            sources, batch_size=batch_size, largest=largest, aligned=aligned
        ):
            if strict and analysis.error:
                raise SkippedInputsError(f"{analysis.name}: {analysis.error}")
            done.append(analysis)
        return self.recognizer.collect(done)

    def verify(self, a: Source, b: Source, *, threshold: float | None = None) -> Verification:
        """Compares the largest faces of two photos.

        Args:
            a: a photo.
            b: another.
            threshold: least similarity of one person, instead of the model's calibration.

        Returns:
            The similarity and, where there is a threshold, whether the two are one person.

        Raises:
            ImageError: a photo cannot be read.
            NoFaceError: a photo shows no face.
        """
        first, second = self._analyze([self.detector.open(a), self.detector.open(b)], largest=True)
        for analysis in (first, second):
            if not len(analysis.faces):
                raise NoFaceError(f"{analysis.name}: {analysis.reason}")
        record = self.recognizer.record
        similarity = float(np.clip(first.embeddings[0] @ second.embeddings[0], -1, 1))
        point = record.calibration.at(1e-3) if record.calibration and threshold is None else None
        bound = point.threshold if point else threshold
        return Verification(
            same=None if bound is None else similarity >= bound,
            similarity=similarity,
            threshold=bound,
            false_match_rate=point.false_match_rate if point else None,
            interval=point.interval if point else None,
            calibration=record.calibration.name if record.calibration and point else None,
            model=record.name,
            licence=record.licence,
            faces=(first.embedded[0], second.embedded[0]),
            candidates=(first.candidates, second.candidates),
        )

    def _analyze(self, loaded: Sequence[Opened | ImageError], largest: bool) -> list[Analysis]:
        readable = [item for item in loaded if not isinstance(item, ImageError)]
        found = self.detector.detect_opened(readable)
        with ThreadPoolExecutor(self.detector.options.thread_count) as pool:
            cuts = pool.map(partial(self._cut, largest=largest), readable, found)
            return self._embed(
                [item if isinstance(item, ImageError) else next(cuts) for item in loaded]
            )

    def _embed(self, cuts: Sequence[_Cut | ImageError]) -> list[Analysis]:
        crops = [crop for cut in cuts if isinstance(cut, _Cut) for crop in cut.crops]
        rest = self.recognizer.embed(crops, aligned=True)
        analyses = []
        for cut in cuts:
            if isinstance(cut, ImageError):
                analyses.append(Analysis.failed(cut))
                continue
            vectors, rest = np.split(rest, [len(cut.crops)])
            analyses.append(Analysis(cut.faces, vectors, cut.candidates, cut.rejected))
        return analyses

    def _cut(self, opened: Opened, faces: Detections, largest: bool) -> _Cut:
        picked, rejected = plausible(faces)
        if largest and len(picked):
            picked = picked.select([picked.largest_index()])
        template = self.recognizer.template
        crops = cut_faces(opened, picked.landmarks, template) if len(picked) else []
        return _Cut(picked, crops, len(faces), rejected)

    def _open_crop(self, source: Source) -> _Cut | ImageError:
        """An aligned face as if it had been cut out of a photo, filling it."""
        try:
            photo = open_image(source)
            pixels = photo.read()
        except ImageError as error:
            return error
        whole = Detections(
            np.array([[0, 0, photo.width, photo.height]], np.float32),
            np.ones(1, np.float32),
            aligned_landmarks(pixels.shape[:2])[None],
            photo.width,
            photo.height,
            photo.path,
        )
        try:
            return _Cut(whole, [fit_crop(pixels, self.recognizer.template)], 1)
        except AlignmentError as error:
            return _Cut(whole.select([]), [], 0, (str(error),))


@dataclass(frozen=True)
class _Cut:
    """The faces of a photo that could be aligned, their crops, and what became of the others."""

    faces: Detections
    crops: list[Image]
    candidates: int
    rejected: tuple[str, ...] = ()


def plausible(faces: Detections) -> tuple[Detections, tuple[str, ...]]:
    """Parts the faces whose landmarks can be aligned from the others.

    Returns:
        Those that can, and the reasons why the others cannot (`geometry.check_landmarks`).
    """
    kept, reasons = [], []
    for index, landmarks in enumerate(faces.landmarks):
        try:
            check_landmarks(landmarks)
            kept.append(index)
        except AlignmentError as error:
            reasons.append(str(error))
    return faces.select(kept), tuple(reasons)


def cut_faces(
    opened: Opened,
    landmarks: Array,
    template: str = "arcface_112x112",
    size: tuple[int, int] | None = None,
) -> list[Image]:
    """Aligns faces of a photo, decoding it anew where one deserves more pixels than were read.

    Args:
        opened: the photo as the detector read it.
        landmarks: `(N, 5, 2)`, N at least 1, in pixels of the photo at full size.
        template: a name of `mindface.geometry.TEMPLATES`.
        size: (height, width) of the crops, if not the template's own.

    Raises:
        AlignmentError: landmarks that no face can have.
    """
    photo, pixels = opened
    (height, _), points = TEMPLATES[template]
    matrices = similarity_transform(landmarks, points * ((size or (height,))[0] / height))
    full = max(photo.width, photo.height)
    scale = float(np.hypot(matrices[:, 0, 0], matrices[:, 1, 0]).max())
    wanted = min(full, math.ceil(full * scale))
    if max(pixels.shape[:2]) < wanted:
        pixels = photo.read(wanted)
    ratio = np.array([pixels.shape[1] / photo.width, pixels.shape[0] / photo.height])
    return [align(pixels, points * ratio, template, size) for points in landmarks]


@cache
def _default() -> FaceAnalyzer:
    return FaceAnalyzer()


def detect(source: Source) -> Detections:
    """Finds the faces of one photo with the default detector; see `Detector.detect`."""
    return _default().detect(source)


def verify(a: Source, b: Source, *, threshold: float | None = None) -> Verification:
    """Compares two photos with the default models; see `FaceAnalyzer.verify`."""
    return _default().verify(a, b, threshold=threshold)
