"""Faces in a folder that has a folder for each person."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from mindface.datasets.faceset import Ints, unlabelled
from mindface.errors import ImageError
from mindface.files import open_regular
from mindface.imaging import find_images


class FolderSet:
    """A `FaceSet` of picture files; a person's lie in or below the folder of the person's name.

    Args:
        path: of the folder; `imaging.find_images` says which files in it are pictures.
        labelled: False where the pictures are nobody's; then they may lie anywhere below `path`.

    Raises:
        ImageError: there is no such folder, it cannot be listed, has no picture, or has one in no
            person's folder.
    """

    def __init__(self, path: str | os.PathLike[str], *, labelled: bool = True) -> None:
        self.source = os.fspath(path)
        self._prefix = str(Path(path, "x"))[:-1]
        found = find_images([path]) if os.path.isdir(path) else ()
        names = [str(picture)[len(self._prefix) :] for picture in found]
        if not names:
            raise ImageError(
                "no such folder, or no picture in it: give FOLDER/person/picture.jpg, a .rec or "
                ".tar files",
                self.source,
            )
        # One block of bytes: a list of names would be copied into each worker of a loader.
        encoded = [os.fsencode(name) for name in names]
        self._names = b"".join(encoded)
        self._ends = np.cumsum([len(name) for name in encoded])
        self.labels, self.class_names = self._people(names) if labelled else unlabelled(len(names))

    def __len__(self) -> int:
        return len(self._ends)

    def read(self, index: int) -> bytes:
        """See `FaceSet.read`."""
        path = self.describe(index)
        try:
            with open_regular(path) as file:
                return file.read()
        except OSError as error:
            raise ImageError(f"cannot be read: {error.strerror or error}", path) from error

    def describe(self, index: int) -> str:
        """The path of the file."""
        start = self._ends[index - 1] if index else 0
        return self._prefix + os.fsdecode(self._names[start : self._ends[index]])

    def order(self, rng: np.random.Generator) -> Ints:
        """Any order serves files equally fast."""
        return rng.permutation(len(self))

    def _people(self, names: list[str]) -> tuple[Ints, tuple[str, ...]]:
        people = [name.partition(os.sep) for name in names]
        if not people[0][1]:  # `find_images` gives files before folders
            raise ImageError(
                "the picture lies in no person's folder: give FOLDER/person/picture.jpg",
                self.describe(0),
            )
        numbers = {name: row for row, name in enumerate(dict.fromkeys(p[0] for p in people))}
        labels = np.fromiter((numbers[p[0]] for p in people), np.int64, len(people))
        return labels, tuple(numbers)
