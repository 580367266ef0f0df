"""How well an album was sorted, given who is in its photos."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mindface.album.people import SortedFace
from mindface.enrolment import in_folders
from mindface.errors import ConfigError
from mindface.formats.csv_rows import read_csv
from mindface.recognition.clustering_metrics import ClusteringScores, score_clusters


@dataclass(frozen=True)
class Comparison:
    """People that were found, against people as they are.

    Attributes:
        scores: over the faces that both know; None where there is none.
        found: people among those faces.
        alone: faces among those that are nobody's.
        missed: photos of the truth of which no face was found, in order.
        others: further faces of photos of the truth.
        strangers: faces of photos of which the truth says nothing.
    """

    scores: ClusteringScores | None
    found: int
    alone: int
    missed: tuple[Path, ...]
    others: int
    strangers: int


def compare(faces: Sequence[SortedFace], truth: Mapping[Path, str]) -> Comparison:
    """Compares people with the truth; of each photo the largest face is the person's.

    Args:
        faces: of an album.
        truth: the person of each photo, by absolute path.
    """
    largest: dict[Path, SortedFace] = {}
    for face in faces:
        if face.path in truth and _place(face) > _place(largest.get(face.path)):
            largest[face.path] = face
    labels = [-1 if face.person is None else face.person for face in largest.values()]
    number = {person: n for n, person in enumerate(sorted({*truth.values()}))}
    people = [number[truth[path]] for path in largest]
    known = sum(face.path in truth for face in faces)
    return Comparison(
        score_clusters(np.array(labels), np.array(people)) if labels else None,
        found=len({*labels} - {-1}),
        alone=labels.count(-1),
        missed=tuple(sorted(truth.keys() - largest.keys())),
        others=known - len(largest),
        strangers=len(faces) - known,
    )


def read_truth(path: Path) -> dict[Path, str]:
    """Who is in each photo, from a folder a person, or from a CSV with the columns path, person.

    Paths of a CSV are relative to its folder; other columns are not read.

    Raises:
        ConfigError: no such folder or list, or something in it that cannot be.
        ImageError: it cannot be read.
    """
    if path.is_dir():
        return {Path(os.path.abspath(each.path)): each.name for each in in_folders([path])}
    columns, rows = read_csv(path)
    if not {"path", "person"} <= {*columns}:
        raise ConfigError(f"{path}: has no columns path,person: name them in its first line")
    found: dict[Path, str] = {}
    for line, row in rows:
        name, person = row["path"], row["person"]
        if not name or not person:
            raise ConfigError(f"{path}, line {line}: a path or a person is missing")
        photo = Path(os.path.abspath(path.parent / name))
        if found.setdefault(photo, person) != person:
            raise ConfigError(
                f"{path}, line {line}: {name} has two people: name the one whose face is the "
                "largest"
            )
    return found


def _place(face: SortedFace | None) -> tuple[float, str]:
    """By which the largest face is found, the same one each time."""
    if face is None:
        return -1.0, ""
    x1, y1, x2, y2 = face.box
    return (x2 - x1) * (y2 - y1), face.face
