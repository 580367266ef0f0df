"""Faces as COCO JSON: boxes, five keypoints, crowds, and the scores of pseudo labels.

The layout is that of https://cocodataset.org/#format-data: `images` (`id`, `file_name`, `width`,
`height`) and `annotations` (`image_id`, `bbox` as x y width height, `keypoints` as five times x y
v, where v is 0 for a keypoint that nobody marked, 1 for a hidden and 2 for a visible one,
`iscrowd`). Of other projects come `ignore` (a face that is neither to be found nor background) and
`score` (the confidence of the detector that found it).
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple, NoReturn, TextIO

import numpy as np
from numpy.typing import NDArray

from mindface.errors import IntegrityError
from mindface.files import open_regular

StrPath = str | os.PathLike[str]
Floats = NDArray[np.float64]
Json = dict[str, Any]

MAX_BYTES = 1 << 30
MAX_NUMBER = 1e9
KEYPOINTS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
_SHOWN = 10


class CocoImage(NamedTuple):
    """A picture and its M faces.

    Attributes:
        name: of its file, relative to the folder of pictures.
        size: (width, height) in pixels, or None where that is not said.
        boxes: `(M, 4)` float64, x y width height in pixels; any finite numbers.
        landmarks: `(M, 5, 2)` float64 in pixels, in the order of `KEYPOINTS`, left and right as
            seen in the picture; NaN for a face whose five are not all marked.
        ignored: `(M,)` bool: crowds, and faces that say `ignore`.
        scores: `(M,)` float64; NaN where a face has none.
    """

    name: str
    size: tuple[int, int] | None
    boxes: Floats
    landmarks: Floats
    ignored: NDArray[np.bool_]
    scores: Floats


def read_coco(path: StrPath) -> list[CocoImage]:
    """Reads COCO JSON of faces.

    Returns:
        All pictures in the order of the file, those without faces among them.

    Raises:
        IntegrityError: the file cannot be read, is over `MAX_BYTES`, is no JSON or lists no
            picture; or something in it is not what must stand there, such as two images of one
            name, an annotation of no image, or annotations of more than one category. All such
            entries are counted, the first ten are named.
    """
    content = _content(path)
    faults: list[str] = []
    names, sizes = _images(content["images"], faults)
    faces = _annotations(content["annotations"], names, faults)
    if faults:
        shown = "".join(f"\n  {fault:.200}" for fault in faults[:_SHOWN])
        more = f"\n  and {len(faults) - _SHOWN:,} more" if len(faults) > _SHOWN else ""
        raise IntegrityError(f"{path}: {len(faults):,} entries are wrong:{shown}{more}")
    if not names:
        raise IntegrityError(f"{path}: it lists no image")
    return [_image(name, sizes[key], faces[key]) for key, name in names.items()]


def write_coco(
    path: StrPath, images: Iterable[CocoImage], info: Mapping[str, Any] | None = None
) -> None:
    """Writes COCO JSON of faces, whole or not at all; `read_coco` gives the same.

    Args:
        path: of the file; what was there is replaced.
        images: taken one by one, so there may be any number.
        info: what to say of the file.

    Raises:
        ValueError: a box is not finite.
        OSError: the file cannot be written.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with partial.open("w", encoding="utf-8") as file, TemporaryFile("w+") as annotations:
            file.write(f'{{"info": {json.dumps(dict(info or {}))},\n"images": [')
            _write_images(images, file, annotations)
            file.write('\n],\n"annotations": [')
            annotations.seek(0)
            shutil.copyfileobj(annotations, file)
            category = {"id": 1, "name": "face", "keypoints": KEYPOINTS, "skeleton": []}
            file.write(f'\n],\n"categories": [{json.dumps(category)}]}}\n')
        partial.replace(path)
    finally:
        with suppress(OSError):
            partial.unlink()


def _write_images(images: Iterable[CocoImage], file: TextIO, annotations: TextIO) -> None:
    faces = 0
    for key, image in enumerate(images, 1):
        row: Json = {"id": key, "file_name": image.name}
        if image.size:
            row |= {"width": image.size[0], "height": image.size[1]}
        file.write(f"{',' * (key > 1)}\n{json.dumps(row)}")
        for face in range(len(image.boxes)):
            faces += 1
            text = json.dumps({"id": faces, "image_id": key, **_face(image, face)}, allow_nan=False)
            annotations.write(f"{',' * (faces > 1)}\n{text}")


def _face(image: CocoImage, face: int) -> Json:
    box, points, score = image.boxes[face], image.landmarks[face], image.scores[face]
    row: Json = {
        "category_id": 1,
        "bbox": box.tolist(),
        "area": float(box[2] * box[3]),
        "iscrowd": 0,
        "ignore": int(image.ignored[face]),
    }
    if np.isfinite(points).all():
        row["keypoints"] = np.column_stack([points, np.full(5, 2)]).reshape(-1).tolist()
        row["num_keypoints"] = 5
    if math.isfinite(score):
        row["score"] = float(score)
    return row


