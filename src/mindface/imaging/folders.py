"""Which files of a folder are images."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from mindface.errors import ImageError

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".bmp", ".dib", ".gif", ".tif"}
    | {".tiff", ".heic", ".heif", ".hif", ".avif"}
)


def find_images(paths: Iterable[str | os.PathLike[str]]) -> Iterator[Path]:
    """The files that `paths` name, and those in the folders among them.

    Files are taken as given, whatever their name, even if they do not exist: opening them says
    so. Folders are walked to the bottom, each in the order of its names, files before folders;
    files are known by their suffix, hidden files and folders are left out, and a folder that
    symbolic links lead to twice is walked once.

    Args:
        paths: files and folders.

    Yields:
        Paths as they were given, joined with what was found below.

    Raises:
        ImageError: a folder cannot be listed.
    """
    for path in map(Path, paths):
        if os.path.isdir(path):
            yield from _walk(path)
        else:
            yield path


def _walk(root: Path) -> Iterator[Path]:
    seen = set()
    for folder, below, names in os.walk(root, followlinks=True, onerror=_refuse):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            below.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES:
                yield Path(folder, name)


def _refuse(error: OSError) -> None:
    raise ImageError(f"the folder cannot be listed: {error.strerror}", error.filename) from error
