"""Pictures of synthetic crowds with exact labels, so that detectors train without anybody's photos.

The people of `datasets.synth`, cut out along their outlines, are pasted on made-up textures: from
8 pixels to half the picture high, turned, mirrored, some behind a mask or another thing. Made to
try things out; a detector for real photos needs real photos.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from mindface.datasets.synth import (
    BUILD,
    CANVAS,
    EYE_DISTANCE,
    MIDDLE,
    MOTION,
    STEP,
    _clouds,
    _draw_glasses,
    _light,
    _recoloured,
    _rng,
    _Sitter,
    _sitter,
    _warped,
    _whole,
)
from mindface.detection.framing import MIRRORED
from mindface.formats.retinaface_labels import LabelledFaces, write_labels
from mindface.geometry import aligned_landmarks, iou, similarity_transform
from mindface.golden import Portrait, portraits

Array = NDArray[np.float32]
Image = NDArray[np.uint8]
Matrix = NDArray[np.float64]

PEOPLE = 32  # different ones in all pictures of a seed
MOST = 12
MIN_SIZE = 64
MIN_FACE = 8
TRIES = 20
HIDDEN = 0.1  # the most of a face's box that a face before it may hide

# Half axes and centre of the ellipse around a face, in eye distances: from forehead to chin and ear
# to ear, as RetinaFace's boxes on these portraits are.
_HEAD, _HEAD_CENTRE = (1.09, 1.43), (0, 0.47)


def synth_scenes(
    folder: str | os.PathLike[str],
    pictures: int = 100,
    seed: int = 0,
    size: int = 320,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> None:
    """Writes `images/00007.jpg` and their `label.txt` (`open_scenes` reads it); all or nothing.

    A picture has 0 to 12 faces, whose boxes, from forehead to chin and ear to ear, are 8 pixels to
    half the picture high, and all of whose landmarks are labelled, hidden ones too. It is
    determined by `seed` and its number, and by the versions of NumPy and OpenCV: asking for more
    pictures adds to the same set.

    Args:
        folder: where they go; made if absent.
        pictures: how many, 1 at least.
        seed: 0 or more.
        size: height and width of a picture in pixels, 64 at least.
        progress: wraps the numbers of the pictures, as `tqdm` does.

    Raises:
        ValueError: a number out of its range.
        FileExistsError: the folder is not empty.
        OSError: it cannot be written.
    """
    for name, value, least in (
        ("pictures", pictures, 1),
        ("seed", seed, 0),
        ("size", size, MIN_SIZE),
    ):
        if value < least:
            raise ValueError(f"{name} must be {least} at least, not {value}")
    with _whole(Path(folder).resolve()) as partial:
        (partial / "images").mkdir()
        labels = {}
        for number in progress(range(pictures)):
            name = f"{number:05d}.jpg"
            content, labels[name] = _picture(seed, number, size)
            (partial / "images" / name).write_bytes(content)
        write_labels(partial / "label.txt", labels)


class _Figure(NamedTuple):
    """A person to paste.

    Attributes:
        image: `(CANVAS, CANVAS, 4)`, RGB times opacity, and opacity.
        warp: `(CANVAS / STEP, CANVAS / STEP, 2)`, which pixel of it shows in a place.
        landmarks: `(5, 2)` in pixels of the image.
    """

    image: Image
    warp: Array
    landmarks: Array


class _Sprite(NamedTuple):
    """A person as one picture shows them.

    Attributes:
        image: `(CANVAS, CANVAS, 4)`, RGB times opacity, and opacity.
        light: `(3,)`, what RGB is multiplied by.
        landmarks: `(5, 2)` in its pixels.
        outline: `(M, 2)`, points on the outline of the face.
    """

    image: Image
    light: Array
    landmarks: Array
    outline: Array


def _picture(seed: int, number: int, size: int) -> tuple[bytes, LabelledFaces]:
    """A picture as JPEG, and its faces."""
    rng = _rng(seed, 1, number)
    scene = _texture(rng, size)
    boxes, landmarks = np.zeros((0, 4), np.float32), np.zeros((0, 5, 2), np.float32)
    heights = np.exp(rng.uniform(math.log(MIN_FACE), math.log(size / 2), rng.integers(MOST + 1)))
    for height in sorted(heights, reverse=True):
        sprite = _sprite(_figure(seed, int(rng.integers(PEOPLE))), height, rng)
        matrix = _place(sprite, height, boxes, scene, rng)
        if matrix is not None:
            boxes = np.vstack([boxes, _box(sprite, matrix)])
            points = _labelled(sprite.landmarks, matrix)
            mirrored = np.linalg.det(matrix[:, :2]) < 0
            landmarks = np.vstack([landmarks, points[MIRRORED if mirrored else slice(5)][None]])
    return _developed(scene * _light(rng, size), rng), _faces(boxes, landmarks)


def _faces(boxes: Array, landmarks: Array) -> LabelledFaces:
    low, high = boxes[:, :2].astype(np.float64), boxes[:, 2:]
    visible = np.zeros((len(boxes), 5, 1))
    return LabelledFaces(
        np.hstack([low, high - low]).round(2),
        np.concatenate([landmarks, visible], 2).round(2),
        np.ones(len(boxes)),
    )


@lru_cache(PEOPLE)
def _figure(seed: int, number: int) -> _Figure:
    rng = _rng(seed, 0, number)
    sitter, landmarks = _sitters()[number % len(_sitters())]
    image = _recoloured(sitter, rng)
    if rng.random() < 0.35:
        _draw_glasses(image, rng)
    opacity = sitter.figure * _bust()
    layers = np.dstack([image * (opacity / 255)[..., None], opacity]).round().astype(np.uint8)
    return _Figure(layers, _warped(BUILD, rng), landmarks)


@cache
def _sitters() -> list[tuple[_Sitter, Array]]:
    """The portraits on their canvas, with the landmarks `(5, 2)` there."""
    return [(_sitter(portrait), _on_canvas(portrait)) for portrait in portraits()]


def _on_canvas(portrait: Portrait) -> Array:
    template = aligned_landmarks((CANVAS, CANVAS))
    eyes = template[:2]
    template = (template - eyes.mean(0)) * (EYE_DISTANCE / np.ptp(eyes[:, 0])) + MIDDLE
    return _moved(portrait.landmarks, similarity_transform(portrait.landmarks, template))


def _sprite(figure: _Figure, height: float, rng: np.random.Generator) -> _Sprite:
    """A person with an expression of the moment, in a light of their own."""
    image = figure.image.copy()
    _hide_some(image, figure.landmarks, height, rng)
    warp = _full(figure.warp, rng)
    x, y = cv2.split(warp)
    shown = np.asarray(cv2.remap(image, x, y, cv2.INTER_LINEAR), np.uint8)
    light = np.exp(rng.uniform(-0.5, 0.25) + rng.uniform(-0.06, 0.06, 3)).astype(np.float32)
    points = _found(np.vstack([figure.landmarks, _outline()]), warp)
    return _Sprite(shown, light, points[:5], points[5:])


def _full(build: Array, rng: np.random.Generator) -> Array:
    """For each pixel of the canvas which one of the portrait it shows, `(CANVAS, CANVAS, 2)`."""
    x, y = cv2.split(_warped(MOTION, rng) / STEP)
    warp = cv2.remap(build, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    coarse = np.array([[1 / STEP, 0, 0], [0, 1 / STEP, 0]])
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    full = cv2.warpAffine(
        warp, coarse, (CANVAS, CANVAS), flags=how, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(full, np.float32)


def _found(points: Array, warp: Array) -> Array:
    """Where a warp shows points `(M, 2)` of the portrait, by damped fixed-point iteration."""
    places = points.copy()
    for _ in range(40):
        x, y = cv2.split(places[:, None])
        shown = np.asarray(cv2.remap(warp, x, y, cv2.INTER_LINEAR)[:, 0], np.float32)
        places += np.float32(0.6) * (points - shown)
    return np.asarray(places, np.float32)


@cache
def _bust() -> Array:
    """Opacity `(CANVAS, CANVAS)` that rounds a person off below, where the portrait is cut."""
    y, x = np.mgrid[:CANVAS, :CANVAS].astype(np.float32)
    below = np.maximum(y - MIDDLE[1], 0) / (0.97 * (CANVAS - MIDDLE[1]))
    away = np.hypot((x - MIDDLE[0]) / (0.97 * CANVAS / 2), below)
    return np.asarray(np.clip((1 - away) * 60, 0, 1), np.float32)


@cache
def _outline() -> Array:
    turn = np.linspace(0, 2 * math.pi, 48, endpoint=False)
    ellipse = np.stack([np.cos(turn), np.sin(turn)], 1) * _HEAD + _HEAD_CENTRE
    return np.asarray(MIDDLE + EYE_DISTANCE * ellipse, np.float32)


def _hide_some(image: Image, landmarks: Array, height: float, rng: np.random.Generator) -> None:
    """Draws a mask over nose and mouth, or a thing before a side of the face, or neither."""
    color = (*rng.uniform(0, 255, 3).tolist(), 255.0)
    chance = rng.random() if height > 2 * MIN_FACE else 1
    if chance < 0.1:
        middle, width = landmarks[2:].mean(0), rng.uniform(0.75, 0.95)
        corners = [(-width, -0.35), (0, -0.6), (width, -0.35), (0.75, 0.75), (0, 1), (-0.75, 0.75)]
        polygon = np.round(middle + EYE_DISTANCE * np.array(corners)).astype(np.int32)
        cv2.fillPoly(image, [polygon], color, cv2.LINE_AA)
    elif chance < 0.2:
        place = _outline()[rng.integers(len(_outline()))]
        axes = (EYE_DISTANCE * rng.uniform(0.4, 0.9, 2)).round().astype(int).tolist()
        centre = place.round().astype(int).tolist()
        cv2.ellipse(image, centre, axes, rng.uniform(0, 180), 0, 360, color, -1, cv2.LINE_AA)


def _place(
    sprite: _Sprite, height: float, boxes: Array, scene: Array, rng: np.random.Generator
) -> Matrix | None:
    """Draws a sprite where there is room; returns the similarity into the picture, if there was."""
    turn = math.radians(float(np.clip(rng.normal(0, 14), -30, 30)))
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    linear = rotation @ np.diag([rng.choice([-1, 1]), 1])
    linear *= height / np.ptp(sprite.outline @ linear.T, 0)[1]
    outline = sprite.outline @ linear.T
    least, most = -outline.min(0), scene.shape[0] - 1 - outline.max(0)
    for _ in range(TRIES):
        matrix = np.column_stack([linear, rng.uniform(least, np.maximum(least, most))])
        if _paste(sprite, matrix, boxes, scene):
            return matrix
    return None


def _moved(points: Array, matrix: Matrix) -> Array:
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2], np.float32)


def _labelled(points: Array, matrix: Matrix) -> Array:
    """Points of a sprite in a picture, counted from the corner of its first pixel."""
    return _moved(points, matrix) + np.float32(0.5)  # OpenCV counts from the pixel's centre


def _box(sprite: _Sprite, matrix: Matrix) -> Array:
    outline = _labelled(sprite.outline, matrix)
    return np.concatenate([outline.min(0), outline.max(0)])


def _paste(sprite: _Sprite, matrix: Matrix, boxes: Array, scene: Array) -> bool:
    """Draws a sprite into a picture, unless it would hide another face, or overlap its box."""
    if iou(_box(sprite, matrix)[None], boxes).any():
        return False
    image, matrix = _shrunk(sprite.image, matrix)
    drawn = cv2.warpAffine(image, matrix, scene.shape[1::-1], flags=cv2.INTER_LINEAR)
    for left, top, right, bottom in boxes.round().astype(int):
        if drawn[top:bottom, left:right, 3].mean() > HIDDEN * 255:
            return False
    left, top, width, height = cv2.boundingRect(drawn[..., 3])
    part = np.s_[top : top + height, left : left + width]
    scene[part] *= 1 - drawn[part][..., 3:] * np.float32(1 / 255)
    scene[part] += drawn[part][..., :3] * sprite.light
    return True


def _shrunk(image: Image, matrix: Matrix) -> tuple[Image, Matrix]:
    """A sprite shrunk by a whole number, as far as the matrix shrinks it, and the matrix's rest."""
    factor = max(1, int(1 / math.hypot(matrix[0, 0], matrix[1, 0])))
    side = CANVAS // factor
    kept = image[: side * factor, : side * factor]
    small = cv2.resize(kept, (side, side), interpolation=cv2.INTER_AREA)
    # Pixel centres: x = factor * x' + (factor - 1) / 2.
    shift = matrix[:, :2].sum(1) * (factor - 1) / 2 + matrix[:, 2]
    return np.asarray(small, np.uint8), np.column_stack([matrix[:, :2] * factor, shift])


