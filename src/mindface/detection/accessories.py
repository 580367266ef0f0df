"""Masks and dark glasses drawn on the faces of a scene, from their landmarks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mindface.detection.scene import Scene
from mindface.geometry import aligned_landmarks, similarity_transform

Generator = np.random.Generator
Image = NDArray[np.uint8]
Points = NDArray[np.float64]

# Landmarks, and what is worn, in eye distances from the tip of the nose, x to the right, y down.
_TEMPLATE = aligned_landmarks((112, 112)).astype(np.float64)
FACE = (_TEMPLATE - _TEMPLATE[2]) / np.linalg.norm(_TEMPLATE[1] - _TEMPLATE[0])
RIM = np.array([(-1.1, -0.1), (-0.4, -0.15), (0, -0.2), (0.4, -0.15), (1.1, -0.1)])
JAW = np.array([(1.0, 0.65), (0.7, 1.1), (0.25, 1.35), (-0.25, 1.35), (-0.7, 1.1), (-1.0, 0.65)])
EARS = np.array([(1.4, -0.35), (1.35, 0.1), (-1.4, -0.35), (-1.35, 0.1)])
MASK_COLORS = [(150, 195, 225), (235, 238, 240), (35, 35, 38), (140, 190, 165), (225, 175, 190)]


def face_mask(scene: Scene, rng: Generator, share: float = 0.5) -> Scene:
    """Draws surgical masks over nose and mouth, lit as the faces are; boxes stay.

    Args:
        scene: only faces with landmarks that are not ignored can wear one.
        rng: draws who does, and form, colour and pleats of each mask.
        share: of those who wear one; one does at least.
    """
    image = scene.image.copy()
    for landmarks, matrix in _wearers(scene, rng, share):
        _draw_mask(image, landmarks, matrix, rng)
    return scene._replace(image=image)


def sunglasses(scene: Scene, rng: Generator, share: float = 0.5) -> Scene:
    """Draws dark glasses over eyes; boxes stay.

    Args:
        scene: only faces with landmarks that are not ignored can wear them.
        rng: draws who does, and form, colour and opacity of each pair.
        share: of those who wear them; one does at least.
    """
    image = scene.image.copy()
    for landmarks, matrix in _wearers(scene, rng, share):
        _draw_glasses(image, landmarks, matrix, rng)
    return scene._replace(image=image)


def _wearers(scene: Scene, rng: Generator, share: float) -> Iterator[tuple[Points, Points]]:
    """Landmarks `(5, 2)` of some faces, and the `(2, 3)` that best lays `FACE` on them."""
    able = np.isfinite(scene.landmarks).all((1, 2)) & ~scene.ignored
    known = scene.landmarks[able].astype(np.float64)
    chosen = rng.random(len(known)) < share
    if len(known) and not chosen.any():
        chosen[rng.integers(len(known))] = True
    for landmarks in known[chosen]:
        matrix = similarity_transform(FACE, landmarks)
        if math.hypot(*matrix[:, 0]) >= 1:
            yield landmarks, matrix


def _draw_mask(image: Image, landmarks: Points, matrix: Points, rng: Generator) -> None:
    unit = math.hypot(*matrix[:, 0])
    rim, jaw = RIM.copy(), JAW * (1, rng.uniform(0.9, 1.15))
    rim[:, 1] -= rng.uniform(0, 0.15)
    rim[2, 1] -= rng.uniform(0, 0.15)
    stretch = rng.uniform(0.85, 1.1), 1
    corners = np.array([rim[-1], jaw[0], rim[0], jaw[-1]]) * stretch
    outline = _placed(np.concatenate([rim, jaw]) * stretch, matrix)
    hull = cv2.convexHull(np.concatenate([outline, landmarks[2:]]).astype(np.float32))[:, 0]
    strings = _placed(np.stack([corners, EARS], 1), matrix)
    part, cover = _stencil(image, [hull], list(strings), 0.05 * unit)
    if not cover.any():
        return
    if rng.random() < 0.7:
        color = np.array(MASK_COLORS[rng.integers(len(MASK_COLORS))], np.float64)
    else:
        color = rng.uniform(0, 255, 3)
    light = cv2.blur(cv2.cvtColor(part, cv2.COLOR_RGB2GRAY), (max(1, round(unit)),) * 2)
    cloth = cv2.transform(light, color[:, None] / max(int(light.max()), 1))
    _blend(part, np.asarray(cloth, np.uint8), cover)
    if rng.random() < 0.5:
        heights = np.linspace(0.3, 0.9, int(rng.integers(2, 5)))
        pleats = [_placed(np.array([(-0.75, y), (0.75, y)]), matrix) for y in heights]
        part, cover = _stencil(image, [], pleats, 0.03 * unit)
        _blend(part, part // 4 * 3, cover)


def _draw_glasses(image: Image, landmarks: Points, matrix: Points, rng: Generator) -> None:
    linear = matrix[:, :2]
    width, height, corners = rng.uniform((0.3, 0.22, 0.5), (0.46, 0.4, 1.0))
    angles = np.linspace(0, 2 * math.pi, 32, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], 1)
    lens = np.sign(circle) * np.abs(circle) ** corners * (width, height)
    left, right = landmarks[:2]
    lenses = [eye + lens @ linear.T for eye in (left, right)]
    side, back, up = (linear @ way for way in ((width, 0), (0.95, 0), (0, -0.1)))
    bars = [
        np.array([left + side, right - side]),
        np.array([left - side, left + up - back]),
        np.array([right + side, right + up + back]),
    ]
    part, cover = _stencil(image, lenses, bars, rng.uniform(0.05, 0.1) * math.hypot(*linear[:, 0]))
    color = rng.uniform(0, 60) + rng.uniform(0, 30, 3)
    glass = np.full_like(part, color.astype(np.uint8))
    _blend(part, glass, cover * np.float32(rng.uniform(0.75, 1)))


def _placed(points: Points, matrix: Points) -> Points:
    return points @ matrix[:, :2].T + matrix[:, 2]


def _stencil(
    image: Image, outlines: Sequence[NDArray[Any]], lines: Sequence[Points], width: float
) -> tuple[Image, NDArray[np.float32]]:
    """The part of the picture, a view, that a drawing reaches, and its cover of it, 0 to 1."""
    points = np.concatenate([*outlines, *lines])
    frame = image.shape[1::-1]
    low = np.clip(np.floor(points.min(0) - width - 1), 0, frame).astype(int)
    high = np.clip(np.ceil(points.max(0) + width + 1), 0, frame).astype(int)
    part = image[low[1] : high[1], low[0] : high[0]]
    cover = np.zeros(part.shape[:2], np.uint8)
    if cover.size:
        for drawn in (*outlines, *lines):
            places = [np.rint((drawn - low - 0.5) * 16).astype(np.int32)]
            if len(drawn) > 2:
                cv2.fillPoly(cover, places, (255,), cv2.LINE_AA, shift=4)
            else:
                cv2.polylines(
                    cover, places, False, (255,), max(1, round(width)), cv2.LINE_AA, shift=4
                )
    return part, np.divide(cover, 255, dtype=np.float32)


def _blend(part: Image, paint: Image, cover: NDArray[np.float32]) -> None:
    if cover.size:
        part[:] = cv2.blendLinear(paint, part, cover, 1 - cover)
