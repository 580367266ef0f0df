"""The recogniser: aligned faces in, embeddings out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import NDArray

from mindface import golden, zoo
from mindface.engines import EngineOptions, EngineSettings, Session, Sessions
from mindface.engines.inputs import normalise
from mindface.errors import ContractError
from mindface.geometry import TEMPLATES, align
from mindface.results import Analysis, Array, Embeddings, Skipped

if TYPE_CHECKING:
    from mindface.zoo.record import Calibration

Image = NDArray[np.uint8]

# Few sizes, because engines prepare for each; small ones, because processors gain little by more.
CPU_BATCHES = (8, 1)
ACCELERATOR_BATCHES = (64, 16, 4, 1)


class Recognizer:
    """A network that maps an aligned face to a point on the unit sphere.

    Args:
        model: a name of the catalogue or an ONNX file.
        record: the record of an ONNX file that the catalogue does not know.
        calibration: a file that `mindface calibrate` wrote for this model; else the record's.
        licence_policy: "permissive" refuses weights that forbid commercial use.
        **settings: engine, device, precision, threads; see `mindface.engines.EngineOptions`.

    Raises:
        ModelError: the model is unknown, damaged or no recogniser.
        EngineError: engine, device or precision cannot be had.

    Attributes:
        calibration: thresholds at stated false-match rates, or None.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = zoo.DEFAULT_RECOGNIZER,
        *,
        record: str | os.PathLike[str] | None = None,
        calibration: str | os.PathLike[str] | None = None,
        licence_policy: zoo.LicencePolicy = "any",
        **settings: Unpack[EngineSettings],
    ) -> None:
        self.model = zoo.resolve(
            model, task="recognition", record=record, licence_policy=licence_policy
        )
        self.calibration = self.record.calibration
        if calibration is not None:
            self.calibration = _calibration(Path(calibration), self.record)
        self.options = EngineOptions(**settings)

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
    def template(self) -> str:
        """The alignment template of the crops, a name of `mindface.geometry.TEMPLATES`."""
        assert self.record.recognition is not None  # zoo.resolve made sure of the task
        return self.record.recognition.template

    @property
    def embedding_size(self) -> int:
        """The number D of values in an embedding."""
        assert self.record.recognition is not None
        return self.record.recognition.size

    @property
    def crop_size(self) -> tuple[int, int]:
        """(height, width) of the crops, in pixels."""
        return TEMPLATES[self.template][0]

    def embed(
        self,
        images: Image | Sequence[Image],
        landmarks: NDArray[Any] | None = None,
        *,
        aligned: bool = False,
        flip: bool = False,
    ) -> Array:
        """Embeds faces: `features`, scaled to unit length; see there for the arguments.

        For photos whose faces are still to be found, see `mindface.FaceAnalyzer.embed`.

        Returns:
            `(N, D)` float32 of unit length; `(0, D)` for none.
        """
        return unit(self.features(images, landmarks, aligned=aligned, flip=flip))

    def features(
        self,
        images: Image | Sequence[Image],
        landmarks: NDArray[Any] | None = None,
        *,
        aligned: bool = False,
        flip: bool = False,
    ) -> Array:
        """What the network says of faces, before it is scaled to unit length.

        Args:
            images: RGB uint8, as an array `(N, H, W, 3)` or a sequence; of any size, one face
                each, with `landmarks`; of `crop_size` with `aligned`.
            landmarks: `(N, 5, 2)` in pixels of each image.
            aligned: the images are crops that lie on `template`.
            flip: add the features of each crop's mirror image (the flip test of ArcFace's
                evaluation), at twice the cost.

        Returns:
            `(N, D)` float32.

        Raises:
            ValueError: neither landmarks nor `aligned`, or both; a crop is not of `crop_size`, or
                not uint8.
            AlignmentError: landmarks that no face can have.
        """
        if aligned == (landmarks is not None):
            raise ValueError(
                "give landmarks, or aligned=True for crops that lie on the template "
                f"{self.template}; FaceAnalyzer.embed takes photos"
            )
        crops = list(images)
        if landmarks is not None:
            pairs = zip(crops, landmarks, strict=True)
            crops = [align(image, points, self.template) for image, points in pairs]
        self._check(crops)
        if not crops:
            return np.zeros((0, self.embedding_size), np.float32)
        sizes = CPU_BATCHES if self.options.device == "cpu" else ACCELERATOR_BATCHES
        ends = np.cumsum([0, *batch_sizes(len(crops), sizes)])
        parts = [crops[start:stop] for start, stop in pairwise(ends)]
        return np.concatenate(list(self._sessions.map(partial(self._run, flip=flip), parts)))

    def collect(self, analyses: Sequence[Analysis]) -> Embeddings:
        """Puts what was found in many photos together, one row a face."""
        found = [analysis for analysis in analyses if len(analysis.faces)]
        size = self.embedding_size

        def stacked(parts: list[Array], shape: tuple[int, ...]) -> Array:
            return np.concatenate([np.zeros((0, *shape), np.float32), *parts])

        return Embeddings(
            stacked([analysis.embeddings for analysis in found], (size,)),
            tuple(analysis.name for analysis in found for _ in analysis.faces),
            stacked([analysis.faces.boxes for analysis in found], (4,)),
            stacked([analysis.faces.scores for analysis in found], ()),
            stacked([analysis.faces.landmarks for analysis in found], (5, 2)),
            self.record.contract,
            self.record.name,
            self.record.licence,
            tuple(Skipped(each.name, each.reason) for each in analyses if each.reason),
        )

    def _check(self, crops: Sequence[Image]) -> None:
        wanted = (*self.crop_size, 3)
        for index, crop in enumerate(crops):
            if crop.shape != wanted or crop.dtype != np.uint8:
                raise ValueError(
                    f"crop {index} is {crop.dtype} {crop.shape}, but {self.record.name} takes "
                    f"aligned uint8 {wanted}"
                )

    def _run(self, session: Session, crops: Sequence[Image], flip: bool) -> Array:
        batch = self._to_input(crops)
        vectors = session.run(batch)[0]
        if flip:
            vectors = vectors + session.run(np.ascontiguousarray(batch[..., ::-1]))[0]
        return vectors

    def _to_input(self, crops: Sequence[Image] | Image) -> Array:
        batch = np.empty((len(crops), 3, *self.crop_size), np.float32)
        for crop, planes in zip(crops, batch, strict=True):
            normalise(crop, self.record.preprocessing, planes)
        return batch

    @cached_property
    def _sessions(self) -> Sessions:
        return Sessions(
            self.model, self.options, lambda: self._to_input(golden.crops(self.template))
        )


