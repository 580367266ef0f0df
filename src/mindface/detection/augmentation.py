"""Random changes to scenes, so that a detector learns from more than was photographed.

`SceneAugmentation` composes them: what is shown (`framing.py`), what is worn (`accessories.py`),
light, lens, sensor and file (here).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from mindface import pixels
from mindface.detection.accessories import face_mask, sunglasses
from mindface.detection.framing import (
    GRIDS,
    RETINAFACE_SCALES,
    ignoring_small,
    mirrored,
    mosaic,
    pad_to_square,
    random_square_crop,
    resized,
    rotated,
    selfie,
    vacant_crop,
)
from mindface.detection.scene import Scene

Generator = np.random.Generator
Image = NDArray[np.uint8]
Range = tuple[float, float]
Probability = Annotated[float, Field(ge=0, le=1)]


def photometric(scene: Scene, rng: Generator) -> Scene:
    """Changes brightness, contrast, saturation and hue, each by chance; contrast early or late.

    Source: `_distort` of Pytorch_Retinaface, from SSD's. It goes to HSV and back in any case,
    which costs tones; here only where saturation or hue change.
    """
    light, spread, color, turn, late = rng.random(5) < 0.5
    shift = light * rng.uniform(-32, 32)
    contrast = 1 + spread * rng.uniform(-0.5, 0.5)
    saturation = 1 + color * rng.uniform(-0.5, 0.5)
    hue = turn * rng.integers(-18, 18, endpoint=True)
    tones = np.arange(256)
    bright = np.clip(tones + shift, 0, 255)
    image = _toned(scene.image, bright if late else bright * contrast)
    if color or turn:
        hsv = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), np.uint8)
        hsv = _toned(hsv, np.stack([(tones + hue) % 180, tones * saturation, tones], 1))
        image = np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)
    if late:
        image = _toned(image, tones * contrast)
    return scene._replace(image=image)


def _toned(image: Image, tones: NDArray[Any]) -> Image:
    """Puts the row of a table `(256,)` or `(256, 3)` where its number stands."""
    table = np.clip(np.rint(tones), 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table[None]), np.uint8)


def low_light(
    scene: Scene, rng: Generator, light: Range = (0.1, 0.5), noise: Range = (1.0, 8.0)
) -> Scene:
    """Takes light away, not the same of each colour, and adds the noise of a sensor.

    Args:
        scene: of any shape.
        rng: draws the light by its logarithm, its colour and the noise.
        light: the share that is left.
        noise: deviation of the Gaussian, in levels of 255.
    """
    left = math.exp(rng.uniform(math.log(light[0]), math.log(light[1])))
    gains = (left * rng.uniform(0.85, 1.15, 3)).astype(np.float32)
    grain = rng.standard_normal(scene.image.shape, np.float32) * np.float32(rng.uniform(*noise))
    return scene._replace(
        image=np.clip(np.rint(scene.image * gains + grain), 0, 255).astype(np.uint8)
    )


def blurred(
    scene: Scene, rng: Generator, deviation: Range = (0.5, 2.5), length: Range = (3.0, 13.0)
) -> Scene:
    """Blurs as a lens out of focus or as a movement does, by chance.

    Args:
        scene: of any shape.
        rng: draws which, how strong and, of a movement, the direction.
        deviation: of the Gaussian of a lens out of focus, in pixels.
        length: of a movement, in pixels.
    """
    return scene._replace(image=pixels.blurred(scene.image, rng, deviation, length))


def grayscale(scene: Scene, rng: Generator) -> Scene:
    """Takes the colours away; draws nothing."""
    return scene._replace(image=pixels.gray(scene.image))


def low_resolution(scene: Scene, rng: Generator, share: Range = (0.4, 1.0)) -> Scene:
    """Shrinks the picture and enlarges it again; boxes stay.

    Args:
        scene: of any shape.
        rng: draws the size and the interpolation of the way back.
        share: of the sides that is left.
    """
    height, width = scene.image.shape[:2]
    left = rng.uniform(*share)
    size = max(1, round(left * width)), max(1, round(left * height))
    small = cv2.resize(scene.image, size, interpolation=cv2.INTER_AREA)
    how = pixels.INTERPOLATIONS[rng.integers(len(pixels.INTERPOLATIONS))]
    image = cv2.resize(small, (width, height), interpolation=how)
    return scene._replace(image=np.asarray(image, np.uint8))


def jpeg(scene: Scene, rng: Generator, quality: tuple[int, int] = (20, 95)) -> Scene:
    """Writes the picture as a JPEG and reads it again.

    Args:
        scene: of any shape.
        rng: draws the quality, uniformly.
        quality: the lowest and the highest, of 0 to 100.
    """
    level = int(rng.integers(*quality, endpoint=True))
    return scene._replace(image=pixels.jpeg(scene.image, level))


# As a photo comes about: what is worn, light, lens, sensor, what becomes of the file.
ORDER: tuple[Callable[[Scene, Generator], Scene], ...] = (
    face_mask,
    sunglasses,
    photometric,
    blurred,
    low_light,
    grayscale,
    low_resolution,
    jpeg,
)


class SceneAugmentation(BaseModel):
    """How probable each change is; called, it makes them in the order of the fields.

    The defaults are RetinaFace's as Pytorch_Retinaface and MindFace published them. They change
    the light of the crop before it is padded and resized, which differs in rounding and in what
    is padded; here all that touches pixels comes after, so that its cost is that of the result.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    mosaic: Probability = Field(default=0.0, description="4, 9 or 16 whole photos in a grid.")
    vacant: Probability = Field(
        default=0.0, description="Else: four square crops without faces, in a grid."
    )
    selfie: Probability = Field(
        default=0.0, description="Else: a crop that one face fills to 60-110%."
    )
    crop: Probability = Field(
        default=1.0, description="Else: a square crop with a whole face; else the whole photo."
    )
    scales: Annotated[tuple[Annotated[float, Field(gt=0, le=4)], ...], Field(min_length=1)] = Field(
        default=RETINAFACE_SCALES,
        description="Sides of square crops as shares of the short side; SCRFD: 0.3 to 2.0.",
    )
    mirror: Probability = Field(default=0.5, description="Left and right exchanged.")
    rotation: Probability = Field(default=0.0, description="Turned by up to `degrees`.")
    degrees: float = Field(default=30.0, ge=0, le=180, description="The largest angle, either way.")
    face_mask: Probability = Field(default=0.0, description="Masks drawn on half of the faces.")
    sunglasses: Probability = Field(default=0.0, description="Dark glasses on half of the faces.")
    photometric: Probability = Field(
        default=1.0, description="Brightness, contrast, saturation, hue: each in half of the cases."
    )
    blurred: Probability = Field(default=0.0, description="Out of focus, or moved.")
    low_light: Probability = Field(default=0.0, description="Dark and noisy.")
    grayscale: Probability = Field(default=0.0, description="Without colours.")
    low_resolution: Probability = Field(default=0.0, description="Shrunk and enlarged again.")
    jpeg: Probability = Field(default=0.0, description="Written as a JPEG.")
    min_face: float = Field(
        default=1.0, ge=1, description="Pixels of a box's short side below which it is ignored."
    )

    def __call__(
        self, scene: Scene, rng: Generator, size: int, others: Callable[[], Scene]
    ) -> Scene:
        """Makes a square scene.

        Args:
            scene: left as it is.
            rng: decides everything but which scenes the others are.
            size: height and width of the result in pixels, 32 at least.
            others: gives another scene of the set at each call, for mosaics.

        Returns:
            `size` x `size`, C-contiguous, its own array; boxes end within it.
        """
        scene = self._arranged(scene, rng, size, others)
        scene = pad_to_square(resized(scene, size, rng))
        if rng.random() < self.mirror:
            scene = mirrored(scene)
        if rng.random() < self.rotation:
            scene = rotated(scene, rng.uniform(-self.degrees, self.degrees))
        for change, draw in zip(ORDER, rng.random(len(ORDER)), strict=True):
            if draw < getattr(self, change.__name__):
                scene = change(scene, rng)
        return ignoring_small(scene, self.min_face)

    def _arranged(
        self, scene: Scene, rng: Generator, size: int, others: Callable[[], Scene]
    ) -> Scene:
        """The part of the photo, or the photos, that will be shown."""
        if rng.random() < self.mosaic:
            count = int(rng.choice(GRIDS)) ** 2
            return mosaic([scene, *(others() for _ in range(count - 1))], size, rng)
        if rng.random() < self.vacant:
            parts = (scene, *(others() for _ in range(3)))
            return mosaic([vacant_crop(part, rng) for part in parts], size, rng)
        if rng.random() < self.selfie:
            return selfie(scene, rng)
        if rng.random() < self.crop:
            return random_square_crop(scene, rng, self.scales)
        return scene
