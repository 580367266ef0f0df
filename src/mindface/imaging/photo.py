"""One photo, from wherever it comes."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mindface.errors import ImageError, ImageTooLargeError, MissingExtraError
from mindface.files import open_regular
from mindface.imaging import decode

Source = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | NDArray[Any]
"""A path, the bytes of a file, a file opened for binary reading, a PIL image, or an array."""

Result = TypeVar("Result")

MAX_PIXELS = 200_000_000
MAX_BYTES = 200_000_000


@dataclass(frozen=True, eq=False)
class Photo:
    """An image that was opened and checked, and is decoded when it is read.

    Attributes:
        path: as it was given, or None where there is none.
        width: of the upright image at full size, in pixels.
        height: likewise.
    """

    path: str | None
    width: int
    height: int
    _origin: str | bytes | Image.Image | NDArray[Any] = field(repr=False)
    _limits: tuple[int, int] = field(repr=False)

    def read(self, long_side: int | None = None) -> NDArray[np.uint8]:
        """Decodes the image; may be called again, and from several threads.

        Args:
            long_side: pixels that the longer side needs. A JPEG is decoded at the smallest of
                1/8, 1/4, 1/2 and full size that has them; anything else at full size.

        Returns:
            `(h, w, 3)` RGB uint8, upright, C-contiguous; perhaps read-only, and for an RGB array
            that array itself.

        Raises:
            ImageError: truncated or damaged, or the file changed since it was opened.
        """
        with _started(self._origin, self.path, self._limits) as (image, orientation):
            if _upright_size(image, orientation) != (self.width, self.height):
                raise ImageError("the file changed while it was read")
            if isinstance(image, np.ndarray):
                return np.ascontiguousarray(image)
            if image is self._origin:  # not ours to decode at a smaller scale
                long_side = None
            return decode.pixels(image, orientation, long_side)


def open_image(
    source: Source, *, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES
) -> Photo:
    """Opens an image and reads its header.

    Args:
        source: where the image is. Arrays are `(h, w, 3)` RGB, `(h, w, 4)` RGBA, or `(h, w)` or
            `(h, w, 1)` gray, uint8. A file object is read from where it stands, and left open.
        max_pixels: the most pixels an image may have.
        max_bytes: the most bytes a file may have.

    Raises:
        ImageError: no such file, not a regular file, not an image, or damaged.
        ImageTooLargeError: over a limit.
        MissingExtraError: a kind of image that needs an extra.
    """
    origin, path = _origin(source, max_bytes)
    limits = max_pixels, max_bytes
    with _started(origin, path, limits) as (image, orientation):
        return Photo(path, *_upright_size(image, orientation), origin, limits)


def read(
    source: Source, *, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES
) -> NDArray[np.uint8]:
    """Opens and decodes an image at full size; see `open_image` and `Photo.read`."""
    return open_image(source, max_pixels=max_pixels, max_bytes=max_bytes).read()


def or_error(function: Callable[[Source], Result], source: Source) -> Result | ImageError:
    """Calls a function on one photo of many: what is wrong with the photo is returned, not raised.

    A kind of image whose extra is missing counts as wrong with the photo.
    """
    try:
        return function(source)
    except ImageError as error:
        return error
    except MissingExtraError as error:
        path = os.fspath(source) if isinstance(source, (str, os.PathLike)) else None
        return ImageError(str(error), path)


def _origin(
    source: Source, max_bytes: int
) -> tuple[str | bytes | Image.Image | NDArray[Any], str | None]:
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        if isinstance(path, str):
            return path, path
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source), None
    if isinstance(source, Image.Image):
        return source, None
    if isinstance(source, np.ndarray):
        return _checked(source), None
    if callable(getattr(source, "read", None)):
        return _all_of(source, max_bytes), None
    raise ImageError(
        f"a {type(source).__name__} is not an image: "
        "give a path, bytes, a binary file, a PIL image or a uint8 array"
    )


def _all_of(file: Any, max_bytes: int) -> bytes:
    try:
        data = file.read(max_bytes + 1)
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot be read: {error}") from error
    if not isinstance(data, bytes):
        raise ImageError(f"the file gives {type(data).__name__}, not bytes: open it with 'rb'")
    return data


def _checked(array: NDArray[Any]) -> NDArray[np.uint8]:
    """An array as `(h, w, 3)` uint8."""
    if array.dtype != np.uint8:
        hint = "0..1 or 0..255 is not known" if array.dtype.kind == "f" else "only 8 bits are taken"
        raise ImageError(f"an array of {array.dtype}: {hint}; give RGB uint8")
    if not array.size or array.ndim not in (2, 3) or array.shape[2:] not in ((), (1,), (3,), (4,)):
        raise ImageError(
            f"an array of shape {array.shape}: give (height, width, 3) RGB, "
            "(height, width, 4) RGBA or (height, width) gray"
        )
    if array.shape[2:] == (4,):
        return decode.pixels(Image.fromarray(np.ascontiguousarray(array), "RGBA"), 1)
    if array.shape[2:] == (3,):
        return array
    return np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)


@contextmanager
def _started(
    origin: str | bytes | Image.Image | NDArray[Any],
    path: str | None,
    limits: tuple[int, int],
) -> Iterator[tuple[Image.Image | NDArray[Any], int]]:
    """The image, its header read, and its orientation; errors get the path."""
    max_pixels, max_bytes = limits
    try:
        if isinstance(origin, np.ndarray):
            decode.check_size((origin.shape[1], origin.shape[0]), max_pixels)
            yield origin, 1
        elif isinstance(origin, Image.Image):
            decode.check_size(origin.size, max_pixels)
            yield origin, _orientation(origin)
        else:
            with open_regular(origin) if isinstance(origin, str) else io.BytesIO(origin) as file:
                _check_length(file.seek(0, io.SEEK_END), max_bytes)
                image, orientation = decode.start(file, max_pixels)
                with image:
                    yield image, orientation
    except ImageError as error:
        kind = ImageTooLargeError if isinstance(error, ImageTooLargeError) else ImageError
        raise kind(error.reason, path) from error.__cause__
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror or error}", path) from error


def _upright_size(image: Image.Image | NDArray[Any], orientation: int) -> tuple[int, int]:
    width, height = (
        (image.shape[1], image.shape[0]) if isinstance(image, np.ndarray) else image.size
    )
    return (height, width) if orientation >= 5 else (width, height)


def _orientation(image: Image.Image) -> int:
    """The orientation a PIL image still has to be turned by; Pillow turns TIFFs itself."""
    value = image.getexif().get(274, 1) if image.format != "TIFF" else 1
    return value if value in range(1, 9) else 1


def _check_length(length: int, max_bytes: int) -> None:
    if length > max_bytes:
        raise ImageTooLargeError(
            f"{length:,} bytes are over the limit of {max_bytes:,}: "
            "shrink the image or raise max_bytes"
        )
