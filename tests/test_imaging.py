"""Reading images: every source, kind and pixel format; the tests of hostile files are elsewhere."""

import builtins
import io
import os
import struct
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from hostile_images import encoded, heic
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mindface.errors import ImageError, MissingExtraError
from mindface.imaging import find_images, open_image, read
from mindface.imaging.decode import upright

RAMP = np.stack(np.meshgrid(np.arange(0, 240, 6), np.arange(0, 240, 8)), -1).astype(np.uint8)
PHOTO = np.concatenate([RAMP, 255 - RAMP[..., :1]], -1)  # 30 high, 40 wide, no symmetry

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


def test_a_photo_is_read_again_at_another_scale(tmp_path: Path):
    path = tmp_path / "photo.jpg"
    Image.fromarray(cv2.resize(PHOTO, (800, 600))).save(path)
    with path.open("rb") as file:
        sources = [path, str(path), path.read_bytes(), file, Image.open(path)]
        for source in sources:
            photo = open_image(source)
            assert (photo.width, photo.height) == (800, 600)
            small = (600, 800, 3) if isinstance(source, Image.Image) else (75, 100, 3)
            assert photo.read(100).shape == small
            assert photo.read().shape == (600, 800, 3)
        sources[-1].close()


@pytest.mark.parametrize(
    "name", ["photo.jpg", "фото.jpg", "写真 1.jpg", "a b'c\"d.txt", "no_suffix"]
)
def test_paths_of_any_letters_and_any_suffix(tmp_path: Path, name: str):
    path = tmp_path / name
    path.write_bytes(saved(Image.fromarray(PHOTO), "PNG"))
    for source in (path, str(path)):
        photo = open_image(source)
        assert photo.path == str(path)
        assert (photo.read() == PHOTO).all()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names of files are text")
