"""Parameter names of other projects, and ours.

Our names are arcface_torch's for the recognisers, MobileFaceNet_Pytorch's for
`mobilefacenet_112x96`, and Pytorch_Retinaface's in lower case for the detectors. MindFace's differ
in the last word of normalisation layers and in a few containers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

Arrays = Mapping[str, npt.NDArray[np.generic]]
Rules = tuple[tuple[str, str], ...]

TO_OURS: Rules = (
    # MindFace: wrappers of the training loop
    (r"^(network|_backbone|backbone)\.", ""),
    # MindSpore: batch norm, layer norm, PReLU
    (r"\.gamma$", ".weight"),
    (r"\.beta$", ".bias"),
    (r"\.moving_mean$", ".running_mean"),
    (r"\.moving_variance$", ".running_var"),
    (r"\.w$", ".weight"),
    # MindFace: RetinaFace
    (r"^base\.", "body."),
    (r"\.down_sample_layer\.", ".downsample."),
    # MindFace: MobileFaceNet, whose list of layers lost its name
    (r"^0\.layers\.(\d+)\.layers\.", r"layers.\1.layers."),
    (r"^0\.layers\.(?=\d+\.\w+$)", "layers.0.layers."),
    # MindFace: ViT
    (r"\.layer1\.0\.cell\.0\.", ".norm1."),
    (r"\.layer1\.0\.cell\.1\.", ".attn."),
    (r"\.layer2\.0\.cell\.0\.", ".norm2."),
    (r"\.layer2\.0\.cell\.1\.", ".mlp."),
    # Pytorch_Retinaface
    (r"^ClassHead\.", "classhead."),
    (r"^BboxHead\.", "bboxhead."),
    (r"^LandmarkHead\.", "landmarkhead."),
    (r"^(ssh\d)\.conv(\d)X", r"\1.conv\2x"),
)

TO_MINDFACE: Rules = (
    (r"^body\.", "base."),
    (r"^(base\..*)\.downsample\.", r"\1.down_sample_layer."),
    (r"^layers\.0\.layers\.", "0.layers."),
    (r"^layers\.(?=[1-9])", "0.layers."),
    (r"^(blocks\.\d+)\.norm1\.", r"\1.layer1.0.cell.0."),
    (r"^(blocks\.\d+)\.attn\.", r"\1.layer1.0.cell.1."),
    (r"^(blocks\.\d+)\.norm2\.", r"\1.layer2.0.cell.0."),
    (r"^(blocks\.\d+)\.mlp\.", r"\1.layer2.0.cell.1."),
)

TO_PYTORCH: Rules = (
    (r"^classhead\.", "ClassHead."),
    (r"^bboxhead\.", "BboxHead."),
    (r"^landmarkhead\.", "LandmarkHead."),
    (r"^(ssh\d)\.conv3x3\.", r"\1.conv3X3."),
    (r"^(ssh\d)\.conv5x5_", r"\1.conv5X5_"),
    (r"^(ssh\d)\.conv7x7_2\.", r"\1.conv7X7_2."),
)

_NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}
MINDSPORE_WORDS: dict[type[nn.Module], dict[str, str]] = {
    nn.BatchNorm1d: _NORM,
    nn.BatchNorm2d: _NORM,
    nn.LayerNorm: _NORM,
    nn.PReLU: {"weight": "w"},
}

# What a checkpoint may hold besides the network. Anything else that is unexpected is an error.
EXTRAS = re.compile(
    r"""(.*\.)?num_batches_tracked               # torch's counter, unused with a fixed momentum
    | (.*\.)?(fc|end_point|classifier)\.\w+      # a backbone's or a training run's classifier
    | mp_weight | sub_weight | (f_c|head|margin)\..*
    | mask_token                                 # arcface_torch's ViT, training only
    | (moments|moment1|moment2|accum|stat)\..*   # MindSpore's optimisers
    | learning_rate | momentum | weight_decay | loss_scale | scale_sense | (beta[12]_power)
    | global_step | epoch_num | step_num | (current|last_overflow)_iterator_step
    """,
    re.VERBOSE,
)


def to_ours(arrays: Arrays) -> dict[str, npt.NDArray[np.generic]]:
    """Renames the parameters of any project we read; names that are ours stay.

    MindFace's attention stores keys before queries, we (and arcface_torch) store queries first;
    arcface_torch's has no bias, which is a bias of zero.
    """
    ours = {
        _rename(name, TO_OURS): _swap_keys_and_queries(name, array)
        for name, array in arrays.items()
    }
    for name in [name for name in ours if name.endswith(".attn.qkv.weight")]:
        bias = name.removesuffix("weight") + "bias"
        ours.setdefault(bias, np.zeros(ours[name].shape[:1], ours[name].dtype))
    return ours


def to_mindface(network: nn.Module, arrays: Arrays) -> dict[str, npt.NDArray[np.generic]]:
    """Renames our parameters of `network` to those of a MindFace checkpoint."""
    words = {
        f"{prefix}.{ours}": f"{prefix}.{theirs}"
        for prefix, module in network.named_modules()
        for ours, theirs in MINDSPORE_WORDS.get(type(module), {}).items()
    }
    names = {name: _rename(words.get(name, name), TO_MINDFACE) for name in arrays}
    return {theirs: _swap_keys_and_queries(theirs, arrays[name]) for name, theirs in names.items()}


def to_pytorch(arrays: Arrays) -> dict[str, npt.NDArray[np.generic]]:
    """Renames our parameters to those of the PyTorch project that the network comes from."""
    return {_rename(name, TO_PYTORCH): array for name, array in arrays.items()}


def parameters(network: nn.Module) -> dict[str, torch.Tensor]:
    """The tensors that make up a network, by our names, without torch's batch counters."""
    return {name: tensor for name, tensor in network.state_dict().items() if not _is_counter(name)}


def without_extras(arrays: Arrays, expected: Iterable[str]) -> dict[str, npt.NDArray[np.generic]]:
    """Drops what is not expected and is clearly not part of a network."""
    known = set(expected)
    return {
        name: array for name, array in arrays.items() if name in known or not EXTRAS.fullmatch(name)
    }


def _is_counter(name: str) -> bool:
    return name.endswith("num_batches_tracked")


def _rename(name: str, rules: Rules) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def _swap_keys_and_queries(
    mindface_name: str, array: npt.NDArray[np.generic]
) -> npt.NDArray[np.generic]:
    if ".cell.1.qkv." not in mindface_name or len(array) % 3:
        return array
    first, second, values = np.split(array, 3)
    return np.concatenate([second, first, values])
