"""`mindface export`: the ONNX file, its record, and when neither is written."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import mindface.export
from mindface.cli.export import export
from mindface.errors import ModelError, WeightsError
from mindface.export import export_model
from mindface.models import Convention, create_model
from mindface.names import to_pytorch
from mindface.weights import network_arrays
from mindface.zoo.record import ModelRecord, read_record

SMALL = ["retinaface_mobilenet025", "arcface_mobilefacenet", "mobilefacenet_112x96"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("exported")
    for name in SMALL:
        torch.manual_seed(0)
        export_model(create_model(name), folder / f"{name}.onnx", licence="MIT")
    return {name: folder / f"{name}.onnx" for name in SMALL}


def axes(value: onnx.ValueInfoProto) -> list[str | int]:
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


@pytest.mark.parametrize(
    ("name", "images", "outputs"),
    [
        (
            "retinaface_mobilenet025",
            ["batch", 3, "height", "width"],
            {
                "boxes": ["batch", "anchors", 4],
                "scores": ["batch", "anchors", 2],
                "landmarks": ["batch", "anchors", 10],
            },
        ),
        ("arcface_mobilefacenet", ["batch", 3, 112, 112], {"embeddings": ["batch", 512]}),
        ("mobilefacenet_112x96", ["batch", 3, 112, 96], {"embeddings": ["batch", 128]}),
    ],
)
def test_inputs_outputs_and_axes_have_names(
    name: str,
    images: list[str | int],
    outputs: dict[str, list[str | int]],
    exported: dict[str, Path],
) -> None:
    graph = onnx.load(exported[name]).graph
    assert {value.name: axes(value) for value in graph.input} == {"images": images}
    assert {value.name: axes(value) for value in graph.output} == outputs
    norms = [node for node in graph.node if node.op_type == "BatchNormalization"]
    assert len(norms) <= 1, "a batch norm after a convolution is folded into it"


@pytest.mark.parametrize("name", SMALL)
def test_the_record_describes_the_file(name: str, exported: dict[str, Path]) -> None:
    path = exported[name]
    record = read_record(path.with_suffix(".json"))
    assert record.name == record.architecture == name
    assert record.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert record.bytes == path.stat().st_size
    assert (record.licence, record.licence_class) == ("MIT", "permissive")
    if name == "retinaface_mobilenet025":
        assert record.detection
        assert record.preprocessing.color == "bgr"
        assert record.preprocessing.mean == (104, 117, 123)
    else:
        assert record.recognition
        assert record.preprocessing.size
        assert record.recognition.template.endswith("x".join(map(str, record.preprocessing.size)))


@pytest.mark.parametrize("size", [(96, 96), (101, 333)])
def test_a_detector_takes_any_size(size: tuple[int, int], exported: dict[str, Path]) -> None:
    torch.manual_seed(0)
    network = create_model("retinaface_mobilenet025").eval()
    images = 50 * torch.randn(2, 3, *size)
    session = onnxruntime.InferenceSession(exported["retinaface_mobilenet025"])
    with torch.inference_mode():
        outputs = network(images)
    for ours, theirs in zip(outputs, session.run(None, {"images": images.numpy()}), strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-4 * ours.abs().max().item())


def test_the_same_weights_give_the_same_bytes(exported: dict[str, Path], tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = create_model("mobilefacenet_112x96").train()
    export_model(network, tmp_path / "again.onnx", licence="MIT")
    assert (tmp_path / "again.onnx").read_bytes() == exported["mobilefacenet_112x96"].read_bytes()
    assert network.training


def test_the_transformer_exports_too(tmp_path: Path) -> None:
    record = export_model(create_model("arcface_vit_t"), tmp_path / "vit.onnx")
    assert (record.licence, record.licence_class) == ("unknown", "unknown")
    assert record.recognition
    assert record.recognition.size == 512


def perturbed(network: torch.nn.Module, sample: torch.Tensor, facts: Convention) -> bytes:
    with torch.no_grad():
        network.linear1.bn.bias[0] += 0.01
    content = to_onnx(network, sample, facts)
    with torch.no_grad():
        network.linear1.bn.bias[0] -= 0.01
    return content


to_onnx = mindface.export.to_onnx


def test_an_export_that_differs_is_refused_and_nothing_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net.onnx").write_text("what was there before")
    monkeypatch.setattr(mindface.export, "to_onnx", perturbed)
    with pytest.raises(WeightsError, match=r"exported embeddings differ .* nothing was written"):
        export_model(create_model("mobilefacenet_112x96"), tmp_path / "net.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]
    assert (tmp_path / "net.onnx").read_text() == "what was there before"


def test_weights_that_give_no_numbers_are_refused(tmp_path: Path) -> None:
    network = create_model("mobilefacenet_112x96")
    with torch.no_grad():
        network.linear1.bn.weight[0] = torch.nan
    with pytest.raises(WeightsError, match="differ from the network's by nan"):
        export_model(network, tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("network", "path", "message"),
    [
        (torch.nn.Identity(), "net.onnx", "Identity has no record: build it with create_model"),
        (torch.nn.Identity(), "net.bin", r"net\.bin: .* the name must end in \.onnx"),
    ],
)
def test_what_cannot_be_exported_is_refused(
    network: torch.nn.Module, path: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=message):
        export_model(network, tmp_path / path)


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("Apache-2.0", "permissive"),
        ("CC-BY-NC-SA-4.0", "non-commercial"),
        ("InsightFace, non-commercial research", "non-commercial"),
        ("unknown", "unknown"),
        ("see README", "unknown"),
    ],
)
def test_licences_fall_into_classes(licence: str, expected: str) -> None:
    assert mindface.export._licence_class(licence) == expected


@pytest.mark.parametrize(
    "arguments",
    [
        ["export", "arcface_r50", "--weights", "w.pth", "--output", "x.onnx"],
        ["convert", "w.pth", "w.ckpt"],
    ],
)
def test_without_torch_the_commands_name_the_extra(arguments: list[str]) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from mindface.cli.main import main\n"
        f"sys.argv = ['mindface', *{arguments}]; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 7, done.stderr
    assert done.stderr.count("\n") == 1
    assert "pip install 'mindface[train]'" in done.stderr


def test_the_command_exports_a_weight_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = create_model("mobilefacenet_112x96")
    weights = {key: torch.tensor(a) for key, a in to_pytorch(network_arrays(network)).items()}
    torch.save({"epoch": 3, "net_state_dict": weights}, tmp_path / "w.pth")
    export("mobilefacenet_112x96", tmp_path / "x.onnx", tmp_path / "w.pth", licence="MIT")
    record: ModelRecord = read_record(tmp_path / "x.json")
    assert capsys.readouterr().out == (
        f"{tmp_path / 'x.onnx'}: mobilefacenet_112x96, 3.9 MB, sha256 {record.sha256}\n"
        f"{tmp_path / 'x.json'}: its record, licence MIT\n"
    )
