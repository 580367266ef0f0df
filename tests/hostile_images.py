"""Decompression bombs and mutated images; run as a script, the child of test_hostile_images.py.

`hostile_images.py bomb PATH` reads one file, `hostile_images.py mutate KINDS COUNT SEED` many
mutated images; both print one line of JSON with milliseconds and the megabytes above baseline.
"""

import contextlib
import io
import json
import random
import struct
import sys
import time
import zlib
from collections import Counter

from PIL import Image


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, *chunks: bytes, pixels: bytes | None = None) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes((3 * width + 1) * height)) if pixels is None else pixels
    body = [png_chunk(b"IHDR", header), *chunks, png_chunk(b"IDAT", rows), png_chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def zeros(megabytes: int) -> bytes:
    """A zlib stream that inflates to so many megabytes."""
    squeeze = zlib.compressobj(9)
    block = bytes(1 << 20)
    return b"".join(squeeze.compress(block) for _ in range(megabytes)) + squeeze.flush()


def overlapping(entries: int, size: int) -> bytes:
    """A TIFF directory whose entries all name the same bytes."""
    rows = b"".join(struct.pack("<HHII", 700 + i, 1, size, 8) for i in range(entries))
    return b"II*\0" + struct.pack("<IH", 8, entries) + rows + bytes(4 + size)


def encoded(kind: str, size: tuple[int, int] = (16, 16), **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.radial_gradient("L").resize(size).convert("RGB").save(buffer, kind, **options)
    return buffer.getvalue()


def heic(size: tuple[int, int]) -> bytes:
    import pillow_heif

    buffer = io.BytesIO()
    pillow_heif.from_pillow(Image.open(io.BytesIO(encoded("PNG", size)))).save(buffer)
    return buffer.getvalue()


def with_segments(jpeg: bytes, *segments: bytes) -> bytes:
    blocks = (b"\xff\xe1" + struct.pack(">H", len(data) + 2) + data for data in segments)
    return jpeg[:2] + b"".join(blocks) + jpeg[2:]


def jpeg_of_size(width: int, height: int) -> bytes:
    jpeg = bytearray(encoded("JPEG"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(jpeg)


def jpeg_scans() -> bytes:
    """A progressive JPEG that repeats its last scan 20,000 times."""
    jpeg = encoded("JPEG", (4000, 4000), progressive=True)
    last = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    return jpeg[:-2] + last[:40] * 20_000 + b"\xff\xd9"


def gif(width: int, height: int, *extensions: bytes) -> bytes:
    screen = b"GIF89a" + struct.pack("<HHBBB", width, height, 0xF0, 0, 0) + bytes(6)
    picture = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00;"
    return screen + b"".join(extensions) + picture


def webp(chunks: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks


def webp_canvas(width: int, height: int) -> bytes:
    sides = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    return webp(b"VP8X" + struct.pack("<II", 10, 0) + sides + encoded("WEBP")[12:])


def webp_exif() -> bytes:
    block = overlapping(5_000, 1 << 20)
    exif = b"EXIF" + struct.pack("<I", len(block)) + block
    sides = bytes([15, 0, 0, 15, 0, 0])
    return webp(b"VP8X" + struct.pack("<II", 10, 8) + sides + encoded("WEBP")[12:] + exif)


def tiff(width: int, height: int, *more: tuple[int, int], data: bytes = b"") -> bytes:
    """A deflated RGB TIFF; `more` are (tag, value) pairs."""
    tags = {256: width, 257: height, 258: 8, 259: 8, 262: 1, 277: 1} | dict(more)
    if 322 not in tags:
        tags |= {273: 8, 278: height, 279: len(data)}
    rows = b"".join(struct.pack("<HHII", tag, 4, 1, tags[tag]) for tag in sorted(tags))
    start = 8 + len(data) + len(data) % 2
    head = b"II*\0" + struct.pack("<I", start) + data + bytes(len(data) % 2)
    return head + struct.pack("<H", len(tags)) + rows + bytes(4)


def tiff_tile() -> bytes:
    """Sixteen pixels in a tile of 13,000 x 13,000."""
    data = zeros(13_008 * 13_008 >> 20)
    more = ((322, 13_008), (323, 13_008), (324, 8), (325, len(data)))
    return tiff(4, 4, *more, data=data)


def bmp_header() -> bytes:
    fields = (0, 0, 54, 40, 100_000, 100_000, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IIIIiiHHIIiiII", *fields)


def tiff_offsets() -> bytes:
    """A TIFF that claims five million strips."""
    rows = struct.pack("<HHI", 273, 4, 1), struct.pack("<HHI", 273, 4, 5_000_000)
    return tiff(16, 16).replace(*rows) + bytes(20_000_000)


def avif_exif(entries: int) -> bytes:
    block = overlapping(entries, 1 << 20)
    return encoded("AVIF") + struct.pack(">I", len(block) + 8) + b"free" + block


EXIF = b"Exif\0\0" + overlapping(2_700, 30_000)
BOMBS = {
    "png_header": lambda: png(100_000, 100_000, pixels=b""),
    "png_pixels": lambda: png(16, 16, pixels=zeros(300)),
    "png_profile": lambda: png(16, 16, png_chunk(b"iCCP", b"x\0\0" + zeros(300))),
    "png_texts": lambda: png(16, 16, *[png_chunk(b"zTXt", b"x\0\0" + zeros(1))] * 1000),
    "png_exif": lambda: png(16, 16, png_chunk(b"eXIf", overlapping(60_000, 1 << 20))),
    "png_chunks": lambda: png(16, 16, *[png_chunk(b"tEXt", b"")] * 500_000),
    "jpeg_header": lambda: jpeg_of_size(65_500, 65_500),
    "jpeg_exif": lambda: with_segments(encoded("JPEG"), EXIF),
    "jpeg_exif_joined": lambda: with_segments(encoded("JPEG"), *[EXIF[:6] + bytes(65_000)] * 999),
    "jpeg_scans": jpeg_scans,
    "gif_screen": lambda: gif(65_535, 65_535),
    "gif_comment": lambda: gif(1, 1, b"!\xfe" + (b"\xff" + bytes(255)) * 90_000 + b"\0"),
    "webp_canvas": lambda: webp_canvas(16_777_216, 255),
    "webp_exif": webp_exif,
    "tiff_tags": lambda: overlapping(60_000, 1 << 20),
    "tiff_deflate": lambda: tiff(15_000, 15_000, data=zeros(215)),
    "tiff_tile": tiff_tile,
    "tiff_offsets": tiff_offsets,
    "bmp_header": bmp_header,
    "avif_exif": lambda: avif_exif(4_000),
    "avif_crowded": lambda: avif_exif(60_000),
}  # fmt: skip

SEEDS = {
    "JPEG": lambda: [
        encoded("JPEG", (40, 30), exif=overlapping(3, 9)),
        encoded("JPEG", (40, 30), progressive=True),
    ],
    "PNG": lambda: [encoded("PNG", (40, 30)), png(9, 9, png_chunk(b"eXIf", overlapping(3, 9)))],
    "WEBP": lambda: [
        encoded("WEBP", (40, 30), exif=overlapping(3, 9)),
        encoded("WEBP", (40, 30), lossless=True),
    ],
    "GIF": lambda: [encoded("GIF", (40, 30))],
    "BMP": lambda: [encoded("BMP", (20, 15))],
    "TIFF": lambda: [encoded("TIFF", (20, 15)), encoded("TIFF", (40, 30), compression="tiff_lzw")],
    "AVIF": lambda: [encoded("AVIF", (40, 30))],
    "HEIC": lambda: [heic((40, 30))],
}  # fmt: skip


def mutated(data: bytes, other: bytes, dice: random.Random) -> bytes:
    """A copy with flipped bits, cut short, or spliced with another file."""
    kind = dice.randrange(4)
    if kind == 0:
        return data[: dice.randrange(len(data))]
    if kind == 1:
        start, length = dice.randrange(len(data)), dice.randrange(1, 64)
        source = dice.randrange(len(other))
        return data[:start] + other[source : source + length] + data[start + length :]
    damaged = bytearray(data)
    reach = len(data) if kind == 2 else min(len(data), 200)  # headers are where the traps are
    for _ in range(dice.choice([1, 1, 2, 8, 30])):
        damaged[dice.randrange(reach)] ^= 1 << dice.randrange(8)
    return bytes(damaged)


def peak() -> float:
    """Megabytes this process has had in memory at most, since it began."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


def baseline() -> float:
    """`peak`, after making the kernel forget what imports needed for a moment."""
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as references:
        references.write("5")
    return peak()


def run_bomb(path: str) -> dict[str, object]:
    from mindface.errors import ImageError
    from mindface.imaging import read

    for kind in SEEDS:
        read(SEEDS[kind]()[0])  # the decoders are loaded and warm
    before, start = baseline(), time.perf_counter()
    try:
        outcome = "read: {1} x {0}".format(*read(path).shape)
    except ImageError as error:
        outcome = f"{type(error).__name__}: {error.reason}"
    ms = (time.perf_counter() - start) * 1e3
    facts = {"outcome": outcome, "ms": round(ms, 1)}
    return facts | {"mb": round(peak() - before, 1)}


def run_mutations(kinds: list[str], count: int, seed: int) -> dict[str, object]:
    import numpy as np

    from mindface.errors import ImageError
    from mindface.imaging import open_image

    dice = random.Random(seed)
    seeds = [data for kind in kinds for data in SEEDS[kind]()]
    for data in seeds:
        try:
            open_image(data).read()
        except ImageError:
            continue
    before, slowest, outcomes = baseline(), 0.0, Counter()
    begin = time.perf_counter()
    for _ in range(count):
        data = mutated(dice.choice(seeds), dice.choice(seeds), dice)
        start = time.perf_counter()
        try:
            photo = open_image(data, max_pixels=1_000_000)
            pixels = photo.read(dice.choice([None, 10]))
            assert (pixels.dtype, pixels.ndim, pixels.shape[2]) == (np.uint8, 3, 3)
            outcomes["read"] += 1
        except ImageError as error:
            outcomes[type(error).__name__] += 1
        slowest = max(slowest, time.perf_counter() - start)
    facts = {"count": count, "outcomes": dict(outcomes), "slowest_ms": round(slowest * 1e3, 1)}
    seconds = round(time.perf_counter() - begin, 1)
    return facts | {"seconds": seconds, "mb": round(peak() - before, 1)}


if __name__ == "__main__":
    if sys.argv[1] == "bomb":
        facts = run_bomb(sys.argv[2])
    else:
        facts = run_mutations(sys.argv[2].split(","), int(sys.argv[3]), int(sys.argv[4]))
    sys.stdout.write(json.dumps(facts) + "\n")
