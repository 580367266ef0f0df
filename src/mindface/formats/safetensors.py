"""Safetensors: a JSON header and the tensors behind it.

https://huggingface.co/docs/safetensors: eight bytes of header length, little-endian; the header
maps a name to `{"dtype", "shape", "data_offsets"}`; then the bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindface.errors import WeightsError

MAX_HEADER_BYTES = 100_000_000
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
}


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
    body = content[8 + length :]
    return {
        name: _array(path, name, facts, body)
        for name, facts in header.items()
        if name != "__metadata__"
    }


def write(arrays: Mapping[str, NDArray[Any]]) -> Iterator[bytes]:
    """The bytes of a file, piece by piece.

    Raises:
        WeightsError: an array has a type that the format lacks.
    """
    names = {dtype: name for name, dtype in TYPES.items()}
    header, plain, offset = {}, [], 0
    for name, array in arrays.items():
        value = np.asarray(array, order="C")
        value = value.astype(value.dtype.newbyteorder("<"), copy=False)
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


def _array(path: Path, name: str, facts: Any, body: memoryview) -> NDArray[Any]:
    try:
        kind, shape, (start, end) = facts["dtype"], facts["shape"], facts["data_offsets"]
        sound = all(type(value) is int and value >= 0 for value in (*shape, start, end))
    except (TypeError, KeyError, ValueError) as error:
        raise WeightsError(f"{path}: {name!r} is not described as a tensor") from error
    bfloat16 = kind == "BF16"
    dtype = np.dtype("<u2") if bfloat16 else TYPES.get(kind) if isinstance(kind, str) else None
    if dtype is None:
        raise WeightsError(f"{path}: {name!r} has the unknown type {kind!r}")
    if not sound or end > len(body) or math.prod(shape) * dtype.itemsize != end - start:
        raise WeightsError(f"{path}: {name!r} says {kind} {shape}, which its bytes are not")
    array = np.frombuffer(body[start:end], dtype)
    if bfloat16:
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return array.reshape(shape)
