"""What an ONNX file holds, checked before an engine sees it and without the onnx package.

The field numbers are those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
Tensors are measured where they lie, never copied.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mindface.errors import IntegrityError
from mindface.formats.mapped import mapped
from mindface.formats.protobuf import VARINT, Field, WireError, fields

MAX_BYTES = 2 * 1024**3
MAX_DEPTH = 8
MAX_FIELDS = 2_000_000
MAX_ELEMENTS = 1 << 31
MAX_SIDES = 32
DOMAINS = ("", "ai.onnx", "com.microsoft")
IR_VERSIONS = range(3, 100)

# TensorProto.DataType: name, bits of an element, and the typed field that may hold it.
TYPES = {
    1: ("float32", 32, 4),
    2: ("uint8", 8, 5),
    3: ("int8", 8, 5),
    4: ("uint16", 16, 5),
    5: ("int16", 16, 5),
    6: ("int32", 32, 5),
    7: ("int64", 64, 7),
    9: ("bool", 8, 5),
    10: ("float16", 16, 5),
    11: ("float64", 64, 10),
    12: ("uint32", 32, 11),
    13: ("uint64", 64, 11),
    16: ("bfloat16", 16, 5),
    17: ("float8e4m3fn", 8, 5),
    18: ("float8e4m3fnuz", 8, 5),
    19: ("float8e5m2", 8, 5),
    20: ("float8e5m2fnuz", 8, 5),
    21: ("uint4", 4, None),
    22: ("int4", 4, None),
    23: ("float4e2m1", 4, None),
}
FIXED_FIELDS = {4: 4, 10: 8}
RAW_FIELD = 9
CHUNK = 1 << 20
NO_TENSOR = "no tensor"

# The names that a node may use: those of its own graph last, those of the graphs around it before.
Scopes = tuple[set[str], ...]


@dataclass(frozen=True)
class Value:
    """An input or output of a graph.

    Attributes:
        name: by which engines know it.
        dtype: such as "float32".
        shape: a number or a symbol a side, None for a side that is not said; None where no
            shape is said at all.
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...] | None


@dataclass(frozen=True)
class OnnxSummary:
    """What an ONNX file holds.

    Attributes:
        ir_version: of the file format.
        opsets: operator set version by domain, "" being ONNX's own.
        inputs: without those that initialisers give.
        outputs: in the graph's order.
        nodes: how many, those of subgraphs included.
        operators: how often each operator stands in it, as `domain.name` outside ONNX's own.
        initializers: how many.
    """

    ir_version: int
    opsets: dict[str, int]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    nodes: int
    operators: dict[str, int]
    initializers: int


def check_onnx(path: str | os.PathLike[str]) -> OnnxSummary:
    """Checks the structure of an ONNX file.

    Refused are: damaged or oversized files, other operator domains than `DOMAINS`, data outside
    the file, sparse tensors, local functions, training graphs, subgraphs deeper than `MAX_DEPTH`,
    tensors that are not as large as they say, and nodes that use what nothing before them gives.
    What a sound graph makes an engine allocate while running cannot be known from its structure.

    Args:
        path: the file.

    Raises:
        IntegrityError: the structure is unsound; the message says where.
        WeightsError: the file cannot be read at all.
    """
    path = Path(path)
    content = mapped(path)
    if len(content) > MAX_BYTES:
        raise IntegrityError(f"{path}: {len(content)} bytes, over the limit of {MAX_BYTES}")
    try:
        return _Walk().model(content)
    except WireError as error:
        raise IntegrityError(f"{path}: unsound ONNX file: {error}") from error


