"""The nine networks of MindFace give MindSpore's outputs; see README.md in ../shared."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from mindface.errors import UnknownModelError
from mindface.models import MODELS, convention, create_model
from mindface.names import parameters, to_mindface
from mindface.recognition.models.mobilefacenet import GroupedConv2d
from mindface.weights import load_arrays, network_arrays

TOLERANCES = {  # relative to the largest output
    "retinaface_mobilenet025": 1e-4,
    "retinaface_resnet50": 1e-4,
    "arcface_mobilefacenet": 1e-4,
    "arcface_r50": 1e-4,
    "arcface_r100": 1e-3,
    "arcface_vit_t": 1e-3,
    "arcface_vit_s": 1e-3,
    "arcface_vit_b": 1e-3,
    "arcface_vit_l": 1e-3,
}
CLASSIFIERS = {"base.fc.weight", "base.fc.bias", "base.end_point.weight", "base.end_point.bias"}


@pytest.fixture(scope="module")
def recordings(shared: Path) -> ModuleType:
    """The module whose `fill` gives each network the values that MindSpore ran it with."""
    path = shared / "data" / "mindface_nets" / "fill.py"
    spec = importlib.util.spec_from_file_location("mindface_nets_fill", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.shared
@pytest.mark.parametrize(("name", "tolerance"), TOLERANCES.items())
def test_a_network_gives_the_outputs_that_mindspore_recorded(
    name: str, tolerance: float, shared: Path, recordings: ModuleType
) -> None:
    folder = shared / "data" / "mindface_nets"
    arrays = recordings.fill(folder / f"{name}.json")
    with torch.device("meta"):
        network = create_model(name)
    load_arrays(network, arrays, name)

    recorded = np.load(folder / f"{name}.npz")
    with torch.inference_mode():
        outputs = network.eval()(torch.from_numpy(recorded["input"]))
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    assert len(outputs) == len(recorded.files) - 1
    for index, output in enumerate(outputs):
        expected = recorded[f"output{index}"]
        np.testing.assert_allclose(output, expected, rtol=0, atol=tolerance * abs(expected).max())

    back = to_mindface(network, network_arrays(network))
    assert set(arrays) - set(back) <= CLASSIFIERS
    assert all(np.array_equal(arrays[key], array) for key, array in back.items())


@pytest.mark.parametrize("name", MODELS)
def test_every_network_has_a_convention_that_its_shapes_obey(name: str) -> None:
    facts = convention(name)
    with torch.device("meta"):
        network = create_model(name).eval()
        outputs = network(torch.empty(2, 3, *(facts.preprocessing.size or (64, 96))))
    if facts.task == "recognition":
        assert outputs.shape == (2, 128 if name == "mobilefacenet_112x96" else 512)
    else:
        anchors = 2 * (8 * 12 + 4 * 6 + 2 * 3)
        assert [tuple(o.shape) for o in outputs] == [(2, anchors, n) for n in (4, 2, 10)]


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("arcface_r51", {}, "'arcface_r51' is not a network; there are retinaface_mobilenet025"),
        ("arcface_r50", {"width": 3}, "arcface_r50: .*unexpected keyword argument 'width'"),
    ],
)
def test_an_unknown_name_or_override_is_refused(
    name: str, overrides: dict[str, int], message: str
) -> None:
    with pytest.raises(UnknownModelError, match=message):
        create_model(name, **overrides)


def test_the_embedding_size_can_be_chosen() -> None:
    network = create_model("arcface_mobilefacenet", embedding_size=64).eval()
    assert network(torch.zeros(1, 3, 112, 112)).shape == (1, 64)


def test_a_new_network_is_initialised_by_the_global_seed() -> None:
    torch.manual_seed(0)
    first = create_model("arcface_mobilefacenet")
    torch.manual_seed(0)
    second = create_model("arcface_mobilefacenet")
    for name, tensor in parameters(first).items():
        assert torch.equal(tensor, parameters(second)[name]), name
        assert tensor.isfinite().all(), name


def test_a_grouped_convolution_trains_as_what_it_is() -> None:
    torch.manual_seed(0)
    layer = GroupedConv2d(8, 12, 3, padding=1, stride=2, groups=4, bias=False).double()
    images = torch.randn(2, 8, 7, 7, dtype=torch.float64, requires_grad=True)
    found = []
    for mode in (True, False):
        with torch.autocast("cpu", torch.bfloat16):  # leaves float64 as it is
            outputs = layer.train(mode)(images)
        gradients = torch.autograd.grad(outputs.square().sum(), [images, layer.weight])
        found.append([outputs, *gradients])
    for dense, grouped in zip(*found, strict=True):
        torch.testing.assert_close(dense, grouped)


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 2, 1), (7, 1, 0), (3, 1, 1)])
def test_a_depthwise_convolution_trains_in_bfloat16_as_in_float32(kernel, stride, padding) -> None:
    torch.manual_seed(0)
    layer = GroupedConv2d(8, 8, kernel, stride, padding, groups=8, bias=False).train()
    images = torch.randn(2, 8, 7, 7, requires_grad=True)
    found = []
    for autocast in (True, False):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            outputs = layer(images)
        assert outputs.dtype == (torch.bfloat16 if autocast else torch.float32)
        gradients = torch.autograd.grad(outputs.float().square().sum(), [images, layer.weight])
        found.append([outputs.float(), *gradients])
    for rough, exact in zip(*found, strict=True):
        torch.testing.assert_close(rough, exact, atol=0.05, rtol=0.05)
