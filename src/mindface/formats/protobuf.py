"""The wire format of Protocol Buffers, as much as checkpoints and ONNX files need.

https://protobuf.dev/programming-guides/encoding/. Nothing is copied: a length-delimited field is a
view into the file, and a length beyond its end is an error, so a hostile file cannot make the
reader allocate.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MAX_PACKED = 1000


class WireError(ValueError):
    """Bytes that are no protobuf message."""


class Field(NamedTuple):
    """One field of a message: its number, its wire type, and its number or bytes."""

    number: int
    kind: int
    value: int | memoryview

    def as_bytes(self) -> memoryview:
        """The bytes of a length-delimited field."""
        if self.kind != BYTES or not isinstance(self.value, memoryview):
            raise WireError(f"field {self.number} should be length-delimited")
        return self.value

    def as_text(self) -> str:
        """The text of a string field."""
        try:
            return str(self.as_bytes(), "utf-8")
        except UnicodeDecodeError as error:
            raise WireError(f"field {self.number} is no UTF-8 text") from error

    def as_ints(self) -> list[int]:
        """The signed 64-bit numbers of an integer field, packed or not; at most `MAX_PACKED`."""
        if isinstance(self.value, int):
            return [_signed(self.value)]
        packed, position = self.as_bytes(), 0
        numbers: list[int] = []
        while position < len(packed):
            number, position = _varint(packed, position)
            numbers.append(_signed(number))
            if len(numbers) > MAX_PACKED:
                raise WireError(f"field {self.number} has more than {MAX_PACKED} numbers")
        return numbers


def fields(message: memoryview) -> Iterator[Field]:
    """The fields of a message, in the order they stand.

    Raises:
        WireError: a field reaches beyond the end, or has a wire type that does not exist.
    """
    position, end = 0, len(message)
    while position < end:
        key, position = _varint(message, position)
        number, kind = key >> 3, key & 7
        if number == 0:
            raise WireError("field number 0")
        if kind == VARINT:
            value: int | memoryview
            value, position = _varint(message, position)
        elif kind in (BYTES, FIXED64, FIXED32):
            length = {FIXED64: 8, FIXED32: 4}.get(kind, -1)
            if kind == BYTES:
                length, position = _varint(message, position)
            if length > end - position:
                raise WireError(f"field {number} is cut: {length} bytes, {end - position} left")
            value = message[position : position + length]
            position += length
        else:
            raise WireError(f"field {number} has the unknown wire type {kind}")
        yield Field(number, kind, value)


def varint(number: int) -> bytes:
    """Encodes a number; negative ones as their 64-bit two's complement."""
    number &= (1 << 64) - 1
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def length_delimited(number: int, *parts: bytes | memoryview) -> list[bytes | memoryview]:
    """The pieces of a length-delimited field whose content is `parts`."""
    return [varint(number << 3 | BYTES), varint(sum(map(len, parts))), *parts]


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        if position >= len(message) or shift > 63:
            raise WireError("a number is cut or longer than 64 bits")
        byte = message[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number & (1 << 64) - 1, position
        shift += 7


def _signed(number: int) -> int:
    return number - (1 << 64) if number >= 1 << 63 else number
