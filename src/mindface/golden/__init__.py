"""Two portraits in the public domain that every engine is tried on.

`eileen_collins.jpg`: NASA's portrait of the astronaut (photo S99-10033 of 1999), as scikit-image
ships it. `grace_hopper.jpg`: the U.S. Navy's portrait of the rear admiral (James S. Davis, 1984),
as Matplotlib ships it. Both are works of the U.S. federal government and free of copyright.
"""

from __future__ import annotations

from importlib.resources import files
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mindface.geometry import align
from mindface.imaging import read


class Portrait(NamedTuple):
    """A portrait, `(H, W, 3)` RGB uint8, and the landmarks `(5, 2)` of its face in pixels."""

    name: str
    image: NDArray[np.uint8]
    landmarks: NDArray[np.float32]


LANDMARKS = {
    "eileen_collins": [
        (205.6, 100.0),
        (247.6, 105.2),
        (224.2, 127.3),
        (202.1, 138.0),
        (244.8, 142.4),
    ],
    "grace_hopper": [
        (225.0, 193.8),
        (302.3, 188.9),
        (263.2, 249.7),
        (233.9, 275.3),
        (304.8, 271.5),
    ],
}


def portraits() -> list[Portrait]:
    """The golden portraits."""
    return [
        Portrait(
            name,
            read(files(__name__).joinpath(f"{name}.jpg").read_bytes()),
            np.array(landmarks, np.float32),
        )
        for name, landmarks in LANDMARKS.items()
    ]


def crops(template: str) -> NDArray[np.uint8]:
    """The golden faces and their mirror images on a template: `(4, H, W, 3)` RGB uint8."""
    faces = np.stack([align(face.image, face.landmarks, template) for face in portraits()])
    return np.concatenate([faces, faces[:, :, ::-1]])
