"""WIDER FACE's files: the ground truth of its validation set, and predictions.

Yang et al., "WIDER FACE: A Face Detection Benchmark", CVPR 2016. An image is called
`EVENT/NAME`, such as `0--Parade/0_Parade_marchingband_1_465`, without a suffix. Boxes are
`x y width height` in pixels, as all these files have them.
"""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindface.errors import IntegrityError
from mindface.files import open_regular
from mindface.formats.matlab import Value, read_mat

StrPath = str | os.PathLike[str]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

SETS = ("easy", "medium", "hard")
_COLUMNS, _INVALID = 10, 7  # of the texts; column 7 marks faces that do not count
_NAME = re.compile(r"(?!\.)[^/\\]+/(?!\.)[^/\\]+")
_SHOWN = 10
_MAX_BYTES = 1 << 29
_SUFFIX = re.compile(r"\.(jpe?g|png)$", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """The faces of a set of images, and which of them count.

    Attributes:
        images: N names.
        boxes: per image `(M, 4)` float64, x y width height.
        counted: name of a subset -> per image `(M,)` bool. A face that a subset does not count is
            ignored there: whether it is found or not makes no difference.
    """

    images: tuple[str, ...]
    boxes: tuple[Floats, ...]
    counted: dict[str, tuple[Bools, ...]]


def read_ground_truth(path: StrPath) -> GroundTruth:
    """Reads which faces there are.

    Args:
        path: the folder of `wider_face_val.mat` and `wider_{easy,medium,hard}_val.mat`; or a text
            such as `wider_face_val_bbx_gt.txt`, whose one subset "all" counts the faces that are
            not marked invalid.

    Raises:
        IntegrityError: a file cannot be read or is damaged, the files do not fit each other, or a
            subset counts no face.
    """
    truth = _matlab_truth(Path(path)) if os.path.isdir(path) else _text_truth(path)
    for image in truth.images:
        if not _NAME.fullmatch(image):
            raise IntegrityError(f"{path}: {image!r:.100} is no name of an image: EVENT/NAME")
    for name, counted in truth.counted.items():
        if not any(each.any() for each in counted):
            raise IntegrityError(f"{path}: no face counts in the subset {name}")
    return truth


def read_annotations(path: StrPath) -> dict[str, NDArray[np.int64]]:
    """Reads a text such as `wider_face_train_bbx_gt.txt`.

    Returns:
        Per image `(M, 10)`: x y width height, blur, expression, illumination, invalid, occlusion,
        pose, as WIDER FACE's readme explains them.

    Raises:
        IntegrityError: the file cannot be read, an image comes twice, or a line is not what must
            stand there.
    """
    lines = iter(_text(path).splitlines())
    found: dict[str, NDArray[np.int64]] = {}
    try:
        for name in filter(None, map(str.strip, lines)):
            image = _SUFFIX.sub("", name)
            if image in found:
                raise ValueError("it comes twice")
            found[image] = _annotated(lines)
    except (ValueError, OverflowError) as error:
        raise IntegrityError(f"{path}: image {name!r:.100}: {error}") from error
    if not found:
        raise IntegrityError(f"{path}: the list is empty")
    return found


def _annotated(lines: Iterator[str]) -> NDArray[np.int64]:
    """The rows of one image: how many, and one a face; a row of zeros where there is none."""
    count, rows = int(next(lines, "")), []
    for _ in range(max(count, 1)):
        rows.append([int(field) for field in next(lines, "").split()])
        if len(rows[-1]) != _COLUMNS:
            raise ValueError(f"face {len(rows)} has {len(rows[-1])} numbers, not {_COLUMNS}")
    return np.array(rows, np.int64)[:count]


def _text_truth(path: StrPath) -> GroundTruth:
    found = read_annotations(path)
    boxes = tuple(rows[:, :4].astype(np.float64) for rows in found.values())
    valid = tuple(rows[:, _INVALID] == 0 for rows in found.values())
    return GroundTruth(tuple(found), boxes, {"all": valid})


def _matlab_truth(folder: Path) -> GroundTruth:
    path = folder / "wider_face_val.mat"
    lists = read_mat(path, ("event_list", "file_list", "face_bbx_list"))
    try:
        events = zip(_cells(lists["event_list"]), _cells(lists["file_list"]), strict=True)
        images = tuple(
            f"{_line(event)}/{_line(name)}" for event, names in events for name in _cells(names)
        )
        boxes = tuple(map(_boxes, _by_image(lists["face_bbx_list"], len(images))))
        if len(set(images)) < len(images):
            raise ValueError("an image is listed twice")
        counted = {}
        for name in SETS:
            path = folder / f"wider_{name}_val.mat"
            rows = _by_image(read_mat(path, ("gt_list",))["gt_list"], len(images))
            counted[name] = tuple(map(_counted, rows, map(len, boxes)))
    except ValueError as error:
        raise IntegrityError(f"{path}: not WIDER FACE's ground truth: {error}") from error
    return GroundTruth(images, boxes, counted)


def _cells(value: Value) -> list[Value]:
    if not isinstance(value, list):
        raise ValueError("an array stands where cells must")
    return value


def _line(value: Value) -> str:
    """A text, or a cell with nothing but one."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, str):
        raise ValueError("a name is no text")
    return value


def _by_image(events: Value, count: int) -> list[NDArray[Any]]:
    """One array an image, from cells of events of cells of images."""
    found = [image for event in _cells(events) for image in _cells(event)]
    arrays = [image for image in found if isinstance(image, np.ndarray)]
    if not len(arrays) == len(found) == count:
        raise ValueError(f"it has {len(arrays)} arrays for {count} images")
    return arrays


def _boxes(value: NDArray[Any]) -> Floats:
    boxes = value.astype(np.float64) if value.size else np.zeros((0, 4))
    if boxes.shape[1:] != (4,) or not np.isfinite(boxes).all():
        raise ValueError(f"boxes must be rows of four numbers, not {value.shape}")
    return boxes


def _counted(rows: NDArray[Any], faces: int) -> Bools:
    """Which of an image's faces `(faces,)` count, from their numbers, which begin at 1."""
    counted = np.zeros(faces, bool)
    numbers = rows.reshape(-1)
    if numbers.dtype.kind == "f" and (numbers % 1 != 0).any():
        raise ValueError("the number of a face is not whole")
    if len(numbers) and not 1 <= numbers.min() <= numbers.max() <= faces:
        raise ValueError(f"it counts face {numbers.max()} of an image with {faces}")
    counted[numbers.astype(np.int64) - 1] = True
    return counted


def read_predictions(path: StrPath, images: Sequence[str]) -> tuple[Floats, ...]:
    """Reads predictions in the official format: a file `EVENT/NAME.txt` an image.

    Its first line is the image's name, its second the number of boxes, the others are
    `x y width height score`, best score first. The events may lie in further folders; files that
    are no `.txt` are left alone.

    Args:
        path: a folder, or a zip of one, which is not unpacked.
        images: names of all images, as in `GroundTruth`.

    Returns:
        Per image, in the order of `images`, `(N, 5)` float64.

    Raises:
        IntegrityError: the folder or zip cannot be read; or files are missing, come twice, are of
            no image in the list, or hold anything else than was said above. All such files are
            counted, the first ten are named.
    """
    found: dict[str, Floats] = {}
    faults = []
    known = set(images)
    for image, content in _texts(path):
        if image not in known:
            faults.append(f"{image}: no such image is in the ground truth")
        elif image in found:
            faults.append(f"{image}: its predictions are there twice")
        else:
            found[image] = np.zeros((0, 5))
            try:
                found[image] = _predicted(image, content)
            except ValueError as error:
                faults.append(f"{image}: {error}")
    if not found:
        raise IntegrityError(f"{path}: no predictions EVENT/NAME.txt of these images are in it")
    faults += [f"{image}: its predictions are missing" for image in images if image not in found]
    if faults:
        shown = "".join(f"\n  {fault:.200}" for fault in faults[:_SHOWN])
        more = f"\n  and {len(faults) - _SHOWN:,} more" if len(faults) > _SHOWN else ""
        raise IntegrityError(f"{path}: {len(faults):,} predictions are wrong:{shown}{more}")
    return tuple(found[image] for image in images)


def _predicted(image: str, content: bytes) -> Floats:
    name, count, *lines = content.decode().splitlines() + [""] * 2
    if _SUFFIX.sub("", name.strip()).rpartition("/")[2] != image.rpartition("/")[2]:
        raise ValueError(f"its first line says that it is of {name!r:.100}")
    rows = [fields for fields in map(str.split, lines) if fields]
    if not count.strip().isdecimal() or int(count) != len(rows):
        raise ValueError(f"its second line is {count!r:.20}, but it has {len(rows)} boxes")
    if wrong := [row for row in rows if len(row) != 5]:
        raise ValueError(f"{' '.join(wrong[0])!r:.60} must be x y width height score")
    boxes = np.array([float(field) for row in rows for field in row]).reshape(-1, 5)
    if not np.isfinite(boxes).all():
        raise ValueError("a box or a score is not a finite number")
    if (boxes[:, 2:4] < 0).any():
        raise ValueError("a width or height is negative: give x y width height")
    if (np.diff(boxes[:, 4]) > 0).any():
        raise ValueError("its boxes are not in the order of their scores, best first")
    return boxes


def _texts(path: StrPath) -> Iterator[tuple[str, bytes]]:
    """The image, by its place, and the content of each text in a folder or zip."""
    try:
        if os.path.isdir(path):
            for folder, _, names in os.walk(path):
                for name in filter(_is_text, sorted(names)):
                    with open_regular(Path(folder, name)) as file:
                        yield f"{Path(folder).name}/{name[:-4]}", file.read()
            return
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            entries = [info for info in archive.infolist() if _is_text(Path(info.filename).name)]
            if sum(info.file_size for info in entries) > _MAX_BYTES:
                raise IntegrityError(f"{path}: over {_MAX_BYTES:,} bytes of predictions are in it")
            for info in entries:
                yield "/".join(Path(info.filename).with_suffix("").parts[-2:]), archive.read(info)
    except OSError as error:
        raise IntegrityError(
            f"{error.filename or path}: cannot be read: {error.strerror or error}"
        ) from error
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError) as error:
        raise IntegrityError(f"{path}: not a sound zip of predictions: {error}") from error


