"""What of an image file its decoder may see: pixels and what they need, no metadata.

Profiles, EXIF blocks, comments and texts cost decoders memory and time far beyond their own size
(one EXIF entry can name the same 60 KB as a thousand others; comments are joined at quadratic
cost). Each scanner here walks one container, notes the EXIF orientation, and returns the parts
that matter for the first frame. Walks stop after `MAX_BLOCKS` blocks.

Sources: JPEG ITU-T T.81 annex B; PNG third edition; WebP RFC 9649; GIF89a; TIFF 6.0 section 2.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from struct import unpack
from typing import BinaryIO

from mindface.errors import ImageError
from mindface.imaging import tiff
from mindface.imaging.parts import Part

MAX_BLOCKS = 100_000
MAX_TABLES = 1 << 20
MAX_SCANS = 100
MAX_EXIF = 1 << 16


@dataclass(frozen=True)
class Content:
    """What a decoder may see of a file.

    Attributes:
        kind: of the file, a key of `decode.PLUGINS`.
        parts: of the file, in order.
        orientation: EXIF orientation, 1 to 8.
        size: (width, height) in pixels before rotation, where the decoder must not be asked.
    """

    kind: str
    parts: list[Part]
    orientation: int = 1
    size: tuple[int, int] | None = None


def content(file: BinaryIO) -> Content:
    """Finds out what a file is and what of it a decoder may see.

    Raises:
        ImageError: empty, no image, a kind that is not read, or damaged before the pixels.
    """
    file.seek(0)
    head = file.read(32)
    scan = _scanner(head)
    end = file.seek(0, io.SEEK_END)
    return scan(file, end)


def _scanner(head: bytes) -> Callable[[BinaryIO, int], Content]:
    if not head:
        raise ImageError("the file is empty")
    for magic, scan in _SCANNERS.items():
        if re.match(magic, head, re.DOTALL):
            return scan
    for magic, name in _FOREIGN.items():
        if re.match(magic, head, re.DOTALL):
            raise ImageError(f"this is {name}, which is not read: convert it to JPEG or PNG")
    raise ImageError(f"not an image that can be read: the file begins with {head[:8]!r}")


def _exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise ImageError("truncated: the file ends before the picture begins")
    return data


def _too_many() -> ImageError:
    return ImageError(f"more than {MAX_BLOCKS:,} blocks before the picture ends: not a photo")


def _add(parts: list[Part], start: int, end: int) -> None:
    if parts and isinstance(last := parts[-1], tuple) and last[1] == start:
        parts[-1] = (last[0], end)
    else:
        parts.append((start, end))


def _jpeg(file: BinaryIO, end: int) -> Content:
    parts: list[Part] = []
    orientation, tables, components, progressive = 1, 0, 0, False
    position = 0
    for _ in range(MAX_BLOCKS):
        file.seek(position)
        byte, marker = _exactly(file, 2)
        if byte != 0xFF:  # stray bytes between segments are common, and left out
            stray = (bytes([marker]) + file.read(4096)).find(b"\xff")
            if stray < 0:
                raise ImageError(f"damaged: no JPEG marker at byte {position}")
            position += 1 + stray
            continue
        if marker in (0xFF, 0x01, *range(0xD0, 0xD9)):  # fill bytes, and markers without a length
            if marker == 0xD8 and not parts:
                _add(parts, position, position + 2)
            position += 1 if marker == 0xFF else 2
            continue
        if marker == 0xD9:
            raise ImageError("damaged: the JPEG ends before its picture begins")
        (length,) = unpack(">H", _exactly(file, 2))
        if length < 2:
            raise ImageError(f"damaged: a JPEG segment without length at byte {position}")
        if marker == 0xDA:
            (scanned,) = _exactly(file, 1)
            if progressive or scanned < components:
                _count_scans(file, position)
            _add(parts, position, end)
            return Content("JPEG", parts, orientation)
        if marker == 0xE1 and orientation == 1:
            block = file.read(min(length - 2, MAX_EXIF))
            if block.startswith(b"Exif\0\0"):
                orientation = tiff.orientation(block[6:])
        if 0xC0 <= marker <= 0xCF or 0xDB <= marker <= 0xDF or marker in (0xE0, 0xEE):
            if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
                components = _exactly(file, 6)[5]
                progressive = marker in (0xC2, 0xC6, 0xCA, 0xCE)
            _add(parts, position, position + 2 + length)
            tables += length
            if tables > MAX_TABLES:
                raise ImageError("damaged: more than a megabyte of tables before the picture")
        position += 2 + length
    raise _too_many()


def _count_scans(file: BinaryIO, position: int) -> None:
    """Refuses what costs a decoder a pass over the whole picture for a few bytes, many times."""
    file.seek(position)
    data = file.read()
    scans = at = 0
    marker = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]", re.DOTALL)
    for _ in range(MAX_BLOCKS):
        found = marker.search(data, at)
        if not found or found.group() == b"\xff\xd9":
            return
        scans += found.group() == b"\xff\xda"
        if scans > MAX_SCANS:
            raise ImageError(f"more than {MAX_SCANS} scans in a JPEG: not a photo")
        at = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")
    raise _too_many()


def _png(file: BinaryIO, end: int) -> Content:
    parts: list[Part] = [(0, 8)]
    orientation, position, size = 1, 8, None
    for _ in range(MAX_BLOCKS):
        file.seek(position)
        head = file.read(8)
        if len(head) < 8:
            return Content("PNG", parts, orientation, size)
        length, name = unpack(">I4s", head)
        if size is None:
            if name != b"IHDR" or length != 13:
                raise ImageError("damaged: the PNG does not begin with its header")
            size = unpack(">II", _exactly(file, 8))
        if name == b"eXIf":
            orientation = tiff.orientation(file.read(min(length, MAX_EXIF)))
        after = position + 12 + length
        if name in (b"IDAT", b"IHDR", b"IEND") or (name in (b"PLTE", b"tRNS") and length <= 768):
            _add(parts, position, min(after, end))
        if name == b"IEND":
            return Content("PNG", parts, orientation, size)
        position = after
    raise _too_many()


def _webp(file: BinaryIO, end: int) -> Content:
    kept: list[Part] = []
    orientation, position, size, framed = 1, 12, None, False
    for _ in range(MAX_BLOCKS):
        file.seek(position)
        head = file.read(8)
        if len(head) < 8:
            break
        name, length = unpack("<4sI", head)
        after = min(position + 8 + length + length % 2, end)
        if size is None:
            size = _webp_size(name, _exactly(file, 10))
            file.seek(position + 8)
        if name == b"EXIF":
            block = file.read(min(length, MAX_EXIF))
            orientation = tiff.orientation(block.removeprefix(b"Exif\0\0"))
        elif name == b"VP8X":
            payload = bytearray(_exactly(file, 10))
            payload[0] &= 0x12  # animation and alpha; profile, EXIF and XMP are left out
            kept.append(head[:4] + (10).to_bytes(4, "little") + bytes(payload))
        elif name in (b"VP8 ", b"VP8L", b"ALPH", b"ANIM") or (name == b"ANMF" and not framed):
            _add(kept, position, after)
            framed = framed or name == b"ANMF"
        position = position + 8 + length + length % 2
    else:
        raise _too_many()
    if size is None:
        raise ImageError("truncated: the file ends before the picture begins")
    total = 4 + sum(len(p) if isinstance(p, bytes) else p[1] - p[0] for p in kept)
    return Content(
        "WEBP", [b"RIFF" + total.to_bytes(4, "little") + b"WEBP", *kept], orientation, size
    )


def _webp_size(name: bytes, payload: bytes) -> tuple[int, int]:
    if name == b"VP8X":
        width, height = payload[4:7] + b"\0", payload[7:10] + b"\0"
        return unpack("<I", width)[0] + 1, unpack("<I", height)[0] + 1
    if name == b"VP8L":
        (bits,) = unpack("<I", payload[1:5])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if name == b"VP8 ":
        width, height = unpack("<HH", payload[6:10])
        return width & 0x3FFF, height & 0x3FFF
    raise ImageError(f"damaged: a WebP cannot begin with {name!r}")


def _gif(file: BinaryIO, end: int) -> Content:
    file.seek(0)
    head = _exactly(file, 13)
    size = unpack("<HH", head[6:10])
    position = 13 + _color_table(head[10])
    parts: list[Part] = [(0, position)]
    file.seek(position)
    blocks = 0
    while blocks < MAX_BLOCKS:
        start = file.tell()
        introducer = _exactly(file, 1)
        if introducer == b",":
            parts.append((start, end))
            return Content("GIF", parts, size=size)
        if introducer != b"!":
            raise ImageError("damaged: the GIF ends before its first picture")
        label = _exactly(file, 1)
        while length := _exactly(file, 1)[0]:
            _exactly(file, length)
            blocks += 1
            if blocks > MAX_BLOCKS:
                break
        if label == b"\xf9" and file.tell() - start <= 16:
            parts.append((start, file.tell()))
        blocks += 1
    raise _too_many()


def _color_table(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _tiff(file: BinaryIO, end: int) -> Content:
    parts, orientation, size = tiff.clean(file, end)
    return Content("TIFF", parts, orientation, size)


def _bmp(file: BinaryIO, end: int) -> Content:
    return Content("BMP", [(0, end)])


def _heic(file: BinaryIO, end: int) -> Content:
    _check_exif_blocks(file)
    return Content("HEIC", [(0, end)])


def _avif(file: BinaryIO, end: int) -> Content:
    _check_exif_blocks(file)
    return Content("AVIF", [(0, end)])


def _check_exif_blocks(file: BinaryIO) -> None:
    """Checks whatever in an ISO media file could be an EXIF block, wherever it lies."""
    file.seek(0)
    data = file.read()
    for count, found in enumerate(re.finditer(rb"II\*\0|MM\0\*", data)):
        if count == 16:
            raise ImageError("damaged: more than 16 EXIF blocks")
        tiff.orientation(data[found.start() : found.start() + (1 << 24)], strict=True)


_SCANNERS: dict[bytes, Callable[[BinaryIO, int], Content]] = {
    rb"\xff\xd8\xff": _jpeg,
    rb"\x89PNG\r\n\x1a\n": _png,
    rb"RIFF....WEBP": _webp,
    rb"GIF8[79]a": _gif,
    rb"II[*+]\0|MM\0[*+]": _tiff,
    rb"BM": _bmp,
    rb"....ftyp(avif|avis)": _avif,
    rb"....ftyp(mif1|msf1)....(....)?(avif|avis)": _avif,
    rb"....ftyp(hei[cxms]|hev[cxms]|mif1|msf1)": _heic,
}
_FOREIGN = {
    rb"%PDF": "a PDF",
    rb"....ftyp": "a video or another ISO media file",
    rb"\0\0\0\x0cjP  ": "JPEG 2000",
    rb"\xff\x4f\xff\x51": "JPEG 2000",
    rb"\xff\x0a|\0\0\0\x0cJXL ": "JPEG XL",
    rb"8BPS": "a Photoshop document",
    rb"\s*<(\?xml|svg|!DOCTYPE|html)": "XML or HTML, perhaps SVG",
    rb"PK\x03\x04": "a zip archive",
    rb"version https://git-lfs": "a Git LFS pointer, not the file itself",
    rb"\x00\x00\x01\x00": "a Windows icon",
}
