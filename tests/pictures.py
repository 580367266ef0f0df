"""Small pictures that the tests of reading share."""

import io

import numpy as np
from PIL import Image

RAMP = np.stack(np.meshgrid(np.arange(0, 240, 6), np.arange(0, 240, 8)), -1).astype(np.uint8)
PHOTO = np.concatenate([RAMP, 255 - RAMP[..., :1]], -1)
"""`(30, 40, 3)`, without any symmetry."""


def saved(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(orientation: int) -> bytes:
    block = Image.Exif()
    block[0x0112] = orientation
    return block.tobytes()


def difference(a: np.ndarray, b: np.ndarray) -> float:
    assert a.shape == b.shape
    return float(np.abs(a.astype(int) - b).mean())
