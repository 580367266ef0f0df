"""Networks before, in and after a training."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mindface.errors import ConfigError, WeightsError
from mindface.models import create_model
from mindface.training.checkpoint import open_checkpoint
from mindface.training.distributed import World
from mindface.training.tensors import fill


def initial_network(name: str, weights: str | None, **arguments: Any) -> nn.Module:
    """The network that a training begins with.

    Args:
        name: what `create_model` takes.
        weights: a weight file, a training's folder, or None for random weights.
        **arguments: for `create_model`.

    Raises:
        WeightsError: the weights do not fit.
    """
    if weights and Path(weights).is_dir():
        return network_of(weights, create_model(name, **arguments))
    return create_model(name, weights=weights, **arguments)


def freeze(network: nn.Module, prefixes: Sequence[str], *, norms: bool = False) -> None:
    """Lets the parameters whose names begin so, and those of batch norms, stay as they are.

    Raises:
        ConfigError: a prefix is of no parameter, or nothing would be left to learn.
    """
    named = dict(network.named_parameters())
    for prefix in prefixes:
        found = [parameter for name, parameter in named.items() if name.startswith(prefix)]
        if not found:
            raise ConfigError(
                f"network.freeze: no parameter begins with {prefix!r}; they are called "
                f"{', '.join([*named][:3])}, ..."
            )
        for parameter in found:
            parameter.requires_grad_(False)
    for module in network.modules():
        if norms and isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in named.values()):
        raise ConfigError(f"network.freeze={[*prefixes]} leaves nothing of the network to learn")


def parallel(
    network: nn.Module, world: World, *, compiled: bool, sharded: bool = False
) -> nn.Module:
    """The network as the steps call it: compiled where asked for, its gradients averaged.

    The statistics of batch norms are those of the first process, which writes them.

    Args:
        network: on the device of the process.
        world: the processes.
        compiled: whether `torch.compile` makes it faster.
        sharded: whether FSDP averages its gradients already.
    """
    model = network
    if compiled:
        model = torch.compile(model)  # type: ignore[assignment]
    if world.processes > 1 and not sharded:
        places = [world.device.index] if world.device.index is not None else None
        model = DistributedDataParallel(model, places)
    return model


def network_of(folder: str | os.PathLike[str], network: nn.Module | None = None) -> nn.Module:
    """The network of a checkpoint, with the averaged weights where there are some.

    Args:
        folder: of the checkpoint, or of a whole training, whose best or else last one is taken.
        network: what to fill, where the training was given a network of your own.

    Returns:
        The network in evaluation mode.

    Raises:
        WeightsError: it is no checkpoint, or of another network, or of one of your own and none is
            given.
    """
    checkpoint = open_checkpoint(folder)
    if network is None:
        architecture = checkpoint.facts.get("architecture")
        if architecture is None:
            raise WeightsError(
                f"{checkpoint.folder}: the network is one of your own: build it, and fill it with "
                "mindface.training.networks.network_of(FOLDER, network)"
            )
        network = create_model(architecture, **checkpoint.facts["arguments"])
    part = "average" if "average" in checkpoint.names() else "network"
    fill(network.state_dict().items(), checkpoint.tensors(part))
    return network.eval()


def accuracy_of(folder: str | os.PathLike[str]) -> dict[str, float]:
    """What verification or validation measured of a checkpoint, in percent, for its record.

    Args:
        folder: as `network_of` takes it.

    Returns:
        Ten-fold accuracies and average precisions by the name of the set.
    """
    figures = open_checkpoint(folder).facts.get("verification") or {}
    names = {"/accuracy": "", "/ap": " AP"}
    return {
        name.removesuffix(end) + said: round(100 * value, 2)
        for name, value in figures.items()
        for end, said in names.items()
        if name.endswith(end)
    }
