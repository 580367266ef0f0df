"""A small set of synthetic people, so that every command runs without anybody's photos.

Each person is one of the two golden portraits, changed for good: the face is warped, skin, hair
and clothes are recoloured, moles and glasses are drawn. Each photo of a person is changed once
more, mildly: pose, expression, place, light and camera. Made to try things out, and of no use to
train or judge a model that is meant for real faces.

Faces are described in eye distances from the middle between the eyes, x to the right, y down. They
are drawn on a square canvas, where every portrait's eyes lie on the same two pixels.
"""

from __future__ import annotations

import errno
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from mindface.geometry import aligned_landmarks, similarity_transform
from mindface.golden import Portrait, portraits

Array = NDArray[np.float32]
Image = NDArray[np.uint8]

CANVAS = 320
MIDDLE = np.array([160, 145])
EYE_DISTANCE = 52
STEP = 4  # a warp is held at every fourth pixel of the canvas
MIN_SIZE = 64
NEARLY_BLACK = (16, 15, 22)


class Outlines(NamedTuple):
    """Polygons in pixels of a portrait, as far down as a photo shows.

    Attributes:
        figure: all that is not background.
        skin: face and neck.
        hidden: what a detector may take for a second face: badge of the cap, folds in the collar.
    """

    figure: Sequence[tuple[int, int]]
    skin: Sequence[tuple[int, int]]
    hidden: Sequence[tuple[int, int]]


OUTLINES = {
    "eileen_collins": Outlines(
        figure=[
            *[(153, 70), (172, 45), (196, 27), (213, 18), (231, 16), (252, 20), (275, 33)],
            *[(289, 46), (297, 62), (301, 80), (299, 100), (290, 118), (278, 130), (266, 137)],
            *[(256, 174), (270, 180), (285, 195), (297, 215), (304, 234), (330, 250), (343, 265)],
            *[(350, 285), (362, 345), (370, 512), (10, 512), (28, 330), (42, 280), (60, 250)],
            *[(80, 230), (110, 212), (117, 205), (113, 190), (125, 170), (140, 155), (160, 148)],
            *[(182, 147), (181, 131), (175, 128), (170, 118), (158, 105), (154, 85)],
        ],
        skin=[
            *[(184, 80), (200, 78), (225, 80), (245, 82), (262, 88), (268, 100), (272, 126)],
            *[(266, 135), (257, 165), (253, 188), (235, 190), (210, 187), (190, 182), (183, 150)],
            *[(181, 131), (175, 125), (182, 112), (182, 95)],
        ],
        hidden=[
            *[(172, 172), (188, 182), (210, 188), (253, 189), (262, 180), (283, 205), (290, 235)],
            *[(280, 254), (250, 262), (205, 256), (165, 230), (142, 200), (152, 182)],
        ],
    ),
    "grace_hopper": Outlines(
        figure=[
            *[(218, 30), (214, 43), (198, 49), (177, 70), (175, 84), (160, 97), (151, 119)],
            *[(150, 144), (155, 170), (154, 205), (163, 255), (163, 275), (175, 288), (194, 298)],
            *[(196, 318), (183, 333), (165, 344), (106, 361), (62, 382), (42, 400), (28, 440)],
            *[(11, 599), (511, 599), (502, 422), (492, 393), (461, 376), (419, 365), (365, 342)],
            *[(347, 331), (332, 313), (335, 300), (348, 300), (358, 285), (362, 262), (370, 235)],
            *[(375, 210), (374, 192), (369, 183), (372, 130), (365, 89), (352, 86), (347, 70)],
            *[(335, 56), (317, 46), (300, 43), (294, 35), (281, 27), (255, 23), (234, 25)],
        ],
        skin=[
            *[(185, 145), (215, 135), (260, 131), (310, 135), (340, 148), (352, 165), (374, 192)],
            *[(375, 215), (360, 262), (340, 270), (330, 315), (325, 335), (310, 360), (272, 402)],
            *[(250, 402), (228, 380), (202, 325), (203, 310), (190, 268), (178, 268), (165, 245)],
            *[(157, 215), (155, 195), (170, 185), (178, 165)],
        ],
        hidden=[
            *[(216, 66), (216, 44), (222, 28), (255, 21), (290, 28), (305, 44), (306, 66)],
            *[(342, 86), (337, 102), (305, 106), (255, 100), (190, 97), (184, 83), (200, 77)],
        ],
    ),
}


class Trait(NamedTuple):
    """The most that one feature moves (eye distances) and grows (shares), fading over `radius`.

    A trait beside the middle of the face acts on both sides, mirrored.
    """

    x: float
    y: float
    radius: float
    move: tuple[float, float] = (0, 0)
    grow: tuple[float, float] = (0, 0)


