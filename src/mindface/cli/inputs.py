"""Which photos a command works on, and where its pictures go."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from mindface.errors import ImageError
from mindface.imaging import find_images


def photos(paths: Sequence[Path]) -> list[Path]:
    """The photos that `paths` name; folders are walked.

    Raises:
        ImageError: there is none.
    """
    files = list(find_images(paths))
    if not files:
        raise ImageError(f"no photo in {', '.join(map(str, paths))}")
    return files


def stop_if_all_failed(skipped: Sequence[tuple[str, str]], total: int) -> None:
    """Raises the reason when no photo could be read at all."""
    if skipped and len(skipped) == total:
        path, reason = skipped[0]
        raise ImageError(reason if total == 1 else f"none of {total} photos could be read", path)


def output_path(directory: Path, photo: Path, suffix: str) -> Path:
    """A file in `directory` named after a photo, told apart from its namesakes elsewhere."""
    directory.mkdir(parents=True, exist_ok=True)
    place = hashlib.sha256(str(photo.parent).encode("utf-8", "surrogatepass")).hexdigest()[:6]
    return directory / f"{photo.stem}-{place}{suffix}"
