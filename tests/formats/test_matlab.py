"""MATLAB 5 files: equal to what SciPy reads, and never more than an error where damaged."""

import io
import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.io import savemat
from wider_sample import cells

from mindface.errors import IntegrityError
from mindface.formats.matlab import read_mat

numbers = arrays.arrays(
    st.sampled_from(["u1", "i1", "<u2", "<i2", "<u4", "<i4", "<i8", "<u8", "<f4", "<f8"]),
    arrays.array_shapes(min_dims=2, max_dims=3, min_side=0, max_side=4),
)
lines = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=12)
values = st.recursive(numbers | lines, lambda inner: st.lists(inner, max_size=4), max_leaves=12)


def as_mat(value):
    return cells([as_mat(each) for each in value]) if isinstance(value, list) else value


def same(found, value) -> bool:
    if isinstance(value, list):
        return len(found) == len(value) and all(map(same, found, value))
    if isinstance(value, str):
        return found == value
    return found.shape == value.shape and np.array_equal(
        found, value, equal_nan=value.dtype.kind == "f"
    )


@settings(max_examples=60, deadline=None)
@given(value=values, compressed=st.booleans())
def test_what_scipy_writes(value, compressed, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "a.mat"
    savemat(path, {"other": np.eye(2), "value": as_mat(value)}, do_compression=compressed)
    found = read_mat(path, ["value"])
    assert found.keys() == {"value"}
    assert same(found["value"], value)


def swapped(order: str) -> bytes:
    """One variable, `x = uint16([1 2; 3 4])`, in a byte order."""

    def element(kind, data):
        return struct.pack(f"{order}II", kind, len(data)) + data + b"\0" * (-len(data) % 8)

    parts = [
        element(6, struct.pack(f"{order}II", 11, 0)),
        element(5, struct.pack(f"{order}ii", 2, 2)),
        struct.pack(f"{order}I", 1 << 16 | 1) + b"x\0\0\0",
        element(4, struct.pack(f"{order}4H", 1, 3, 2, 4)),
    ]
    mark = struct.pack(f"{order}H", 0x4D49)
    return b" " * 124 + struct.pack(f"{order}H", 0x100) + mark + element(14, b"".join(parts))


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders(order, tmp_path):
    path = tmp_path / "x.mat"
    path.write_bytes(swapped(order))
    assert read_mat(path, ["x"])["x"].tolist() == [[1, 2], [3, 4]]


def small() -> bytes:
    file = io.BytesIO()
    savemat(file, {"x": cells(["text", np.arange(6).reshape(2, 3), cells([np.zeros((0, 0))])])})
    return file.getvalue()


def packed(content: bytes) -> bytes:
    """The same with its variable deflated."""
    data = zlib.compress(content[128:])
    return content[:128] + struct.pack("<II", 15, len(data)) + data


@pytest.mark.parametrize(
    "make", [lambda: small(), lambda: packed(small())], ids=["plain", "deflated"]
)
def test_every_cut_is_noticed(make, tmp_path):
    content = make()
    path = tmp_path / "cut.mat"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(IntegrityError):
            read_mat(path, ["x"])


@settings(max_examples=300, deadline=None)
@given(at=st.integers(128, len(small()) - 1), byte=st.integers(0, 255))
def test_a_changed_byte_is_an_error_or_another_value(at, byte, tmp_path_factory):
    content = bytearray(small())
    content[at] = byte
    path = tmp_path_factory.getbasetemp() / "changed.mat"
    path.write_bytes(content)
    with suppress(IntegrityError):
        read_mat(path, ["x"])


def saved(**variables) -> bytes:
    file = io.BytesIO()
    savemat(file, variables)
    return file.getvalue()


def nested(depth: int):
    value = "bottom"
    for _ in range(depth):
        value = cells([value])
    return value


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "another format"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 200, "save -v7"),
        (saved(y=np.eye(2)), "no variable x"),
        (saved(x={"a": 1}), "class 2"),
        (saved(x=np.array([[1 + 2j]])), "real numbers"),
        (saved(x=np.array(["ab", "cd"])), "no line of text"),
        (saved(x=nested(12)), "nested over 8 deep"),
        (packed(saved(x=np.zeros((1, 1)))[:-8]), "reaches beyond the end"),
        (small()[:128] + struct.pack("<II", 15, 4) + b"nope", "not a sound"),
        (small()[:128] + struct.pack("<II", 14, 0xFFFFFFF0), "reaches beyond the end"),
    ],
)
def test_what_cannot_be_read(content, message, tmp_path):
    path = tmp_path / "x.mat"
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match=message):
        read_mat(path, ["x"])


def test_a_variable_that_inflates_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr("mindface.formats.matlab._MAX_VARIABLE", 1 << 16)
    path = tmp_path / "x.mat"
    path.write_bytes(packed(saved(x=np.zeros((100, 100)))))
    with pytest.raises(IntegrityError, match="over 65,536 bytes"):
        read_mat(path, ["x"])


def test_no_file(tmp_path):
    with pytest.raises(IntegrityError, match="No such file"):
        read_mat(tmp_path / "x.mat", ["x"])
