"""InsightFace's verification sets (`lfw.bin`, `cfp_fp.bin`, `agedb_30.bin` ...), never unpickled.

Such a set is a pickle of `(pictures, labels)` with two encoded pictures a label (InsightFace,
`recognition/arcface_torch/eval/verification.py`, `load_bin`). A pickle is a program for a stack
machine. The machine below knows the few instructions that a set needs, under Python 2 and 3, and
calls nothing that a file names: it does itself what the seven names in `_NAMES` would do.
"""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Sequence
from enum import Enum, auto
from io import BufferedReader
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindface.errors import IntegrityError
from mindface.files import open_regular


class _Name(Enum):
    ENCODE = auto()
    NDARRAY = auto()
    DTYPE = auto()
    RECONSTRUCT = auto()
    SCALAR = auto()


class _Dtype(Enum):
    UINT8 = auto()
    BOOL = auto()


class _Array:
    """Stands in for an array of uint8 in one dimension; empty until its state is set."""

    content = b""


_NAMES = {
    ("_codecs", "encode"): _Name.ENCODE,
    ("numpy", "ndarray"): _Name.NDARRAY,
    ("numpy", "dtype"): _Name.DTYPE,
    ("numpy.core.multiarray", "_reconstruct"): _Name.RECONSTRUCT,
    ("numpy.core.multiarray", "scalar"): _Name.SCALAR,
    ("numpy._core.multiarray", "_reconstruct"): _Name.RECONSTRUCT,
    ("numpy._core.multiarray", "scalar"): _Name.SCALAR,
}
_DTYPES = {"u1": _Dtype.UINT8, "b1": _Dtype.BOOL}
_CONSTANTS = {
    pickle.NONE: None,
    pickle.NEWTRUE: True,
    pickle.NEWFALSE: False,
    pickle.EMPTY_TUPLE: (),
}
_INTEGERS = {pickle.BININT1: 1, pickle.BININT2: 2}
_TUPLES = {pickle.TUPLE1: 1, pickle.TUPLE2: 2, pickle.TUPLE3: 3}

# Bytes that the length, or the number in the memo, takes up after each instruction.
_BYTES = {
    pickle.SHORT_BINBYTES: 1,
    pickle.BINBYTES: 4,
    pickle.BINBYTES8: 8,
    pickle.SHORT_BINSTRING: 1,
    pickle.BINSTRING: 4,
}
_TEXTS = {pickle.SHORT_BINUNICODE: 1, pickle.BINUNICODE: 4, pickle.BINUNICODE8: 8}
_PUTS = {pickle.BINPUT: 1, pickle.LONG_BINPUT: 4}
_GETS = {pickle.BINGET: 1, pickle.LONG_BINGET: 4}

_PYTHON2_ESCAPE = re.compile(rb"""\\(?:[\\'"nrt]|x[0-9a-f]{2})""")


def read_bin(path: str | os.PathLike[str]) -> tuple[list[bytes], NDArray[np.bool_]]:
    """Reads a verification set; no code in it is ever run.

    Args:
        path: a pickle of `(pictures, labels)` of any protocol. A picture is `bytes`, a `str` of
            Python 2 or a NumPy array `(n,)` uint8; a label is a bool, 0, 1 or a NumPy bool.

    Returns:
        The 2 N encoded pictures, of which 2 i and 2 i + 1 are pair i, and `(N,)` bool: whether
        the two show one person.

    Raises:
        IntegrityError: the file cannot be read, is damaged, is no such set, or names anything
            that a set does not need.
    """
    try:
        with open_regular(path) as file:
            return _pairs(_Machine(file).run())
    except OSError as error:
        raise IntegrityError(f"{path}: cannot be read: {error.strerror or error}") from error
    except LookupError as error:
        raise IntegrityError(f"{path}: a damaged pickle: it uses what it never made") from error
    except (ValueError, MemoryError) as error:
        reason = str(error) or "it does not fit into memory"
        raise IntegrityError(
            f"{path}: not a verification set of InsightFace: {reason:.300}"
        ) from error


