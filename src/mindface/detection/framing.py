"""What of a photo is shown: crops, mosaics, sizes, mirror images, turns.

Each is a function of a `Scene` that leaves it as it is and returns another, which may share its
arrays; the state of the generator decides which.

Coordinates are those of the detector: 0 is the outer edge of the first pixel, whose middle is 0.5.
What comes into view beside a picture has the mean colour that RetinaFace subtracts, so that the
network sees zeros. Faces show what is seen of them: boxes end where the picture does. Landmarks
stay where they are, in the picture or not; Pytorch_Retinaface moves them onto the border instead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from mindface.detection.scene import Scene
from mindface.pixels import INTERPOLATIONS

Generator = np.random.Generator
Range = tuple[float, float]

MEAN = (123, 117, 104)  # RGB
MIRRORED = [1, 0, 2, 4, 3]  # whose place each landmark takes
TRIES = 250
RETINAFACE_SCALES = (0.3, 0.45, 0.6, 0.8, 1.0)
SCRFD_SCALES = (0.3, 0.45, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0)
GRIDS = (2, 3, 4)


def random_square_crop(
    scene: Scene, rng: Generator, scales: Sequence[float] = RETINAFACE_SCALES
) -> Scene:
    """Cuts out a square that shows at least one face whole.

    Faces whose centre lies outside become `ignored`, as far as they are seen: the references make
    half a face background.

    Source: `_crop` of Pytorch_Retinaface's `data_augment.py`; for scales above 1 SCRFD
    (arXiv:2105.04714, section 3), its `RandomSquareCrop`.

    Args:
        scene: of any shape.
        rng: draws scale and place, anew until a face that is not ignored is whole.
        scales: sides of the square as shares of the picture's short side, one of which is drawn;
            a square larger than the picture has the mean colour around it.

    Returns:
        A square; the whole scene, as it is, where 250 tries show no face whole. Where there is no
        face to show, the first try.
    """
    seen = _clipped(scene)
    frame = np.array(_frame(scene))
    sides = np.maximum(rng.choice(scales, TRIES) * frame.min(), 1).astype(int)[:, None]
    room = frame - sides
    corners = rng.integers(np.minimum(room, 0), np.maximum(room, 0), endpoint=True)
    faces = seen.boxes[~seen.ignored]
    low, high = corners[:, None], (corners + sides)[:, None]
    whole = ((low <= faces[:, :2]) & (faces[:, 2:] <= high)).all(2).any(1)
    if not whole.any() and len(faces):
        return scene
    first = int(whole.argmax())
    left, top = corners[first].tolist()
    side = int(sides[first, 0])
    return _cropped(seen, left, top, side, side)


def vacant_crop(scene: Scene, rng: Generator, scales: Sequence[float] = RETINAFACE_SCALES) -> Scene:
    """Cuts out a square that shows nothing of any face: what must not be taken for one.

    Args:
        scene: of any shape.
        rng: draws scale and place, anew until there is no face.
        scales: as in `random_square_crop`, at most 1.

    Returns:
        A square without faces; the whole scene, as it is, where 250 tries show some.
    """
    seen = _clipped(scene)
    frame = np.array(_frame(scene))
    sides = np.maximum(rng.choice(scales, TRIES) * frame.min(), 1).astype(int)[:, None]
    corners = rng.integers(0, frame - sides, endpoint=True)
    low, high = corners[:, None], (corners + sides)[:, None]
    beside = (seen.boxes[:, 2:] <= low) | (high <= seen.boxes[:, :2])
    empty = beside.any(2).all(1)
    if not empty.any():
        return scene
    first = int(empty.argmax())
    left, top = corners[first].tolist()
    side = int(sides[first, 0])
    return _cropped(seen, left, top, side, side)


def selfie(scene: Scene, rng: Generator, fill: Range = (0.6, 1.1), least: float = 48.0) -> Scene:
    """Cuts out a square that one face fills; the others are treated as `random_square_crop` does.

    Args:
        scene: of any shape.
        rng: draws the face, how much it fills and where it lies.
        fill: the box's long side as a share of the square's; less than 2.
        least: the short side of the smallest face that deserves it, in pixels.

    Returns:
        A square, in the mean colour beside the picture; without a face large enough, the scene.
    """
    seen = _clipped(scene)
    sides = seen.boxes[:, 2:] - seen.boxes[:, :2]
    large = np.flatnonzero(~seen.ignored & (sides.min(1, initial=np.inf) >= least))
    if not large.size:
        return scene
    face = rng.choice(large)
    side = max(round(float(sides[face].max()) / rng.uniform(*fill)), 1)
    low, high = seen.boxes[face, :2], seen.boxes[face, 2:] - side
    corner = np.floor(rng.uniform(np.minimum(low, high), np.maximum(low, high)))
    left, top = corner.astype(int).tolist()
    return _cropped(seen, left, top, side, side)


def mosaic(scenes: Sequence[Scene], size: int, rng: Generator, jitter: float = 0.2) -> Scene:
    """Lays whole photos in a grid, so that a few faces become a crowd of small ones.

    Source: YOLOv4 (arXiv:2004.10934, section 3.3), as YOLO5Face (arXiv:2105.12931) trains with it;
    there are four, cut off where they meet, here up to sixteen, of which nothing is cut off.

    Args:
        scenes: 4, 9 or 16, row by row; larger than their cells they are shrunk, and never enlarged.
        size: height and width of the result in pixels.
        rng: draws where the lines of the grid run, and where each photo lies in its cell.
        jitter: how far a line may move, as a share of a cell.

    Raises:
        ValueError: another number of scenes.
    """
    grid = math.isqrt(len(scenes))
    if grid not in GRIDS or grid**2 != len(scenes):
        raise ValueError(f"a mosaic takes 4, 9 or 16 scenes, not {len(scenes)}")
    moved = np.pad(rng.uniform(-jitter, jitter, (2, grid - 1)), ((0, 0), (1, 1)))
    columns, rows = np.rint((np.arange(grid + 1) + moved) * size / grid).astype(int)
    image = np.full((size, size, 3), MEAN, np.uint8)
    parts = []
    for scene, (row, column) in zip(scenes, np.ndindex(grid, grid), strict=True):
        low = np.array([columns[column], rows[row]])
        room = np.array([columns[column + 1], rows[row + 1]]) - low
        ratio = min(1.0, *(room / _frame(scene)))
        part = _scaled(_clipped(scene), ratio, cv2.INTER_AREA)
        left, top = low + rng.integers(0, room - _frame(part), endpoint=True)
        width, height = _frame(part)
        image[top : top + height, left : left + width] = part.image
        parts.append(_moved(part, left, top))
    return Scene(
        image,
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.landmarks for part in parts]),
        np.concatenate([part.ignored for part in parts]),
    )


def resized(scene: Scene, size: int, rng: Generator) -> Scene:
    """Scales the scene so that its long side has a size.

    Source: `_resize_subtract_mean` of Pytorch_Retinaface, which draws one of five interpolations.
    Its nearest neighbour moves the picture by half a pixel; this one does not.

    Args:
        scene: of any shape.
        size: of the long side, in pixels.
        rng: draws the interpolation; below half the size it is the mean over areas, as the others
            would skip pixels.
    """
    ratio = size / max(_frame(scene))
    how = INTERPOLATIONS[rng.integers(len(INTERPOLATIONS))]
    return _scaled(scene, ratio, how if ratio >= 0.5 else cv2.INTER_AREA)


def pad_to_square(scene: Scene) -> Scene:
    """Adds the mean colour on the right or below; `_pad_to_square` of Pytorch_Retinaface."""
    side = max(_frame(scene))
    return _cropped(_clipped(scene), 0, 0, side, side)


def mirrored(scene: Scene) -> Scene:
    """Exchanges left and right, also of the names of eyes and mouth corners."""
    width, _ = _frame(scene)
    boxes = scene.boxes.copy()
    boxes[:, [0, 2]] = width - scene.boxes[:, [2, 0]]
    landmarks = scene.landmarks[:, MIRRORED]
    landmarks[..., 0] = width - landmarks[..., 0]
    return Scene(np.asarray(cv2.flip(scene.image, 1), np.uint8), boxes, landmarks, scene.ignored)


def rotated(scene: Scene, degrees: float) -> Scene:
    """Turns the scene about its middle; its frame stays, and what leaves it is cut off.

    A turned face gets the box around the turned ellipse that filled its box: heads are round, and
    the box around the turned corners would be 1.5 times as wide at 30 degrees.

    Args:
        scene: of any shape.
        degrees: anticlockwise.
    """
    width, height = _frame(scene)
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    linear, shift = matrix[:, :2], matrix[:, 2].copy()
    centres = (scene.boxes[:, :2] + scene.boxes[:, 2:]) / 2 @ linear.T + shift
    radii = np.sqrt(((scene.boxes[:, 2:] - scene.boxes[:, :2]) / 2) ** 2 @ linear.T**2)
    matrix[:, 2] += linear.sum(1) / 2 - 0.5  # OpenCV counts from the middle of the first pixel
    image = cv2.warpAffine(
        scene.image, matrix, (width, height), borderMode=cv2.BORDER_CONSTANT, borderValue=MEAN
    )
    turned = Scene(
        np.asarray(image, np.uint8),
        np.concatenate([centres - radii, centres + radii], 1, dtype=np.float32),
        np.asarray(scene.landmarks @ linear.T + shift, np.float32),
        scene.ignored,
    )
    return _cropped(turned, 0, 0, width, height)


def ignoring_small(scene: Scene, min_face: float) -> Scene:
    """Sets `ignored` where the short side of a box is below `min_face` pixels, and never clears it.

    A face too small to be learned from is no background either.
    """
    sides = scene.boxes[:, 2:] - scene.boxes[:, :2]
    return scene._replace(ignored=scene.ignored | (sides.min(1, initial=np.inf) < min_face))


def _frame(scene: Scene) -> tuple[int, int]:
    """Width and height."""
    height, width = scene.image.shape[:2]
    return width, height


def _clipped(scene: Scene) -> Scene:
    """The scene with boxes that end where the picture does."""
    return _cropped(scene, 0, 0, *_frame(scene))


def _cropped(scene: Scene, left: int, top: int, width: int, height: int) -> Scene:
    """What a window shows, with the mean colour beside the picture.

    Faces of which nothing is seen go; those whose centre lies outside become `ignored`.
    """
    low = np.maximum([left, top], 0)
    high = np.minimum([left + width, top + height], _frame(scene))
    image = scene.image[low[1] : high[1], low[0] : high[0]]
    if image.shape[:2] != (height, width):
        shown, image = image, np.full((height, width, 3), MEAN, np.uint8)
        x, y = low - (left, top)
        image[y : y + len(shown), x : x + shown.shape[1]] = shown
    boxes = np.clip(scene.boxes, np.tile(low, 2), np.tile(high, 2), dtype=np.float32)
    seen = (boxes[:, :2] < boxes[:, 2:]).all(1)
    centres = (scene.boxes[:, :2] + scene.boxes[:, 2:]) / 2
    outside = ~((low < centres) & (centres < high)).all(1)
    shown_faces = Scene(image, boxes[seen], scene.landmarks[seen], (scene.ignored | outside)[seen])
    return _moved(shown_faces, -left, -top)


def _moved(scene: Scene, x: int, y: int) -> Scene:
    """The same picture with its faces elsewhere."""
    step = np.array([x, y], np.float32)
    return scene._replace(boxes=scene.boxes + np.tile(step, 2), landmarks=scene.landmarks + step)


def _scaled(scene: Scene, ratio: float, interpolation: int) -> Scene:
    """The scene in other pixels, at least one; faces follow what rounding makes of the ratio."""
    width, height = (max(1, round(side * ratio)) for side in _frame(scene))
    ratios = np.array([width, height], np.float32) / np.array(_frame(scene), np.float32)
    image = cv2.resize(scene.image, (width, height), interpolation=interpolation)
    return scene._replace(
        image=np.asarray(image, np.uint8),
        boxes=scene.boxes * np.tile(ratios, 2),
        landmarks=np.asarray(scene.landmarks * ratios, np.float32),
    )
