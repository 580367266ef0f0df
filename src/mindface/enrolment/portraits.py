"""Which photos show whom: a folder a person, or a list."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from mindface.errors import ConfigError
from mindface.formats.csv_rows import Row, read_csv
from mindface.imaging import find_images

COLUMNS = ("path", "name", "tags", "valid_until")


@dataclass(frozen=True)
class Portrait:
    """A photo of a person to enroll.

    Attributes:
        name: of the person.
        path: of the photo.
        tags: of a new person; None: nothing is said.
        valid_until: likewise, the first moment at which it is no longer valid, with its zone.
    """

    name: str
    path: Path
    tags: tuple[str, ...] | None = None
    valid_until: datetime | None = None


def in_folders(folders: Iterable[Path]) -> Iterator[Portrait]:
    """The photos of folders that hold a folder for each person, named after the person.

    Raises:
        ConfigError: no such folder, or a photo that lies in no person's folder.
        ImageError: a folder cannot be listed.
    """
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"{folder}: no such folder: name one that has a folder a person")
        for path in find_images([folder]):
            name, *below = path.relative_to(folder).parts
            if not below:
                raise ConfigError(f"{path}: lies in no person's folder: move it into one")
            yield Portrait(name, path)


def in_list(path: Path) -> Iterator[Portrait]:
    """The photos of a CSV with the columns path, name and perhaps tags and valid_until.

    Paths are relative to the folder of the list; tags are parted by semicolons; a time is given
    as ISO 8601 with its zone, such as `2027-01-01T00:00Z`.

    Raises:
        ImageError: the list cannot be read.
        ConfigError: a column or a value that cannot be; the line is named.
    """
    columns, rows = read_csv(path)
    if not {"path", "name"} <= {*columns} <= {*COLUMNS}:
        raise ConfigError(
            f"{path}: has the columns {', '.join(map(str, columns)) or 'none'}, not "
            "path,name[,tags,valid_until]: name them in the first line"
        )
    for line, row in rows:
        yield _portrait(row, _Line(path, line))


class _Line(NamedTuple):
    path: Path
    number: int

    def refuse(self, why: str) -> ConfigError:
        return ConfigError(f"{self.path}, line {self.number}: {why}")


def _portrait(row: Row, line: _Line) -> Portrait:
    if None in row or None in row.values():
        raise line.refuse("has another number of values than the first line has columns")
    path, name, tags, until = (row.get(column) or "" for column in COLUMNS)
    if not path or not name.strip():
        raise line.refuse("a path and a name must be given")
    named = tuple(tag.strip() for tag in tags.split(";") if tag.strip())
    return Portrait(name, line.path.parent / path, named or None, _moment(until, line))


def _moment(text: str, line: _Line) -> datetime | None:
    try:
        return moment_of(text) if text else None
    except ValueError as error:
        raise line.refuse(f"valid_until {error}") from None


def moment_of(text: str) -> datetime:
    """A time with its zone, as ISO 8601 writes it.

    Raises:
        ValueError: it is none, or has no zone.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r:.80} is no ISO 8601 time") from None
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone: append one, such as Z")
    return moment