def test_a_path_that_is_no_text(tmp_path: Path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png")
    Path(path).write_bytes(saved(Image.fromarray(PHOTO), "PNG"))
    assert open_image(path).read().shape == PHOTO.shape


ARRAYS = {
    "rgb": (PHOTO, PHOTO),
    "a view": (PHOTO[::-1, ::2], PHOTO[::-1, ::2]),
    "gray": (PHOTO[..., 0], np.repeat(PHOTO[..., :1], 3, -1)),
    "gray with an axis": (PHOTO[..., :1], np.repeat(PHOTO[..., :1], 3, -1)),
    "opaque": (np.dstack([PHOTO, np.full((30, 40), 255, np.uint8)]), PHOTO),
    "transparent": (np.dstack([PHOTO, np.zeros((30, 40), np.uint8)]), np.full_like(PHOTO, 255)),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays(name: str):
    array, expected = ARRAYS[name]
    photo = open_image(array)
    assert (photo.path, photo.width, photo.height) == (None, *expected.shape[1::-1])
    pixels = photo.read(8)
    assert (pixels == expected).all()
    assert pixels.flags.c_contiguous
    assert pixels.dtype == np.uint8


REFUSED = {
    "float": (PHOTO / 255, "0..1 or 0..255"),
    "16 bits": (PHOTO.astype(np.uint16), "uint16"),
    "bool": (PHOTO > 1, "bool"),
    "channels first": (PHOTO.transpose(2, 0, 1), "height, width, 3"),
    "a batch": (PHOTO[None], r"\(1, 30, 40, 3\)"),
    "two channels": (PHOTO[..., :2], r"\(30, 40, 2\)"),
    "empty": (PHOTO[:0], r"\(0, 40, 3\)"),
    "a vector": (PHOTO[0, 0], r"\(3,\)"),
    "None": (None, "NoneType"),
    "a number": (7, "int"),
    "a path of bytes in a list": ([b"x"], "list"),
    "a text file": (io.StringIO("x"), "'rb'"),
    "no bytes": (b"", "empty"),
    "text": (b"hello, world", "hello"),
    "html": (b"<!DOCTYPE html><html>", "HTML"),
    "pdf": (b"%PDF-1.7", "PDF"),
    "video": (b"\0\0\0\x18ftypisom" + bytes(50), "video"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1", "Git LFS"),
    "jpeg start": (b"\xff\xd8\xff", "truncated"),
    "png start": (b"\x89PNG\r\n\x1a\n", "damaged"),
    "float tiff": (saved(Image.fromarray(PHOTO[..., 0].astype(np.float32)), "TIFF"), "floats"),
    "int tiff": (saved(Image.fromarray(PHOTO[..., 0].astype(np.int32)), "TIFF"), "32-bit integers"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_image_is_refused_with_the_reason(name: str):
    source, why = REFUSED[name]
    with pytest.raises(ImageError, match=why) as caught:
        read(source)
    assert caught.value.path is None


def test_a_closed_file_object_is_refused():
    file = io.BytesIO(b"x")
    file.close()
    with pytest.raises(ImageError, match="closed"):
        open_image(file)


def test_a_file_object_is_read_from_where_it_stands_and_left_open():
    file = io.BytesIO(b"header" + saved(Image.fromarray(PHOTO), "PNG"))
    file.seek(6)
    assert (read(file) == PHOTO).all()
    assert not file.closed


def test_the_content_says_what_a_file_is_not_its_name(tmp_path: Path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(saved(Image.fromarray(PHOTO), "BMP"))
    assert (read(path) == PHOTO).all()
    path.write_bytes(b"not a photo at all")
    with pytest.raises(ImageError, match=r"photo\.jpg: not an image") as caught:
        read(path)
    assert caught.value.path == str(path)


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


def test_a_pil_image_keeps_its_own_state():
    data = saved(Image.fromarray(cv2.resize(PHOTO, (400, 300))), "JPEG", exif=exif(6))
    with Image.open(io.BytesIO(data)) as image:
        photo = open_image(image)
        assert (photo.width, photo.height) == (300, 400)
        assert photo.read(50).shape == (400, 300, 3)
        assert image.size == (400, 300)
    for mode in ("L", "LA", "RGBA", "CMYK", "YCbCr", "HSV", "P", "1"):
        assert read(Image.fromarray(PHOTO).convert("RGBA").convert(mode) if mode in ("LA", "RGBA")
                    else Image.fromarray(PHOTO).convert(mode)).shape == PHOTO.shape  # fmt: skip
    with pytest.raises(ImageError, match="floats"):
        read(Image.new("F", (4, 4)))


def test_heic_without_the_extra_names_it(monkeypatch, tmp_path: Path):
    path = tmp_path / "photo.heic"
    path.write_bytes(heic((20, 10)))
    assert read(path).shape == (10, 20, 3)
    honest = builtins.__import__

    def without(name, *arguments):
        if name.startswith("pillow_heif"):
            raise ModuleNotFoundError(name)
        return honest(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(MissingExtraError, match=r"HEIC.*mindface\[heic\]"):
        read(path)


def test_many_threads_read_one_photo():
    photo = open_image(saved(Image.fromarray(cv2.resize(PHOTO, (400, 300))), "JPEG"))
    expected = photo.read()
    results: list[bool] = []

    def work() -> None:
        results.extend((photo.read() == expected).all() for _ in range(5))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 20


def test_no_global_state_of_pillow_is_touched():
    limit = Image.MAX_IMAGE_PIXELS
    large = saved(Image.new("1", (14_000, 14_000)), "PNG")  # over Pillow's own limit
    assert open_image(large).width == 14_000
    assert limit == Image.MAX_IMAGE_PIXELS


def test_find_images(tmp_path: Path):
    for name in ("b.JPG", "a.png", ".hidden.jpg", "notes.txt", "sub/c.webp", ".git/d.jpg", "sub/e"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "sub" / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "again").symlink_to(tmp_path / "sub", target_is_directory=True)
    found = list(find_images([tmp_path, tmp_path / "notes.txt", str(tmp_path / "missing.jpg")]))
    assert [path.relative_to(tmp_path).as_posix() for path in found] == [
        "a.png",
        "b.JPG",
        "again/c.webp",
        "notes.txt",
        "missing.jpg",
    ]
    assert list(find_images([])) == []


def test_a_folder_that_cannot_be_listed(monkeypatch, tmp_path: Path):
    def refused(_):
        raise PermissionError(13, "Permission denied", str(tmp_path))

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(ImageError, match="cannot be listed: Permission denied"):
        list(find_images([tmp_path]))