def _texture(rng: np.random.Generator, size: int) -> Array:
    """A background `(size, size, 3)`: a gradient, clouds, and stripes or blobs or neither."""
    ends = rng.uniform(20, 235, (2, 3))
    y, x = np.mgrid[:size, :size] / size
    turn = rng.uniform(0, 2 * math.pi)
    along = (x - 0.5) * math.cos(turn) + (y - 0.5) * math.sin(turn) + 0.5
    scene = (ends[0] + along[..., None] * (ends[1] - ends[0])).astype(np.float32)
    for cells in rng.integers(3, size // 3, 2):
        scene += _clouds(int(cells), rng.uniform(5, 40), size, rng)[..., None]
    kind = rng.integers(3)
    if kind == 1:
        period, sharp = rng.uniform(0.02, 0.3), rng.uniform(1, 8)
        wave = np.tanh(sharp * np.sin(2 * math.pi * along / period))
        scene += (wave[..., None] * rng.uniform(-50, 50, 3)).astype(np.float32)
    elif kind == 2:
        for _ in range(rng.integers(5, 40)):
            centre = rng.integers(0, size, 2).tolist()
            axes = np.exp(rng.uniform(1, math.log(size / 4), 2)).astype(int).tolist()
            color = rng.uniform(0, 255, 3).tolist()
            cv2.ellipse(scene, centre, axes, rng.uniform(0, 180), 0, 360, color, -1, cv2.LINE_AA)
    return np.asarray(np.clip(scene, 0, 255), np.float32)


def _developed(scene: Array, rng: np.random.Generator) -> bytes:
    """What a camera makes of it: blur, noise, JPEG."""
    scene = np.asarray(cv2.GaussianBlur(scene, (0, 0), rng.uniform(0.1, 0.6)), np.float32)
    scene += rng.standard_normal(scene.shape, np.float32) * np.float32(rng.uniform(0, 6))
    pixels = np.clip(scene, 0, 255).astype(np.uint8)[..., ::-1]
    _, content = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(60, 96))])
    return content.tobytes()
