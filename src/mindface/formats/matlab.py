"""MATLAB 5 files (`.mat`) of numbers, text and cells, without MATLAB or SciPy.

A file is a header of 128 bytes and a row of elements: type, length, and data padded to eight
bytes. A variable is an element, deflated since MATLAB 7, whose data are elements again: its class,
its shape, its name, its content (MathWorks, "MAT-File Format", chapter 1).
"""

from __future__ import annotations

import math
import os
import struct
import zlib
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindface.errors import IntegrityError
from mindface.files import open_regular

Value = NDArray[Any] | str | list["Value"]
"""Numbers, a line of text, or the cells of a cell array."""

Element = tuple[int, memoryview]

_HEADER = 128
_ORDERS = {b"IM": "<", b"MI": ">"}
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8"} | {
    12: "i8",
    13: "u8",
}
_MATRIX, _DEFLATED = 14, 15
_TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_CELL_CLASS, _TEXT_CLASS, _NUMBER_CLASSES = 1, 4, range(6, 16)
_COMPLEX = 0x0800
_MAX_DEPTH = 8
_MAX_VARIABLE = 1 << 28


def read_mat(path: str | os.PathLike[str], names: Collection[str]) -> dict[str, Value]:
    """Reads variables of a MATLAB 5 file.

    Args:
        path: as MATLAB's `save` and `scipy.io.savemat` write it; not of `save -v7.3`, which is
            HDF5.
        names: of the variables; no other is read.

    Returns:
        The variables by name. Numbers have their shape, and the type that they are stored in,
        which may be narrower than their class. A cell array is a list, column by column.

    Raises:
        IntegrityError: the file cannot be read, is damaged or no MATLAB 5 file, a variable is
            missing, or one holds a structure, an object, or sparse or complex numbers.
    """
    try:
        with open_regular(path) as file:
            found = _variables(file.read(), names)
    except OSError as error:
        raise IntegrityError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, zlib.error) as error:
        raise IntegrityError(f"{path}: not a sound MATLAB 5 file: {error}") from error
    if missing := [name for name in names if name not in found]:
        raise IntegrityError(f"{path}: there is no variable {', '.join(missing)} in it")
    return found


def _variables(content: bytes, names: Collection[str]) -> dict[str, Value]:
    order = _ORDERS.get(content[_HEADER - 2 : _HEADER])
    if order is None:
        raise ValueError("its header is of another format (save it with  save -v7)")
    found = {}
    for kind, data in _elements(memoryview(content)[_HEADER:], order):
        if kind == _DEFLATED:
            ((kind, data),) = _elements(_inflated(data), order)
        if kind == _MATRIX:
            variable = _Matrix(data, order)
            if variable.name in names:
                found[variable.name] = variable.value()
    return found


def _inflated(data: memoryview) -> memoryview:
    inflater = zlib.decompressobj()
    content = inflater.decompress(data, _MAX_VARIABLE)
    if not inflater.eof:
        raise ValueError(f"a variable is cut, or over {_MAX_VARIABLE:,} bytes")
    return memoryview(content)


def _elements(data: memoryview, order: str) -> Iterator[Element]:
    """Type and data of each element; those of up to four bytes share a word with their tag."""
    at = 0
    while at < len(data):
        if len(data) - at < 8:
            raise ValueError("it ends within the tag of an element")
        kind, size = struct.unpack_from(f"{order}II", data, at)
        start = at + 8
        if kind >> 16:
            kind, size, start = kind & 0xFFFF, kind >> 16, at + 4
            if size > 4:
                raise ValueError(f"an element of {size} bytes stands in a place for 4")
        if size > len(data) - start:
            raise ValueError(f"an element of {size:,} bytes reaches beyond the end")
        yield kind, data[start : start + size]
        at = start + size
        if kind != _DEFLATED:
            at += -at % 8


class _Matrix:
    """A variable or a cell: its head is read at once, its content when asked for."""

    def __init__(self, data: memoryview, order: str, depth: int = 0) -> None:
        if depth > _MAX_DEPTH:
            raise ValueError(f"its cells are nested over {_MAX_DEPTH} deep")
        self._order, self._depth = order, depth
        self._parts = _elements(data, order)
        flags, shape = self._numbers(self._part()), self._numbers(self._part())
        whole = flags.dtype.kind == "u" and shape.dtype.kind == "i"
        if not (whole and len(flags) and len(shape) > 1 and shape.min() >= 0):
            raise ValueError("an array has no class or no shape")
        self._class, self._complex = int(flags[0]) & 0xFF, bool(int(flags[0]) & _COMPLEX)
        self._shape = tuple(shape.tolist())
        self.name = bytes(self._part()[1]).decode("ascii")

    def value(self) -> Value:
        if self._class == _CELL_CLASS:
            return self._cells()
        if self._class == _TEXT_CLASS:
            return self._text()
        if self._class in _NUMBER_CLASSES and not self._complex:
            numbers = self._numbers(self._part())
            self._check_count(len(numbers))
            return numbers.reshape(self._shape, order="F")
        raise ValueError(f"an array is of class {self._class}, not of real numbers, text or cells")

    def _cells(self) -> list[Value]:
        cells: list[Value] = []
        for kind, data in self._parts:
            if kind != _MATRIX:
                raise ValueError(f"a cell holds an element of type {kind}, not an array")
            cell = _Matrix(data, self._order, self._depth + 1).value() if data else np.zeros((0, 0))
            cells.append(cell)
        self._check_count(len(cells))
        return cells

    def _text(self) -> str:
        kind, data = self._part()
        if self._shape[0] > 1 or kind not in _TEXTS:
            raise ValueError(f"a text of shape {self._shape} and type {kind} is no line of text")
        wide = _TEXTS[kind].startswith(("utf-16", "utf-32"))
        suffix = {"<": "-le", ">": "-be"}[self._order] if wide else ""
        return bytes(data).decode(_TEXTS[kind] + suffix)

    def _part(self) -> Element:
        part = next(self._parts, None)
        if part is None:
            raise ValueError("an array ends before its content")
        return part

    def _numbers(self, element: Element) -> NDArray[Any]:
        kind, data = element
        if kind not in _NUMBERS:
            raise ValueError(f"numbers are stored as type {kind}")
        return np.frombuffer(data, self._order + _NUMBERS[kind])

    def _check_count(self, count: int) -> None:
        if count != math.prod(self._shape):
            raise ValueError(f"an array of shape {self._shape} has {count} values")
