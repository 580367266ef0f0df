"""Lists that people write: CSV with named columns, in UTF-8."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping

from mindface.errors import ConfigError, ImageError
from mindface.files import open_regular

Row = Mapping[str | None, str | None]


def read_csv(path: str | os.PathLike[str]) -> tuple[list[str], list[tuple[int, Row]]]:
    """The columns of a CSV, and its rows with the numbers of their lines.

    Raises:
        ImageError: it cannot be read.
        ConfigError: it is not UTF-8, or a line of it is no CSV.
    """
    try:
        with open_regular(path) as file:
            lines = file.read().decode("utf-8-sig").splitlines(keepends=True)
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror or error}", os.fspath(path)) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8: save it as such") from error
    reader = csv.DictReader(lines, strict=True)
    try:
        return [*(reader.fieldnames or ())], [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise ConfigError(f"{path}, line {reader.line_num}: {error}") from error
