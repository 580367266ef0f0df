"""A picture and the faces in it, as detectors are trained with them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Scene(NamedTuple):
    """A picture and its faces.

    Attributes:
        image: `(H, W, 3)` uint8 RGB.
        boxes: `(N, 4)` float32 xyxy in pixels; may reach out of the picture.
        landmarks: `(N, 5, 2)` float32 in pixels, in the order of `Face.landmarks`; NaN for a face
            whose landmarks nobody marked.
        ignored: `(N,)` bool: neither faces that must be found nor background.
    """

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    ignored: NDArray[np.bool_]
