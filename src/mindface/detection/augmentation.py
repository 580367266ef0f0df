"""Random changes to scenes, so that a detector learns from more than was photographed.

Each is a function of a `Scene` that leaves it as it is and returns another, which may share its
arrays; the state of the generator decides which. `SceneAugmentation` composes them.

Coordinates are those of the detector: 0 is the outer edge of the first pixel, whose middle is 0.5.
What comes into view beside a picture has the mean colour that RetinaFace subtracts, so that the
network sees zeros. Faces show what is seen of them: boxes end where the picture does. Landmarks
stay where they are, in the picture or not; Pytorch_Retinaface moves them onto the border instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from mindface.detection.scene import Scene
from mindface.geometry import aligned_landmarks, similarity_transform

Generator = np.random.Generator
Image = NDArray[np.uint8]
Points = NDArray[np.float64]
Range = tuple[float, float]
Probability = Annotated[float, Field(ge=0, le=1)]

MEAN = (123, 117, 104)  # RGB
MIRRORED = [1, 0, 2, 4, 3]  # whose place each landmark takes
TRIES = 250
RETINAFACE_SCALES = (0.3, 0.45, 0.6, 0.8, 1.0)
SCRFD_SCALES = (0.3, 0.45, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0)
GRIDS = (2, 3, 4)
INTERPOLATIONS = (
    cv2.INTER_LINEAR,
    cv2.INTER_CUBIC,
    cv2.INTER_AREA,
    cv2.INTER_NEAREST_EXACT,
    cv2.INTER_LANCZOS4,
)

# Landmarks, and what is worn, in eye distances from the tip of the nose, x to the right, y down.
_TEMPLATE = aligned_landmarks((112, 112)).astype(np.float64)
FACE = (_TEMPLATE - _TEMPLATE[2]) / np.linalg.norm(_TEMPLATE[1] - _TEMPLATE[0])
RIM = np.array([(-1.1, -0.1), (-0.4, -0.15), (0, -0.2), (0.4, -0.15), (1.1, -0.1)])
JAW = np.array([(1.0, 0.65), (0.7, 1.1), (0.25, 1.35), (-0.25, 1.35), (-0.7, 1.1), (-1.0, 0.65)])
EARS = np.array([(1.4, -0.35), (1.35, 0.1), (-1.4, -0.35), (-1.35, 0.1)])
MASK_COLORS = [(150, 195, 225), (235, 238, 240), (35, 35, 38), (140, 190, 165), (225, 175, 190)]


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


def face_mask(scene: Scene, rng: Generator, share: float = 0.5) -> Scene:
    """Draws surgical masks over nose and mouth, lit as the faces are; boxes stay.

    Args:
        scene: only faces with landmarks can wear one.
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
        scene: only faces with landmarks can wear them.
        rng: draws who does, and form, colour and opacity of each pair.
        share: of those who wear them; one does at least.
    """
    image = scene.image.copy()
    for landmarks, matrix in _wearers(scene, rng, share):
        _draw_glasses(image, landmarks, matrix, rng)
    return scene._replace(image=image)


def _wearers(scene: Scene, rng: Generator, share: float) -> Iterator[tuple[Points, Points]]:
    """Landmarks `(5, 2)` of some faces, and the `(2, 3)` that best lays `FACE` on them."""
    known = scene.landmarks[np.isfinite(scene.landmarks).all((1, 2))].astype(np.float64)
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
    if rng.random() < 0.5:
        image = cv2.GaussianBlur(scene.image, (0, 0), rng.uniform(*deviation))
    else:
        image = cv2.filter2D(
            scene.image, -1, _motion(rng.uniform(*length), rng.uniform(0, math.pi))
        )
    return scene._replace(image=np.asarray(image, np.uint8))


def _motion(length: float, angle: float) -> NDArray[np.float32]:
    """A line of a sum of 1 through the middle of a square with odd sides."""
    reach = np.array([math.cos(angle), math.sin(angle)]) * (length - 1) / 2
    middle = math.ceil((length - 1) / 2)
    start, end = np.rint((middle + np.array([-reach, reach])) * 256).astype(int).tolist()
    line = np.zeros((2 * middle + 1, 2 * middle + 1), np.uint8)
    cv2.line(line, start, end, (255,), lineType=cv2.LINE_AA, shift=8)
    return np.asarray(line / line.sum(), np.float32)


def grayscale(scene: Scene, rng: Generator) -> Scene:
    """Takes the colours away; draws nothing."""
    gray = cv2.cvtColor(scene.image, cv2.COLOR_RGB2GRAY)
    return scene._replace(image=np.asarray(cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB), np.uint8))


def low_resolution(scene: Scene, rng: Generator, share: Range = (0.4, 1.0)) -> Scene:
    """Shrinks the picture and enlarges it again; boxes stay.

    Args:
        scene: of any shape.
        rng: draws the size and the interpolation of the way back.
        share: of the sides that is left.
    """
    small = _scaled(scene, rng.uniform(*share), cv2.INTER_AREA)
    how = INTERPOLATIONS[rng.integers(len(INTERPOLATIONS))]
    image = cv2.resize(small.image, _frame(scene), interpolation=how)
    return scene._replace(image=np.asarray(image, np.uint8))


def jpeg(scene: Scene, rng: Generator, quality: tuple[int, int] = (20, 95)) -> Scene:
    """Writes the picture as a JPEG and reads it again.

    Args:
        scene: of any shape.
        rng: draws the quality, uniformly.
        quality: the lowest and the highest, of 0 to 100.
    """
    level = int(rng.integers(*quality, endpoint=True))
    bgr = cv2.cvtColor(scene.image, cv2.COLOR_RGB2BGR)
    _, written = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, level])
    bgr = np.asarray(cv2.imdecode(written, cv2.IMREAD_COLOR), np.uint8)
    return scene._replace(image=np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8))


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
        if rng.random() < self.selfie:
            return selfie(scene, rng)
        if rng.random() < self.crop:
            return random_square_crop(scene, rng, self.scales)
        return scene