def _pairs(loaded: Any) -> tuple[list[bytes], NDArray[np.bool_]]:
    match loaded:
        case [list() | tuple() as pictures, list() | tuple() as labels]:
            pass
        case _:
            raise ValueError("it does not hold a list of pictures and a list of labels")
    if not pictures or len(pictures) != 2 * len(labels):
        raise ValueError(
            f"it has {len(pictures)} pictures and {len(labels)} labels, not two pictures a label"
        )
    return [_picture(i, picture) for i, picture in enumerate(pictures)], _labels(labels)


def _picture(index: int, picture: Any) -> bytes:
    content = picture.content if isinstance(picture, _Array) else picture
    if not isinstance(content, bytes) or not content:
        raise ValueError(f"picture {index} is empty or not the bytes of one")
    return content


def _labels(labels: Sequence[Any]) -> NDArray[np.bool_]:
    for index, label in enumerate(labels):
        if not isinstance(label, int) or label not in (0, 1):
            raise ValueError(f"label {index} is neither true nor false")
    return np.array(labels, np.bool_)


class _Machine:
    """Runs a pickle as far as a set needs it.

    Nothing that a file declares is allocated before it is known that the file is long enough,
    and what is made takes memory in proportion to the file.
    """

    def __init__(self, file: BufferedReader) -> None:
        self.file = file
        self.size = self.left = os.fstat(file.fileno()).st_size
        self.encodable = self.size  # else one text in the file could be encoded many times
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """What is on top of the stack at the end.

        Raises:
            ValueError: the file is truncated, or has an instruction that no set needs.
            LookupError: it takes something from the stack or the memo that is not there.
        """
        while (code := self.take(1)) != pickle.STOP:
            if not (self.push(code) or self.push_line(code) or self.remember(code)):
                self.work(code)
        return self.stack.pop()

    def push(self, code: bytes) -> bool:
        """Pushes a value whose length is given; False where `code` is another instruction."""
        value: Any
        if code in _BYTES:
            value = self.take(self.number(_BYTES[code]))
        elif code in _TEXTS:
            value = self.take(self.number(_TEXTS[code])).decode()
        elif code in _CONSTANTS:
            value = _CONSTANTS[code]
        elif code in _INTEGERS:
            value = self.number(_INTEGERS[code])
        elif code == pickle.BININT:
            value = int.from_bytes(self.take(4), "little", signed=True)
        elif code == pickle.LONG1:
            value = int.from_bytes(self.take(self.number(1)), "little", signed=True)
        else:
            return False
        self.stack.append(value)
        return True

    def push_line(self, code: bytes) -> bool:
        """Pushes a value written as a line, as protocol 0 does; False for other instructions."""
        value: Any
        if code == pickle.STRING:
            value = _python2_str(self.line())
        elif code == pickle.UNICODE:
            value = self.line().decode("raw_unicode_escape")
        elif code == pickle.INT:
            line = self.line()
            value = line == b"01" if line in (b"00", b"01") else int(line)
        elif code == pickle.LONG:
            value = int(self.line().removesuffix(b"L"))
        elif code == pickle.GLOBAL:
            value = _named(self.line().decode(), self.line().decode())
        else:
            return False
        self.stack.append(value)
        return True

    def remember(self, code: bytes) -> bool:
        """Puts into the memo or gets from it; False for other instructions."""
        if code in _PUTS:
            self.memo[self.number(_PUTS[code])] = self.stack[-1]
        elif code in _GETS:
            self.stack.append(self.memo[self.number(_GETS[code])])
        elif code == pickle.MEMOIZE:
            self.memo[len(self.memo)] = self.stack[-1]
        elif code == pickle.PUT:
            self.memo[int(self.line())] = self.stack[-1]
        elif code == pickle.GET:
            self.stack.append(self.memo[int(self.line())])
        else:
            return False
        return True

    def work(self, code: bytes) -> None:
        """Takes values from the stack and makes one of them."""
        stack = self.stack
        if code == pickle.MARK:
            self.marks.append(len(stack))
        elif code == pickle.EMPTY_LIST:
            stack.append([])
        elif code == pickle.LIST:
            stack.append(self.pop_to_mark())
        elif code == pickle.APPEND:
            item = stack.pop()
            _extend(stack[-1], [item])
        elif code == pickle.APPENDS:
            items = self.pop_to_mark()
            _extend(stack[-1], items)
        elif code == pickle.TUPLE:
            stack.append(tuple(self.pop_to_mark()))
        elif code in _TUPLES:
            stack.append(tuple(reversed([stack.pop() for _ in range(_TUPLES[code])])))
        elif code == pickle.STACK_GLOBAL:
            name, module = stack.pop(), stack.pop()
            stack.append(_named(module, name))
        elif code == pickle.REDUCE:
            arguments, function = stack.pop(), stack.pop()
            stack.append(self.called(function, arguments))
        elif code == pickle.BUILD:
            state = stack.pop()
            _build(stack[-1], state)
        elif code == pickle.PROTO:
            self.take(1)
        elif code == pickle.FRAME:
            self.take(8)
        else:
            raise ValueError(
                f"it is no pickle or one of something else: no set has the instruction {code!r}, "
                f"which stands at byte {self.size - self.left - 1}"
            )

    def called(self, function: Any, arguments: Any) -> Any:
        """What a function that a file calls would return."""
        match function, arguments:
            case _Name.ENCODE, (str(text), "latin1"):
                self.encodable -= len(text)
                if self.encodable < 0:
                    raise ValueError("it says more bytes than the file has: damaged or hostile")
                return text.encode("latin-1")
            case _Name.DTYPE, (str() | bytes() as kind, _, _) if _text(kind) in _DTYPES:
                return _DTYPES[_text(kind)]
            case _Name.RECONSTRUCT, (_Name.NDARRAY, _, _):
                return _Array()
            case _Name.SCALAR, (_Dtype.BOOL, bytes(content)) if len(content) == 1:
                return content != b"\0"
        name = function.name.lower() if isinstance(function, _Name) else "something"
        raise ValueError(f"it calls {name} as no set needs it: damaged or hostile")

    def take(self, count: int) -> bytes:
        """The next bytes of the file."""
        if count > self.left:
            raise ValueError("it is truncated")
        self.left -= count
        return self.file.read(count)

    def number(self, width: int) -> int:
        """The next bytes of the file as a number."""
        return int.from_bytes(self.take(width), "little")

    def line(self) -> bytes:
        """The rest of a line of the file."""
        line = self.file.readline()
        if not line.endswith(b"\n"):
            raise ValueError("it is truncated")
        self.left -= len(line)
        return line[:-1]

    def pop_to_mark(self) -> list[Any]:
        """Takes what was pushed since the last mark."""
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items


