"""From the bytes of an image to upright RGB pixels."""

from __future__ import annotations

import importlib
import io
import struct
import zlib
from typing import BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from mindface.errors import ImageError, ImageTooLargeError, MissingExtraError
from mindface.imaging import containers, tiff
from mindface.imaging.parts import Parts

Pixels = NDArray[np.uint8]

PLUGINS = {
    "JPEG": ("PIL.JpegImagePlugin", "JpegImageFile"),
    "PNG": ("PIL.PngImagePlugin", "PngImageFile"),
    "WEBP": ("PIL.WebPImagePlugin", "WebPImageFile"),
    "GIF": ("PIL.GifImagePlugin", "GifImageFile"),
    "TIFF": ("PIL.TiffImagePlugin", "TiffImageFile"),
    "BMP": ("PIL.BmpImagePlugin", "BmpImageFile"),
    "AVIF": ("PIL.AvifImagePlugin", "AvifImageFile"),
    "HEIC": ("pillow_heif", "HeifImageFile"),
}
"""Kind -> (module, class). Called directly: `PIL.Image.open` has a process-wide size limit."""

DAMAGE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    Warning,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What Pillow raises on damaged files: measured over mutated ones, and `-W error`."""

_MANY_PIXELS = 1_000_000
_BAND = 64


def check_size(size: tuple[int, int], max_pixels: int) -> None:
    """Refuses images without pixels, and with more than `max_pixels`.

    Raises:
        ImageError: a side is zero.
        ImageTooLargeError: too many pixels.
    """
    width, height = size
    if width < 1 or height < 1:
        raise ImageError(f"damaged: the image is {width} x {height} pixels")
    if width * height > max_pixels:
        raise ImageTooLargeError(
            f"{width} x {height} pixels are over the limit of {max_pixels:,}: "
            "shrink the image or raise max_pixels"
        )


def start(file: BinaryIO, max_pixels: int) -> tuple[Image.Image, int]:
    """Reads the header of an image file.

    Returns:
        The image, not decoded yet and without metadata, and its EXIF orientation.

    Raises:
        ImageError: not an image, or a damaged one.
        ImageTooLargeError: too many pixels.
        MissingExtraError: HEIC, and pillow_heif is not installed.
    """
    found = containers.content(file)
    if found.size:
        check_size(found.size, max_pixels)
    raw = io.BufferedReader(Parts(file, found.parts), 1 << 16)
    module, name = PLUGINS[found.kind]
    if found.kind == "AVIF" and not features.check("avif"):
        raise ImageError("this Pillow cannot read AVIF: run  pip install --upgrade pillow")
    try:
        plugin = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise MissingExtraError("reading HEIC images", "heic") from error
    try:
        image = plugin(raw)
    except Image.DecompressionBombError as error:
        raise ImageTooLargeError(str(error)) from error
    except DAMAGE as error:
        raise ImageError(reason(error)) from error
    check_size(image.size, max_pixels)
    if found.kind == "AVIF":
        return image, tiff.orientation(image.info.get("exif", b"").removeprefix(b"Exif\0\0"))
    return image, found.orientation


def pixels(image: Image.Image, orientation: int, long_side: int | None = None) -> Pixels:
    """Decodes an image.

    Args:
        image: from `start`, or any Pillow image.
        orientation: EXIF orientation, 1 to 8.
        long_side: pixels that the longer side needs; a JPEG is then decoded at an eighth, a
            quarter or half its size, if that is still enough.

    Returns:
        `(h, w, 3)` RGB uint8, C-contiguous.

    Raises:
        ImageError: truncated or damaged, or pixels without an agreed range.
    """
    if long_side is not None and image.format == "JPEG":
        width, height = image.size
        for scale in (8, 4, 2):
            if -(-max(width, height) // scale) >= long_side:
                image.draft(None, (max(width // scale, 1), max(height // scale, 1)))
                break
    try:
        image.load()
    except DAMAGE as error:
        raise ImageError(reason(error)) from error
    return upright(_array(rgb(image)), orientation)


def reason(error: BaseException) -> str:
    """Why a decoder failed, in words."""
    text = str(error).strip() or type(error).__name__
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    if "truncated" in text or isinstance(error, EOFError):
        return f"truncated: {text}"
    return f"damaged, or of an unknown variant: {text}"


def rgb(image: Image.Image) -> Image.Image:
    """A decoded image of any mode as RGB; see the package's docstring for the choices.

    Raises:
        ImageError: float, 32-bit or otherwise unknown pixels.
    """
    mode = image.mode
    if mode == "RGB" and "transparency" not in image.info:
        return image
    if mode.startswith("I;16"):
        wide = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((wide + 128) // 257).astype(np.uint8)).convert("RGB")
    if mode in ("I", "F"):
        what = "32-bit integers" if mode == "I" else "floats"
        raise ImageError(f"pixels are {what}, whose range is unknown: convert it to 8 or 16 bits")
    try:
        if image.has_transparency_data:
            layered = image.convert("RGBA")
            flat = Image.new("RGB", image.size, "white")
            flat.paste(layered, mask=layered.getchannel("A"))
            return flat
        return image.convert("RGB")
    except ValueError as error:
        raise ImageError(f"pixels of mode {mode} cannot become RGB: {error}") from error


def _array(image: Image.Image) -> Pixels:
    """The pixels of an RGB image; Pillow's own copy is slow where it is large."""
    width, height = image.size
    if width * height < _MANY_PIXELS:
        return np.asarray(image)
    array = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, _BAND):
        bottom = min(top + _BAND, height)
        band = image.crop((0, top, width, bottom)).tobytes()
        array[top:bottom] = np.frombuffer(band, np.uint8).reshape(bottom - top, width, 3)
    return array


def upright(array: Pixels, orientation: int) -> Pixels:
    """Turns and mirrors pixels as an EXIF orientation says (EXIF 2.32, section 4.6.4 A).

    Args:
        array: `(h, w, 3)`.
        orientation: 1 to 8.
    """
    if orientation >= 5:
        array = np.asarray(cv2.transpose(array), np.uint8)
    flip = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}.get(orientation)
    return array if flip is None else np.asarray(cv2.flip(array, flip), np.uint8)
