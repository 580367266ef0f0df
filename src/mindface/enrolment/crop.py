"""What is stored of a face: a crop with a margin, from which another template can be cut."""

from __future__ import annotations

import io
import json
import math

import cv2
import numpy as np
from PIL import Image

from mindface.errors import ImageError
from mindface.imaging import Photo
from mindface.results import Array, Face

MARGIN = 0.5  # of the box's sides, on each side
LONG_SIDE = 256
QUALITY = 92


def crop_with_margin(photo: Photo, face: Face) -> bytes:
    """Cuts a face with what is around it out of a photo.

    Args:
        photo: the photo.
        face: box and landmarks in pixels of the photo.

    Returns:
        A JPEG, the long side at most 256 pixels; its comment is JSON, `{"landmarks": 5 x 2}` in
        pixels of the crop.

    Raises:
        ImageError: the photo cannot be read.
    """
    size = np.array([photo.width, photo.height])
    sides = face.box[2:] - face.box[:2]
    first = np.clip(np.floor(face.box[:2] - MARGIN * sides), 0, size - 1).astype(int)
    last = np.clip(np.ceil(face.box[2:] + MARGIN * sides), first + 1, size).astype(int)
    scale = min(1.0, LONG_SIDE / (last - first).max())
    pixels = photo.read(math.ceil(size.max() * scale))
    ratio = pixels.shape[1::-1] / size
    left, top, right, bottom = np.rint([*first * ratio, *last * ratio]).astype(int)
    cut = pixels[top : max(bottom, top + 1), left : max(right, left + 1)]
    height, width = cut.shape[:2]
    shape = [max(1, round(side)) for side in (last - first) * scale]
    if width > shape[0]:
        cut = np.asarray(cv2.resize(cut, shape, interpolation=cv2.INTER_AREA), np.uint8)
    within = (face.landmarks * ratio - (left, top)) * (np.array(cut.shape[1::-1]) / (width, height))
    comment = json.dumps({"landmarks": within.round(2).tolist()}).encode()
    file = io.BytesIO()
    Image.fromarray(cut).save(file, "JPEG", quality=QUALITY, comment=comment)
    return file.getvalue()


def crop_landmarks(jpeg: bytes) -> Array:
    """The landmarks `(5, 2)` of a stored crop, in its pixels.

    Raises:
        ImageError: it is no crop that `crop_with_margin` made.
    """
    try:
        with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
            points = json.loads(image.info["comment"])["landmarks"]
        return np.array(points, np.float32).reshape(5, 2)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ImageError("not a crop with its landmarks") from error