def _named(module: Any, name: Any) -> _Name:
    if not isinstance(module, str) or not isinstance(name, str):
        raise ValueError("it names something that is no text: damaged or hostile")
    if (module, name) not in _NAMES:
        raise ValueError(
            f"it names {f'{module}.{name}'!r:.100}, which no set needs: damaged or hostile"
        )
    return _NAMES[module, name]


def _extend(target: Any, items: list[Any]) -> None:
    if not isinstance(target, list):
        raise ValueError("it appends to something that is no list: damaged or hostile")
    target.extend(items)


def _build(target: Any, state: Any) -> None:
    """Sets the state of an array; that of a type is checked and says nothing new."""
    match target, state:
        case _Dtype(), (3, "|" | b"|", None, None, None, -1, -1, 0):
            pass
        case _Array(), (1, (int(count),), _Dtype.UINT8, _, bytes(content)) if count == len(content):
            target.content = content
        case _:
            raise ValueError("it holds something else than arrays (n,) of uint8")


def _text(text: str | bytes) -> str:
    """A `str` of either Python."""
    return text if isinstance(text, str) else text.decode("latin-1")


def _python2_str(line: bytes) -> bytes:
    """The value of a `str` that Python 2 wrote as its `repr`."""
    inner = line[1:-1]
    quoted = len(line) > 1 and line[:1] == line[-1:] in (b"'", b'"')
    if not quoted or b"\\" in _PYTHON2_ESCAPE.sub(b"", inner):
        raise ValueError("it has a string that Python 2 would not write")
    return inner.decode("unicode_escape").encode("latin-1")