def _content(path: StrPath) -> Json:
    try:
        with open_regular(path) as file:
            if file.seek(0, os.SEEK_END) > MAX_BYTES:
                raise IntegrityError(f"{path}: over the limit of {MAX_BYTES:,} bytes: split it")
            file.seek(0)
            content = json.load(file, parse_constant=_refuse)
    except OSError as error:
        raise IntegrityError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{path}: no sound JSON: {error}") from error
    for part in ("images", "annotations"):
        if not isinstance(content, dict) or not isinstance(content.get(part), list):
            raise IntegrityError(f"{path}: no COCO: it has no list {part!r}")
    return dict(content)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


Size = tuple[int, int] | None


def _images(rows: list[Any], faults: list[str]) -> tuple[dict[int, str], dict[int, Size]]:
    """Names and sizes of the images by their ids; what is wrong is added to the faults."""
    names: dict[int, str] = {}
    sizes: dict[int, Size] = {}
    used = set[str]()
    for number, row in enumerate(rows):
        try:
            key, name = _whole(row, "id"), row.get("file_name")
            if key in names:
                raise ValueError(f"the id {key} comes twice")
            if not isinstance(name, str) or not name:
                raise ValueError(f"file_name is {name!r:.40}, no name")
            if name in used:
                raise ValueError(f"the file {name!r:.100} comes twice")
            used.add(name)
            names[key], sizes[key] = name, _size(row)
        except ValueError as error:
            faults.append(f"images[{number}]: {error}")
    return names, sizes


def _size(row: Json) -> Size:
    if row.get("width") is None and row.get("height") is None:
        return None
    width, height = _whole(row, "width"), _whole(row, "height")
    if width < 1 or height < 1:
        raise ValueError(f"it is {width} x {height} pixels")
    return width, height


class _Face(NamedTuple):
    box: list[float]
    keypoints: list[float] | None
    ignored: bool
    score: float


def _annotations(
    rows: list[Any], names: dict[int, str], faults: list[str]
) -> dict[int, list[_Face]]:
    """The faces of each image; what is wrong is added to the faults."""
    faces: dict[int, list[_Face]] = {key: [] for key in names}
    ids, categories = set[int](), set[int]()
    for number, row in enumerate(rows):
        try:
            image = _whole(row, "image_id")
            if image not in faces:
                raise ValueError(f"there is no image {image}")
            if row.get("id") is not None:
                if (key := _whole(row, "id")) in ids:
                    raise ValueError(f"the id {key} comes twice")
                ids.add(key)
            if row.get("category_id") is not None:
                categories.add(_whole(row, "category_id"))
            faces[image].append(_annotated(row))
        except ValueError as error:
            faults.append(f"annotations[{number}]: {error}")
    if len(categories) > 1:
        several = ", ".join(map(str, sorted(categories)[:_SHOWN]))
        faults.append(f"annotations: of the categories {several}: keep that of faces alone")
    return faces


def _annotated(row: Json) -> _Face:
    box = _numbers(row, "bbox", 4)
    keypoints = None if row.get("keypoints") is None else _numbers(row, "keypoints", 15)
    if keypoints and (wrong := [v for v in keypoints[2::3] if v not in (0, 1, 2)]):
        raise ValueError(f"a keypoint is marked {wrong[0]:g}, not 0, 1 or 2")
    score = math.nan if row.get("score") is None else _numbers(row, "score")[0]
    return _Face(box, keypoints, _flag(row, "iscrowd") or _flag(row, "ignore"), score)


def _image(name: str, size: Size, faces: list[_Face]) -> CocoImage:
    points = np.full((len(faces), 5, 2), np.nan)
    for row, face in enumerate(faces):
        if face.keypoints and all(face.keypoints[2::3]):
            points[row] = np.reshape(face.keypoints, (5, 3))[:, :2]
    return CocoImage(
        name,
        size,
        np.array([face.box for face in faces], np.float64).reshape(-1, 4),
        points,
        np.array([face.ignored for face in faces], bool),
        np.array([face.score for face in faces], np.float64),
    )


def _whole(row: Any, name: str) -> int:
    if not isinstance(row, dict):
        raise ValueError(f"{row!r:.40} is no object")
    value = row.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{name} is {value!r:.40}, no whole number")
    return value


def _flag(row: Json, name: str) -> bool:
    value = row.get(name)
    if value not in (None, 0, 1):
        raise ValueError(f"{name} is {value!r:.40}, not 0 or 1")
    return bool(value)


def _numbers(row: Json, name: str, count: int = 1) -> list[float]:
    value = row.get(name)
    values: list[Any] = value if isinstance(value, list) else [value]
    if len(values) != count:
        raise ValueError(f"{name} has {len(values)} numbers, not {count}")
    for each in values:
        if not isinstance(each, (int, float)) or isinstance(each, bool):
            raise ValueError(f"{name} holds {each!r:.40}, no number")
        if not abs(each) <= MAX_NUMBER:
            raise ValueError(f"{name} holds {each!r:.40}, which is no place in a picture")
    return [float(each) for each in values]
