"""What a training of a detector will take."""

from __future__ import annotations

import torch
from torch import nn

from mindface.datasets.scenes import SceneSet
from mindface.models import create_model
from mindface.training.detection.config import DetectionConfig
from mindface.training.distributed import World
from mindface.training.plan import (
    COPIES,
    FLOAT,
    Plan,
    activations,
    checkpoint_disk,
    fewest_parts,
    free_memory,
    lines_of,
    network_line,
)


def make_plan(
    config: DetectionConfig,
    scenes: SceneSet,
    network: nn.Module | None,
    steps_per_epoch: int,
    start: int,
    world: World,
) -> Plan:
    """Works out what a training will take.

    Args:
        config: of the training.
        scenes: what it trains on.
        network: one of the user's own, or None for the configuration's.
        steps_per_epoch: of all processes together.
        start: steps done before.
        world: the processes.
    """
    if network is None:
        with torch.device("meta"):
            network = create_model(config.network.name)
    copies = COPIES[config.optimizer.name]
    weights = sum(p.numel() for p in network.parameters())
    averaged = weights if config.average else 0
    share = config.data.batch // world.processes
    kept = _kept(network, config.data.size)

    def memory(changed: DetectionConfig) -> int:
        pictures = share // changed.accumulation * kept
        return FLOAT * (copies * weights + averaged) + pictures // (
            1 if changed.precision == "fp32" else 2
        )

    needed, free = memory(config), free_memory(world)
    disk, free_disk = checkpoint_disk(config, (copies - 1) * weights + averaged)
    given = config.network
    origin = given.weights or given.backbone
    return Plan(
        lines=(
            network_line(network, origin, given.freeze, config.precision, world),
            f"data        {len(scenes):,} photos, at {config.data.size}x{config.data.size} pixels",
            f"loss        MultiBox: {config.loss.matching}, {config.loss.classification}, "
            f"{config.loss.regression}"
            + (f", no label as {config.loss.kept} judges" if config.loss.kept else ""),
            *lines_of(config, config.data.batch, steps_per_epoch, start, world),
        ),
        memory=needed,
        free_memory=free,
        disk=disk,
        free_disk=free_disk,
        proposals=()
        if needed <= free
        else (
            *fewest_parts(config, share, lambda changed: memory(changed) <= free),
            f"data.size={config.data.size // 64 * 32}",
        ),
    )


def _kept(network: nn.Module, size: int) -> int:
    """Bytes that the backward pass keeps of one picture in float32."""
    rows = 2  # batch norm needs two
    pictures = torch.zeros(rows, 3, size, size, device=next(network.parameters()).device)
    return activations(network, pictures)[0] // rows
