"""What stands before the first step of a recogniser's training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mindface._version import __version__
from mindface.datasets import FaceSet, Mixture, Without, open_faces
from mindface.errors import ConfigError
from mindface.models import convention
from mindface.recognition.losses import LOSSES, Margin
from mindface.recognition.partial_fc import PartialFC
from mindface.recognition.recognizer import Recognizer
from mindface.training.averaging import WeightAverage
from mindface.training.checkpoint import Checkpoint
from mindface.training.distributed import World
from mindface.training.log import Log
from mindface.training.networks import freeze, initial_network
from mindface.training.optimizers import Optimizer, build_optimizer, parameter_groups
from mindface.training.recognition.config import Data, Head, RecognitionConfig, Source
from mindface.training.recognition.state import RecognitionState
from mindface.training.recognition.teachers import fuse, teacher_embeddings
from mindface.training.scaling import LossScale
from mindface.training.state import seed_random


def open_sets(data: Data) -> FaceSet:
    """Opens the sets of a configuration as one.

    Raises:
        ConfigError: there are none.
    """
    if not data.sets:
        raise ConfigError(
            "data.sets is empty: name what to train on, such as "
            "'data.sets=[{path: faces/}]' (a folder per person, a .rec or tars)"
        )
    opened = [_open(source) for source in data.sets]
    return Mixture(opened, [source.weight for source in data.sets])


def _open(source: Source) -> FaceSet:
    faces = open_faces(source.path, labelled=source.labelled)
    if source.exclude is None:
        return faces
    return Without(faces, Path(source.exclude).read_text(encoding="utf-8").splitlines())


def margin_of(head: Head) -> Margin | None:
    """The loss over labelled people that a configuration asks for.

    Raises:
        ConfigError: it does not take the arguments.
    """
    if head.loss is None:
        return None
    try:
        return LOSSES[head.loss](**head.arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"head.arguments: {head.loss}: {error}") from error


def check_faces(
    config: RecognitionConfig,
    faces: FaceSet,
    margin: Margin | None,
    last: Checkpoint | None,
    world: World,
) -> None:
    """Raises where a set cannot be trained on like this.

    Args:
        config: of the training.
        faces: the set.
        margin: of the head, or None for no head.
        last: the checkpoint to go on from, or None.
        world: the processes.

    Raises:
        ConfigError: the set has nobody to tell apart, people without a name, pictures that nothing
            teaches, or not the people of the checkpoint; or a batch cannot be divided.
    """
    if margin is not None and not faces.class_names:
        raise ConfigError(f"{faces.source}: nobody is named in it: set head.loss=null to distil")
    if faces.labels.max(initial=-1) >= len(faces.class_names):
        raise ConfigError(
            f"{faces.source}: label {faces.labels.max()} has no name among its "
            f"{len(faces.class_names)} class_names: number people from 0 on"
        )
    unknown = int((faces.labels < 0).sum())
    if unknown and not config.distillation.teachers:
        raise ConfigError(
            f"{faces.source}: {unknown} of {len(faces)} pictures are of nobody, who teach nothing "
            "without distillation.teachers: leave them out"
        )
    parts = world.processes * config.accumulation
    if config.data.batch % parts:
        raise ConfigError(
            f"data.batch={config.data.batch} cannot be divided among {world.processes} "
            f"process(es) in accumulation={config.accumulation} parts: take a multiple of {parts}"
        )
    if last and margin is not None and last.facts.get("class_names") != list(faces.class_names):
        raise ConfigError(
            f"{faces.source}: not the people that {last.folder} was trained on: give the same "
            "sets, or another output"
        )


def build_state(
    config: RecognitionConfig,
    faces: FaceSet,
    world: World,
    network: nn.Module | None,
    margin: Margin | None,
) -> RecognitionState:
    """Networks, heads and optimisers at step 0; the same in all processes but for the centres.

    Args:
        config: of the training.
        faces: what it trains on.
        world: the processes.
        network: one of the user's own, or None for the configuration's.
        margin: of the head, or None for no head.

    Raises:
        ConfigError: `network.freeze` names no parameter, or all of them.
        WeightsError: `network.weights` do not fit.
    """
    torch.manual_seed(config.seed)
    if network is None:
        given = config.network
        network = initial_network(given.name, given.weights, **given.arguments())
    freeze(network, config.network.freeze)
    network = network.to(world.device)
    if config.channels_last:
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if config.recompute:
        _recompute(network)
    if config.fsdp and world.processes > 1:
        _shard(network, world)
    average = WeightAverage(network, config.average) if config.average else None
    optimizer = build_optimizer(
        parameter_groups(network, config.optimizer.weight_decay), config.optimizer
    )
    head = head_optimizer = None
    if margin is not None:
        head = PartialFC(
            config.network.embedding_size,
            len(faces.class_names),
            margin,
            rate=config.head.rate,
            seed=config.seed,
            filter_threshold=config.head.filter,
        ).to(world.device)
        groups = parameter_groups(head, config.optimizer.weight_decay)
        head_optimizer = build_optimizer(groups, _of_centers(config.optimizer))
    scale = LossScale() if config.precision == "fp16" else None
    seed_random(config.seed, 0, world)
    return RecognitionState(network, optimizer, average, scale, 0, head, head_optimizer)


def _of_centers(optimizer: Optimizer) -> Optimizer:
    """How class centres move: they are rows on their own, no matrix for Muon."""
    return optimizer.model_copy(update={"name": "adamw"}) if optimizer.name == "muon" else optimizer


def targets_of(config: RecognitionConfig, faces: FaceSet, world: World, log: Log) -> Tensor | None:
    """The teachers' fused embeddings `(N, D)` of all faces, or None without teachers.

    Raises:
        ConfigError: a teacher takes faces of another size, or all have too few values together.
    """
    size = convention(config.network.name).preprocessing.size
    rows = []
    for name in config.distillation.teachers:
        teacher = Recognizer(name, precision="fp32")
        if teacher.crop_size != size:
            raise ConfigError(
                f"distillation.teachers: {name} takes faces of {teacher.crop_size}, and "
                f"{config.network.name} of {size}"
            )
        cache = Path(config.distillation.cache)
        rows.append(teacher_embeddings(faces, teacher, cache, world, log.track))
    return torch.from_numpy(fuse(rows, config.network.embedding_size)) if rows else None


def facts_of(config: RecognitionConfig, faces: FaceSet, network: nn.Module) -> dict[str, Any]:
    """What a checkpoint says of itself, so that nothing else is needed to use it.

    `architecture` is null for a network that `create_model` did not make.
    """
    return {
        "task": "recognition",
        "architecture": getattr(network, "architecture", None),
        "arguments": config.network.arguments(),
        "config": config.model_dump(mode="json"),
        "class_names": list(faces.class_names),
        "versions": {"mindface": __version__, "torch": torch.__version__},
    }


def _recompute(network: nn.Module) -> None:
    """Keeps the inputs of a ViT's blocks alone and computes the rest again when it is needed."""
    for block in network.blocks:  # type: ignore[union-attr]
        plain = block.forward
        block.forward = lambda x, plain=plain: checkpoint(plain, x, use_reentrant=False)


def _shard(network: nn.Module, world: World) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(world.device.type, (world.processes,))
    for block in network.blocks:  # type: ignore[union-attr]
        fully_shard(block, mesh=mesh)
    fully_shard(network, mesh=mesh)
