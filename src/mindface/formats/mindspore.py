"""MindSpore checkpoints (`.ckpt`), read and written without MindSpore.

The layout is that of `mindspore/ccsrc/utils/checkpoint.proto`: `Checkpoint.value` (1) of
`{tag (1), tensor (2)}`, a tensor being `{dims (1), tensor_type (2), tensor_content (3)}`. A large
tensor stands sliced over several values of one tag. With `crc_check` the file ends in `crc_num`
and ten bytes of CRC-32.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mindface.errors import WeightsError
from mindface.formats.protobuf import WireError, fields, length_delimited, varint
from mindface.formats.tensors import (
    BFLOAT16,
    MAX_SIDES,
    MAX_TENSORS,
    fits,
    from_bytes,
    little_endian,
)

# AES-GCM, AES-CBC and SM4-CBC (mindspore/core/utils/crypto.h)
ENCRYPTED = (b"\xd8\x5e\x3a\x7f", b"\xd9\x5e\x3a\x7f", b"\xda\x5e\x3a\x7f")
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
    "BFloat16": BFLOAT16,
}
SKIPPED_TYPES = ("str", "random_op")


class _Slice(NamedTuple):
    kind: str
    shape: tuple[int, ...]
    content: memoryview


def read(path: Path, content: memoryview) -> dict[str, NDArray[Any]]:
    """The tensors of a checkpoint by name; bfloat16 becomes float32.

    Raises:
        WeightsError: the file is encrypted, cut, damaged, or holds a type we do not know.
    """
    if bytes(content[:4]) in ENCRYPTED:
        raise WeightsError(f"{path}: encrypted MindSpore checkpoint: save it without enc_key first")
    slices: dict[str, list[_Slice]] = {}
    try:
        for count, field in enumerate(fields(_without_crc(path, content))):
            if field.number != 1:
                raise WireError(f"unknown field {field.number}")
            if count >= MAX_TENSORS:
                raise WireError(f"more than {MAX_TENSORS} tensors")
            tag, tensor = _value(field.as_bytes())
            slices.setdefault(tag, []).append(tensor)
    except WireError as error:
        raise WeightsError(f"{path}: damaged MindSpore checkpoint: {error}") from error
    if not slices:
        raise WeightsError(f"{path}: MindSpore checkpoint without a tensor")
    return {
        tag: _array(path, tag, parts)
        for tag, parts in slices.items()
        if parts[0].kind not in SKIPPED_TYPES
    }


def write(arrays: Mapping[str, NDArray[Any]], slice_bytes: int = SLICE_BYTES) -> Iterator[bytes]:
    """The bytes of a checkpoint, piece by piece.

    Raises:
        WeightsError: an array has a type that MindSpore's checkpoints lack.
    """
    names = {dtype: name for name, dtype in TYPES.items()}
    for tag, array in arrays.items():
        plain = little_endian(array)
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


def _value(message: memoryview) -> tuple[str, _Slice]:
    tag, tensor = None, None
    for field in fields(message):
        if field.number == 1 and tag is None:
            tag = field.as_text()
        elif field.number == 2 and tensor is None:
            tensor = _tensor(field.as_bytes())
        else:
            raise WireError(f"unknown or repeated field {field.number} of a value")
    if tag is None or tensor is None:
        raise WireError("a value lacks its name or its tensor")
    return tag, tensor


def _tensor(message: memoryview) -> _Slice:
    dims: list[int] = []
    kind, content = None, None
    for field in fields(message):
        if field.number == 1:
            dims += field.as_ints()
        elif field.number == 2 and kind is None:
            kind = field.as_text()
        elif field.number == 3 and content is None:
            content = field.as_bytes()
        else:
            raise WireError(f"unknown or repeated field {field.number} of a tensor")
        if len(dims) > MAX_SIDES:
            raise WireError(f"a tensor of more than {MAX_SIDES} dimensions")
    if kind is None or content is None:
        raise WireError("a tensor lacks its type or its content")
    return _Slice(kind, tuple(dims), content)


def _array(path: Path, tag: str, parts: Sequence[_Slice]) -> NDArray[Any]:
    kind, shape, _ = parts[0]
    if any((part.kind, part.shape) != (kind, shape) for part in parts):
        raise WeightsError(f"{path}: {tag!r:.80} is sliced into parts that say different things")
    dtype = TYPES.get(kind)
    if dtype is None:
        raise WeightsError(f"{path}: {tag!r:.80} has the unknown type {kind!r:.40}")
    size = sum(len(part.content) for part in parts)
    if shape == (0,) and size == dtype.itemsize:
        shape = ()
    if not fits(shape, dtype, size):
        raise WeightsError(
            f"{path}: {tag!r:.80} says {kind} {shape}, but holds {size} bytes: damaged or cut"
        )
    return from_bytes((part.content for part in parts), dtype, shape)
