"""`people.jsonl`: the faces of an album and whose they are, one face a line.

    {"path": "2019/beach.jpg", "face": "6f1c...:0", "box": [81.2, 67.0, 208.9, 231.7],
     "person": 12, "name": null, "decision": null, "confidence": 0.2131, "doubtful": false,
     "clear": true}

Paths are relative to the folder of the file where the photo lies below it, else absolute. The lines
of doubtful faces come first, the least sure of them first; then people by number, each the least
sure face first; then faces of nobody.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mindface.errors import ConfigError

Decision = Literal["confirmed", "enrolled", "match"]
DECISIONS = ("confirmed", "enrolled", "match")
DIGITS = 4  # of a confidence; boxes have two


@dataclass(frozen=True)
class SortedFace:
    """A face and whose it is.

    Attributes:
        path: of the photo, absolute.
        face: names the face wherever the photo lies: the sha256 of the file, and the face's place
            among the photo's faces, best score first. Galleries name it so too.
        box: x1 y1 x2 y2 in pixels of the upright photo.
        person: a number, from 0 on; None for a face that is like no other.
        name: of the person, where a gallery knows it.
        decision: what gave this face its name: "confirmed" and "enrolled" were said by somebody,
            "match" is the gallery's. None: nothing; it is with the others for its looks.
        confidence: by how much it is more similar to the person's other faces than to anybody else;
            None for a face that is alone.
        doubtful: whether somebody should look.
        clear: whether there is enough of the face to tell people by; if not it is nobody's, unless
            a gallery knows it.
    """

    path: Path
    face: str
    box: tuple[float, float, float, float]
    person: int | None
    name: str | None = None
    decision: Decision | None = None
    confidence: float | None = None
    doubtful: bool = False
    clear: bool = True

    @property
    def place(self) -> tuple[Any, ...]:
        """By which the lines of a file are ordered."""
        sureness = math.inf if self.confidence is None else self.confidence
        same = (str(self.path), self.face)
        if self.doubtful:
            return 0, sureness, *same
        nobody = self.person is None
        return 1 + nobody, self.person or 0, sureness, *same

    def to_dict(self, folder: Path) -> dict[str, Any]:
        """As a line holds it, in a file of this folder, which is absolute."""
        inside = self.path.is_relative_to(folder)
        return {
            "path": (self.path.relative_to(folder) if inside else self.path).as_posix(),
            "face": self.face,
            "box": [round(value, 2) for value in self.box],
            "person": self.person,
            "name": self.name,
            "decision": self.decision,
            "confidence": self.confidence,
            "doubtful": self.doubtful,
            "clear": self.clear,
        }


def write_people(path: Path, faces: Iterable[SortedFace]) -> None:
    """Writes a file, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    folder = Path(os.path.abspath(path.parent))
    partial = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with partial.open("wb") as file:
            for face in sorted(faces, key=lambda face: face.place):
                file.write(_line(face.to_dict(folder)))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_people(path: Path) -> list[SortedFace]:
    """Reads a file.

    Raises:
        ConfigError: a line that is none of such a file.
        OSError: it cannot be read.
    """
    folder = Path(os.path.abspath(path.parent))
    faces = []
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                faces.append(_face(json.loads(line), folder))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise ConfigError(
                    f"{path}, line {number}: is no line of a people.jsonl "
                    f"({type(error).__name__}: {error})"
                ) from error
    return faces


def _line(values: dict[str, Any]) -> bytes:
    try:
        return json.dumps(values, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # a path that is no UTF-8
        return json.dumps(values).encode() + b"\n"


def _face(values: dict[str, Any], folder: Path) -> SortedFace:
    x1, y1, x2, y2 = map(float, values["box"])
    person, confidence = values["person"], values.get("confidence")
    if not (person is None or (type(person) is int and person >= 0)):
        raise ValueError(f"person {person!r} is no number from 0 on")
    name, decision = values.get("name"), values.get("decision")
    if not isinstance(name, str | None) or decision not in (None, *DECISIONS):
        raise ValueError(f"name {name!r:.80}, decision {decision!r:.80}")
    path = Path(os.path.abspath(folder / values["path"]))
    return SortedFace(
        path,
        str(values["face"]),
        (x1, y1, x2, y2),
        person,
        name,
        decision,
        None if confidence is None else float(confidence),
        bool(values.get("doubtful", False)),
        bool(values.get("clear", True)),
    )
