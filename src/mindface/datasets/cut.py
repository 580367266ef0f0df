"""A face cut out of a photo, as the bytes of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from mindface.crops import cut_faces, in_detail
from mindface.datasets.faceset import Ints, unlabelled
from mindface.errors import AlignmentError, ConfigError, ImageError
from mindface.geometry import TEMPLATES

if TYPE_CHECKING:
    from mindface.detection.detector import Detector, Opened

_COLOR = cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
KINDS = {"jpg": [cv2.IMWRITE_JPEG_QUALITY, 95, *_COLOR], "png": []}


@dataclass(frozen=True)
class Cut:
    """How a face is cut out.

    Attributes:
        template: a name of `mindface.geometry.TEMPLATES`.
        height: of a crop, in pixels.
        kind: of file: "png", or "jpg" of quality 95 at full colour resolution, which takes 0.3 of
            the bytes and 0.4 of the time to decode, and moves the embedding of EdgeFace-XS by a
            cosine of 0.0015 on average, where two photos of a person are 0.3 apart.

    Raises:
        ConfigError: no such template, or no such kind.
    """

    template: str = "arcface_112x112"
    height: int = 112
    kind: str = "jpg"

    def __post_init__(self) -> None:
        if self.template not in TEMPLATES:
            raise ConfigError(
                f"no template {self.template!r}: choose one of {', '.join(TEMPLATES)}"
            )
        if self.kind not in KINDS:
            raise ConfigError(f"no format {self.kind!r}: choose one of {', '.join(KINDS)}")

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of a crop."""
        rows, columns = TEMPLATES[self.template][0]
        return self.height, round(columns * self.height / rows)

    def __call__(self, opened: Opened, face: dict[str, Any]) -> bytes:
        """Cuts a face out.

        Args:
            opened: the photo.
            face: as `Face.to_dict` has it.

        Raises:
            ImageError: the photo changed since it was opened, or its landmarks cannot be aligned.
        """
        landmarks = np.array([face["landmarks"]], np.float32)
        try:
            detailed = in_detail(opened, landmarks, self.template, self.size)
            (crop,) = cut_faces(detailed, landmarks, self.template, self.size)
        except AlignmentError as error:
            raise ImageError(str(error), opened.photo.path) from error
        _, content = cv2.imencode(f".{self.kind}", crop[..., ::-1], KINDS[self.kind])
        return content.tobytes()


class Candidates:
    """Faces of photos, each cut out when it is read: a `FaceSet` of nobody's.

    Args:
        faces: the path of a photo and a face in it, as `Face.to_dict` has it.
        cut: how it is cut out.
        detector: that found it.
    """

    source = "photos with several faces"

    def __init__(
        self, faces: Sequence[tuple[str, dict[str, Any]]], cut: Cut, detector: Detector
    ) -> None:
        self.labels, self.class_names = unlabelled(len(faces))
        self._faces, self._cut, self._detector = faces, cut, detector

    def __len__(self) -> int:
        return len(self._faces)

    def read(self, index: int) -> bytes:
        """See `FaceSet.read`."""
        path, face = self._faces[index]
        return self._cut(self._detector.open(path), face)

    def describe(self, index: int) -> str:
        """The path of the photo."""
        return self._faces[index][0]

    def order(self, rng: np.random.Generator) -> Ints:
        """Any order serves photos equally fast."""
        return rng.permutation(len(self))