BUILD = {
    "eyes apart": Trait(0.5, 0, 0.35, move=(0.08, 0)),
    "eyes down": Trait(0.5, 0, 0.40, move=(0, 0.08)),
    "eye size": Trait(0.5, 0, 0.28, grow=(0.22, 0.22)),
    "brows down": Trait(0.5, -0.35, 0.25, move=(0, 0.07)),
    "brow thickness": Trait(0.5, -0.35, 0.25, grow=(0, 0.3)),
    "nose length": Trait(0, 0.55, 0.30, move=(0, 0.10)),
    "nose width": Trait(0, 0.50, 0.25, grow=(0.35, 0)),
    "mouth down": Trait(0, 1.15, 0.35, move=(0, 0.10)),
    "mouth width": Trait(0, 1.15, 0.35, grow=(0.25, 0)),
    "lips": Trait(0, 1.15, 0.30, grow=(0, 0.3)),
    "jaw": Trait(0.75, 1.3, 0.45, move=(0.12, 0)),
    "cheeks": Trait(0.9, 0.5, 0.40, move=(0.10, 0)),
    "chin": Trait(0, 1.85, 0.45, move=(0, 0.15)),
    "forehead": Trait(0, -0.8, 0.5, move=(0, 0.15)),
    "face width": Trait(0, 0.5, 1.3, grow=(0.10, 0)),
    "face length": Trait(0, 0.5, 1.3, grow=(0, 0.10)),
}
MOTION = {
    "turn": Trait(0, 0.4, 0.9, move=(0.14, 0)),
    "turn of the nose": Trait(0, 0.6, 0.3, move=(0.07, 0)),
    "nod": Trait(0, 0.4, 0.9, move=(0, 0.11)),
    "nod of the nose": Trait(0, 0.6, 0.3, move=(0, 0.06)),
    "smile": Trait(0.42, 1.15, 0.25, move=(0.05, -0.07)),
    "open mouth": Trait(0, 1.2, 0.25, grow=(0, 0.3)),
    "raised brows": Trait(0.5, -0.35, 0.25, move=(0, 0.06)),
    "closed eyes": Trait(0.5, 0, 0.15, grow=(0, 0.25)),
}


class Tone(NamedTuple):
    """Ranges of what a region's colours are changed by; gains are drawn for each channel."""

    gamma: tuple[float, float]
    saturation: tuple[float, float]
    gain: tuple[float, float]


SKIN = Tone((0.65, 1.7), (0.7, 1.2), (0.92, 1.05))
HAIR = Tone((0.5, 1.6), (0.1, 1.1), (0.75, 1.1))
CLOTHES = Tone((0.8, 1.4), (0, 1), (0.4, 1.3))


def synth_faces(
    folder: str | os.PathLike[str],
    people: int = 20,
    pictures: int = 10,
    seed: int = 0,
    size: int = 256,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> None:
    """Writes photos of synthetic people, `person_0007/03.jpg`; all of them or none.

    A photo is determined by `seed`, its person's number and its own, and by the versions of NumPy
    and OpenCV: asking for more people or pictures adds to the same set.

    Args:
        folder: where the people's folders go; made if absent.
        people: how many, 1 at least.
        pictures: of each person, 1 at least.
        seed: 0 or more.
        size: height and width of a photo in pixels, 64 at least.
        progress: wraps the numbers of the people, as `tqdm` does.

    Raises:
        ValueError: a number out of its range.
        FileExistsError: the folder is not empty.
        OSError: it cannot be written.
    """
    for name, value, least in (
        ("people", people, 1),
        ("pictures", pictures, 1),
        ("seed", seed, 0),
        ("size", size, MIN_SIZE),
    ):
        if value < least:
            raise ValueError(f"{name} must be {least} at least, not {value}")
    with _whole(Path(folder).resolve()) as partial:
        sitters = [_sitter(portrait) for portrait in portraits()]
        for number in progress(range(people)):
            person = _person(sitters[number % len(sitters)], _rng(seed, number))
            home = partial / f"person_{number:04d}"
            home.mkdir()
            for picture in range(pictures):
                photo = _photo(person, _rng(seed, number, picture), size)
                (home / f"{picture:02d}.jpg").write_bytes(photo)


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """A folder beside this one, which takes its place in the end, or goes if work is broken off."""
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(errno.EEXIST, "the folder is not empty: name a new one", str(folder))
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        if folder.exists():
            folder.rmdir()
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _rng(seed: int, *numbers: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=numbers))


class _Sitter(NamedTuple):
    """A portrait on the canvas: RGB `(CANVAS, CANVAS, 3)`, and where figure and skin are, 0-255."""

    image: Image
    figure: Image
    skin: Image


class _Person(NamedTuple):
    """What all photos of a person share.

    Attributes:
        image: `(CANVAS, CANVAS, 4)`, the recoloured portrait; transparent around the figure.
        warp: `(CANVAS / STEP, CANVAS / STEP, 2)`, which pixel of it shows in a place.
    """

    image: Image
    warp: Array


