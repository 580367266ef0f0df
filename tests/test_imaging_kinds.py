"""Reading images of every kind of file and every pixel format."""

import cv2
import numpy as np
import pytest
from hostile_images import encoded
from pictures import PHOTO, difference, saved
from PIL import Image

from mindface.errors import ImageError
from mindface.imaging import open_image, read


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF"])
def test_truncated_files_are_refused(kind: str):
    data = encoded(kind, (200, 150))
    for share in (0.3, 0.6, 0.9):
        with pytest.raises(ImageError):
            read(data[: int(len(data) * share)])


@pytest.mark.parametrize("scale", [None, 20])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_truncated_jpeg_is_named_so_and_never_filled_with_gray(scale, progressive):
    data = encoded("JPEG", (200, 150), progressive=progressive)
    with pytest.raises(ImageError, match=r"^truncated"):
        open_image(data[: len(data) * 3 // 4]).read(scale)


def test_bytes_after_a_picture_do_no_harm():
    for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP"):
        data = encoded(kind)
        assert (read(data + b"\xff\xd9 trailing" * 100) == read(data)).all()


def sixteen_bit_png(values: np.ndarray) -> bytes:
    return cv2.imencode(".png", values)[1].tobytes()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_are_scaled_not_clipped(channels: int):
    values = np.linspace(0, 65535, 256).astype(np.uint16)
    wide = np.repeat(values.reshape(16, 16, 1), channels, -1)
    if channels == 4:
        wide[..., 3] = 65535
    pixels = read(sixteen_bit_png(wide.squeeze()))
    expected = np.repeat((values / 257).reshape(16, 16, 1), 3, -1)
    assert np.abs(pixels - expected).max() < 1
    assert pixels.max() == 255


def transparent_palette() -> Image.Image:
    image = Image.fromarray(PHOTO[..., 0] // 120 * 1).convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.info["transparency"] = 1
    return image


def test_palette_with_a_transparent_entry_is_laid_on_white():
    pixels = read(saved(transparent_palette(), "PNG", transparency=1))
    assert (pixels[0, 0] == (10, 20, 30)).all()
    assert (pixels[0, 39] == 255).all()
    opaque = transparent_palette()
    del opaque.info["transparency"]
    assert (read(saved(opaque, "PNG"))[0, 39] == (40, 50, 60)).all()


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_alpha_is_laid_on_white(kind: str):
    half = Image.new("RGBA", (9, 9), (0, 100, 200, 128))
    options = {"lossless": True} if kind == "WEBP" else {}
    assert np.abs(read(saved(half, kind, **options))[4, 4] - [127, 177, 227.0]).max() <= 1
    gray = Image.new("LA", (9, 9), (0, 0))
    if kind != "WEBP":
        assert (read(saved(gray, kind)) == 255).all()


def test_colour_key_of_a_png():
    keyed = saved(Image.fromarray(PHOTO), "PNG", transparency=tuple(map(int, PHOTO[5, 5])))
    pixels = read(keyed)
    assert (pixels[5, 5] == 255).all()
    assert (pixels[6:] == PHOTO[6:]).all()


def test_one_bit_and_gray():
    bits = Image.fromarray(PHOTO[..., 0]).point(lambda v: 255 * (v > 120), "1")
    for kind in ("PNG", "TIFF", "BMP"):
        pixels = read(saved(bits, kind))
        assert set(np.unique(pixels)) == {0, 255}
        assert (pixels[0, 0] == 0).all()
        assert (pixels[0, 39] == 255).all()
    gray = Image.fromarray(PHOTO[..., 0])
    assert difference(read(saved(gray, "JPEG", quality=100)), np.repeat(PHOTO[..., :1], 3, -1)) < 1


def test_cmyk_of_adobe_is_not_inverted():
    solid = Image.new("CMYK", (32, 32), (0, 255, 255, 0))  # red
    assert np.abs(read(saved(solid, "JPEG", quality=95))[16, 16] - [255, 0, 0.0]).max() < 6
    assert np.abs(read(saved(solid, "TIFF"))[16, 16] - [255, 0, 0.0]).max() < 6


def test_a_colour_profile_is_ignored():
    image = Image.fromarray(PHOTO)
    with_profile = saved(image, "PNG", icc_profile=b"not even a profile")
    assert (read(with_profile) == PHOTO).all()


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_the_first_frame_of_many(kind: str):
    frames = [
        Image.new("RGB", (24, 16), color) for color in ((250, 0, 0), (0, 250, 0), (0, 0, 250))
    ]
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:])
    pixels = read(data)
    assert pixels.shape == (16, 24, 3)
    assert np.abs(pixels - [250, 0, 0.0]).max() < 12


@pytest.mark.parametrize(
    "compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"]
)
def test_tiff_compressions_and_byte_orders(compression: str):
    data = saved(Image.fromarray(PHOTO), "TIFF", compression=compression)
    assert difference(read(data), PHOTO) < (6 if compression == "jpeg" else 0.001)
    big = saved(Image.fromarray(PHOTO), "TIFF", compression=compression, big_tiff=True)
    assert difference(read(big), PHOTO) < (6 if compression == "jpeg" else 0.001)


@pytest.mark.parametrize("flag", [None, cv2.IMWRITE_TIFF_ROWSPERSTRIP])
def test_tiffs_of_another_writer(flag):
    options = [] if flag is None else [flag, 1]
    data = cv2.imencode(".tiff", PHOTO[..., ::-1], options)[1].tobytes()
    assert (read(data) == PHOTO).all()


def test_large_images_are_copied_band_by_band_and_equal():
    dice = np.random.default_rng(0)
    large = dice.integers(0, 256, (2003, 2001, 3), np.uint8)
    assert (read(saved(Image.fromarray(large), "BMP")) == large).all()


def test_no_global_state_of_pillow_is_touched():
    limit = Image.MAX_IMAGE_PIXELS
    large = saved(Image.new("1", (14_000, 14_000)), "PNG")  # over Pillow's own limit
    assert open_image(large).width == 14_000
    assert limit == Image.MAX_IMAGE_PIXELS


def test_stray_bytes_between_the_segments_of_a_jpeg():
    data = encoded("JPEG")
    at = data.index(b"\xff\xdb")
    assert (read(data[:at] + bytes(3) + b"\xff\xff" + data[at:]) == read(data)).all()
    with pytest.raises(ImageError, match="without length"):
        read(data[:2] + b"\xff\xe1\0\0" + data[2:])
    with pytest.raises(ImageError, match="no JPEG marker at byte"):
        read(data[:at] + bytes(10_000) + data[at:])
