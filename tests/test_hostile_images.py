"""Files made to exhaust or crash a reader; figures in docs/reliability.md."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import hostile_images
import pytest

from mindface.errors import ImageError, ImageTooLargeError
from mindface.imaging import open_image, read

MEGABYTES = 50
REFUSED = {
    "png_header": "ImageTooLargeError: 100000 x 100000 pixels",
    "png_chunks": "ImageError: more than 100,000 blocks",
    "jpeg_header": "ImageTooLargeError: 65500 x 65500 pixels",
    "jpeg_scans": "ImageError: more than 100 scans",
    "gif_screen": "ImageTooLargeError: 65535 x 65535 pixels",
    "webp_canvas": "ImageTooLargeError: 16777216 x 255 pixels",
    "tiff_tags": "ImageError: damaged: a TIFF directory",
    "tiff_offsets": "ImageError: damaged: the TIFF directory names",
    "tiff_deflate": "ImageTooLargeError: 15000 x 15000 pixels",
    "tiff_tile": "ImageError: damaged: the TIFF's tiles",
    "bmp_header": "ImageTooLargeError: 100000 x 100000 pixels",
    "avif_exif": "ImageError: damaged: an EXIF block whose",
    "avif_crowded": "ImageError: damaged: a TIFF directory or EXIF block of 60,000",
}

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")


def child(*arguments: str) -> dict:
    """Runs hostile_images.py with warnings as errors; a crash or a hang fails the test."""
    command = [sys.executable, "-W", "error", hostile_images.__file__, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, f"{done.returncode}: {done.stderr[-2000:]}"
    assert "TIFF" in arguments[1] or not done.stderr  # libtiff alone talks to stderr
    return json.loads(done.stdout)


@linux
@pytest.mark.parametrize("name", hostile_images.BOMBS)
def test_bombs_are_refused_or_harmless(name: str, tmp_path: Path):
    path = tmp_path / name
    path.write_bytes(hostile_images.BOMBS[name]())
    facts = child("bomb", str(path))
    sys.stdout.write(f"{name} {path.stat().st_size:,} bytes {json.dumps(facts)}\n")
    assert facts["outcome"].startswith(REFUSED.get(name, "read: "))
    assert facts["mb"] < MEGABYTES


@linux
@pytest.mark.parametrize(
    ("kinds", "count"),
    [("JPEG,PNG,WEBP", 20_000), ("GIF,BMP,TIFF", 10_000), ("AVIF,HEIC", 5_000)],
)
def test_mutated_images_are_read_or_refused(kinds: str, count: int, long: bool):
    count *= 10 if long else 1
    facts = child("mutate", kinds, str(count), "2026")
    sys.stdout.write(f"{kinds} {json.dumps(facts)}\n")
    assert sum(facts["outcomes"].values()) == count
    assert facts["mb"] < MEGABYTES


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path):
    os.mkfifo(tmp_path / "fifo.jpg")
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    (tmp_path / "empty.jpg").touch()
    server = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(tmp_path)  # socket paths are short
    server.bind("socket.jpg")
    os.chdir(here)
    cases = {
        tmp_path: "a folder",
        tmp_path / "fifo.jpg": "a FIFO",
        tmp_path / "socket.jpg": "a socket",
        Path("/dev/zero"): "a device",
        tmp_path / "dangling.jpg": "No such file",
        tmp_path / "loop.jpg": "symbolic link",
        tmp_path / "empty.jpg": "empty",
        tmp_path / "missing.jpg": "No such file",
        tmp_path / "n\0ul.jpg": "null",
        tmp_path / ("x" * 300): "too long",
    }
    for path, why in cases.items():
        with pytest.raises(ImageError, match=why) as caught:
            open_image(path)
        assert caught.value.path == str(path)
        assert str(caught.value) == f"{path}: {caught.value.reason}"
    server.close()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_read_permission(tmp_path: Path):
    path = tmp_path / "secret.jpg"
    path.write_bytes(hostile_images.encoded("JPEG"))
    path.chmod(0)
    with pytest.raises(ImageError, match="Permission denied"):
        open_image(path)


def test_an_error_of_the_system_while_reading_is_named(tmp_path: Path, monkeypatch):
    path = tmp_path / "photo.jpg"
    path.write_bytes(hostile_images.encoded("JPEG"))

    def refused(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(ImageError, match=r"photo\.jpg: cannot be read: Permission denied"):
        open_image(path)


@linux
def test_a_regular_file_whose_reads_fail():
    """As root nothing is unreadable but the kernel's own files."""
    with pytest.raises(ImageError):
        open_image("/proc/self/mem")


def test_a_symbolic_link_to_a_photo_is_read(tmp_path: Path):
    (tmp_path / "photo.jpg").write_bytes(hostile_images.encoded("JPEG"))
    (tmp_path / "link").symlink_to("photo.jpg")
    assert read(tmp_path / "link").shape == (16, 16, 3)


def test_a_file_that_changes_between_header_and_pixels_is_refused(tmp_path: Path):
    path = tmp_path / "photo.png"
    path.write_bytes(hostile_images.encoded("PNG"))
    photo = open_image(path)
    path.write_bytes(hostile_images.encoded("PNG", (17, 17)))
    with pytest.raises(ImageError, match="changed"):
        photo.read()
    path.unlink()
    with pytest.raises(ImageError, match="No such file"):
        photo.read()


def test_limits_are_those_asked_for(tmp_path: Path):
    path = tmp_path / "photo.bmp"
    path.write_bytes(hostile_images.encoded("BMP"))
    size = path.stat().st_size
    assert open_image(path, max_pixels=256, max_bytes=size).width == 16
    for source in (path, path.read_bytes(), open_image(path).read()):
        with pytest.raises(ImageTooLargeError, match="16 x 16 pixels are over the limit of 255"):
            open_image(source, max_pixels=255)
    with path.open("rb") as file, pytest.raises(ImageTooLargeError, match="max_bytes"):
        open_image(file, max_bytes=size - 1)
    with pytest.raises(ImageTooLargeError, match="max_bytes"):
        open_image(path, max_bytes=size - 1)
