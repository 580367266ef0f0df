"""Faces in tar shards, in WebDataset's layout.

A sample is the members of one key, which is a member's path up to the first dot of its file name:
`KEY.jpg`, `.jpeg`, `.png` or `.webp`, and its label: `KEY.cls` with the number of a person, or
`KEY.json` with `{"label": NUMBER OR NAME}` or `{"name": NAME}`. Other members are left alone.
https://github.com/webdataset/webdataset
"""

from __future__ import annotations

import json
import os
import re
import tarfile
import weakref
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindface.datasets.faceset import Ints, numbered, unlabelled
from mindface.errors import IntegrityError
from mindface.files import open_regular

CLASSES = "classes.json"
"""Beside shards with numbers: a list of the people's names."""

EXTENSIONS = ("jpg", "jpeg", "png", "webp")
MAX_LABEL_BYTES = 1_000_000
LABELS = ("cls", "json")
OPEN_SHARDS = 64

Samples = NDArray[np.void]
State = tuple[int, int]

_SAMPLE = np.dtype([("shard", "<i4"), ("offset", "<i8"), ("size", "<i8"), ("label", "<i8")])
_UNLABELLED = -1
_NUMBER = re.compile(r"-?[0-9]{1,18}")
_RANGE = re.compile(r"\{([0-9]+)\.\.([0-9]+)\}")
_BLOCK = tarfile.BLOCKSIZE


class TarSet:
    """A `FaceSet` of tar shards.

    The headers of all members are read once; where the pictures lie is kept in `index.npz` in the
    folder, or in `NAME.tar.index.npz`, if that can be written, until a shard's size or time of
    change differs. Numbers of people are renumbered without gaps, and named by `classes.json`
    beside the shards if there is one; a number below 0 is nobody's.

    Args:
        path: of a tar, of a folder of tars, or a pattern such as `faces-{00000..00012}.tar`.
        labelled: False where the pictures are nobody's, whatever the shards say.
        buffer: how far `order` shuffles within the row of shards, in pictures.

    Raises:
        IntegrityError: there is no shard or no picture, a shard cannot be read or is damaged, two
            pictures have one key, or a picture has no label or a label no picture.
        ValueError: the buffer is below 1.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, labelled: bool = True, buffer: int = 10_000
    ) -> None:
        if buffer < 1:
            raise ValueError(f"the shuffle buffer must hold 1 picture at least, not {buffer}")
        self.source = os.fspath(path)
        self._buffer = buffer
        self._shards = _shards(Path(path))
        self._states = [_state(shard) for shard in self._shards]
        self._opened = lru_cache(OPEN_SHARDS)(_open)
        self._samples, names, strays = _indexed(Path(path), self._shards, self._states)
        if not len(self):
            raise IntegrityError(f"{self.source}: no member is a picture, such as KEY.jpg")
        self.labels, self.class_names = unlabelled(len(self))
        if labelled:
            self._check(strays)
            self.labels, self.class_names = self._people(names)

    def __len__(self) -> int:
        return len(self._samples)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_opened"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._opened = lru_cache(OPEN_SHARDS)(_open)

    def read(self, index: int) -> bytes:
        """See `FaceSet.read`."""
        shard, offset, size, _ = self._samples[index].tolist()
        return self._bytes(shard, offset, size)

    def describe(self, index: int) -> str:
        """The shard and the name of the member."""
        shard, offset, _, _ = self._samples[index].tolist()
        try:
            header = self._bytes(shard, offset - _BLOCK, _BLOCK)
            member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape").name
        except (IntegrityError, tarfile.TarError):
            member = f"at byte {offset}"
        return f"{self._shards[shard]}, member {member}"

    def order(self, rng: np.random.Generator) -> Ints:
        """The shards in random order, each from its beginning to its end, through a shuffle buffer.

        A picture is moved by less than `buffer` places, so that what is read lies close together.
        """
        turns = rng.permutation(len(self._shards))
        row = np.argsort(turns[self._samples["shard"]], kind="stable")
        moved = np.arange(len(row)) + rng.uniform(0, self._buffer, len(row))
        return row[np.argsort(moved, kind="stable")]

    def _bytes(self, shard: int, offset: int, size: int) -> bytes:
        path = self._shards[shard]
        opened = self._opened(path, self._states[shard])
        try:
            content = os.pread(opened.descriptor, size, offset)
        except OSError as error:
            raise _unreadable(path, error) from error
        if len(content) < size:
            raise IntegrityError(f"{path}: cut since it was opened: open it anew")
        return content

    def _check(self, strays: list[str]) -> None:
        faults, missing = [], np.flatnonzero(self._samples["label"] == _UNLABELLED)
        if len(missing):
            faults.append(
                f"{len(missing)} of {len(self)} pictures have no .cls or .json with a label "
                f"(the first: {self.describe(int(missing[0]))})"
            )
        if strays:
            faults.append(f"{len(strays)} labels have no picture (the first: {strays[0]})")
        if faults:
            raise IntegrityError(f"{self.source}: {', and '.join(faults)}: write the shards anew")

    def _people(self, names: list[str]) -> tuple[Ints, tuple[str, ...]]:
        if all(map(_NUMBER.fullmatch, names)):
            values = np.array([int(name) for name in names], np.int64)
            labels, numbers = numbered(values[self._samples["label"]])
            return labels, _named(numbers.tolist(), self._shards[0].with_name(CLASSES))
        ranks = {name: rank for rank, name in enumerate(sorted(names))}
        return np.array([ranks[name] for name in names])[self._samples["label"]], tuple(ranks)


class _OpenShard:
    """A file descriptor, closed when the last thread that reads from it lets go."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)


