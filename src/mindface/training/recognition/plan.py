"""What a training of a recogniser will take."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from mindface.datasets import FaceSet
from mindface.errors import ConfigError
from mindface.models import convention, create_model
from mindface.recognition.losses import Margin
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
from mindface.training.recognition.config import RecognitionConfig

RATE = 0.1  # of Partial FC, where it is proposed
LOGIT_COPIES = 4  # cosines, logits, probabilities and a gradient, in float32


def make_plan(
    config: RecognitionConfig,
    faces: FaceSet,
    network: nn.Module | None,
    margin: Margin | None,
    steps_per_epoch: int,
    start: int,
    world: World,
) -> Plan:
    """Works out what a training will take.

    Args:
        config: of the training.
        faces: what it trains on.
        network: one of the user's own, or None for the configuration's.
        margin: of the head, or None for no head.
        steps_per_epoch: of all processes together.
        start: steps done before.
        world: the processes.

    Raises:
        ConfigError: the network's embeddings are not of `network.embedding_size`.
    """
    if network is None:
        with torch.device("meta"):
            network = create_model(config.network.name, **config.network.arguments())
    copies = COPIES[config.optimizer.name]
    weights = sum(p.numel() for p in network.parameters())
    averaged = weights if config.average else 0
    classes = math.ceil(len(faces.class_names) / world.processes)
    sub_centers = 0 if margin is None else margin.sub_centers
    centers = classes * sub_centers * config.network.embedding_size
    share = config.data.batch // world.processes

    def memory(changed: RecognitionConfig) -> int:
        shards = world.processes if changed.fsdp else 1
        parameters = copies * (weights // shards + centers) + averaged // shards
        part = share // changed.accumulation
        sampled = math.ceil(changed.head.rate * classes) * sub_centers
        logits = LOGIT_COPIES * part * world.processes * sampled
        return FLOAT * (parameters + logits) + part * activations_of(network, changed)

    needed, free = memory(config), free_memory(world)
    values = (copies - 1) * (weights + centers * world.processes) + averaged
    disk, free_disk = checkpoint_disk(config, values)
    return Plan(
        lines=_lines(config, faces, network, margin, steps_per_epoch, start, world),
        memory=needed,
        free_memory=free,
        disk=disk,
        free_disk=free_disk,
        proposals=()
        if needed <= free
        else _proposals(config, share, lambda changed: memory(changed) <= free),
    )


def _proposals(
    config: RecognitionConfig, share: int, fits: Callable[[RecognitionConfig], bool]
) -> tuple[str, ...]:
    """Settings with each of which it would fit; of a batch's parts the fewest."""
    fewer = config.head.model_copy(update={"rate": RATE})
    changes = (
        (f"head.rate={RATE}", config.head.rate > RATE, {"head": fewer}),
        ("precision=bf16", config.precision == "fp32", {"precision": "bf16"}),
        ("recompute=true", "vit" in config.network.name, {"recompute": True}),
    )
    found = [
        name
        for name, sensible, update in changes
        if sensible and fits(config.model_copy(update=update))
    ]
    found += fewest_parts(config, share, fits)
    return tuple(found) or ("more processes", "a smaller network", "fewer people")


def activations_of(network: nn.Module, config: RecognitionConfig) -> int:
    """Bytes that the backward pass keeps of one picture; half precision is taken to halve it.

    Raises:
        ConfigError: the embeddings are not of `network.embedding_size`.
    """
    rows = 2  # batch norm needs two
    size = convention(config.network.name).preprocessing.size or (112, 112)
    pictures = torch.zeros(rows, 3, *size, device=next(network.parameters()).device)
    blocks = network.blocks if config.recompute else ()
    total, embeddings = activations(network, pictures, [*blocks])  # type: ignore[misc]
    if embeddings.shape != (rows, config.network.embedding_size):
        raise ConfigError(
            f"network.embedding_size={config.network.embedding_size}, but of {rows} pictures the "
            f"network makes embeddings {tuple(embeddings.shape)}"
        )
    return total // rows // (1 if config.precision == "fp32" else 2)


def _lines(
    config: RecognitionConfig,
    faces: FaceSet,
    network: nn.Module,
    margin: Margin | None,
    steps_per_epoch: int,
    start: int,
    world: World,
) -> tuple[str, ...]:
    given = config.network
    return (
        network_line(network, given.weights, given.freeze, config.precision, world),
        f"data        {len(faces):,} pictures of {len(faces.class_names):,} people",
        f"loss        {_loss(config, margin)}",
        *lines_of(config, config.data.batch, steps_per_epoch, start, world),
    )


def _loss(config: RecognitionConfig, margin: Margin | None) -> str:
    parts = []
    if margin is not None:
        sampled = f", {config.head.rate:.0%} of the classes a step" if config.head.rate < 1 else ""
        parts.append(f"{type(margin).__name__}{sampled}")
    if config.distillation.teachers:
        parts.append(f"distillation from {', '.join(config.distillation.teachers)}")
    return " + ".join(parts)
