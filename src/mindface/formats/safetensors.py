"""Safetensors: a JSON header and the tensors behind it.

https://huggingface.co/docs/safetensors: eight bytes of header length, little-endian; the header
maps a name to `{"dtype", "shape", "data_offsets"}`; then the bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mindface.errors import WeightsError
from mindface.formats.tensors import BFLOAT16, MAX_TENSORS, fits, from_bytes, little_endian

MAX_HEADER_BYTES = 10_000_000
METADATA = "__metadata__"
TYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "I8": np.dtype("i1"),
    "I16": np.dtype("<i2"),
    "I32": np.dtype("<i4"),
    "I64": np.dtype("<i8"),
    "U8": np.dtype("u1"),
    "U16": np.dtype("<u2"),
    "U32": np.dtype("<u4"),
    "U64": np.dtype("<u8"),
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "BF16": BFLOAT16,
}


class _Tensor(NamedTuple):
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int
    end: int


def looks_like(content: memoryview) -> bool:
    """Whether a file may be of this format: a sane header length and an opening brace."""
    length = int.from_bytes(content[:8], "little")
    return 2 <= length <= len(content) - 8 and bytes(content[8:9]) == b"{"


def read(path: Path, content: memoryview) -> dict[str, NDArray[Any]]:
    """The tensors of a file by name; bfloat16 becomes float32.

    Raises:
        WeightsError: the header is damaged, or a tensor does not fit its bytes.
    """
    length = int.from_bytes(content[:8], "little")
    if length > min(len(content) - 8, MAX_HEADER_BYTES):
        raise WeightsError(f"{path}: safetensors header of {length} bytes: damaged or cut")
    try:
        header = json.loads(bytes(content[8 : 8 + length]))
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: safetensors header is no JSON: {error}") from error
    if not isinstance(header, dict):
        raise WeightsError(f"{path}: safetensors header is no table of tensors")
    header.pop(METADATA, None)
    if len(header) > MAX_TENSORS:
        raise WeightsError(f"{path}: {len(header)} tensors, more than {MAX_TENSORS}")
    tensors = {name: _described(path, name, facts) for name, facts in header.items()}
    body = content[8 + length :]
    _check_tiling(path, tensors, len(body))
    return {
        name: from_bytes([body[tensor.start : tensor.end]], tensor.dtype, tensor.shape)
        for name, tensor in tensors.items()
    }


def write(arrays: Mapping[str, NDArray[Any]]) -> Iterator[bytes]:
    """The bytes of a file, piece by piece.

    Raises:
        WeightsError: an array has a type that the format lacks.
    """
    names = {dtype: name for name, dtype in TYPES.items()}
    header, plain, offset = {}, [], 0
    for name, array in arrays.items():
        value = little_endian(array)
        if name == METADATA:
            raise WeightsError(f"{name!r} cannot be the name of a tensor in safetensors")
        if value.dtype not in names:
            raise WeightsError(f"{name!r}: safetensors has no type {value.dtype}")
        end = offset + value.nbytes
        facts = {"dtype": names[value.dtype], "shape": list(value.shape)}
        header[name] = facts | {"data_offsets": [offset, end]}
        plain.append(value)
        offset = end
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little")
    yield text
    for value in plain:
        yield value.tobytes()


def _described(path: Path, name: str, facts: Any) -> _Tensor:
    try:
        kind, shape, (start, end) = facts["dtype"], facts["shape"], facts["data_offsets"]
        sound = all(type(value) is int and value >= 0 for value in (*shape, start, end))
    except (TypeError, KeyError, ValueError) as error:
        raise WeightsError(f"{path}: {name!r:.80} is not described as a tensor") from error
    dtype = TYPES.get(kind) if isinstance(kind, str) else None
    if dtype is None:
        raise WeightsError(f"{path}: {name!r:.80} has the unknown type {kind!r:.40}")
    if not sound or not fits(shape, dtype, end - start):
        raise WeightsError(f"{path}: {name!r:.80} is no {kind} tensor of its shape: damaged")
    return _Tensor(dtype, tuple(shape), start, end)


def _check_tiling(path: Path, tensors: Mapping[str, _Tensor], size: int) -> None:
    """Refuses holes, overlaps and cut files, as the reference implementation does."""
    position = 0
    for start, end in sorted((tensor.start, tensor.end) for tensor in tensors.values()):
        if start != position:
            raise WeightsError(f"{path}: its tensors overlap or leave a gap at byte {start}")
        position = end
    if position != size:
        raise WeightsError(
            f"{path}: its tensors take {position} bytes, but {size} are there: damaged or cut"
        )
