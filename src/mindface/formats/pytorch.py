"""PyTorch's `.pth`, zip and legacy layout, never unpickling more than tensors and containers."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindface.errors import MissingExtraError, WeightsError

NESTS = ("state_dict", "net_state_dict", "model_state_dict", "model", "backbone", "ema", "net")
MAX_DEPTH = 4


def read(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors of a state dict by name; what is no tensor is left out.

    A dict under one of `NESTS` is taken for the state dict. bfloat16 becomes float32.

    Raises:
        MissingExtraError: torch is not installed.
        WeightsError: the file is damaged, holds no tensors, or wants to run code.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError(f"reading {path}", "train") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # Damaged pickles raise nearly every exception there is.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise WeightsError(f"{path}: no PyTorch weights that are safe to load: {reason}") from error
    tensors = {
        str(name): value
        for name, value in _state_dict(loaded).items()
        if isinstance(value, torch.Tensor) and value.layout == torch.strided
    }
    if not tensors:
        raise WeightsError(f"{path}: a PyTorch file without a tensor")
    return {name: _array(torch, value) for name, value in tensors.items()}


def write(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Writes a state dict in the zip layout.

    Raises:
        MissingExtraError: torch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError(f"writing {path}", "train") from error
    torch.save({name: torch.from_numpy(np.array(value)) for name, value in arrays.items()}, path)


def _state_dict(loaded: Any) -> Mapping[Any, Any]:
    for _ in range(MAX_DEPTH):
        if not isinstance(loaded, Mapping):
            return {}
        inner = next((loaded[key] for key in NESTS if isinstance(loaded.get(key), Mapping)), None)
        if inner is None:
            return loaded
        loaded = inner
    return {}


def _array(torch: Any, tensor: Any) -> NDArray[Any]:
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    return np.asarray(tensor.detach().contiguous().numpy())
