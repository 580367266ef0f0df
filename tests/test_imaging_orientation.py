"""EXIF orientation, and JPEGs decoded at reduced size."""

import io
import struct

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import PHOTO, difference, exif, saved
from PIL import Image

from mindface.imaging import open_image, read
from mindface.imaging.decode import upright

# What the file's pixels look like when the upright photo is stored with each orientation.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize(
    ("kind", "tolerance"),
    [("JPEG", 4), ("PNG", 0), ("WEBP", 4), ("TIFF", 0), ("AVIF", 4), ("MPO", 4)],
)
def test_all_orientations_of_all_kinds(kind: str, tolerance: float, orientation: int):
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](PHOTO)))
    photo = open_image(saved(stored, kind, exif=exif(orientation)))
    assert (photo.height, photo.width) == PHOTO.shape[:2]
    pixels = photo.read()
    assert pixels.flags.c_contiguous
    assert difference(pixels, PHOTO) <= tolerance


@pytest.mark.parametrize("orientation", STORED)
def test_all_orientations_of_heic(orientation: int):
    pillow_heif = pytest.importorskip("pillow_heif")
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](PHOTO)))
    file = pillow_heif.from_pillow(stored)
    file.info["exif"] = exif(orientation)
    buffer = io.BytesIO()
    file.save(buffer, quality=95)
    photo = open_image(buffer.getvalue())
    assert (photo.height, photo.width) == PHOTO.shape[:2]
    assert difference(photo.read(), PHOTO) < 6


@pytest.mark.parametrize("orientation", STORED)
def test_a_reduced_jpeg_is_upright_too(orientation: int):
    large = cv2.resize(PHOTO, (400, 300))
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](large)))
    photo = open_image(saved(stored, "JPEG", exif=exif(orientation)))
    assert (photo.width, photo.height) == (400, 300)
    assert difference(photo.read(50), cv2.resize(large, (50, 38), interpolation=cv2.INTER_AREA)) < 4


@given(st.sampled_from(sorted(STORED)), st.integers(1, 9), st.integers(1, 9))
def test_every_orientation_is_undone(orientation: int, height: int, width: int):
    photo = np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)
    stored = np.ascontiguousarray(STORED[orientation](photo))
    assert (upright(stored, orientation) == photo).all()


@pytest.mark.parametrize("value", [0, 9, 77, 65535])
def test_orientations_that_do_not_exist_are_none(value: int):
    assert read(saved(Image.fromarray(PHOTO), "PNG", exif=exif(value))).shape == PHOTO.shape


def test_orientation_after_the_pixels_of_a_png_counts():
    png = saved(Image.fromarray(PHOTO), "PNG", exif=exif(6))
    at = png.index(b"eXIf") - 4
    end = at + 12 + struct.unpack(">I", png[at : at + 4])[0]
    assert read(png[:at] + png[end:-12] + png[at:end] + png[-12:]).shape == (40, 30, 3)


@settings(max_examples=60, deadline=None)
@given(st.integers(8, 400), st.integers(8, 400), st.integers(1, 500), st.booleans())
def test_a_jpeg_is_decoded_at_the_smallest_scale_that_is_enough(width, height, long_side, turned):
    data = saved(Image.new("RGB", (width, height)), "JPEG", exif=exif(6 if turned else 1))
    shape = open_image(data).read(long_side).shape
    scales = [
        (-(-height // scale), -(-width // scale))
        for scale in (8, 4, 2, 1)
        if scale == 1 or -(-max(height, width) // scale) >= long_side
    ]
    assert shape == ((scales[0][::-1] if turned else scales[0]) + (3,))
