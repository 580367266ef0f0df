"""Lists that verification is measured on: which photos are compared and which show one person.

Whether each photo can be read is found out when it is; that none of them is there is said at once.
"""

from __future__ import annotations

import csv
import hashlib
import os
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mindface.errors import ImageError, IntegrityError
from mindface.files import open_regular
from mindface.formats.insightface_bin import read_bin
from mindface.recognition.ten_fold import equal_folds
from mindface.zoo.files import sha256_of

StrPath = str | os.PathLike[str]
Ints = NDArray[np.int64]
Shown = tuple[str, str]  # a photo and the name of the person in it

FOLDS = 10
TRUTH = {"1": True, "true": True, "0": False, "false": False}
COLUMNS = ({"a", "b", "same"}, {"a", "b", "same", "person_a", "person_b"})  # and fold


@dataclass(frozen=True, eq=False)
class Protocol:
    """Photos and the pairs of them to compare.

    Attributes:
        name: of the protocol: "LFW pairs.txt", "CFP-FP", "lfw.bin", "pairs.csv", "folder".
        photos: M paths, or encoded pictures where the list holds the pictures themselves.
        names: what to call each photo: its path, or "lfw.bin[17]".
        people: `(M,)` int64, the number of the person in each photo, from 0 on. Where a list does
            not say who it is (a `.bin`, a CSV without names), each pair has photos and people of
            its own: one person in a genuine pair, two in an impostor pair. Intervals from drawing
            people then know nothing of people who recur, and may be too narrow.
        pairs: `(N, 2)` int64 indices into `photos`; None: every photo against every other.
        same: `(N,)` bool, whether a pair shows one person; None where `pairs` is.
        folds: `(N,)` int64, the number of each pair's fold, from 0 on; None: there are no folds.
        hashes: the sha256 of each list file by its name; of a folder, one over the paths in it,
            and one over the pairs that were drawn.
        persons: the name of each person by number; empty where nobody is named.

    Raises:
        ValueError: shapes, types or ranges are wrong, a fold is empty or the only one, or `same`
            and `people` contradict each other.
    """

    name: str
    photos: tuple[str | bytes, ...]
    names: tuple[str, ...]
    people: Ints
    pairs: Ints | None
    same: NDArray[np.bool_] | None
    folds: Ints | None
    hashes: dict[str, str]
    persons: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.photos)
        if len(self.names) != count:
            raise ValueError(f"{len(self.names)} names were given for {count} photos")
        people = self._numbers("people", (count,))
        if self.pairs is None or self.same is None:
            if any(part is not None for part in (self.pairs, self.same, self.folds)):
                raise ValueError("pairs and same are given both or neither, folds only with them")
            return
        same = np.asarray(self.same)
        if same.ndim != 1 or same.dtype != np.bool_ or not len(same):
            raise ValueError(f"same must be (N,) bool, not {same.shape} {same.dtype}")
        object.__setattr__(self, "same", same)
        pairs = self._numbers("pairs", (len(same), 2))
        if pairs.max() >= count:
            raise ValueError(f"pairs name photo {pairs.max()}, but there are {count} photos")
        wrong = np.flatnonzero(same != (people[pairs[:, 0]] == people[pairs[:, 1]]))
        if len(wrong):
            raise ValueError(f"same and people contradict each other in pair {wrong[0]}")
        if self.folds is not None:
            folds = self._numbers("folds", (len(same),))
            if len(np.unique(folds)) != max(int(folds.max()) + 1, 2):
                raise ValueError("folds must be two at least, numbered from 0 on without a gap")

    def _numbers(self, name: str, shape: tuple[int, ...]) -> Ints:
        array = np.asarray(getattr(self, name))
        if array.shape != shape or array.dtype.kind not in "iu":
            raise ValueError(f"{name} must be {shape} int64, not {array.shape} {array.dtype}")
        if array.min(initial=0) < 0:
            raise ValueError(f"{name} must be numbers from 0 on, not {array.min()}")
        object.__setattr__(self, name, array.astype(np.int64))
        return array


def read_pairs(path: StrPath, images: StrPath | None, kind: str | None = None) -> Protocol:
    """Reads a list of pairs, of which its path says what it is.

    Args:
        path: a folder is read by `cfp`, a name in `.csv` by `csv_pairs`, all else by `lfw_pairs`.
        images: the folder of the photos; only CFP does without.
        kind: "FF" or "FP" for CFP, else None.

    Raises:
        ValueError: `images` or `kind` does not go with `path`.
        IntegrityError: the list cannot be read or is wrong; its file and line are named.
        ImageError: none of its photos is there.
    """
    if os.path.isdir(path):
        return cfp(path, images, kind)
    if kind is not None:
        raise ValueError(f"{path}: the kind {kind!r} goes with CFP's folder Protocol, not a file")
    if images is None:
        raise ValueError(f"{path}: say which folder holds its photos")
    return (csv_pairs if Path(path).suffix.lower() == ".csv" else lfw_pairs)(path, images)


