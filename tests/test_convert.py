"""`mindface convert` between formats and projects."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mindface.cli.convert import convert
from mindface.errors import MindFaceError, WeightsError
from mindface.formats import read_weights, write_weights
from mindface.models import create_model
from mindface.names import to_pytorch
from mindface.weights import convert_weights, network_arrays


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return create_model("retinaface_mobilenet025")


def test_weights_go_around_all_formats_unchanged(
    network: torch.nn.Module, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = to_pytorch(network_arrays(network))
    write_weights(tmp_path / "a.pth", start)
    for source, target in [
        ("a.pth", "b.ckpt"),
        ("b.ckpt", "c.safetensors"),
        ("c.safetensors", "d.pth"),
    ]:
        convert(tmp_path / source, tmp_path / target)
        assert capsys.readouterr().out == f"{tmp_path / target}: retinaface_mobilenet025\n"
    end = read_weights(tmp_path / "d.pth")
    assert list(end) == list(start)
    assert all(np.array_equal(start[key], array) for key, array in end.items())


def test_each_format_gets_the_names_its_users_expect(
    network: torch.nn.Module, tmp_path: Path
) -> None:
    write_weights(tmp_path / "in.safetensors", network_arrays(network))
    names = {}
    for suffix in (".ckpt", ".pth", ".safetensors"):
        convert_weights(tmp_path / "in.safetensors", tmp_path / f"out{suffix}")
        names[suffix] = set(read_weights(tmp_path / f"out{suffix}"))
    assert {"base.stage1.0.1.gamma", "classhead.0.conv1x1.weight"} <= names[".ckpt"]
    assert {"ClassHead.0.conv1x1.weight", "ssh1.conv3X3.0.weight"} <= names[".pth"]
    assert names[".safetensors"] == set(network_arrays(network))


@pytest.mark.shared
def test_a_checkpoint_of_mindspore_keeps_its_names(shared: Path, tmp_path: Path) -> None:
    source = shared / "data" / "mindface_ckpt" / "mobilefacenet.ckpt"
    convert_weights(source, tmp_path / "out.ckpt")
    before, after = read_weights(source), read_weights(tmp_path / "out.ckpt")
    assert set(before) == set(after)
    assert all(np.array_equal(before[key], array) for key, array in after.items())


def test_weights_of_no_network_need_its_name(tmp_path: Path) -> None:
    arrays = network_arrays(create_model("mobilefacenet_112x96", embedding_size=64))
    write_weights(tmp_path / "in.safetensors", arrays)
    with pytest.raises(WeightsError, match=r"those of no network.* name the network with --model"):
        convert(tmp_path / "in.safetensors", tmp_path / "out.pth")
    with pytest.raises(WeightsError, match=r"linear1\.conv\.weight \(64, .* instead of \(128, "):
        convert(tmp_path / "in.safetensors", tmp_path / "out.pth", model="mobilefacenet_112x96")
    assert not (tmp_path / "out.pth").exists()


def test_an_unknown_target_format_is_refused(network: torch.nn.Module, tmp_path: Path) -> None:
    write_weights(tmp_path / "in.safetensors", network_arrays(network))
    with pytest.raises(MindFaceError, match=r"out\.bin"):
        convert(tmp_path / "in.safetensors", tmp_path / "out.bin")
