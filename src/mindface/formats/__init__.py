"""Weight files of other projects, read and written without their frameworks.

`read_weights` and `write_weights` are the doors; a file's content, not its name, says what it is.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mindface.errors import WeightsError
from mindface.formats import mindspore, pytorch, safetensors
from mindface.formats.mapped import mapped

PICKLE, TAR = b"\x80", b"ustar"
SUFFIXES = (".ckpt", ".safetensors", ".pth", ".pt")


def read_weights(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """Reads weights by name from MindSpore `.ckpt`, `.safetensors`, or PyTorch `.pth` / `.tar`.

    Args:
        path: the file; its content decides its format.

    Returns:
        Name -> array, names without a leading `module.`, bfloat16 as float32.

    Raises:
        WeightsError: the file cannot be read, is damaged, is encrypted, or would run code.
        MissingExtraError: a PyTorch file, and torch is not installed.
    """
    path = Path(path)
    content = mapped(path)
    head = bytes(content[:4])
    if bytes(content[257:262]) == TAR:
        raise WeightsError(f"{path}: a tar archive of PyTorch before 0.1.10: save it anew first")
    if head == pytorch.ZIP or head[:1] == PICKLE:
        arrays = pytorch.read(path)
    elif safetensors.looks_like(content):
        arrays = safetensors.read(path, content)
    elif path.suffix == ".onnx":
        raise WeightsError(f"{path}: an ONNX graph, not weights to put into a network")
    else:
        arrays = mindspore.read(path, content)
    if not arrays:
        raise WeightsError(f"{path}: holds no weights")
    plain = {name.removeprefix("module."): array for name, array in arrays.items()}
    if len(plain) < len(arrays):
        raise WeightsError(f"{path}: holds names both with and without 'module.' before them")
    return plain


def write_weights(path: str | os.PathLike[str], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Writes weights whole or not at all, in the format that the suffix names.

    Args:
        path: ends in .ckpt, .safetensors, .pth or .pt.
        arrays: name -> array.

    Raises:
        WeightsError: the suffix is unknown, a type cannot be written, or the file cannot.
        MissingExtraError: a PyTorch file, and torch is not installed.
    """
    path = Path(path)
    partial = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        if path.suffix == ".ckpt":
            _write(partial, mindspore.write(arrays))
        elif path.suffix == ".safetensors":
            _write(partial, safetensors.write(arrays))
        elif path.suffix in (".pth", ".pt"):
            pytorch.write(partial, arrays)
        else:
            raise WeightsError(f"{path}: give one of {', '.join(SUFFIXES)} as the suffix")
        partial.replace(path)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be written: {error.strerror}") from error
    except UnicodeEncodeError as error:
        raise WeightsError(f"{path}: the name {error.object!r} is no Unicode text") from error
    finally:
        with suppress(OSError):
            partial.unlink()


def _write(path: Path, pieces: Iterable[bytes]) -> None:
    with path.open("wb") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
