"""`mindface gallery key`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def key(file: Annotated[Path, typer.Argument(metavar="NEW_FILE", help="Where to.")]) -> None:
    """Make the key of an encrypted gallery, in a file that its owner alone can read.

    A gallery that is made with --key-file, by enroll or gallery import, is encrypted with it.
    Keep a copy elsewhere: without the key the gallery is lost.

    Example: mindface gallery key people.key
    """
    from mindface.gallery import Key

    Key.make(file)
    print(f"{file}: keep a copy elsewhere: without it the gallery is lost")
