"""What is written is read back, by us and by the libraries whose formats these are."""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from mindface.formats import mindspore, safetensors
from mindface.formats.protobuf import WireError, fields, length_delimited, varint

DTYPES = [np.dtype(f"{order}{kind}") for order in "<>" for kind in ("f2", "f4", "f8", "i2", "u8")]
DTYPES += [np.dtype(kind) for kind in ("?", "i1", "u1", "i4", "i8", "u2", "u4")]
ANY = arrays(st.sampled_from(DTYPES), array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
NAMES = st.text(max_size=12).filter(lambda name: name != "__metadata__")
TENSORS = st.dictionaries(NAMES, ANY, min_size=1, max_size=5)
WHERE = Path("written")


def equal(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> bool:
    return list(left) == list(right) and all(
        left[name].dtype == right[name].dtype.newbyteorder("<")
        and left[name].shape == right[name].shape
        and np.array_equal(left[name], right[name], equal_nan=left[name].dtype.kind == "f")
        for name in left
    )


@settings(deadline=None, max_examples=150)
@given(TENSORS, st.sampled_from([8, 24, 1 << 20]))
def test_checkpoints_give_back_what_was_written(
    tensors: dict[str, np.ndarray], slice_bytes: int
) -> None:
    content = b"".join(mindspore.write(tensors, slice_bytes))
    assert equal(mindspore.read(WHERE, memoryview(content)), tensors)


@settings(deadline=None, max_examples=150)
@given(TENSORS)
def test_safetensors_give_back_what_was_written(tensors: dict[str, np.ndarray]) -> None:
    content = b"".join(safetensors.write(tensors))
    assert safetensors.looks_like(memoryview(content))
    assert equal(safetensors.read(WHERE, memoryview(content)), tensors)


@settings(deadline=None, max_examples=100)
@given(TENSORS)
def test_the_safetensors_library_reads_ours_and_we_read_its(
    tensors: dict[str, np.ndarray],
) -> None:
    library = pytest.importorskip("safetensors.numpy")
    theirs = library.load(b"".join(safetensors.write(tensors)))
    assert equal({name: theirs[name] for name in tensors}, tensors)
    native = {name: array.astype(array.dtype.newbyteorder("=")) for name, array in tensors.items()}
    ours = safetensors.read(WHERE, memoryview(library.save(native, {"format": "np"})))
    assert equal({name: ours[name] for name in tensors}, tensors)


@pytest.mark.parametrize("kind", ["bfloat16", "float16", "float64", "int64", "bool", "uint8"])
def test_what_torch_saves_as_safetensors_is_read(kind: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    save_file = pytest.importorskip("safetensors.torch").save_file
    tensor = torch.tensor([[0.0, 1.0], [1.5, -3.0]]).abs().to(getattr(torch, kind))
    save_file({"w": tensor}, tmp_path / "a.safetensors")
    content = memoryview((tmp_path / "a.safetensors").read_bytes())
    expected = tensor.float().numpy() if kind == "bfloat16" else tensor.numpy()
    assert equal(safetensors.read(WHERE, content), {"w": expected})


@given(st.integers(-(1 << 63), (1 << 63) - 1), st.integers(1, (1 << 29) - 1))
def test_numbers_come_through_the_wire(value: int, number: int) -> None:
    single = varint(number << 3) + varint(value)
    packed = b"".join(length_delimited(number, varint(value), varint(value)))
    (one,), (two,) = fields(memoryview(single)), fields(memoryview(packed))
    assert (one.number, one.as_ints()) == (number, [value])
    assert (two.number, two.as_ints()) == (number, [value, value])


@given(st.binary(max_size=64))
def test_any_bytes_are_fields_or_refused(content: bytes) -> None:
    try:
        found = list(fields(memoryview(content)))
    except WireError:
        return
    sizes = [len(field.value) for field in found if not isinstance(field.value, int)]
    assert sum(sizes) <= len(content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\x08", "is cut"),
        (b"\x00\x00", "field number 0"),
        (b"\x0b", "unknown wire type 3"),
        (b"\x0a\x05ab", "is cut: 5 bytes, 2 left"),
        (b"\x0d\x00\x00\x00", "is cut: 4 bytes, 3 left"),
        (b"\x08" + b"\xff" * 10 + b"\x01", "longer than 64 bits"),
    ],
)
def test_what_is_no_message(content: bytes, reason: str) -> None:
    with pytest.raises(WireError, match=reason):
        list(fields(memoryview(content)))


def test_fields_of_another_kind_are_refused() -> None:
    fixed, number, text = fields(memoryview(b"\x0d\0\0\0\0\x10\x05\x1a\x01\xff"))
    with pytest.raises(WireError, match="field 1 should be length-delimited"):
        fixed.as_bytes()
    with pytest.raises(WireError, match="field 2 should be length-delimited"):
        number.as_text()
    with pytest.raises(WireError, match="no UTF-8"):
        text.as_text()
    (many,) = fields(memoryview(b"".join(length_delimited(1, bytes(1001)))))
    with pytest.raises(WireError, match="more than 1000 numbers"):
        many.as_ints()


def test_an_official_safetensors_header_is_ours() -> None:
    content = b"".join(safetensors.write({"w": np.float32([1])}))
    (length,) = struct.unpack("<Q", content[:8])
    assert length % 8 == 0
    assert content[8 : 8 + length].rstrip() == (
        b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    )
