"""From photos to embeddings: detection, alignment and recognition, many photos at a time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Unpack

import numpy as np
from numpy.typing import NDArray

from mindface import zoo
from mindface.crops import cut_faces, in_detail, measure, plausible
from mindface.detection.detector import Detector, Opened
from mindface.engines import EngineSettings
from mindface.errors import (
    AlignmentError,
    CalibrationError,
    ImageError,
    NoFaceError,
    SkippedInputsError,
)
from mindface.geometry import (
    aligned_landmarks,
    fit_crop,
)
from mindface.imaging import Source, open_image, or_error
from mindface.pipeline import batches_ahead
from mindface.recognition.recognizer import Recognizer, unit
from mindface.results import (
    Analysis,
    Detections,
    Embeddings,
    Face,
    Quality,
    Verification,
)

if TYPE_CHECKING:
    from mindface.zoo.record import Threshold

Image = NDArray[np.uint8]
DEFAULT_RATE = 1e-3


class FaceAnalyzer:
    """A detector and a recogniser that work together.

    May be called from several threads.

    Args:
        detector: a name of the catalogue, an ONNX file, or a `Detector` with options of its own;
            None where all faces come aligned.
        recognizer: a name of the catalogue, an ONNX file, or a `Recognizer`.
        licence_policy: "permissive" refuses weights that forbid commercial use.
        **settings: engine, device, precision, threads; see `mindface.engines.EngineOptions`.

    Raises:
        ModelError: a model is unknown, damaged or of the wrong task.
        EngineError: engine, device or precision cannot be had.
    """

    def __init__(
        self,
        detector: str | os.PathLike[str] | Detector | None = zoo.DEFAULT_DETECTOR,
        recognizer: str | os.PathLike[str] | Recognizer = zoo.DEFAULT_RECOGNIZER,
        *,
        licence_policy: zoo.LicencePolicy = "any",
        **settings: Unpack[EngineSettings],
    ) -> None:
        self._detector = (
            detector
            if isinstance(detector, Detector | None)
            else Detector(detector, licence_policy=licence_policy, **settings)
        )
        self.recognizer = (
            recognizer
            if isinstance(recognizer, Recognizer)
            else Recognizer(recognizer, licence_policy=licence_policy, **settings)
        )

    @property
    def detector(self) -> Detector:
        """The detector.

        Raises:
            ValueError: the analyzer was made without one.
        """
        if self._detector is None:
            raise ValueError("this analyzer has no detector: it takes aligned faces only")
        return self._detector

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
        (found,) = self._analyze([self.detector.open(source)], largest=False)
        if found.error:
            raise ImageError(found.error, found.faces.path)
        return found.embedded

    def stream(
        self,
        sources: Iterable[Source],
        *,
        batch_size: int = 32,
        largest: bool = False,
        aligned: bool = False,
        flip: bool = False,
        quality: bool = False,
    ) -> Iterator[Analysis]:
        """Finds and embeds the faces of any number of photos.

        While a batch is worked on, the next one is decoded; no more than two are in memory.

        Args:
            sources: photos; taken as they are needed.
            batch_size: how many photos are worked on together.
            largest: embed only the largest face of each photo.
            aligned: each photo is a face that was aligned before, such as `mindface align`
                writes: nothing is detected.
            flip: add the features of each face's mirror image; see `Recognizer.features`.
            quality: measure each face; see `mindface.quality.assess`.

        Yields:
            One result a photo, in input order, equal to that photo's alone. A photo that cannot
            be read, or is not of an aligned face's shape, has `error`, and no faces.
        """
        if aligned:
            threads = self.recognizer.options.thread_count
            open_crop = partial(self._open_crop, quality=quality)
            for crops in batches_ahead(partial(or_error, open_crop), sources, batch_size, threads):
                yield from self._embed(crops, flip)
        else:
            for batch in self.detector.open_ahead(sources, batch_size):
                yield from self._analyze(batch, largest=largest, flip=flip, quality=quality)

    def embed(
        self,
        sources: Iterable[Source],
        *,
        batch_size: int = 32,
        largest: bool = False,
        aligned: bool = False,
        flip: bool = False,
        strict: bool = False,
    ) -> Embeddings:
        """Embeds the faces of many photos; see `stream` for the arguments.

        Args:
            sources: photos.
            batch_size: how many photos are worked on together.
            largest: one row a photo, its largest face, instead of one row a face.
            aligned: the photos are aligned faces; nothing is detected.
            flip: add the features of each face's mirror image.
            strict: an unreadable photo is an error; otherwise it is in `skipped`.

        Returns:
            One row a face, in the order of the photos; photos without a face are in `skipped`.

        Raises:
            SkippedInputsError: with `strict`, at the first unreadable photo.
        """
        done = []
        stream = self.stream(
            sources, batch_size=batch_size, largest=largest, aligned=aligned, flip=flip
        )
        for analysis in stream:
            if strict and analysis.error:
                raise SkippedInputsError(f"{analysis.name}: {analysis.error}")
            done.append(analysis)
        return self.recognizer.collect(done)

    def verify(
        self,
        a: Source,
        b: Source,
        *,
        false_match_rate: float = DEFAULT_RATE,
        threshold: float | None = None,
    ) -> Verification:
        """Compares the largest faces of two photos.

        Args:
            a: a photo.
            b: another.
            false_match_rate: how many strangers may pass for one person; the recogniser's
                calibration has the threshold.
            threshold: least similarity of one person, instead of a calibrated one.

        Returns:
            The similarity and, where there is a threshold, whether the two are one person.

        Raises:
            ImageError: a photo cannot be read.
            NoFaceError: a photo shows no face.
            CalibrationError: the calibration has no threshold for this rate, or there is none and
                another than the usual rate is asked for.
        """
        point = None if threshold is not None else self._calibrated(false_match_rate)
        first, second = self._analyze([self.detector.open(a), self.detector.open(b)], largest=True)
        for analysis in (first, second):
            if analysis.error:
                raise ImageError(analysis.error, analysis.faces.path)
            if not len(analysis.faces):
                raise NoFaceError(f"{analysis.name}: {analysis.reason}")
        record, calibration = self.recognizer.record, self.recognizer.calibration
        similarity = float(np.clip(first.embeddings[0] @ second.embeddings[0], -1, 1))
        bound = point.threshold if point else threshold
        return Verification(
            same=None if bound is None else similarity >= bound,
            similarity=similarity,
            threshold=bound,
            false_match_rate=point.false_match_rate if point else None,
            interval=point.interval if point else None,
            calibration=calibration.name if calibration and point else None,
            extrapolated=point.extrapolated if point else False,
            model=record.name,
            licence=record.licence,
            faces=(first.embedded[0], second.embedded[0]),
            candidates=(first.candidates, second.candidates),
        )

    def _calibrated(self, rate: float) -> Threshold | None:
        calibration = self.recognizer.calibration
        point = calibration.at(rate) if calibration else None
        if point is None and (calibration or rate != DEFAULT_RATE):
            known = calibration.thresholds if calibration else ()
            rates = ", ".join(f"{each.false_match_rate:g}" for each in known) or "none"
            raise CalibrationError(
                f"no threshold for the false match rate {rate:g}: "
                f"{self.recognizer.record.name} is calibrated for {rates}"
            )
        return point

    def _analyze(
        self,
        loaded: Sequence[Opened | ImageError],
        *,
        largest: bool,
        flip: bool = False,
        quality: bool = False,
    ) -> list[Analysis]:
        readable = [item for item in loaded if not isinstance(item, ImageError)]
        found = self.detector.detect_opened(readable)
        cut = partial(self._cut, largest=largest, quality=quality)
        with ThreadPoolExecutor(self.detector.options.thread_count) as pool:
            cuts = pool.map(cut, readable, found)
            merged = [item if isinstance(item, ImageError) else next(cuts) for item in loaded]
        return self._embed(merged, flip)

    def _embed(self, cuts: Sequence[_Cut | ImageError], flip: bool) -> list[Analysis]:
        crops = [crop for cut in cuts if isinstance(cut, _Cut) for crop in cut.crops]
        rest = self.recognizer.features(crops, aligned=True, flip=flip)
        analyses = []
        for cut in cuts:
            if isinstance(cut, ImageError):
                analyses.append(Analysis.failed(cut))
                continue
            features, rest = np.split(rest, [len(cut.crops)])
            norms = np.linalg.norm(features, axis=1)
            analyses.append(
                Analysis(
                    cut.faces, unit(features), norms, cut.candidates, cut.rejected, cut.quality
                )
            )
        return analyses

    def _cut(
        self, opened: Opened, faces: Detections, *, largest: bool, quality: bool
    ) -> _Cut | ImageError:
        picked, rejected = plausible(faces)
        if largest and len(picked):
            picked = picked.select([picked.largest_index()])
        if not len(picked):
            return _Cut(picked, [], len(faces), rejected)
        template = self.recognizer.template
        try:
            detailed = in_detail(opened, picked.landmarks, template)
        except ImageError as error:  # it changed since it was opened
            return error
        crops = cut_faces(detailed, picked.landmarks, template)
        measures = tuple(measure(detailed, face) for face in picked) if quality else ()
        return _Cut(picked, crops, len(faces), rejected, measures)

    def _open_crop(self, source: Source, quality: bool) -> _Cut:
        """An aligned face as if it had been cut out of a photo, filling it."""
        photo = open_image(source)
        pixels = photo.read()
        whole = Detections(
            np.array([[0, 0, photo.width, photo.height]], np.float32),
            np.ones(1, np.float32),
            aligned_landmarks(pixels.shape[:2])[None],
            photo.width,
            photo.height,
            photo.path,
        )
        try:
            crops = [fit_crop(pixels, self.recognizer.template)]
        except AlignmentError as error:
            return _Cut(whole.select([]), [], 0, (str(error),))
        measures = (measure(Opened(photo, pixels), whole[0]),) if quality else ()
        return _Cut(whole, crops, 1, quality=measures)


@dataclass(frozen=True)
class _Cut:
    """The faces of a photo that could be aligned, their crops, and what became of the others."""

    faces: Detections
    crops: list[Image]
    candidates: int
    rejected: tuple[str, ...] = ()
    quality: tuple[Quality, ...] = ()


@cache
def _default() -> FaceAnalyzer:
    return FaceAnalyzer()


def detect(source: Source) -> Detections:
    """Finds the faces of one photo with the default detector; see `Detector.detect`."""
    return _default().detect(source)


def verify(a: Source, b: Source, *, threshold: float | None = None) -> Verification:
    """Compares two photos with the default models; see `FaceAnalyzer.verify`."""
    return _default().verify(a, b, threshold=threshold)
