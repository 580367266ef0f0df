"""A file as memory, of which only what is looked at is read."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from mindface.errors import WeightsError
from mindface.files import open_regular


def mapped(path: Path) -> memoryview:
    """The content of a regular file.

    Raises:
        WeightsError: no such file, not a file, unreadable, or empty.
    """
    try:
        with open_regular(path) as file:
            if not os.fstat(file.fileno()).st_size:
                raise WeightsError(f"{path}: the file is empty")
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror or error}") from error
