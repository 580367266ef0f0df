"""MindSpore checkpoints (`.ckpt`), read and written without MindSpore.

The layout is that of `mindspore/ccsrc/utils/checkpoint.proto`: `Checkpoint.value` (1) of
`{tag (1), tensor (2)}`, a tensor being `{dims (1), tensor_type (2), tensor_content (3)}`. A large
tensor stands sliced over several values of one tag. With `crc_check` the file ends in `crc_num`
and ten bytes of CRC-32.
"""

from __future__ import annotations

import binascii
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindface.errors import WeightsError
from mindface.formats.protobuf import WireError, fields, length_delimited, varint

ENCRYPTED = (0x7F3A5ED8).to_bytes(4, "little"), (0x7F3A5ED8).to_bytes(4, "big")
CRC_MARK = b"crc_num"
CRC_BYTES = 10
SLICE_BYTES = 512 * 1024 * 1024
TYPES: dict[str, np.dtype[Any]] = {
    "Bool": np.dtype("?"),
    "Int8": np.dtype("i1"),
    "Int16": np.dtype("<i2"),
    "Int32": np.dtype("<i4"),
    "Int64": np.dtype("<i8"),
    "UInt8": np.dtype("u1"),
    "UInt16": np.dtype("<u2"),
    "UInt32": np.dtype("<u4"),
    "UInt64": np.dtype("<u8"),
    "Float16": np.dtype("<f2"),
    "Float32": np.dtype("<f4"),
    "Float64": np.dtype("<f8"),
}
SKIPPED_TYPES = ("str", "String")


def read(path: Path, content: memoryview) -> dict[str, NDArray[Any]]:
    """The tensors of a checkpoint by name; bfloat16 becomes float32.

    Raises:
        WeightsError: the file is encrypted, cut, damaged, or holds a type we do not know.
    """
    if bytes(content[:4]) in ENCRYPTED or bytes(content[8:12]) in ENCRYPTED:
        raise WeightsError(f"{path}: encrypted MindSpore checkpoint: save it without enc_key first")
    slices: dict[str, list[tuple[str, tuple[int, ...], memoryview]]] = {}
    try:
        for field in fields(_without_crc(path, content)):
            if field.number != 1:
                raise WireError(f"unknown field {field.number}")
            tag, tensor = _value(field.as_bytes())
            slices.setdefault(tag, []).append(tensor)
    except WireError as error:
        raise WeightsError(f"{path}: damaged MindSpore checkpoint: {error}") from error
    if not slices:
        raise WeightsError(f"{path}: MindSpore checkpoint without a tensor")
    return {
        tag: _array(path, tag, parts)
        for tag, parts in slices.items()
        if parts[0][0] not in SKIPPED_TYPES
    }


def write(arrays: Mapping[str, NDArray[Any]], slice_bytes: int = SLICE_BYTES) -> Iterator[bytes]:
    """The bytes of a checkpoint, piece by piece.

    Raises:
        WeightsError: an array has a type that MindSpore's checkpoints lack.
    """
    names = {dtype: name for name, dtype in TYPES.items()}
    for tag, array in arrays.items():
        plain = np.asarray(array, order="C")
        plain = plain.astype(plain.dtype.newbyteorder("<"), copy=False)
        if plain.dtype not in names:
            raise WeightsError(f"{tag!r}: MindSpore checkpoints have no type {plain.dtype}")
        dims = plain.shape or (0,)
        content = memoryview(plain.tobytes())
        kind = names[plain.dtype].encode()
        for start in range(0, max(len(content), 1), slice_bytes):
            head = [varint(1 << 3) + varint(side) for side in dims]
            tensor = [
                *head,
                *length_delimited(2, kind),
                *length_delimited(3, content[start : start + slice_bytes]),
            ]
            value = [*length_delimited(1, tag.encode()), *length_delimited(2, *tensor)]
            yield from map(bytes, length_delimited(1, *value))


def _without_crc(path: Path, content: memoryview) -> memoryview:
    tail = len(CRC_MARK) + CRC_BYTES
    if len(content) < tail or bytes(content[-tail:-CRC_BYTES]) != CRC_MARK:
        return content
    body, stated = content[:-tail], int.from_bytes(content[-CRC_BYTES:], "big")
    if binascii.crc32(body) != stated:
        raise WeightsError(f"{path}: damaged MindSpore checkpoint: its CRC does not match")
    return body


def _value(message: memoryview) -> tuple[str, tuple[str, tuple[int, ...], memoryview]]:
    tag, tensor = None, None
    for field in fields(message):
        if field.number == 1:
            tag = field.as_text()
        elif field.number == 2:
            tensor = _tensor(field.as_bytes())
        else:
            raise WireError(f"unknown field {field.number} of a value")
    if tag is None or tensor is None:
        raise WireError("a value lacks its name or its tensor")
    return tag, tensor


def _tensor(message: memoryview) -> tuple[str, tuple[int, ...], memoryview]:
    dims: list[int] = []
    kind, content = None, None
    for field in fields(message):
        if field.number == 1:
            dims += field.as_ints()
        elif field.number == 2:
            kind = field.as_text()
        elif field.number == 3:
            content = field.as_bytes()
        else:
            raise WireError(f"unknown field {field.number} of a tensor")
    if kind is None or content is None:
        raise WireError("a tensor lacks its type or its content")
    return kind, tuple(dims), content


def _array(
    path: Path, tag: str, parts: Iterable[tuple[str, tuple[int, ...], memoryview]]
) -> NDArray[Any]:
    kinds, shapes, contents = zip(*parts, strict=True)
    kind, shape = kinds[0], shapes[0]
    if len(set(kinds)) > 1:
        raise WeightsError(f"{path}: {tag!r} is sliced into parts of different types")
    bfloat16 = kind == "BFloat16"
    dtype = np.dtype("<u2") if bfloat16 else TYPES.get(kind)
    if dtype is None:
        raise WeightsError(f"{path}: {tag!r} has the unknown type {kind!r}")
    size = sum(map(len, contents))
    if shape in ((), (0,)) and size == dtype.itemsize:
        shape = ()
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != size:
        raise WeightsError(
            f"{path}: {tag!r} says {kind} {shape}, but holds {size} bytes: damaged or cut"
        )
    array = np.frombuffer(b"".join(contents), dtype)
    if bfloat16:
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return array.reshape(shape)
