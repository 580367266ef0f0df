"""From what a user says, a name or a file, to a verified file and its record."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from mindface.errors import IntegrityError, LicenceError, ModelError, RecordError
from mindface.zoo import catalogue
from mindface.zoo.cache import bundled_path, local_path
from mindface.zoo.files import sha256_of, verify
from mindface.zoo.record import ModelRecord, Task, read_record

LicencePolicy = Literal["any", "permissive"]

WEIGHT_SUFFIXES = (".pth", ".pt", ".tar", ".ckpt", ".safetensors")


@dataclass(frozen=True)
class Model:
    """A weight ready to be loaded.

    Attributes:
        record: how it is used, and under which licence.
        path: the .onnx file, whose sha256 was the record's when it was resolved.
    """

    record: ModelRecord
    path: Path


def resolve(
    name_or_file: str | os.PathLike[str],
    *,
    task: Task,
    record: str | os.PathLike[str] | None = None,
    licence_policy: LicencePolicy = "any",
) -> Model:
    """Finds a weight and its record, and verifies it. Never uses the network.

    A name of the catalogue is looked for in the package, then in the cache. The record of a
    file is `record` if given, else `X.json` beside `X.onnx`, else the catalogue's with the
    file's sha256. A file that the catalogue does not know has its structure checked.

    Args:
        name_or_file: a name of the catalogue, or the path of an .onnx file.
        task: what the model must be able to do.
        record: the record of a file that has none beside it.
        licence_policy: "permissive" refuses weights whose licence is not.

    Raises:
        UnknownModelError: neither a name nor a file.
        ModelError: of another task, not fetched, or a file that cannot be read.
        RecordError: a file without a record, or a record that cannot be.
        IntegrityError: the file is not the one of the record, or its structure is unsound.
        LicenceError: the policy refuses the licence.
    """
    if licence_policy not in get_args(LicencePolicy):
        raise LicenceError(f"no licence policy is called {licence_policy!r}: say any or permissive")
    if not _is_file(name_or_file):
        known = catalogue.get(os.fspath(name_or_file))
        if record is not None:
            raise RecordError(f"{known.name} brings its own record: leave out {record}")
        _check(known, task, licence_policy)
        return Model(known, _verified_path(known))
    path = Path(name_or_file)
    own, catalogued = _record_of(path, record)
    _check(own, task, licence_policy)
    if not catalogued:
        from mindface.formats.onnx import check_onnx

        check_onnx(path)
    return Model(own, path)


def _is_file(name_or_file: str | os.PathLike[str]) -> bool:
    """Whether a path is meant: a name of the catalogue stands before a file of the same name."""
    if not isinstance(name_or_file, str):
        return True
    if name_or_file in catalogue.entries():
        return False
    path = Path(name_or_file)
    suffixes = (".onnx", *WEIGHT_SUFFIXES)
    return len(path.parts) > 1 or path.suffix.lower() in suffixes or os.path.lexists(name_or_file)


def _check(record: ModelRecord, task: Task, licence_policy: LicencePolicy) -> None:
    if record.task != task:
        raise ModelError(
            f"{record.name} is for {record.task}, and a model for {task} is needed here"
        )
    if licence_policy == "permissive" and record.licence_class != "permissive":
        raise LicenceError(
            f"{record.name}: its licence ({record.licence}) is {record.licence_class}, and the "
            f"policy in force allows only permissive ones; `mindface models` shows each licence"
        )


def _verified_path(record: ModelRecord) -> Path:
    path = local_path(record)
    if path is None:
        remedy = (
            f"run  mindface models fetch {record.name}"
            if record.url
            else "it has no public address, so give the path of its file"
        )
        raise ModelError(f"{record.name} is not on this machine: {remedy}")
    if path == bundled_path(record):
        verify(path, record, "install mindface again")
    else:
        verify(path, record, f"run  mindface models fetch {record.name}  to fetch it again")
    return path


def _record_of(path: Path, given: str | os.PathLike[str] | None) -> tuple[ModelRecord, bool]:
    """The record of a file, which it was compared with, and whether the catalogue has the file."""
    if path.suffix.lower() != ".onnx":
        hint = (
            f"these are weights for a network: run  mindface export NAME --weights {path} "
            f"--output X.onnx"
            if path.suffix.lower() in WEIGHT_SUFFIXES
            else "its name must end in .onnx"
        )
        raise ModelError(f"{path}: no ONNX model: {hint}")
    sha256 = sha256_of(path)
    catalogued = catalogue.with_sha256(sha256)
    beside = path.with_suffix(".json")
    source = Path(given) if given is not None else beside if os.path.lexists(beside) else None
    if source is None:
        if catalogued is None:
            raise RecordError(
                f"{path}: no record {beside.name} lies beside it, and its sha256 is not in the "
                f"catalogue: give its record with --record FILE (`mindface export` writes one)"
            )
        return catalogued, True
    own = read_record(source)
    if own.sha256 != sha256:
        raise IntegrityError(
            f"{path}: its sha256 is {sha256[:16]}..., but its record {source} says "
            f"{own.sha256[:16]}...: it was changed or damaged, or this is another file's record"
        )
    return own, catalogued is not None
