"""Reading images from paths, bytes, files, PIL images and arrays; finding them in folders."""

import builtins
import io
import os
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from hostile_images import heic
from pictures import PHOTO, exif, saved
from PIL import Image

from mindface.errors import ImageError, MissingExtraError
from mindface.imaging import find_images, open_image, read


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
