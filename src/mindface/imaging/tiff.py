"""The first directory of a TIFF file, or of an EXIF block, which is one.

Source: TIFF 6.0, section 2; BigTIFF as libtiff writes it; EXIF 2.32, section 4.6.4 (orientation).
"""

from __future__ import annotations

import io
from struct import calcsize, unpack, unpack_from
from typing import BinaryIO, NamedTuple

from mindface.errors import ImageError
from mindface.imaging.parts import Part

ORIENTATION = 274
MAX_TAGS = 1 << 24
MAX_TILE = 1 << 24
MAX_ENTRIES = 4096
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_SIZES |= {16: 8, 17: 8, 18: 8}
# What the pixels of the first picture need: size, samples, compression, strips, tiles, colours.
_PIXEL_TAGS = frozenset(
    {254, 255, 256, 257, 258, 259, 262, 263, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320}
    | {322, 323, 324, 325, 332, 334, 338, 339, 347, 512, 513, 514, 529, 530, 531, 532, 50674}
)


class _CrowdedError(ImageError):
    """More entries than any camera or editor writes."""


class _Entry(NamedTuple):
    tag: int
    size: int
    raw: bytes
    value: int


class _Directory(NamedTuple):
    start: int
    entries: list[_Entry]
    count_format: str
    next_format: str

    def value(self, tag: int, default: int) -> int:
        return next((entry.value for entry in self.entries if entry.tag == tag), default)


def orientation(block: bytes, *, strict: bool = False) -> int:
    """The EXIF orientation that an EXIF block (without the six bytes before it) states, 1 to 8.

    Args:
        block: begins with the byte order.
        strict: whether to refuse a block with too many entries, or that name more than 16 MB.

    Raises:
        ImageError: only with `strict`.
    """
    try:
        directory = _directory(io.BytesIO(block))
    except _CrowdedError:
        if strict:
            raise
        return 1
    except ImageError:
        return 1
    if strict and sum(entry.size for entry in directory.entries) > MAX_TAGS:
        raise ImageError("damaged: an EXIF block whose entries name more than 16 MB")
    return _legal(directory.value(ORIENTATION, 1))


def clean(file: BinaryIO, end: int) -> tuple[list[Part], int, tuple[int, int]]:
    """A TIFF file whose only directory is its first one, holding only what the pixels need.

    Returns:
        The parts of the file in order, the orientation, and (width, height) before rotation.

    Raises:
        ImageError: damaged, or the directory asks for absurd amounts of memory.
    """
    directory = _directory(file)
    size = directory.value(256, 0), directory.value(257, 0)
    tile = directory.value(322, 0) * directory.value(323, 0)
    kept = [entry for entry in directory.entries if entry.tag in _PIXEL_TAGS]
    if sum(entry.size for entry in kept) > MAX_TAGS:
        raise ImageError("damaged: the TIFF directory names more than 16 MB")
    if tile > max(MAX_TILE, 4 * size[0] * size[1]):
        raise ImageError(
            f"damaged: the TIFF's tiles of {tile:,} pixels are larger than its picture"
        )
    order = ">" if directory.count_format[0] == ">" else "<"
    count = len(kept).to_bytes(
        calcsize(directory.count_format), "big" if order == ">" else "little"
    )
    after = bytes(calcsize(directory.next_format))
    table = count + b"".join(entry.raw for entry in kept) + after
    rest = min(directory.start + len(table), end)
    parts: list[Part] = [(0, directory.start), table, (rest, end)]
    return parts, _legal(directory.value(ORIENTATION, 1)), size


def _legal(value: int) -> int:
    return value if 1 <= value <= 8 else 1


def _directory(file: BinaryIO) -> _Directory:
    file.seek(0)
    head = file.read(16)
    order = ">" if head[:2] == b"MM" else "<"
    big = head[2:4] in (b"+\0", b"\0+")
    if head[:2] not in (b"II", b"MM") or len(head) < (16 if big else 8):
        raise ImageError("damaged: no TIFF header")
    (start,) = unpack_from(f"{order}Q" if big else f"{order}I", head, 8 if big else 4)
    count_format, entry_format = (f"{order}Q", "HHQ8s") if big else (f"{order}H", "HHI4s")
    width, counted = calcsize(order + entry_format), calcsize(count_format)
    file.seek(min(start, 1 << 62))
    data = file.read(counted)
    count = unpack(count_format, data)[0] if len(data) == counted else 0
    if count > MAX_ENTRIES:
        raise _CrowdedError(f"damaged: a TIFF directory or EXIF block of {count:,} entries")
    table = file.read(width * count)
    if not count or len(table) < width * count:
        raise ImageError("damaged: the TIFF directory lies outside the file")
    rows = (table[at : at + width] for at in range(0, len(table), width))
    entries = [_entry(row, order, order + entry_format) for row in rows]
    return _Directory(start, entries, count_format, f"{order}{'Q' if big else 'I'}")


def _entry(row: bytes, order: str, entry_format: str) -> _Entry:
    tag, kind, count, inline = unpack(entry_format, row)
    code = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}.get(kind)
    value = unpack_from(order + code, inline)[0] if code and calcsize(code) <= len(inline) else 0
    return _Entry(tag, _SIZES.get(kind, 1) * count, row, value)
