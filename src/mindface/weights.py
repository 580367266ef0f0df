"""Weights in and out of networks, from any project and format we know."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mindface.errors import MissingExtraError, WeightsError

try:
    import torch
    from torch import nn
except ImportError as error:
    raise MissingExtraError("loading weights into networks", "train") from error

from mindface.formats import read_weights, write_weights
from mindface.models import MODELS, create_model
from mindface.names import Arrays, parameters, to_mindface, to_ours, to_pytorch, without_extras

Shapes = dict[str, tuple[int, ...]]

SHOWN = 3


def load_weights(network: nn.Module, path: str | os.PathLike[str]) -> None:
    """Fills a network from a weight file.

    Reads MindSpore `.ckpt`, `.pth`, `.pt`, `.tar` and `.safetensors`, with the parameter names of
    MindFace, Pytorch_Retinaface, arcface_torch, MobileFaceNet_Pytorch or ours. Classifier heads,
    optimiser states and counters of training checkpoints are passed over.

    Args:
        network: any of ours, or a part of one such as a detector's `body`.
        path: the file.

    Raises:
        WeightsError: the file cannot be read, or parameters are missing, unexpected or of another
            shape; the message names the first of each.
    """
    load_arrays(network, read_weights(path), path)


def load_arrays(network: nn.Module, arrays: Arrays, source: str | os.PathLike[str]) -> None:
    """Fills a network from arrays under any names that `load_weights` knows.

    Args:
        network: may be on the meta device; its parameters then come to life on the CPU.
        arrays: parameters by name.
        source: where they come from, for the error message.

    Raises:
        WeightsError: they do not fit.
    """
    arrays = fit(network, arrays, source)
    tensors = {
        name: torch.tensor(arrays[name], dtype=tensor.dtype)
        for name, tensor in parameters(network).items()
    }
    counters = network.state_dict().keys() - tensors.keys()
    network.load_state_dict(
        tensors | {name: torch.tensor(0) for name in counters},
        assign=any(tensor.is_meta for tensor in network.parameters()),
    )


def network_arrays(network: nn.Module) -> dict[str, npt.NDArray[np.generic]]:
    """The parameters of a network as arrays, by our names."""
    return {name: tensor.cpu().numpy() for name, tensor in parameters(network).items()}


def convert_weights(
    source: str | os.PathLike[str], target: str | os.PathLike[str], *, model: str | None = None
) -> str:
    """Rewrites a weight file in another format, under the names which that format's users expect.

    A `.ckpt` gets MindFace's parameter names, a `.pth` those of the PyTorch project the network
    comes from, a `.safetensors` ours.

    Args:
        source: any file that `load_weights` reads.
        target: ends in `.ckpt`, `.pth` or `.safetensors`.
        model: the network; found out from the parameters where not given.

    Returns:
        The name of the network.

    Raises:
        WeightsError: the weights fit no network, or not the one given.
    """
    arrays = read_weights(source)
    model = model or _identified(arrays, source)
    with torch.device("meta"):
        network = create_model(model)
    arrays = fit(network, arrays, source)
    suffix = Path(target).suffix.lower()
    if suffix == ".ckpt":
        arrays = to_mindface(network, arrays)
    elif suffix in (".pth", ".pt"):
        arrays = to_pytorch(arrays)
    write_weights(target, arrays)
    return model


def fit(
    network: nn.Module, arrays: Arrays, path: str | os.PathLike[str]
) -> dict[str, npt.NDArray[np.generic]]:
    """Renames a file's parameters to the network's, in the network's order.

    Raises:
        WeightsError: they do not fit.
    """
    expected = _shapes(network)
    found = without_extras(to_ours(arrays), expected)
    faults = _faults(expected, found)
    if faults:
        name = getattr(network, "architecture", type(network).__name__)
        other = identify(arrays)
        advice = f"; it holds {other}" if other else ""
        raise WeightsError(f"{path}: not the weights of {name}: {'; '.join(faults)}{advice}")
    return {name: found[name] for name in expected}


def identify(arrays: Arrays) -> str | None:
    """Names the one network whose parameters these are, or None."""
    ours = to_ours(arrays)
    fitting = [
        name
        for name in MODELS
        if not _faults(_default_shapes(name), without_extras(ours, _default_shapes(name)))
    ]
    return fitting[0] if len(fitting) == 1 else None


@cache
def _default_shapes(name: str) -> Shapes:
    with torch.device("meta"):
        return _shapes(create_model(name))


def _shapes(network: nn.Module) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in parameters(network).items()}


def _identified(arrays: Arrays, path: str | os.PathLike[str]) -> str:
    name = identify(arrays)
    if name is None:
        raise WeightsError(
            f"{path}: its parameters are those of no network, so it cannot be converted unseen; "
            "name the network with --model to see what differs"
        )
    return name


def _faults(expected: Shapes, found: Arrays) -> list[str]:
    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected]
    reshaped = [
        f"{name} {found[name].shape} instead of {shape}"
        for name, shape in expected.items()
        if name in found and found[name].shape != shape
    ]
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": reshaped}
    return [
        f"{len(names)} {kind} ({', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''})"
        for kind, names in kinds.items()
        if names
    ]