class _Walk:
    """One pass over a file, counting what it meets so that no file can keep it busy."""

    def __init__(self) -> None:
        self.seen = 0
        self.operators: Counter[str] = Counter()
        self.initializers = 0

    def fields(self, message: memoryview) -> Iterator[Field]:
        for field in fields(message):
            self.seen += 1
            if self.seen > MAX_FIELDS:
                raise WireError(f"more than {MAX_FIELDS} fields")
            yield field

    def model(self, message: memoryview) -> OnnxSummary:
        ir_version, graph, opsets = 0, None, {}
        for field in self.fields(message):
            match field.number:
                case 1:
                    ir_version = _number(field)
                case 7 if graph is None:
                    graph = field.as_bytes()
                case 7:
                    raise WireError("two graphs")
                case 8:
                    domain, version = self.opset(field.as_bytes())
                    opsets[domain] = version
                case 20:
                    raise WireError("it carries a training graph")
                case 25:
                    raise WireError("it has local functions: inline them before (onnx.inliner)")
        if ir_version not in IR_VERSIONS:
            raise WireError(f"its ir_version is {ir_version}, so it is no ONNX file we know")
        if graph is None:
            raise WireError("it has no graph")
        if not {"", "ai.onnx"} & opsets.keys():
            raise WireError("it names no version of ONNX's operators")
        inputs, outputs = self.graph(graph, ())
        if not inputs or not outputs:
            raise WireError("its graph lacks an input or an output")
        for value in inputs + outputs:
            if value.dtype == NO_TENSOR:
                raise WireError(f"{value.name!r:.80} is no tensor")
        return OnnxSummary(
            ir_version,
            opsets,
            inputs,
            outputs,
            self.operators.total(),
            dict(self.operators),
            self.initializers,
        )

    def opset(self, message: memoryview) -> tuple[str, int]:
        domain, version = "", 0
        for field in self.fields(message):
            if field.number == 1:
                domain = field.as_text()
            elif field.number == 2:
                version = _number(field)
        if domain not in DOMAINS:
            raise WireError(f"operators of the domain {domain!r:.60} are not allowed")
        if not 1 <= version <= 1000:
            raise WireError(f"version {version} of the operators of {domain or 'ai.onnx'!r}")
        return domain, version

    def graph(
        self, message: memoryview, outer: Scopes
    ) -> tuple[tuple[Value, ...], tuple[Value, ...]]:
        """The inputs and outputs of a graph whose nodes also see the names in `outer`."""
        if len(outer) > MAX_DEPTH:
            raise WireError(f"subgraphs deeper than {MAX_DEPTH}")
        nodes: list[memoryview] = []
        inputs: list[Value] = []
        outputs: list[Value] = []
        initializers: set[str] = set()
        for field in self.fields(message):
            match field.number:
                case 1:
                    nodes.append(field.as_bytes())
                case 5:
                    _add(self.tensor(field.as_bytes()), initializers)
                    self.initializers += 1
                case 11:
                    inputs.append(self.value(field.as_bytes()))
                case 12:
                    outputs.append(self.value(field.as_bytes()))
                case 15:
                    raise WireError("it has sparse tensors")
        known: set[str] = set()
        for value in inputs:
            _add(value.name, known)
        known |= initializers
        scopes = (*outer, known)
        for node in nodes:
            self.node(node, scopes)
        for value in outputs:
            if not any(value.name in scope for scope in scopes):
                raise WireError(f"nothing gives the output {value.name!r:.80}")
        return tuple(v for v in inputs if v.name not in initializers), tuple(outputs)

    def node(self, message: memoryview, scopes: Scopes) -> None:
        """Checks a node and adds its outputs to the innermost scope."""
        name, domain = "", ""
        made: list[str] = []
        attributes: list[memoryview] = []
        for field in self.fields(message):
            match field.number:
                case 1:
                    used = field.as_text()
                    if used and not any(used in scope for scope in scopes):
                        raise WireError(f"a node uses {used!r:.80}, which nothing before it gives")
                case 2:
                    made.append(field.as_text())
                case 4:
                    name = field.as_text()
                case 5:
                    attributes.append(field.as_bytes())
                case 7:
                    domain = field.as_text()
        if not name or domain not in DOMAINS:
            raise WireError(f"operator {name!r:.60} of the domain {domain!r:.60} is not allowed")
        self.operators[f"{domain}.{name}" if domain == "com.microsoft" else name] += 1
        for attribute in attributes:
            self.attribute(attribute, scopes)
        for output in filter(None, made):
            _add(output, scopes[-1])

    def attribute(self, message: memoryview, scopes: Scopes) -> None:
        single = False
        for field in self.fields(message):
            match field.number:
                case 5 | 6 if single:
                    raise WireError("an attribute holds a tensor or a graph twice")
                case 5 | 10:
                    self.tensor(field.as_bytes())
                case 6 | 11:
                    self.graph(field.as_bytes(), scopes)
                case 21:
                    raise WireError("an attribute refers to a function's")
                case 22 | 23:
                    raise WireError("it has sparse tensors")
            single |= field.number in (5, 6)

    def tensor(self, message: memoryview) -> str:
        """Checks that a tensor is as large as it says; returns its name."""
        name, kind = "", 0
        dims: list[int] = []
        held: Counter[int] = Counter()
        for field in self.fields(message):
            match field.number:
                case 1:
                    dims += field.as_ints()
                    _elements(dims)
                case 2:
                    kind = _number(field)
                case 3:
                    raise WireError("a tensor is cut into segments")
                case 4 | 5 | 7 | 10 | 11:
                    held[field.number] += _count(field)
                case 6:
                    raise WireError("a tensor holds text")
                case 8:
                    name = field.as_text()
                case 9:
                    held[RAW_FIELD] = len(field.as_bytes())
                case 13:
                    raise WireError("a tensor lies outside the file, which is not allowed")
                case 14 if _number(field) != 0:
                    raise WireError("a tensor lies outside the file, which is not allowed")
        _check_size(name, dims, kind, +held)
        return name

    def value(self, message: memoryview) -> Value:
        value = Value("", NO_TENSOR, None)
        for field in self.fields(message):
            if field.number == 1:
                value = replace(value, name=field.as_text())
            elif field.number == 2:
                dtype, shape = self.type(field.as_bytes())
                value = replace(value, dtype=dtype, shape=shape)
        return value

    def type(self, message: memoryview) -> tuple[str, tuple[int | str | None, ...] | None]:
        kind, shape = 0, None
        for field in self.fields(message):
            if field.number != 1:
                continue
            for inner in self.fields(field.as_bytes()):
                if inner.number == 1:
                    kind = _number(inner)
                elif inner.number == 2:
                    shape = self.shape(inner.as_bytes())
        return (TYPES[kind][0] if kind in TYPES else NO_TENSOR), shape

    def shape(self, message: memoryview) -> tuple[int | str | None, ...]:
        sides: list[int | str | None] = []
        for field in self.fields(message):
            if field.number == 1:
                sides.append(self.side(field.as_bytes()))
                _elements([side if isinstance(side, int) else 1 for side in sides])
        return tuple(sides)

    def side(self, message: memoryview) -> int | str | None:
        side: int | str | None = None
        for field in self.fields(message):
            if field.number == 1:
                side = _number(field)
            elif field.number == 2:
                side = field.as_text()
        if isinstance(side, int) and side < 0:
            return None
        return side