def _open(shard: Path, state: State) -> _OpenShard:
    if _state(shard) != state:
        raise IntegrityError(f"{shard}: changed since it was opened: open it anew")
    try:
        with open_regular(shard) as file:
            return _OpenShard(os.dup(file.fileno()))
    except OSError as error:
        raise _unreadable(shard, error) from error


def _shards(path: Path) -> list[Path]:
    """The files that a path names; hidden ones are left out of a folder's."""
    if path.is_dir():
        shards = sorted(path.glob("[!.]*.tar"))
    else:
        shards = [Path(name) for name in _expanded(str(path))]
    if not shards:
        raise IntegrityError(f"{path}: there is no .tar: give a tar, its folder, or x-{{0..9}}.tar")
    return shards


def _expanded(pattern: str) -> Iterator[str]:
    """The names that a pattern means; numbers are as wide as the first."""
    span = _RANGE.search(pattern)
    if not span:
        yield pattern
        return
    first, last = span.groups()
    for number in range(int(first), int(last) + 1):
        for rest in _expanded(pattern[span.end() :]):
            yield f"{pattern[: span.start()]}{number:0{len(first)}}{rest}"


def _state(shard: Path) -> State:
    """What tells whether a shard changed: its size, and when it was changed in nanoseconds."""
    try:
        status = shard.stat()
    except OSError as error:
        raise _unreadable(shard, error) from error
    return status.st_size, status.st_mtime_ns


def _unreadable(shard: Path, error: OSError | tarfile.TarError) -> IntegrityError:
    return IntegrityError(f"{shard}: cannot be read: {getattr(error, 'strerror', None) or error}")


def _indexed(
    path: Path, shards: Sequence[Path], states: Sequence[State]
) -> tuple[Samples, list[str], list[str]]:
    """What `_scanned` finds, or what it found before in the same shards."""
    index = path / "index.npz" if path.is_dir() else path.with_name(f"{path.name}.index.npz")
    facts = json.dumps([(shard.name, *state) for shard, state in zip(shards, states, strict=True)])
    kept = _kept(index, facts)
    if kept is not None:
        return *kept, []
    samples, names, strays = _scanned(shards)
    if not strays:
        _keep(index, facts, samples, names)
    return samples, names, strays


def _kept(index: Path, facts: str) -> tuple[Samples, list[str]] | None:
    """Samples and names from an index that was written of these facts."""
    if not zipfile.is_zipfile(index):
        return None
    try:
        # numpy leaves a damaged file open where it opened it itself.
        with index.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            if kept["facts"].item() != facts:
                return None
            samples, names = kept["samples"], json.loads(kept["names"].item())
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error):
        return None
    return (samples, names) if samples.dtype == _SAMPLE else None


