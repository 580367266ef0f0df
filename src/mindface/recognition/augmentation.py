"""Random changes to aligned faces, so that a network learns from more than was photographed.

Each is a function of a face, `(H, W, 3)` RGB uint8, and a random generator. It leaves the face as
it is and returns another of its shape; the state of the generator decides which. `Augmentation`
composes them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from mindface import pixels
from mindface.geometry import Image, aligned_landmarks

Generator = np.random.Generator
Range = tuple[float, float]
Probability = Annotated[float, Field(ge=0, le=1)]

GRAY = (0.299, 0.587, 0.114)  # ITU-R BT.601
BORDERS = (cv2.BORDER_CONSTANT, cv2.BORDER_REFLECT_101)

# A mask in eye distances from the tip of the nose: its upper rim from left to right, which is worn
# higher or lower, and back along the jaw.
RIM = np.array([(-1.15, -0.05), (-0.35, -0.12), (0, -0.2), (0.35, -0.12), (1.15, -0.05)])
JAW = np.array([(1.0, 0.65), (0.7, 1.1), (0.25, 1.35), (-0.25, 1.35), (-0.7, 1.1), (-1.0, 0.65)])


def mask(
    face: Image, rng: Generator, rise: Range = (0.0, 0.2), softness: Range = (0.02, 0.05)
) -> Image:
    """Draws a mask of one colour over mouth and chin, lit as the face is.

    It lies where the alignment template has its landmarks, so it goes before `flip` and `shift`.

    Args:
        face: aligned, as 112x112 or 112x96, or either scaled.
        rng: draws colour, height and softness.
        rise: how much higher the rim is worn than at the tip of the nose, in eye distances.
        softness: deviation of the Gaussian that blurs the rim, in eye distances.
    """
    landmarks = aligned_landmarks(face.shape[:2])
    unit = float(landmarks[1, 0] - landmarks[0, 0])
    outline = landmarks[2] + unit * np.concatenate([RIM - (0, rng.uniform(*rise)), JAW])
    cover = np.zeros(face.shape[:2], np.float32)
    cv2.fillPoly(cover, [np.rint(outline * 16).astype(np.int32)], (1.0,), shift=4)
    cover = np.asarray(cv2.GaussianBlur(cover, (0, 0), unit * rng.uniform(*softness)))
    light = cv2.blur(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), (round(unit), round(unit)))
    color = rng.uniform(0, 255, (3, 1)) / max(np.max(light), 1)
    cloth = cv2.transform(light, color)
    return np.asarray(cv2.blendLinear(cloth, face, cover, 1 - cover), np.uint8)


def shift(
    face: Image,
    rng: Generator,
    scale: float = 0.1,
    degrees: float = 8.0,
    translation: float = 0.04,
) -> Image:
    """Scales, turns and moves the face, as errors of its landmarks do.

    What comes into view is black or the mirrored border, by chance.

    Args:
        face: aligned.
        rng: draws all of it, uniformly.
        scale: the largest change of size, as a share of it.
        degrees: the largest angle, either way.
        translation: the largest movement along each axis, as a share of the face's height.
    """
    center = aligned_landmarks(face.shape[:2]).mean(0)
    turn, size, x, y = rng.uniform(-1, 1, 4) * (degrees, scale, translation, translation)
    matrix = cv2.getRotationMatrix2D(center.tolist(), turn, 1 + size)
    matrix[:, 2] += np.array([x, y]) * face.shape[0]
    border = BORDERS[rng.integers(len(BORDERS))]
    return np.asarray(cv2.warpAffine(face, matrix, face.shape[1::-1], borderMode=border), np.uint8)


def flip(face: Image, rng: Generator) -> Image:
    """Exchanges left and right; draws nothing."""
    return np.asarray(cv2.flip(face, 1), np.uint8)


def gamma(face: Image, rng: Generator, limit: float = 2.0) -> Image:
    """Raises the brightness, seen as 0 to 1, to a power.

    Args:
        face: of any size.
        rng: draws the power's logarithm, uniformly.
        limit: the power is at most this and at least its inverse.
    """
    power = limit ** rng.uniform(-1, 1)
    tones = np.rint(255 * np.linspace(0, 1, 256) ** power)
    return np.asarray(cv2.LUT(face, tones.astype(np.uint8)), np.uint8)


def photometric(
    face: Image,
    rng: Generator,
    brightness: float = 0.5,
    contrast: float = 0.5,
    saturation: float = 0.5,
) -> Image:
    """Changes brightness, contrast and saturation, each by a factor around 1.

    Source: AdaFace's reference, `dataset/augmenter.py`: torchvision's `ColorJitter`, in random
    order. The order matters only where values are clipped on the way; here they are at the end.

    Args:
        face: of any size.
        rng: draws the three factors, uniformly.
        brightness: the largest distance of the factor from 1; likewise the next two.
        contrast: around the mean of the grey face.
        saturation: around the grey of each pixel.
    """
    light, spread, color = rng.uniform(-1, 1, 3) * (brightness, contrast, saturation) + 1
    matrix = np.empty((3, 4))
    matrix[:, :3] = light * spread * (color * np.eye(3) + (1 - color) * np.array(GRAY))
    matrix[:, 3] = light * (1 - spread) * np.dot(GRAY, cv2.mean(face)[:3])
    return np.asarray(cv2.transform(face, matrix), np.uint8)


def grayscale(face: Image, rng: Generator) -> Image:
    """Takes the colours away; draws nothing."""
    return pixels.gray(face)


def crop_pad(
    face: Image, rng: Generator, area: Range = (0.2, 1.0), ratio: Range = (3 / 4, 4 / 3)
) -> Image:
    """Keeps a rectangle where it is and makes the rest black, as where a photo ends.

    Source: AdaFace, section 4.1 and `dataset/augmenter.py` of its reference, which draws again
    where the rectangle does not fit.

    Args:
        face: of any size.
        rng: draws the rectangle.
        area: of the rectangle, as a share of the face's.
        ratio: of its width to its height, drawn by its logarithm; limited to what fits.
    """
    inside = _rectangle(face.shape, rng, area, ratio)
    result = np.zeros_like(face)
    result[inside] = face[inside]
    return result


def erase(
    face: Image, rng: Generator, area: Range = (0.02, 1 / 3), ratio: Range = (0.3, 1 / 0.3)
) -> Image:
    """Fills a rectangle with noise.

    Source: Zhong et al., "Random Erasing Data Augmentation", AAAI 2020, its RE-R; the largest area
    is timm's.

    Args:
        face: of any size.
        rng: draws the rectangle and the noise.
        area: as in `crop_pad`.
        ratio: as in `crop_pad`.
    """
    inside = _rectangle(face.shape, rng, area, ratio)
    result = face.copy()
    result[inside] = rng.integers(0, 256, result[inside].shape, np.uint8)
    return result


def _rectangle(
    shape: tuple[int, ...], rng: Generator, area: Range, ratio: Range
) -> tuple[slice, slice]:
    """Rows and columns of a rectangle drawn as `crop_pad` says."""
    height, width = shape[:2]
    pixels = rng.uniform(*area) * height * width
    proportion = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
    proportion = min(max(proportion, pixels / height**2), width**2 / pixels)
    rows = max(round(math.sqrt(pixels / proportion)), 1)
    columns = max(round(math.sqrt(pixels * proportion)), 1)
    top = rng.integers(height - rows, endpoint=True)
    left = rng.integers(width - columns, endpoint=True)
    return slice(top, top + rows), slice(left, left + columns)


def blur(
    face: Image, rng: Generator, deviation: Range = (0.5, 2.0), length: Range = (3.0, 11.0)
) -> Image:
    """Blurs as a lens out of focus or as a movement does, by chance.

    Args:
        face: of any size.
        rng: draws which, how strong and, of a movement, the direction.
        deviation: of the Gaussian of a lens out of focus, in pixels.
        length: of a movement, in pixels.
    """
    return pixels.blurred(face, rng, deviation, length)


def low_resolution(face: Image, rng: Generator, share: Range = (0.2, 1.0)) -> Image:
    """Shrinks the face and enlarges it again, each by an interpolation drawn of five.

    Source: AdaFace, section 4.1 and `dataset/augmenter.py` of its reference, whose nearest
    neighbour (`INTER_NEAREST`) moves the face by half a pixel of the small one; this one does not.

    Args:
        face: of any size.
        rng: draws the size and the two interpolations.
        share: of the sides that is left.
    """
    height, width = face.shape[:2]
    left = rng.uniform(*share)
    down, up = (
        pixels.INTERPOLATIONS[index] for index in rng.integers(len(pixels.INTERPOLATIONS), size=2)
    )
    size = max(int(left * width), 1), max(int(left * height), 1)
    small = cv2.resize(face, size, interpolation=down)
    return np.asarray(cv2.resize(small, (width, height), interpolation=up), np.uint8)


def jpeg(face: Image, rng: Generator, quality: tuple[int, int] = (20, 95)) -> Image:
    """Writes the face as a JPEG and reads it again.

    Args:
        face: of any size.
        rng: draws the quality, uniformly.
        quality: the lowest and the highest, of 0 to 100.
    """
    level = int(rng.integers(*quality, endpoint=True))
    return pixels.jpeg(face, level)


# As a photo comes about: what is worn, where the face lies, light, what is hidden, the camera.
ORDER: tuple[Callable[[Image, Generator], Image], ...] = (
    mask,
    shift,
    flip,
    gamma,
    photometric,
    grayscale,
    crop_pad,
    erase,
    blur,
    low_resolution,
    jpeg,
)


class Augmentation(BaseModel):
    """How probable each change is; called, it makes them in the order of the fields.

    The defaults are AdaFace's; arcface_torch has only its `flip` of 0.5. AdaFace changes the light
    last; here it comes before `crop_pad`, whose black stays black.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    mask: Probability = Field(default=0.0, description="A mask drawn over mouth and chin.")
    shift: Probability = Field(default=0.0, description="Scaled, turned and moved a little.")
    flip: Probability = Field(default=0.5, description="Left and right exchanged.")
    gamma: Probability = Field(default=0.0, description="Brightness raised to a power.")
    photometric: Probability = Field(
        default=0.2, description="Other brightness, contrast, saturation."
    )
    grayscale: Probability = Field(default=0.0, description="Without colours.")
    crop_pad: Probability = Field(default=0.2, description="Black around a rectangle.")
    erase: Probability = Field(default=0.0, description="Noise in a rectangle.")
    blur: Probability = Field(default=0.0, description="Out of focus, or moved.")
    low_resolution: Probability = Field(default=0.2, description="Shrunk and enlarged again.")
    jpeg: Probability = Field(default=0.0, description="Written as a JPEG.")

    def __call__(self, face: Image, rng: Generator) -> Image:
        """Changes a face; where nothing is drawn, it is the same array.

        Args:
            face: `(H, W, 3)` RGB uint8, aligned; left as it is.
            rng: decides everything.
        """
        for change, draw in zip(ORDER, rng.random(len(ORDER)), strict=True):
            if draw < getattr(self, change.__name__):
                face = change(face, rng)
        return face
