"""Where weights lie: inside the package, or in the user's cache."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path

from mindface.zoo.record import ModelRecord

BUNDLED = Path(__file__).with_name("bundled")


def cache_directory() -> Path:
    """The cache: the environment variable `MINDFACE_CACHE`, else the platform's place for it."""
    chosen = os.environ.get("MINDFACE_CACHE")
    return Path(chosen) if chosen else user_cache_path("mindface", appauthor=False)


def bundled_path(record: ModelRecord) -> Path:
    """Where a weight that ships inside the package lies; most do not exist."""
    return BUNDLED / f"{record.name}.onnx"


def cached_path(record: ModelRecord) -> Path:
    """Where a fetched weight lies or would lie; another version of it has another path."""
    return cache_directory() / "models" / f"{record.name}-{record.sha256[:12]}.onnx"


def local_path(record: ModelRecord) -> Path | None:
    """The weight's file on this machine, not yet verified, or None where there is none."""
    places = (bundled_path(record), cached_path(record))
    return next((path for path in places if path.is_file()), None)
