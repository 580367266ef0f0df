"""Weight files read by their content: every kind, every dtype, everything that is refused."""

import binascii
import json
import os
import pickle
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mindface.errors import MissingExtraError, WeightsError
from mindface.formats import mindspore, read_weights, write_weights
from mindface.formats.protobuf import length_delimited, varint

torch = pytest.importorskip("torch")

ARRAYS = {
    "conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "bn.moving_mean": np.array([1.5, -2], np.float16),
    "step": np.array(7, np.int32),
    "mask": np.array([True, False]),
    "none": np.zeros(0, np.float32),
}


def value(tag: str, kind: str, dims: list[int], content: bytes) -> bytes:
    tensor = [varint(1 << 3) + varint(side) for side in dims]
    tensor += [*length_delimited(2, kind.encode()), *length_delimited(3, content)]
    inner = [*length_delimited(1, tag.encode()), *length_delimited(2, *tensor)]
    return b"".join(length_delimited(1, *inner))


def with_header(header: object, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def same(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> bool:
    return list(left) == list(right) and all(
        left[name].dtype == right[name].dtype and np.array_equal(left[name], right[name])
        for name in left
    )


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors", ".pth", ".pt"])
def test_content_not_suffix_says_what_a_file_is(suffix: str, tmp_path: Path) -> None:
    write_weights(tmp_path / f"a{suffix}", ARRAYS)
    shutil.copy(tmp_path / f"a{suffix}", tmp_path / "weights.bin")
    read = read_weights(tmp_path / "weights.bin")
    assert same(read, ARRAYS)
    assert all(array.flags.writeable for array in read.values())
    assert [path.name for path in tmp_path.glob("*.tmp")] == []


@pytest.mark.parametrize(
    ("kind", "dims", "content", "expected"),
    [
        ("Float32", [2], np.float32([1, 2]).tobytes(), np.float32([1, 2])),
        ("Float16", [1, 1], np.float16(3).tobytes(), np.float16([[3]])),
        ("BFloat16", [2], b"\x80\x3f\x00\xc0", np.float32([1, -2])),
        ("Int64", [0], np.int64(-5).tobytes(), np.array(-5)),
        ("Float32", [], np.float32(4).tobytes(), np.array(4, np.float32)),
        ("Float32", [0], b"", np.zeros(0, np.float32)),
        ("UInt8", [3], b"\1\2\3", np.uint8([1, 2, 3])),
        ("Bool", [2], b"\1\0", np.array([True, False])),
    ],
)
def test_types_and_scalars_of_mindspore(
    kind: str, dims: list[int], content: bytes, expected: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "a.ckpt"
    path.write_bytes(value("x", kind, dims, content))
    assert same(read_weights(path), {"x": expected})


def test_slices_of_one_tensor_become_one(tmp_path: Path) -> None:
    whole = np.arange(10, dtype=np.float32).reshape(5, 2)
    path = tmp_path / "a.ckpt"
    path.write_bytes(b"".join(mindspore.write({"a": ARRAYS["step"], "b": whole}, slice_bytes=12)))
    assert path.read_bytes().count(b"\x01b") == 4
    assert same(read_weights(path), {"a": ARRAYS["step"], "b": whole})


def test_text_and_random_states_of_a_checkpoint_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    text = value("epoch", "str", [0], "x".encode("utf-32-le"))
    seed = value("random_op", "random_op", [0], b"seed")
    path.write_bytes(text + seed + value("w", "UInt8", [1], b"\7"))
    assert same(read_weights(path), {"w": np.uint8([7])})


def test_a_trailing_crc_is_checked(tmp_path: Path) -> None:
    path, body = tmp_path / "a.ckpt", value("w", "UInt8", [1], b"\7")
    path.write_bytes(body + b"crc_num" + binascii.crc32(body).to_bytes(10, "big"))
    assert same(read_weights(path), {"w": np.uint8([7])})
    path.write_bytes(path.read_bytes().replace(b"\7", b"\6", 1))
    with pytest.raises(WeightsError, match="CRC"):
        read_weights(path)


FLOAT = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
REFUSED = {
    "aes-gcm": (b"\xd8\x5e\x3a\x7f" + bytes(60), "encrypted"),
    "aes-cbc": (b"\xd9\x5e\x3a\x7f" + bytes(60), "encrypted"),
    "sm4": (b"\xda\x5e\x3a\x7f" + bytes(60), "encrypted"),
    "no wire format": (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "longer than 64 bits"),
    "hostile length": (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "is cut"),
    "truncated": (value("w", "Float32", [1], bytes(4))[:-1], "is cut"),
    "too few bytes": (value("w", "Float32", [2], bytes(4)), r"says Float32 \(2,\), but holds 4"),
    "hostile shape": (value("w", "Float32", [1 << 40, 1 << 40], b""), "holds 0 bytes"),
    "empty and huge": (value("w", "Float32", [0, 1 << 62, 1 << 62], b""), "holds 0 bytes"),
    "negative side": (value("w", "Float32", [-1, -1], bytes(4)), "holds 4 bytes"),
    "many sides": (value("w", "Float32", [1] * 40, bytes(4)), "more than 32 dimensions"),
    "unknown type": (value("w", "Quaternion", [1], bytes(4)), "unknown type 'Quaternion'"),
    "two meanings": (
        value("w", "UInt8", [2], b"\1") + value("w", "Int8", [2], b"\1"),
        "say different things",
    ),
    "only text": (value("epoch", "str", [0], b"a"), "holds no weights"),
    "text file": (b"hello", "damaged MindSpore checkpoint"),
    "html": (b"<!DOCTYPE html><html></html>", "damaged MindSpore checkpoint"),
    "long header": ((1 << 62).to_bytes(8, "little") + b"{}", "damaged"),
    "no json": (with_header(b"{nonsense}"), "no JSON"),
    "deep json": (with_header(b'{"a":' + b"[" * 100_000), "no JSON"),
    "no tensors": (with_header({"__metadata__": {}}), "holds no weights"),
    "no description": (with_header({"w": [1]}), "'w' is not described"),
    "no such type": (with_header({"w": FLOAT | {"dtype": "F31"}}, bytes(4)), "unknown type 'F31'"),
    "typeless": (with_header({"w": FLOAT | {"dtype": []}}, bytes(4)), "unknown type"),
    "no shape": (with_header({"w": FLOAT | {"shape": [1.0]}}, bytes(4)), "no F32 tensor"),
    "bad offsets": (with_header({"w": FLOAT | {"data_offsets": [4, 0]}}, bytes(4)), "no F32"),
    "beyond the end": (with_header({"w": FLOAT}, bytes(3)), "take 4 bytes, but 3 are there"),
    "a hidden rest": (with_header({"w": FLOAT}, bytes(5)), "take 4 bytes, but 5 are there"),
    "overlap": (with_header({"v": FLOAT, "w": FLOAT}, bytes(4)), "overlap or leave a gap"),
    "gap": (with_header({"w": FLOAT | {"data_offsets": [4, 8]}}, bytes(8)), "leave a gap"),
    "huge sides": (
        with_header({"w": FLOAT | {"shape": [0, 1 << 80], "data_offsets": [0, 0]}}),
        "no F32 tensor",
    ),
    "empty zip": (b"PK\x05\x06" + bytes(18), "damaged"),
    "cut zip": (b"PK\x03\x04" + bytes(40), "damaged PyTorch archive"),
    "empty pickle": (pickle.dumps({}), "no PyTorch weights"),
    "empty": (b"", "the file is empty"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_unsound_files_are_refused_with_path_and_reason(name: str, tmp_path: Path) -> None:
    content, reason = REFUSED[name]
    path = tmp_path / "weights.ckpt"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=reason) as caught:
        read_weights(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value)) < 600


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.ckpt")
    (tmp_path / "loop.ckpt").symlink_to(tmp_path / "loop.ckpt")
    cases = {
        tmp_path: "a folder, not a file",
        tmp_path / "fifo.ckpt": "a FIFO, not a file",
        tmp_path / "loop.ckpt": "symbolic link",
        tmp_path / "missing.ckpt": "No such file",
        tmp_path / "n\0ul.ckpt": "null byte",
        Path("/dev/zero"): "a device, not a file",
    }
    for path, reason in cases.items():
        with pytest.raises(WeightsError, match=reason):
            read_weights(path)


class Canary:
    """A pickle that leaves a file behind when it is opened unguarded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def zipped(path: Path, pickled: bytes, compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3\n")


def tarred(path: Path, pickled: bytes) -> None:
    path.with_suffix(".raw").write_bytes(pickled)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for member in ("storages", "tensors", "pickle"):
            archive.add(path.with_suffix(".raw"), member)


def numpy_saved(path: Path, canary: Canary) -> None:
    with path.open("wb") as file:
        np.save(file, np.array([canary], object), allow_pickle=True)


HIDDEN_IN = {
    "zip": lambda path, canary: torch.save({"w": canary}, path),
    "legacy": lambda path, canary: torch.save(
        {"w": canary}, path, _use_new_zipfile_serialization=False
    ),
    "bare zip": lambda path, canary: zipped(path, pickle.dumps(canary)),
    "bare pickle": lambda path, canary: path.write_bytes(pickle.dumps(canary)),
    "bare pickle, protocol 0": lambda path, canary: path.write_bytes(pickle.dumps(canary, 0)),
    "tar": lambda path, canary: tarred(path, pickle.dumps(canary)),
    "numpy": lambda path, canary: numpy_saved(path, canary),
    "checkpoint": lambda path, canary: path.write_bytes(
        value("w", "UInt8", [1], pickle.dumps(canary))
    ),
    "safetensors": lambda path, canary: path.write_bytes(
        with_header({"__metadata__": {"a": pickle.dumps(canary, 0).decode()}})
    ),
}


@pytest.mark.parametrize("suffix", [".pth", ".ckpt", ".safetensors", ".bin"])
@pytest.mark.parametrize("layout", HIDDEN_IN)
def test_a_canary_pickle_is_never_executed(layout: str, suffix: str, tmp_path: Path) -> None:
    path, canary = tmp_path / f"hostile{suffix}", tmp_path / "executed"
    HIDDEN_IN[layout](path, Canary(canary))
    with pytest.raises(WeightsError, match=r"hostile\."):
        read_weights(path)
    assert not canary.exists()


def test_the_canary_would_sing(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Canary(tmp_path / "executed")))
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize("zip_layout", [True, False])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"net_state_dict": state, "iters": 1},
        lambda state: {"model": {"state_dict": state}, "optimizer": {"lr": 0.1}},
        lambda state: {"backbone": state},
        lambda state: {"ema": state},
        lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
    ],
)
def test_state_dicts_of_pytorch_are_unwrapped(wrap, zip_layout: bool, tmp_path: Path) -> None:
    state = {"w": torch.ones(2, 2), "half": torch.tensor([1.5], dtype=torch.bfloat16)}
    path = tmp_path / "a.pth"
    saved = wrap(state | {"name": "not a tensor", "also": None})
    torch.save(saved, path, _use_new_zipfile_serialization=zip_layout)
    expected = {"w": np.ones((2, 2), np.float32), "half": np.float32([1.5])}
    assert same(read_weights(path), expected)


@pytest.mark.parametrize(
    ("saved", "reason"),
    [
        ({"epoch": 1}, "without a tensor"),
        (torch.ones(3), "without a tensor"),
        ({"w": torch.ones(1).expand(1 << 40)}, "far more than the file holds"),
        ({"w": torch.ones(4).to(torch.float8_e4m3fn)}, "no PyTorch weights"),
        ({"w": torch.ones(4, device="meta")}, "no PyTorch weights"),
        (torch.nn.Linear(2, 2), "no PyTorch weights"),
        ({"w": torch.ones(1), "module.w": torch.ones(1)}, "both with and without"),
    ],
)
def test_pytorch_files_that_hold_no_usable_weights(
    saved: object, reason: str, tmp_path: Path
) -> None:
    torch.save(saved, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=rf"a\.pth: .*{reason}"):
        read_weights(tmp_path / "a.pth")


def test_a_zip_bomb_is_refused_before_torch_sees_it(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "bomb.pth"
    zipped(path, bytes(50_000_000), zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch saw it"))
    with pytest.raises(WeightsError, match="compressed"):
        read_weights(path)


def test_a_pytorch_file_without_torch_names_the_extra(tmp_path: Path, monkeypatch) -> None:
    write_weights(tmp_path / "a.pth", ARRAYS)
    monkeypatch.setitem(sys.modules, "torch", None)
    for act in (read_weights, lambda path: write_weights(path, ARRAYS)):
        with pytest.raises(MissingExtraError, match=r"pip install 'mindface\[train\]'"):
            act(tmp_path / "a.pth")


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors", ".pth"])
@pytest.mark.parametrize(
    "array", [np.array(["text"]), np.array([None]), np.zeros(2, [("a", "f4")])]
)
def test_arrays_of_no_weight_are_not_written(
    suffix: str, array: np.ndarray, tmp_path: Path
) -> None:
    (tmp_path / f"a{suffix}").write_bytes(b"before")
    with pytest.raises(WeightsError, match=r"'w'.* type"):
        write_weights(tmp_path / f"a{suffix}", {"w": array})
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"before"]


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors", ".pth"])
def test_writing_where_nothing_can_be_written(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"folder{suffix}").mkdir()
    for path in (tmp_path / "missing" / f"a{suffix}", tmp_path / f"folder{suffix}"):
        with pytest.raises(WeightsError, match="cannot be written"):
            write_weights(path, ARRAYS)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors", ".pth"])
def test_any_layout_in_memory_is_written_alike(suffix: str, tmp_path: Path) -> None:
    plain = np.arange(6, dtype="<f4").reshape(2, 3)
    for array in (plain.astype(">f4"), np.asfortranarray(plain), np.flip(np.flip(plain).copy())):
        write_weights(tmp_path / f"a{suffix}", {"w": array})
        assert same(read_weights(tmp_path / f"a{suffix}"), {"w": plain})


@pytest.mark.parametrize("suffix", [".onnx", "", ".h5"])
def test_unknown_suffixes_and_names_are_refused(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="as the suffix"):
        write_weights(tmp_path / f"a{suffix}", ARRAYS)
    for name in ("a.ckpt", "a.safetensors"):
        with pytest.raises(WeightsError, match="no Unicode text"):
            write_weights(tmp_path / name, {"\ud800": ARRAYS["step"]})
    with pytest.raises(WeightsError, match="cannot be the name"):
        write_weights(tmp_path / "a.safetensors", {"__metadata__": ARRAYS["step"]})
    assert not list(tmp_path.iterdir())


@pytest.mark.shared
@pytest.mark.parametrize(
    ("file", "net"),
    [
        ("mobilefacenet", "arcface_mobilefacenet"),
        ("retinaface_mobilenet025", "retinaface_mobilenet025"),
    ],
)
def test_real_checkpoints_name_what_mindspore_listed(
    file: str, net: str, shared: Path, tmp_path: Path
) -> None:
    path = shared / "data" / "mindface_ckpt" / f"{file}.ckpt"
    arrays = read_weights(path)
    listed = json.loads((shared / "data" / "mindface_nets" / f"{net}.json").read_text())
    shapes = {name: tuple(shape) for name, shape, _ in listed["parameters"]}
    assert {name: array.shape for name, array in arrays.items()} == shapes
    write_weights(tmp_path / "again.ckpt", arrays)
    assert (tmp_path / "again.ckpt").read_bytes() == path.read_bytes()


@pytest.mark.shared
def test_real_files_of_pytorch_are_read(shared: Path) -> None:
    files = [*shared.glob("data/weights/*.*"), *shared.glob("data/models/*.pth")]
    assert len(files) == 5
    for path in files:
        assert all(array.dtype.kind in "fi" for array in read_weights(path).values())
