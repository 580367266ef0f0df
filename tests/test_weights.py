"""Names of other projects, and the errors when weights do not fit."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mindface.errors import WeightsError
from mindface.formats import read_weights, write_weights
from mindface.models import MODELS, create_model
from mindface.names import to_mindface, to_ours, to_pytorch
from mindface.weights import fit, identify, load_arrays, load_weights, network_arrays

SMALL = ["retinaface_mobilenet025", "arcface_mobilefacenet", "mobilefacenet_112x96"]


def arrays_of(name: str, seed: int = 0) -> dict[str, np.ndarray]:
    torch.manual_seed(seed)
    return network_arrays(create_model(name))


@pytest.mark.shared
@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("retinaface_mobilenet025.pth", "retinaface_mobilenet025"),
        ("mobilefacenet_casia_112x96.pth", "mobilefacenet_112x96"),
    ],
)
def test_the_published_weights_load_and_are_recognised(file: str, name: str, shared: Path) -> None:
    path = shared / "data" / "weights" / file
    arrays = read_weights(path)
    assert identify(arrays) == name
    loaded = to_pytorch(network_arrays(create_model(name, weights=path)))
    assert {key for key in arrays if not key.endswith("num_batches_tracked")} == set(loaded)
    assert all(np.array_equal(arrays[key], array) for key, array in loaded.items())


@pytest.mark.shared
def test_a_pretrained_backbone_loads_into_the_detectors_body(shared: Path) -> None:
    body = create_model("retinaface_mobilenet025").body
    path = shared / "data" / "weights" / "mobilenetV1X0.25_pretrain.tar"
    load_weights(body, path)
    assert np.array_equal(
        body.stage1[0][0].weight.detach(), read_weights(path)["stage1.0.0.weight"]
    )


@pytest.mark.shared
@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("mobilefacenet", "arcface_mobilefacenet"),
        ("retinaface_mobilenet025", "retinaface_mobilenet025"),
    ],
)
def test_checkpoints_of_mindspore_give_its_recorded_outputs(
    file: str, name: str, shared: Path
) -> None:
    folder = shared / "data" / "mindface_ckpt"
    network = create_model(name, weights=folder / f"{file}.ckpt").eval()
    recorded = np.load(folder / f"{file}.npz")
    with torch.inference_mode():
        outputs = network(torch.from_numpy(recorded["input"]))
    for index, output in enumerate(outputs if isinstance(outputs, tuple) else (outputs,)):
        expected = recorded[f"output{index}"]
        np.testing.assert_allclose(output, expected, rtol=0, atol=1e-4 * abs(expected).max())


@pytest.mark.parametrize("name", MODELS)
def test_names_go_to_every_project_and_back(name: str) -> None:
    with torch.device("meta"):
        network = create_model(name)
    shapes = {key: np.zeros(0) for key in network.state_dict() if "num_batches" not in key}
    for renamed in (to_mindface(network, shapes), to_pytorch(shapes), shapes):
        assert len(renamed) == len(shapes)
        assert list(to_ours(renamed)) == list(shapes)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("arcface_r50", ["layer3.13.prelu.weight", "layer1.0.downsample.1.running_var", "fc.bias"]),
        ("arcface_mobilefacenet", ["layers.3.layers.0.layers.1.layers.2.weight"]),
        ("arcface_vit_t", ["pos_embed", "blocks.11.mlp.fc2.bias", "feature.3.running_mean"]),
    ],
)
def test_the_recognisers_names_are_those_of_arcface_torch(name: str, theirs: list[str]) -> None:
    with torch.device("meta"):
        assert set(theirs) <= set(create_model(name).state_dict())


def test_keys_and_queries_change_places_between_mindface_and_us() -> None:
    array = np.arange(6)
    mindface = {"blocks.0.layer1.0.cell.1.qkv.weight": array}
    ours = to_ours(mindface)
    assert ours["blocks.0.attn.qkv.weight"].tolist() == [2, 3, 0, 1, 4, 5]
    assert to_mindface(torch.nn.Module(), ours)[next(iter(mindface))].tolist() == array.tolist()


def test_the_vit_of_arcface_torch_loads_without_its_mask_and_with_no_bias() -> None:
    network = create_model("arcface_vit_t")
    theirs = {
        key: array for key, array in network_arrays(network).items() if "qkv.bias" not in key
    } | {"mask_token": np.zeros((1, 1, 256), np.float32)}
    torch.nn.init.ones_(network.blocks[3].attn.qkv.bias)
    load_arrays(network, theirs, "backbone.pth")
    assert not network.blocks[3].attn.qkv.bias.any()


def test_training_checkpoints_load_without_what_only_training_needs() -> None:
    arrays = arrays_of("arcface_mobilefacenet")
    extras = [
        "layers.0.layers.1.num_batches_tracked",
        "mp_weight",
        "head.weight",
        "moments.layers.0.layers.0.weight",
        "learning_rate",
        "global_step",
        "beta1_power",
    ]
    network = create_model("arcface_mobilefacenet")
    load_arrays(network, arrays | dict.fromkeys(extras, np.zeros(1)), "training.ckpt")
    assert all(np.array_equal(arrays[key], a) for key, a in network_arrays(network).items())


def test_names_under_the_wrapper_of_a_training_loop_are_found() -> None:
    network = create_model("retinaface_mobilenet025")
    arrays = to_mindface(network, network_arrays(network))
    wrapped = {f"network.{key}": array for key, array in arrays.items()}
    assert list(fit(network, wrapped, "RetinaFace-1_60.ckpt")) == list(network_arrays(network))


def without(arrays: dict[str, np.ndarray], *names: str) -> dict[str, np.ndarray]:
    return {key: array for key, array in arrays.items() if key not in names}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda a: without(a, "conv_sep.layers.0.weight"),
            r"x\.pth: not the weights of arcface_mobilefacenet: "
            r"1 missing \(conv_sep\.layers\.0\.weight\)$",
        ),
        (
            lambda a: a | {"surprise.weight": np.zeros(3)},
            r"1 unexpected \(surprise\.weight\)$",
        ),
        (
            lambda a: a | {"features.layers.2.weight": np.zeros((128, 512), np.float32)},
            r"1 of another shape \(features\.layers\.2\.weight \(128, 512\) instead of "
            r"\(512, 512\)\)$",
        ),
        (
            lambda a: arrays_of("mobilefacenet_112x96"),
            r"283 missing \(layers\.0\.layers\.0\.weight, .*, \.\.\.\); 283 unexpected \(.*, "
            r"\.\.\.\); it holds mobilefacenet_112x96$",
        ),
        (lambda a: {}, r"283 missing"),
    ],
)
def test_weights_that_do_not_fit_say_what_differs(change, message: str) -> None:
    network = create_model("arcface_mobilefacenet")
    before = network_arrays(network)["conv_sep.layers.0.weight"].copy()
    with pytest.raises(WeightsError, match=message):
        load_arrays(network, change(arrays_of("arcface_mobilefacenet", seed=1)), "x.pth")
    assert np.array_equal(network_arrays(network)["conv_sep.layers.0.weight"], before)


@pytest.mark.parametrize("suffix", [".ckpt", ".pth", ".safetensors"])
@pytest.mark.parametrize("name", SMALL)
def test_a_network_survives_every_format(name: str, suffix: str, tmp_path: Path) -> None:
    arrays = arrays_of(name)
    path = tmp_path / f"weights{suffix}"
    write_weights(path, arrays)
    loaded = network_arrays(create_model(name, weights=path))
    assert list(loaded) == list(arrays)
    assert all(np.array_equal(arrays[key], array) for key, array in loaded.items())


def test_half_precision_weights_load_as_single() -> None:
    network = create_model("mobilefacenet_112x96")
    halves = {key: array.astype(np.float16) for key, array in network_arrays(network).items()}
    load_arrays(network, halves, "half.pth")
    assert network.conv1.conv.weight.dtype == torch.float32