def _sitter(portrait: Portrait) -> _Sitter:
    outlines, image = OUTLINES[portrait.name], portrait.image.copy()
    cv2.fillPoly(image, [np.array(outlines.hidden)], NEARLY_BLACK, cv2.LINE_AA)
    template = aligned_landmarks((CANVAS, CANVAS))
    eyes = template[:2]
    template = (template - eyes.mean(0)) * (EYE_DISTANCE / np.ptp(eyes[:, 0])) + MIDDLE
    matrix = similarity_transform(portrait.landmarks, template)
    scale = math.hypot(matrix[0, 0], matrix[1, 0])

    def on_canvas(layer: Image) -> Image:
        moved = cv2.warpAffine(layer, matrix, (CANVAS, CANVAS), flags=cv2.INTER_CUBIC)
        return np.asarray(moved, np.uint8)

    def region(outline: Sequence[tuple[int, int]], softness: float) -> Image:
        mask = np.zeros(image.shape[:2], np.uint8)
        cv2.fillPoly(mask, [np.array(outline)], (255,), cv2.LINE_AA)
        return np.asarray(cv2.GaussianBlur(on_canvas(mask), (0, 0), softness), np.uint8)

    smooth = cv2.GaussianBlur(image, (0, 0), 0.5 / min(scale, 1))
    return _Sitter(
        on_canvas(np.asarray(smooth, np.uint8)),
        region(outlines.figure, 1.3),
        region(outlines.skin, 2.6),
    )


def _person(sitter: _Sitter, rng: np.random.Generator) -> _Person:
    if rng.random() < 0.5:
        sitter = _Sitter(*(layer[:, ::-1] for layer in sitter))
    image = _recoloured(sitter, rng)
    for _ in range(rng.integers(0, 4)):
        _draw_mole(image, rng)
    if rng.random() < 0.35:
        _draw_glasses(image, rng)
    return _Person(np.dstack([image, sitter.figure]), _warped(BUILD, rng))


def _recoloured(sitter: _Sitter, rng: np.random.Generator) -> Image:
    """The sitter with other skin, hair (or hat) and clothes, and a complexion of light and dark."""
    skin, hair, clothes = (_toned(sitter.image, tone, rng) for tone in (SKIN, HAIR, CLOTHES))
    skin *= np.exp(_clouds(6, 0.3, CANVAS, rng))[..., None]
    below = np.arange(CANVAS, dtype=np.float32) - (MIDDLE[1] + 1.5 * EYE_DISTANCE)
    dressed = np.clip(below / 15, 0, 1)[:, None, None]
    bare = (sitter.skin / np.float32(255))[..., None]
    mixed = bare * skin + (1 - bare) * (dressed * clothes + (1 - dressed) * hair)
    return np.asarray(np.clip(mixed * 255, 0, 255), np.uint8)


def _toned(image: Image, tone: Tone, rng: np.random.Generator) -> Array:
    colors = image / np.float32(255)
    grey = colors.mean(-1, keepdims=True)
    colors = np.clip(grey + np.float32(rng.uniform(*tone.saturation)) * (colors - grey), 0, 1)
    gains = rng.uniform(*tone.gain, 3).astype(np.float32)
    return np.asarray(colors ** np.float32(rng.uniform(*tone.gamma)) * gains, np.float32)


def _clouds(cells: int, strength: float, size: int, rng: np.random.Generator) -> Array:
    """Smooth noise `(size, size)`, from about -strength to strength, in so many cells a side."""
    noise = rng.uniform(-strength, strength, (cells, cells)).astype(np.float32)
    return np.asarray(cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC), np.float32)


# OpenCV draws in sixteenths of a pixel where it is told `shift=4`.
def _fine(*lengths: float) -> tuple[int, ...]:
    return tuple(round(length * EYE_DISTANCE * 16) for length in lengths)


def _fine_point(x: float, y: float) -> tuple[int, ...]:
    return tuple(round(float(v) * 16) for v in MIDDLE + EYE_DISTANCE * np.array([x, y]))


def _draw_mole(image: Image, rng: np.random.Generator) -> None:
    place = _fine_point(rng.uniform(-0.8, 0.8), rng.uniform(0.2, 1.6))
    (radius,) = _fine(rng.uniform(0.02, 0.05))
    cv2.circle(image, place, radius, rng.uniform(20, 90, 3).tolist(), -1, cv2.LINE_AA, shift=4)