def _number(field: Field) -> int:
    if field.kind != VARINT:
        raise WireError(f"field {field.number} should be a number")
    return field.as_ints()[0]


def _add(name: str, names: set[str]) -> None:
    if name in names:
        raise WireError(f"{name!r:.80} is given twice")
    names.add(name)


def _elements(dims: list[int]) -> int:
    """How many elements a tensor of these sides has."""
    if len(dims) > MAX_SIDES or min(dims, default=0) < 0:
        raise WireError(f"a tensor of the sides {dims!s:.80}")
    if math.prod(side for side in dims if side) > MAX_ELEMENTS:
        raise WireError(f"a tensor of the sides {dims!s:.80}: over {MAX_ELEMENTS} elements")
    return math.prod(dims)


def _count(field: Field) -> int:
    """How many numbers a typed data field holds, packed or not."""
    if isinstance(field.value, int):
        return 1
    size = len(field.value)
    if field.number in FIXED_FIELDS:
        if size % FIXED_FIELDS[field.number]:
            raise WireError(f"the data of a tensor is cut: {size} bytes")
        return size // FIXED_FIELDS[field.number]
    if size and field.value[-1] >= 0x80:
        raise WireError("the data of a tensor is cut within a number")
    lasts = (np.frombuffer(field.value[at : at + CHUNK], "i1") for at in range(0, size, CHUNK))
    return sum(int(np.count_nonzero(chunk >= 0)) for chunk in lasts)


def _check_size(name: str, dims: list[int], kind: int, held: Counter[int]) -> None:
    if kind not in TYPES:
        raise WireError(f"the tensor {name!r:.80} has the type {kind}, which is not allowed")
    dtype, bits, typed = TYPES[kind]
    elements = _elements(dims)
    expected = {RAW_FIELD: -(-elements * bits // 8)}
    if typed:
        expected[typed] = elements
    if not held and not elements:
        return
    if len(held) != 1 or any(expected.get(place) != size for place, size in held.items()):
        raise WireError(f"the tensor {name!r:.80} does not hold {dtype} {dims}")
