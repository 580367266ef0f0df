"""`label.txt`: boxes and five landmarks of faces, as RetinaFace's authors annotated WIDER FACE.

```
# 0--Parade/0_Parade_Parade_0_904.jpg
361 98 263 339 424.1 251.7 0.0 547.1 232.6 0.0 494.1 325.9 0.0 453.8 368.3 0.0 562.0 342.8 0.0 0.89
78 221 7 8 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 0.2
```

A picture, then its faces: x y width height in pixels, five times x y flag, and how sharp the face
is. A flag is 0, 1 where the landmark is hidden, or -1 where it is absent; rows of the validation
set end after the box. Deng et al., "RetinaFace: Single-shot Multi-level Face Localisation in the
Wild", CVPR 2020, arXiv:1905.00641, section 4.1; read by Pytorch_Retinaface, `data/wider_face.py`,
and by MindFace.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mindface.errors import IntegrityError
from mindface.files import open_regular

StrPath = str | os.PathLike[str]
Floats = NDArray[np.float64]

ABSENT = -1.0
MAX_NUMBER = 1e9
_BOX, _ROW = 4, 20


class LabelledFaces(NamedTuple):
    """The faces of a picture, as they are written.

    Attributes:
        boxes: `(N, 4)` float64, x y width height in pixels; also boxes without an area.
        landmarks: `(N, 5, 3)` float64, x y in pixels and a flag; -1 three times where absent.
        sharpness: `(N,)` float64, 0 to 1, or -1 where nobody judged it.
    """

    boxes: Floats
    landmarks: Floats
    sharpness: Floats

    @property
    def points(self) -> Floats:
        """`(N, 5, 2)`: the landmarks of faces that have all five; NaN for the other faces."""
        absent = (self.landmarks[..., 2] < 0) | (self.landmarks[..., :2] == ABSENT).all(-1)
        return np.where(absent.any(1)[:, None, None], np.nan, self.landmarks[..., :2])


def read_labels(path: StrPath) -> dict[str, LabelledFaces]:
    """Reads a `label.txt`.

    Returns:
        The faces of each picture, by the name it is listed under, in the order of the list.

    Raises:
        IntegrityError: the file cannot be read or lists no picture, a picture comes twice, or a
            line is not what must stand there; the message names the line.
    """
    rows: dict[str, list[list[float]]] = {}
    of_picture: list[list[float]] | None = None
    for number, line in enumerate(map(str.strip, _text(path).split("\n")), 1):
        try:
            if line.startswith("#"):
                of_picture = _begun(line[1:].strip(), rows)
            elif line and of_picture is None:
                raise ValueError("a face before the first picture, '# path/to.jpg'")
            elif line and of_picture is not None:
                of_picture.append(_face(line))
        except ValueError as error:
            raise IntegrityError(f"{path}, line {number}: {error}") from error
    if not rows:
        raise IntegrityError(f"{path}: the list is empty")
    return {name: _faces(found) for name, found in rows.items()}


def write_labels(path: StrPath, faces: Mapping[str, LabelledFaces]) -> None:
    """Writes a `label.txt`, whole or not at all; `read_labels` gives the same numbers.

    Args:
        path: of the file; what was there is replaced.
        faces: by the name of the picture, which is relative to the folder of pictures.

    Raises:
        ValueError: a name is empty, begins or ends with a space, or has more than one line; or a
            number is not finite or beyond 1e9.
        OSError: the file cannot be written.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with partial.open("w", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            for name, found in faces.items():
                if name != name.strip() or not name or "\n" in name:
                    raise ValueError(f"{name!r} cannot be the name of a picture in a label.txt")
                file.write(f"# {name}\n" + "".join(map(_line, *found)))
        partial.replace(path)
    finally:
        with suppress(OSError):
            partial.unlink()


def _begun(name: str, rows: dict[str, list[list[float]]]) -> list[list[float]]:
    """The rows of a picture, which are to come."""
    if not name:
        raise ValueError("a picture without a name")
    if name in rows:
        raise ValueError(f"the picture {name!r:.100} comes twice")
    rows[name] = []
    return rows[name]


def _face(line: str) -> list[float]:
    values = [float(field) for field in line.split()]
    if len(values) not in (_BOX, _ROW):
        raise ValueError(f"a face of {len(values)} numbers, not {_BOX} or {_ROW}")
    if not all(abs(value) <= MAX_NUMBER for value in values):
        raise ValueError("a number that is no place in a picture")
    return values + [ABSENT] * (_ROW - len(values))


def _faces(rows: list[list[float]]) -> LabelledFaces:
    table = np.array(rows, np.float64).reshape(-1, _ROW)
    return LabelledFaces(table[:, :_BOX], table[:, _BOX:-1].reshape(-1, 5, 3), table[:, -1])


def _line(box: Floats, landmarks: Floats, sharpness: np.float64) -> str:
    """A face; a mere box where nothing else is known."""
    values = [*box.tolist(), *landmarks.reshape(-1).tolist(), float(sharpness)]
    if not all(abs(value) <= MAX_NUMBER for value in values):
        raise ValueError(f"a face has a number that is no place in a picture: {values}")
    known = any(value != ABSENT for value in values[_BOX:])
    return " ".join(map(_number, values[: _ROW if known else _BOX])) + "\n"


def _number(value: float) -> str:
    return repr(value).removesuffix(".0")


def _text(path: StrPath) -> str:
    try:
        with open_regular(path) as file:
            return file.read().decode("utf-8-sig", "surrogateescape")
    except OSError as error:
        raise IntegrityError(f"{path}: cannot be read: {error.strerror or error}") from error
