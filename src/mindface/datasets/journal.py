"""What was cut out of which photo, line by line, so that stopped work goes on."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mindface.errors import ConfigError, IntegrityError

NAME = "build.jsonl"


@dataclass(frozen=True)
class Entry:
    """What became of a photo.

    Attributes:
        photo: its path below the folder of photos.
        state: its size in bytes, and the time of its change in nanoseconds.
        faces: that can be aligned, as `Face.to_dict` has them.
        taken: the number of the face that was cut out.
        crop: where it lies below the folder of crops, or None where there is none.
        similarity: of the face to the person's other photos, where they decided.
        error: why the photo cannot be read.
        reason: why there is no face.
    """

    photo: str
    state: list[int]
    faces: list[dict[str, Any]] = field(default_factory=list)
    taken: int = 0
    crop: str | None = None
    similarity: float | None = None
    error: str | None = None
    reason: str | None = None


class Journal:
    """The entries of a folder of crops; the last line of a photo counts.

    Args:
        folder: of the crops; made if absent.
        settings: whatever decides what is cut out.

    Raises:
        ConfigError: the folder holds something else, or crops of other settings.
        IntegrityError: the journal is damaged.

    Attributes:
        entries: what is known, by photo.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.entries: dict[str, Entry] = {}
        self._path = folder / NAME
        folder.mkdir(parents=True, exist_ok=True)
        lines = self._lines()
        if not lines:
            if any(path.name != NAME for path in folder.iterdir()):
                raise ConfigError(
                    f"{folder}: there is something in it that was not built: name another folder"
                )
            self._write(settings)
            return
        differ = [name for name in settings if lines[0].get(name) != settings[name]]
        if differ:
            raise ConfigError(
                f"{folder}: built with another {', '.join(differ)}: name another folder, or "
                "delete this one"
            )
        for line in lines[1:]:
            self.entries[line["photo"]] = Entry(**line)

    def add(self, entry: Entry) -> None:
        """Notes what became of a photo, unless that is known."""
        if self.entries.get(entry.photo) != entry:
            self.entries[entry.photo] = entry
            self._write(asdict(entry))

    def _write(self, line: dict[str, Any]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _lines(self) -> list[dict[str, Any]]:
        """The lines; of the last one only if it is whole, and its beginning is cut off."""
        if not self._path.exists():
            return []
        content = self._path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(self._path, whole)
        try:
            return [json.loads(line) for line in content[:whole].splitlines()]
        except ValueError as error:
            raise IntegrityError(f"{self._path}: damaged ({error}): delete the folder") from error
