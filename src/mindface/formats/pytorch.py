"""PyTorch's `.pth`, zip and legacy layout, never unpickling more than tensors and containers."""

from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindface.errors import MissingExtraError, WeightsError
from mindface.formats.tensors import little_endian

ZIP = b"PK\x03\x04"
NESTS = ("state_dict", "net_state_dict", "model_state_dict", "model", "backbone", "ema", "net")
MAX_DEPTH = 4
MAX_SHARING = 4


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
    _check_archive(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = torch.load(path, map_location="cpu", weights_only=True)
            return _arrays(torch, path, loaded)
    except WeightsError:
        raise
    except Exception as error:  # Damaged pickles raise nearly every exception there is.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise WeightsError(
            f"{path}: no PyTorch weights that are safe to load: {reason:.300}"
        ) from error


def write(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Writes a state dict in the zip layout.

    Raises:
        MissingExtraError: torch is not installed.
        WeightsError: an array has a type that torch lacks.
        OSError: the file cannot be written.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError(f"writing {path}", "train") from error
    tensors = {}
    for name, array in arrays.items():
        try:
            tensors[name] = torch.from_numpy(little_endian(array).copy())
        except TypeError as error:
            raise WeightsError(f"{name!r}: PyTorch has no type {array.dtype}") from error
    with path.open("wb") as file:
        torch.save(tensors, file)
        file.flush()
        os.fsync(file.fileno())


def _check_archive(path: Path) -> None:
    """Refuses zip archives that unpack to more than they are; torch never compresses its own."""
    try:
        with path.open("rb") as file:
            if file.read(len(ZIP)) != ZIP:
                return
            with zipfile.ZipFile(file) as archive:
                entries, comment = archive.infolist(), archive.comment
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise WeightsError(f"{path}: damaged PyTorch archive: {error}") from error
    if comment or any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise WeightsError(f"{path}: not written by torch.save: it is compressed or commented")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise WeightsError(f"{path}: its parts are larger than the file: damaged or hostile")


def _arrays(torch: Any, path: Path, loaded: Any) -> dict[str, NDArray[Any]]:
    tensors = {
        str(name): value
        for name, value in _state_dict(loaded).items()
        if isinstance(value, torch.Tensor) and value.layout == torch.strided
    }
    if not tensors:
        raise WeightsError(f"{path}: a PyTorch file without a tensor")
    total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if total > MAX_SHARING * path.stat().st_size:
        raise WeightsError(f"{path}: its tensors say {total} bytes, far more than the file holds")
    return {name: _array(torch, tensor) for name, tensor in tensors.items()}


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
    return np.array(tensor.detach().resolve_conj().resolve_neg().numpy(), order="C")