def lfw_pairs(path: StrPath, images: StrPath) -> Protocol:
    """Reads a list like LFW's `pairs.txt` and `pairsDevTrain.txt` (LFW's README, section 3).

    The first line says how many folds there are and how many pairs of either kind a fold has, or
    only the latter; then there are no folds. Each fold has its genuine pairs (name, number,
    number), then its impostor pairs (name, number, name, number). Tabs part the fields of a line,
    spaces where it has no tab.

    Args:
        path: the list.
        images: the folder with `NAME/NAME_0001.jpg`, or `.png` where there is no `.jpg`.

    Raises:
        IntegrityError: the list cannot be read or is wrong; its file and line are named.
        ImageError: none of its photos is there.
    """
    path, images = Path(path), Path(images)
    lines, digest = _lines(path)
    (where, head), *pairs = lines
    numbers = [_number(where, field) for field in head.split()]
    sets, size = [1, *numbers][-2:]
    if len(numbers) > 2 or not pairs or len(pairs) != sets * 2 * size:
        raise IntegrityError(
            f"{where}: {head!r:.50} must give the number of folds and of pairs of either kind in "
            f"each, or only the latter; {len(pairs)} pairs follow"
        )
    rows = [
        _lfw_row(images, where, line, same=index % (2 * size) < size)
        for index, (where, line) in enumerate(pairs)
    ]
    folds = np.repeat(np.arange(sets), 2 * size)
    return _protocol(f"LFW {path.name}", images, rows, folds, {path.name: digest})


def cfp(path: StrPath, images: StrPath | None, kind: str | None) -> Protocol:
    """Reads Celebrities in Frontal-Profile in the Wild (Sengupta et al., WACV 2016).

    Args:
        path: the folder `Protocol`: `Pair_list_F.txt`, `Pair_list_P.txt` (number and path of each
            photo) and `Split/FP/01/same.txt` .. `Split/FP/10/diff.txt` (two numbers a line).
        images: the folder with `001/frontal/01.jpg`; None: where the lists say, seen from `path`.
        kind: "FF", frontal against frontal, or "FP", frontal against profile.

    Raises:
        ValueError: another `kind`.
        IntegrityError: a list cannot be read or is wrong; its file and line are named.
        ImageError: none of the photos is there.
    """
    if kind not in ("FF", "FP"):
        raise ValueError(f"{path}: the kind of CFP must be 'FF' or 'FP', not {kind!r}")
    path, images = Path(path), None if images is None else Path(images)
    names = [f"Pair_list_{side}.txt" for side in kind]
    hashes = {}
    photos = {}
    for name in sorted(set(names)):
        lines, hashes[name] = _lines(path / name)
        photos[name] = dict(_cfp_photo(path, images, where, line) for where, line in lines)
    first, second = (photos[name] for name in names)
    rows: list[_Row] = []
    folds: list[int] = []
    for fold, same in product(range(FOLDS), (True, False)):
        name = f"Split/{kind}/{fold + 1:02d}/{'same' if same else 'diff'}.txt"
        lines, hashes[name] = _lines(path / name)
        for where, line in lines:
            a, b = (_number(where, field.strip()) for field in line.partition(",")[::2])
            if a not in first or b not in second:
                raise IntegrityError(f"{where}: the pair lists have no such photo")
            rows.append(_Row(where, first[a], second[b], same))
        folds += [fold] * len(lines)
    return _protocol(f"CFP-{kind}", images or path, rows, np.array(folds), hashes)


def csv_pairs(path: StrPath, images: StrPath) -> Protocol:
    """Reads a CSV file in UTF-8 whose first line names its columns.

    Columns: `a` and `b`, paths below `images`; `same`, 1, 0, true or false; `person_a` and
    `person_b`, names, both or neither; `fold`, numbers, of which only the order counts. Without
    `fold` there are ten consecutive folds, as scikit-learn's `KFold` makes them, so the order of
    the lines matters. One fold is none.

    Args:
        path: the file.
        images: the folder of the photos.

    Raises:
        IntegrityError: the file cannot be read or is wrong; its line is named.
        ImageError: none of its photos is there.
    """
    path, images = Path(path), Path(images)
    lines, digest = _lines(path)
    cells = _cells(lines)
    rows = [_csv_row(images, where, cell) for where, cell in cells]
    folds = equal_folds(len(rows))
    if "fold" in cells[0][1]:
        folds = np.array([_number(where, cell["fold"]) for where, cell in cells])
    protocol = _protocol(path.name, images, rows, folds, {path.name: digest})
    return protocol if "person_a" in cells[0][1] else replace(protocol, persons=())


def bin_set(path: StrPath) -> Protocol:
    """Reads a verification set of InsightFace (`lfw.bin`), in ten consecutive folds.

    Raises:
        IntegrityError: see `mindface.formats.insightface_bin.read_bin`.
    """
    path = Path(path)
    photos, same = read_bin(path)
    last = np.cumsum(2 - same) - 1
    people = np.column_stack([last - ~same, last]).reshape(-1)
    pairs = np.arange(len(photos)).reshape(-1, 2)
    folds = equal_folds(len(same)) if len(same) > 1 else None
    names, hashes = tuple(f"{path.name}[{i}]" for i in pairs.flat), {path.name: sha256_of(path)}
    return Protocol(path.name, tuple(photos), names, people, pairs, same, folds, hashes)