def _keep(index: Path, facts: str, samples: Samples, names: list[str]) -> None:
    """Writes an index whole; not at all where that is not allowed."""
    partial = index.with_name(f"{index.name}.{os.getpid()}.tmp")
    with suppress(OSError):
        try:
            with partial.open("wb") as file:
                np.savez(file, facts=facts, samples=samples, names=json.dumps(names))
            partial.replace(index)
        finally:
            partial.unlink(missing_ok=True)


def _scanned(shards: Sequence[Path]) -> tuple[Samples, list[str], list[str]]:
    """The samples, whose labels are rows of the names; the names; labels without a picture."""
    parts, rows, strays = [], dict[str, int](), list[str]()
    for number, shard in enumerate(shards):
        pictures, people = _contents(shard)
        found = []
        for key, place in pictures.items():
            person = people.pop(key, None)
            label = _UNLABELLED if person is None else rows.setdefault(person, len(rows))
            found.append((number, *place, label))
        parts.append(np.array(found, _SAMPLE))
        strays += [f"{shard}, key {key}" for key in people]
    return np.concatenate(parts), list(rows), strays


def _contents(shard: Path) -> tuple[dict[str, tuple[int, int]], dict[str, str]]:
    """Per key, offset and size of the picture, in their order; per key, the person."""
    pictures, people = dict[str, tuple[int, int]](), dict[str, str]()
    for member, content in _members(shard):
        folder, slash, name = member.name.rpartition("/")
        stem, _, extension = name.partition(".")
        key, extension = folder + slash + stem, extension.lower()
        if extension in EXTENSIONS and stem:  # else hidden
            if key in pictures:
                raise IntegrityError(f"{shard}: {member.name} is the second picture of its key")
            pictures[key] = member.offset_data, member.size
        elif extension in LABELS and stem:
            person = _person(extension, content, f"{shard}, member {member.name}")
            if person is not None and (extension == "cls" or key not in people):
                people[key] = person
    return pictures, people


def _members(shard: Path) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """The regular members, and the content of those that may be labels."""
    try:
        with open_regular(shard) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            length = os.fstat(file.fileno()).st_size
            for member in archive:
                if not member.isreg():
                    continue
                if not 0 <= member.size <= length - member.offset_data:
                    raise IntegrityError(f"{shard}: {member.name} goes on after the end: cut")
                is_label = member.name.lower().endswith(LABELS) and member.size <= MAX_LABEL_BYTES
                file.seek(member.offset_data)
                yield member, file.read(member.size) if is_label else b""
            file.seek(archive.offset)
            if file.read(_BLOCK) != bytes(_BLOCK):  # `tarfile` stops at any block it cannot read
                raise IntegrityError(
                    f"{shard}: neither a member nor the end is at byte {archive.offset}: damaged"
                )
    except (OSError, tarfile.TarError) as error:
        raise _unreadable(shard, error) from error


def _person(extension: str, content: bytes, where: str) -> str | None:
    """Number or name of the person in a `.cls` or `.json`; None where a `.json` has neither."""
    try:
        if extension == "cls":
            return str(int(content.decode("ascii")))
        fields = json.loads(content)
        person = fields.get("label", fields.get("name"))
    except (AttributeError, ValueError, RecursionError):
        person = content
    if person is None:
        return None
    if isinstance(person, bool) or not isinstance(person, int | str):
        raise IntegrityError(
            f"{where}: {person!r:.80} names nobody: a .cls holds a number, a .json "
            '{"label": NUMBER OR NAME} or {"name": NAME}'
        )
    return str(person)


def _named(numbers: list[int], path: Path) -> tuple[str, ...]:
    """The people's names from `classes.json`; their numbers where there is none."""
    if not path.exists():
        return tuple(map(str, numbers))
    try:
        names = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise IntegrityError(f"{path}: cannot be read: {error}: mend or remove it") from error
    sound = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not sound or len(set(names)) < len(names) or max(numbers, default=-1) >= len(names):
        raise IntegrityError(
            f"{path}: no list of different names for people up to number "
            f"{max(numbers, default=-1)}: mend or remove it"
        )
    return tuple(names[number] for number in numbers)
