"""The catalogue: the records of all weights that can be named."""

from __future__ import annotations

import difflib
import json
from functools import cache
from pathlib import Path
from typing import Any

from mindface.errors import UnknownModelError
from mindface.zoo.cache import BUNDLED
from mindface.zoo.record import ModelRecord

DEFAULT_DETECTOR = "retinaface_mobilenet025"
DEFAULT_RECOGNIZER = "arcface_mobilefacenet"

CATALOGUE = Path(__file__).with_name("catalogue.yaml")


@cache
def entries() -> dict[str, dict[str, Any]]:
    """The catalogue as it is written: name -> the other fields of its record.

    What ships inside the package comes first; its record lies beside it.
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    content: dict[str, dict[str, Any]] = yaml.load(CATALOGUE.read_bytes(), Loader=loader)
    found = [json.loads(path.read_bytes()) for path in sorted(BUNDLED.glob("*.json"))]
    return {fields.pop("name"): fields for fields in found} | content


def records() -> list[ModelRecord]:
    """All records, in the catalogue's order."""
    return [get(name) for name in entries()]


@cache
def get(name: str) -> ModelRecord:
    """The record of a name.

    Raises:
        UnknownModelError: the catalogue has no such name; the message has those that are close.
    """
    if name not in entries():
        raise UnknownModelError(_not_found(name))
    return ModelRecord(name=name, **entries()[name])


def with_sha256(sha256: str) -> ModelRecord | None:
    """The record of the weight with this sha256, or None."""
    names = (name for name, fields in entries().items() if fields["sha256"] == sha256)
    return next(map(get, names), None)


def _not_found(name: str) -> str:
    close = difflib.get_close_matches(name.lower(), entries(), n=3)
    meant = f": did you mean {' or '.join(close)}?" if close else "."
    return (
        f"no model is called {name!r:.100}{meant} `mindface models` lists the names; "
        f"a file is given by its path, which ends in .onnx"
    )