class _Row(NamedTuple):
    """A line of a list, and where it stands."""

    where: str
    a: Shown
    b: Shown
    same: bool


def _protocol(
    name: str, images: Path, rows: list[_Row], folds: Ints, hashes: dict[str, str]
) -> Protocol:
    """Numbers photos and people as they come; a photo of two people counts as two."""
    for where, (_, a), (_, b), genuine in rows:
        if genuine != (a == b):
            claim = "one person" if genuine else "two people"
            raise IntegrityError(f"{where}: {a!r} and {b!r} are said to be {claim}")
    shown: dict[Shown, int] = {}
    numbers: dict[str, int] = {}
    pairs = [[shown.setdefault(side, len(shown)) for side in (row.a, row.b)] for row in rows]
    people = [numbers.setdefault(person, len(numbers)) for _, person in shown]
    photos = tuple(photo for photo, _ in shown)
    if not any(map(os.path.exists, photos)):
        reason = f"none of the list's {len(photos)} photos is there, not even {photos[0]}"
        raise ImageError(reason, str(images))
    same = np.array([row.same for row in rows])
    values, places = np.unique(folds, return_inverse=True)
    kept = places if len(values) > 1 else None
    return Protocol(
        name, photos, photos, np.array(people), np.array(pairs), same, kept, hashes, tuple(numbers)
    )


def _lfw_row(images: Path, where: str, line: str, same: bool) -> _Row:
    fields = [field.strip() for field in line.split("\t" if "\t" in line else None)]
    if len(fields) != (3 if same else 4):
        wanted = "a name and two numbers" if same else "two names, each with a number,"
        raise IntegrityError(f"{where}: {wanted} must stand here, not {len(fields)} fields")
    a = _lfw_photo(images, where, fields[0], fields[1])
    b = _lfw_photo(images, where, fields[0 if same else 2], fields[-1])
    return _Row(where, a, b, same)


def _lfw_photo(images: Path, where: str, name: str, number: str) -> Shown:
    photo = images / name / f"{name}_{_number(where, number):04d}.jpg"
    png = photo.with_suffix(".png")
    return str(png if not photo.exists() and png.exists() else photo), name


def _cfp_photo(folder: Path, images: Path | None, where: str, line: str) -> tuple[int, Shown]:
    """Number, path and person of a photo in a pair list."""
    number, _, photo = line.partition(" ")
    parts = Path(photo.strip()).parts
    if len(parts) < 3:
        raise IntegrityError(f"{where}: a number and the path of a photo must stand here")
    place = folder.joinpath(*parts) if images is None else images.joinpath(*parts[-3:])
    return _number(where, number), (str(place), parts[-3])


def _csv_row(images: Path, where: str, cell: dict[str, str]) -> _Row:
    same = TRUTH.get(cell["same"].lower())
    if same is None:
        raise IntegrityError(f"{where}: same must be 1, 0, true or false, not {cell['same']!r}")
    a = str(images / cell["a"]), cell.get("person_a", where)
    b = str(images / cell["b"]), cell.get("person_b", where if same else f"{where}, b")
    return _Row(where, a, b, same)


def _cells(lines: list[tuple[str, str]]) -> list[tuple[str, dict[str, str]]]:
    """The lines of a CSV file after the first, by the columns that the first names."""
    rows = []
    for where, line in lines:
        try:
            rows.append((where, [cell.strip() for cell in next(csv.reader([line], strict=True))]))
        except csv.Error as error:
            raise IntegrityError(f"{where}: {error}") from error
    (where, header), *rows = rows
    if len(set(header)) < len(header) or set(header) - {"fold"} not in COLUMNS:
        raise IntegrityError(
            f"{where}: the columns must be a, b and same, and may be person_a with person_b, and "
            f"fold, each once, not {', '.join(header)}"
        )
    if not rows:
        raise IntegrityError(f"{where}: no pair follows")
    for where, row in rows:
        if len(row) != len(header) or "" in row:
            raise IntegrityError(f"{where}: {len(header)} fields must stand here, none empty")
    return [(where, dict(zip(header, row, strict=True))) for where, row in rows]


def _lines(path: Path) -> tuple[list[tuple[str, str]], str]:
    """The lines of a list that are not empty, each with where it stands; the list's sha256."""
    try:
        with open_regular(path) as file:
            content = file.read()
        lines = content.decode("utf-8-sig").split("\n")
    except OSError as error:
        raise IntegrityError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise IntegrityError(f"{path}: not a text in UTF-8") from error
    found = [(f"{path}, line {n}", line.strip()) for n, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise IntegrityError(f"{path}: the list is empty")
    return found, hashlib.sha256(content).hexdigest()


def _number(where: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise IntegrityError(f"{where}: {text!r:.50} is no whole number")
    return int(text)