def _calibration(path: Path, record: zoo.ModelRecord) -> Calibration:
    from mindface.zoo.record import read_calibration

    calibration = read_calibration(path)
    if calibration.contract != record.contract:
        raise ContractError(
            f"{path}: measured with another model than {record.name}, so its thresholds say "
            f"nothing here: run  mindface calibrate"
        )
    return calibration


def batch_sizes(count: int, sizes: Sequence[int]) -> list[int]:
    """Splits `count` into as few batches of the `sizes` (largest first, the last 1) as can be."""
    batches = []
    for size in sizes:
        batches += [size] * (count // size)
        count %= size
    return batches


def unit(vectors: Array) -> Array:
    """Scales vectors `(N, D)` to unit length; zeros stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)


def similarity_matrix(a: NDArray[Any], b: NDArray[Any]) -> Array:
    """Cosine similarities `(N, M)` of embeddings `(N, D)` and `(M, D)`, -1 to 1.

    Raises:
        ValueError: the two do not have the same D.
    """
    first, second = (np.atleast_2d(np.asarray(x, np.float32)) for x in (a, b))
    if first.shape[1] != second.shape[1]:
        raise ValueError(
            f"embeddings of {first.shape[1]} and {second.shape[1]} values cannot be compared: "
            f"they come from different models"
        )
    return np.asarray(np.clip(unit(first) @ unit(second).T, -1, 1))
