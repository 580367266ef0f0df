"""Pictures for people: faces marked in a photo, and many images on one sheet.

Text is set in Pillow's own font, which has only the letters of ASCII. For others a font of the
system is taken, the first of `FONTS` that is installed; where there is none they show as boxes.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pixels = NDArray[np.uint8]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

FONTS = [
    "NotoSansCJK-Regular.ttc",
    "msyh.ttc",
    "PingFang.ttc",
    "Arial Unicode.ttf",
    "wqy-microhei.ttc",
    "DejaVuSans.ttf",
    "arial.ttf",
]
"""Font files by name: those with Chinese, Japanese and Korean letters first."""

_FRAME = (80, 255, 120)
_SHADE = (0, 0, 0)
_INK = (255, 255, 255)
# Left eye, right eye, nose, left mouth corner, right mouth corner.
_POINTS = [(80, 200, 255), (80, 200, 255), (255, 220, 60), (255, 120, 160), (255, 120, 160)]


class Drawable(Protocol):
    """A face, such as `mindface.Face`."""

    @property
    def box(self) -> NDArray[Any]:
        """`(4,)`, x1 y1 x2 y2 in pixels."""

    @property
    def score(self) -> float:
        """The detector's confidence."""

    @property
    def landmarks(self) -> NDArray[Any]:
        """`(5, 2)` in pixels."""


def draw_faces(
    image: Pixels, faces: Sequence[Drawable], labels: Sequence[str] | None = None
) -> Pixels:
    """Marks faces: a frame, five points, and a label; lines and text grow with the image.

    Args:
        image: `(H, W, 3)` RGB uint8; left as it is.
        faces: in pixels of `image`; may reach beyond it.
        labels: one a face, such as names; without them, the scores.

    Returns:
        `(H, W, 3)` RGB uint8.

    Raises:
        ValueError: another number of labels than of faces.
    """
    scores = (f"{face.score:.2f}" for face in faces)
    texts = [_printable(text) for text in (scores if labels is None else labels)]
    if len(texts) != len(faces):
        raise ValueError(f"{len(texts)} labels for {len(faces)} faces: give one a face")
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    line = max(1, round(math.sqrt(canvas.width * canvas.height) / 400))
    font = _font(max(10, 7 * line), texts)
    for face in faces:
        _mark(draw, face, line)
    for face, text in zip(faces, texts, strict=True):
        if text:
            _label(draw, canvas.size, face.box, text, font, line)
    return np.asarray(canvas)


def _mark(draw: ImageDraw.ImageDraw, face: Drawable, line: int) -> None:
    x1, y1, x2, y2 = (float(side) for side in face.box)
    x1, x2, y1, y2 = min(x1, x2), max(x1, x2), min(y1, y2), max(y1, y2)
    rim = max(1, line // 2)
    draw.rectangle([x1 - rim, y1 - rim, x2 + rim, y2 + rim], outline=_SHADE, width=line + 2 * rim)
    draw.rectangle([x1, y1, x2, y2], outline=_FRAME, width=line)
    for (x, y), color in zip(face.landmarks, _POINTS, strict=True):
        for radius, fill in ((1.5 * line + rim, _SHADE), (1.5 * line, color)):
            draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=fill)


def _label(
    draw: ImageDraw.ImageDraw,
    size: tuple[int, int],
    box: NDArray[Any],
    text: str,
    font: Font,
    line: int,
) -> None:
    """White on black above the frame, or inside it where there is no room; never off the image."""
    left, top, right, bottom = draw.textbbox((0, 0), text, font)
    width, height = right - left + 4 * line, bottom - top + 4 * line
    x = max(min(float(box[0]) - line, size[0] - width), 0)
    y = float(box[1]) - height - line
    y = max(min(y if y >= 0 else float(box[1]) + line, size[1] - height), 0)
    draw.rectangle([x, y, x + width, y + height], fill=_SHADE)
    draw.text((x + 2 * line - left, y + 2 * line - top), text, _INK, font)


def close_up(image: Pixels, box: Sequence[float], size: int = 160) -> Pixels:
    """Cuts a box out with half as much around it on each side, and frames it.

    Args:
        image: `(H, W, 3)` RGB uint8.
        box: x y width height in pixels of `image`; may reach beyond it.
        size: side of the result, in pixels.

    Returns:
        `(size, size, 3)` RGB uint8; black where the image ends.
    """
    x, y, width, height = box
    half = max(width, height, 1)
    left, top = x + width / 2 - half, y + height / 2 - half
    scale = size / (2 * half)
    square = Image.fromarray(image).transform(
        (size, size),
        Image.Transform.AFFINE,
        (1 / scale, 0, left, 0, 1 / scale, top),
        Image.Resampling.BILINEAR,
    )
    corners = [(x - left) * scale, (y - top) * scale]
    corners += [corners[0] + width * scale, corners[1] + height * scale]
    ImageDraw.Draw(square).rectangle(corners, outline=_FRAME, width=2)
    return np.asarray(square)


def contact_sheet(
    images: Sequence[Pixels], captions: Sequence[str], columns: int = 8, size: int = 112
) -> Pixels:
    """Puts many images on one white sheet, row by row, each with a caption below it.

    Args:
        images: `(h, w, 3)` RGB uint8 each, of any size; fitted into squares, never stretched.
        captions: one an image; shortened to the width of their square.
        columns: the most squares in a row.
        size: side of a square, in pixels.

    Returns:
        `(H, W, 3)` RGB uint8.

    Raises:
        ValueError: no image, no column, a side under 16 pixels, or another number of captions.
    """
    if not images or len(images) != len(captions):
        raise ValueError(f"{len(captions)} captions for {len(images)} images: give one an image")
    if columns < 1 or size < 16:
        raise ValueError(f"columns={columns}, size={size}: at least one column of 16 pixels")
    gap, text_size = max(4, size // 16), max(10, size // 9)
    texts = [_printable(caption) for caption in captions]
    strip, font = math.ceil(text_size * 1.4), _font(text_size, texts)
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    sheet = Image.new(
        "RGB", (gap + columns * (size + gap), gap + rows * (size + strip + gap)), _INK
    )
    draw = ImageDraw.Draw(sheet)
    for index, (pixels, text) in enumerate(zip(images, texts, strict=True)):
        x = gap + index % columns * (size + gap)
        y = gap + index // columns * (size + strip + gap)
        small = _fitted(Image.fromarray(pixels), size)
        sheet.paste(small, (x + (size - small.width) // 2, y + (size - small.height) // 2))
        middle = x + size / 2, y + size + strip / 2
        draw.text(middle, _shortened(draw, text, font, size), _SHADE, font, anchor="mm")
    return np.asarray(sheet)


def _printable(text: str) -> str:
    """A text on one line; control characters stop the setting of text."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _font(size: float, texts: Sequence[str]) -> Font:
    """A font that has the letters of all texts, if there is one."""
    if not all(text.isascii() for text in texts):
        for name in FONTS:
            with contextlib.suppress(OSError):
                return ImageFont.truetype(name, size)
    return ImageFont.load_default(size)


def _fitted(image: Image.Image, size: int) -> Image.Image:
    scale = size / max(image.size)
    sides = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(sides, Image.Resampling.LANCZOS)


def _shortened(draw: ImageDraw.ImageDraw, text: str, font: Font, width: float) -> str:
    """A text with its end left out, if it is too wide."""
    if draw.textlength(text, font) <= width:
        return text
    while text and draw.textlength(text + "...", font) > width:
        text = text[:-1]
    return text + "..."
