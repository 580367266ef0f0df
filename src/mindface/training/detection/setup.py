"""What stands before the first step of a detector's training."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from mindface._version import __version__
from mindface.datasets.scenes import SceneMixture, open_scenes
from mindface.detection.losses import MultiBoxLoss
from mindface.errors import ConfigError
from mindface.training.averaging import WeightAverage
from mindface.training.detection.config import Data, DetectionConfig, Loss
from mindface.training.distributed import World
from mindface.training.networks import freeze, initial_network
from mindface.training.optimizers import build_optimizer, parameter_groups
from mindface.training.scaling import LossScale
from mindface.training.state import State, seed_random
from mindface.weights import load_weights


def open_sets(data: Data) -> SceneMixture:
    """Opens the sets of a configuration as one.

    Raises:
        ConfigError: there are none.
    """
    if not data.sets:
        raise ConfigError(
            "data.sets is empty: name what to train on, such as "
            "'data.sets=[{path: widerface/train/label.txt}]'"
        )
    opened = [open_scenes(source.path, source.images) for source in data.sets]
    return SceneMixture(opened, [source.weight for source in data.sets])


def loss_of(loss: Loss) -> MultiBoxLoss:
    """The loss that a configuration asks for."""
    return MultiBoxLoss(
        loss.threshold,
        loss.negatives,
        loss.boxes,
        loss.landmarks,
        classification=loss.classification,
        regression=loss.regression,
        matching=loss.matching,
        keeping_weight=loss.keeping,
    )


def kept_network(config: DetectionConfig, world: World) -> nn.Module | None:
    """The older network whose judgement of the background is kept, or None.

    Raises:
        WeightsError: `loss.kept` does not fit `network.name`.
    """
    if config.loss.kept is None:
        return None
    network = initial_network(config.network.name, config.loss.kept).to(world.device)
    return network.eval().requires_grad_(False)


def check_batch(config: DetectionConfig, world: World) -> None:
    """Raises where a batch cannot be divided.

    Raises:
        ConfigError: says what can.
    """
    parts = world.processes * config.accumulation
    if config.data.batch % parts:
        raise ConfigError(
            f"data.batch={config.data.batch} cannot be divided among {world.processes} "
            f"process(es) in accumulation={config.accumulation} parts: take a multiple of {parts}"
        )


def build_state(config: DetectionConfig, world: World, network: nn.Module | None) -> State:
    """Network and optimiser at step 0, the same in all processes.

    Args:
        config: of the training.
        world: the processes.
        network: one of the user's own, or None for the configuration's.

    Raises:
        ConfigError: `network.freeze` names no parameter, or all of them.
        WeightsError: `network.weights` or `network.backbone` do not fit.
    """
    torch.manual_seed(config.seed)
    given = config.network
    if network is None:
        network = initial_network(given.name, given.weights)
        if given.backbone:
            load_weights(network.body, given.backbone)  # type: ignore[arg-type]
    freeze(network, given.freeze, norms=given.freeze_norms)
    network = network.to(world.device)
    if config.channels_last:
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = WeightAverage(network, config.average) if config.average else None
    groups = parameter_groups(network, config.optimizer.weight_decay)
    optimizer = build_optimizer(groups, config.optimizer)
    scale = LossScale() if config.precision == "fp16" else None
    seed_random(config.seed, 0, world)
    return State(network, optimizer, average, scale)


def facts_of(config: DetectionConfig, network: nn.Module) -> dict[str, Any]:
    """What a checkpoint says of itself, so that nothing else is needed to use it.

    `architecture` is null for a network that `create_model` did not make.
    """
    return {
        "task": "detection",
        "architecture": getattr(network, "architecture", None),
        "arguments": {},
        "config": config.model_dump(mode="json"),
        "versions": {"mindface": __version__, "torch": torch.__version__},
    }
