"""What a file says of a tensor, held against the bytes it gives for it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_TENSORS = 100_000
MAX_SIDES = 32
BFLOAT16 = np.dtype([("bfloat16", "<u2")])


def fits(shape: Sequence[int], dtype: np.dtype[Any], size: int) -> bool:
    """Whether a tensor of this shape and type takes up exactly `size` bytes."""
    if len(shape) > MAX_SIDES or min(shape, default=0) < 0:
        return False
    if math.prod(side for side in shape if side) * dtype.itemsize >= 1 << 62:
        return False
    return math.prod(shape) * dtype.itemsize == size


def from_bytes(
    parts: Iterable[memoryview], dtype: np.dtype[Any], shape: Sequence[int]
) -> NDArray[Any]:
    """A writable array of its own memory from little-endian bytes that `fits` has passed.

    Args:
        parts: the bytes, in one or more pieces.
        dtype: `BFLOAT16` becomes float32.
        shape: of the whole tensor.
    """
    array = np.frombuffer(bytearray().join(parts), dtype)
    if dtype == BFLOAT16:
        array = array["bfloat16"].astype(np.uint32)
        array <<= 16
        array = array.view(np.float32)
    return array.reshape(shape)


def little_endian(array: NDArray[Any]) -> NDArray[Any]:
    """The same values, contiguous and little-endian."""
    plain = np.asarray(array, order="C")
    return plain.astype(plain.dtype.newbyteorder("<"), copy=False)