def _draw_glasses(image: Image, rng: np.random.Generator) -> None:
    width, height = rng.uniform(0.30, 0.42), rng.uniform(0.24, 0.36)
    color, line = rng.uniform(0, 140, 3).tolist(), int(rng.integers(1, 3))
    bars = [((-0.5 + width, 0.0), (0.5 - width, 0.0))]
    for side in (-1, 1):
        centre, axes = _fine_point(side * 0.5, 0.03), _fine(width, height)
        cv2.ellipse(image, centre, axes, 0, 0, 360, color, line, cv2.LINE_AA, shift=4)
        bars.append(((side * (0.5 + width), -0.05), (side * 1.05, -0.12)))
    for start, end in bars:
        ends = _fine_point(*start), _fine_point(*end)
        cv2.line(image, *ends, color, line, cv2.LINE_AA, shift=4)


def _warped(traits: Mapping[str, Trait], rng: np.random.Generator) -> Array:
    """A warp by some of each trait, from one extreme to the other."""
    fields = _fields(tuple(traits.values()))
    amounts = rng.uniform(-1, 1, (len(fields), 1, 1, 1)).astype(np.float32)
    return np.asarray(_still() + (amounts * fields).sum(0), np.float32)


@cache
def _still() -> Array:
    """The warp that leaves all as it is."""
    side = np.arange(0, CANVAS, STEP, dtype=np.float32)
    return np.stack(np.meshgrid(side, side), -1)


@cache
def _fields(traits: tuple[Trait, ...]) -> Array:
    """What each trait adds to a warp, `(traits, CANVAS / STEP, CANVAS / STEP, 2)` in pixels."""
    places = (_still() - MIDDLE) / EYE_DISTANCE
    fields = []
    for x, y, radius, move, grow in traits:
        field = np.zeros_like(places)
        for side in (1, -1) if x else (1,):
            away = places - [side * x, y]
            fade = np.exp(-(away**2).sum(-1, keepdims=True) / (2 * radius**2))
            field += fade * (np.array(move) * [side, 1] + away * grow)
        fields.append(field * EYE_DISTANCE)
    return np.array(fields, np.float32)


def _photo(person: _Person, rng: np.random.Generator, size: int) -> bytes:
    """One photo of a person as JPEG."""
    x, y = cv2.split(_warped(MOTION, rng) / STEP)
    warp = cv2.remap(person.warp, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    x, y = cv2.split(
        cv2.warpPerspective(
            warp,
            _view(rng, size),
            (size, size),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
    )
    layers = cv2.remap(person.image, x, y, cv2.INTER_LINEAR).astype(np.float32)
    behind = _background(rng, size)
    photo = behind + layers[..., 3:] * np.float32(1 / 255) * (layers[..., :3] - behind)
    return _developed(photo * _light(rng, size), rng)


def _view(rng: np.random.Generator, size: int) -> NDArray[np.float64]:
    """The homography from pixels of the photo to places in a warp: camera, distance and tilt."""
    square = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    reach, tilt = rng.uniform(2.0, 2.7), math.radians(rng.uniform(-12, 12))
    turned = square @ [(math.cos(tilt), math.sin(tilt)), (-math.sin(tilt), math.cos(tilt))]
    centre = np.array([0, 0.35]) + rng.uniform(-0.3, 0.3, 2)
    corners = centre + reach * (turned + rng.uniform(-0.06, 0.06, (4, 2)))
    source = (square + 1) / 2 * size
    target = (MIDDLE + EYE_DISTANCE * corners) / STEP
    matrix = cv2.getPerspectiveTransform(source.astype(np.float32), target.astype(np.float32))
    return np.asarray(matrix, np.float64)


def _background(rng: np.random.Generator, size: int) -> Array:
    """A background out of focus, `(size, size, 3)`."""
    clouds = _clouds(int(rng.integers(2, 7)), 40, size, rng)[..., None]
    color = rng.uniform(70, 170) + rng.uniform(-30, 30, 3)
    return np.asarray(color + clouds * rng.uniform(0.6, 1.2, 3), np.float32)


def _light(rng: np.random.Generator, size: int) -> Array:
    """Light from one side and of one colour, as a factor `(size, size, 3)`."""
    x, y = np.exp(np.linspace(-1, 1, size)[:, None] * rng.uniform(-0.4, 0.4, 2)).T
    color = np.exp(rng.uniform(-0.35, 0.25) + rng.uniform(-0.08, 0.08, 3))
    return (np.outer(y, x)[..., None] * color).astype(np.float32)


def _developed(photo: Array, rng: np.random.Generator) -> bytes:
    """What a camera makes of it: blur, noise, JPEG."""
    photo = np.asarray(cv2.GaussianBlur(photo, (0, 0), rng.uniform(0.3, 1.5)), np.float32)
    photo += rng.standard_normal(photo.shape, np.float32) * np.float32(rng.uniform(0, 8))
    pixels = np.clip(photo, 0, 255).astype(np.uint8)[..., ::-1]
    _, content = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(50, 96))])
    return content.tobytes()