def _is_text(name: str) -> bool:
    return name.endswith(".txt") and not name.startswith(".")


def prediction_path(folder: Path, image: str) -> Path:
    """Where the predictions for an image lie in a folder of them."""
    return folder / f"{image}.txt"


def write_prediction(folder: Path, image: str, boxes: NDArray[Any]) -> None:
    """Writes the predictions for one image in the official format, whole or not at all.

    Corners are cut to whole pixels, as Pytorch_Retinaface, MindFace and InsightFace write them.

    Args:
        folder: of all predictions; made if absent.
        image: its name.
        boxes: `(N, 5)`, x1 y1 x2 y2 in pixels and score, best score first.

    Raises:
        OSError: the file cannot be written.
    """
    path = prediction_path(folder, image)
    corners = np.trunc(boxes[:, :4]).astype(np.int64)
    corners[:, 2:] -= corners[:, :2]
    rows = (
        f"{x} {y} {width} {height} {score:.9g}\n"
        for (x, y, width, height), score in zip(corners.tolist(), boxes[:, 4].tolist(), strict=True)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        partial.write_text(f"{path.stem}\n{len(boxes)}\n{''.join(rows)}", encoding="utf-8")
        partial.replace(path)
    finally:
        with suppress(OSError):
            partial.unlink()


def _text(path: StrPath) -> str:
    try:
        with open_regular(path) as file:
            return file.read().decode("utf-8-sig")
    except OSError as error:
        raise IntegrityError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise IntegrityError(f"{path}: not a text in UTF-8") from error
