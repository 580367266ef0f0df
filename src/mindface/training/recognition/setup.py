"""What stands before the first step of a recogniser's training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from mindface._version import __version__
from mindface.datasets import FaceSet, Mixture, open_faces
from mindface.errors import ConfigError
from mindface.models import create_model
from mindface.recognition.losses import LOSSES, Margin
from mindface.recognition.partial_fc import PartialFC
from mindface.recognition.recognizer import Recognizer
from mindface.training.averaging import WeightAverage
from mindface.training.distributed import World
from mindface.training.log import Log
from mindface.training.optimizers import build_optimizer, parameter_groups
from mindface.training.recognition.config import Data, RecognitionConfig, Source
from mindface.training.recognition.state import State
from mindface.training.recognition.teachers import fuse, teacher_embeddings
from mindface.training.scaling import LossScale


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
    from mindface.datasets.without import Without

    return Without(faces, Path(source.exclude).read_text(encoding="utf-8").splitlines())


def build_state(
    config: RecognitionConfig,
    faces: FaceSet,
    world: World,
    network: nn.Module | None = None,
    margin: Margin | None = None,
) -> State:
    """Networks, heads and optimisers at step 0; the same in all processes but for the centres.

    Args:
        config: of the training.
        faces: what it trains on.
        world: the processes.
        network: instead of the configuration's.
        margin: instead of the configuration's.
    """
    torch.manual_seed(config.seed)
    if network is None:
        network = create_model(
            config.network.name, weights=config.network.weights, **config.network.arguments()
        )
    _freeze(network, config.network.freeze)
    network = network.to(world.device)
    if config.channels_last:
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if config.recompute:
        _recompute(network)
    if config.fsdp and world.processes > 1:
        _shard(network)
    average = WeightAverage(network, config.average) if config.average else None
    head = _head(config, faces, world, margin)
    optimizer = build_optimizer(
        parameter_groups(network, config.optimizer.weight_decay), config.optimizer
    )
    head_optimizer = None
    if head is not None:
        groups = parameter_groups(head, config.optimizer.weight_decay)
        head_optimizer = build_optimizer(groups, config.optimizer)
    scale = LossScale() if config.precision == "fp16" else None
    torch.manual_seed(config.seed + world.rank)
    return State(network, optimizer, head, head_optimizer, average, scale)


def parallel(network: nn.Module, config: RecognitionConfig, world: World) -> nn.Module:
    """The network as the steps call it: compiled where asked for, its gradients averaged."""
    model = network
    if config.compile:
        model = torch.compile(model)  # type: ignore[assignment]
    if world.processes > 1 and not config.fsdp and any(p.requires_grad for p in model.parameters()):
        places = [world.device.index] if world.device.index is not None else None
        model = DistributedDataParallel(model, places, broadcast_buffers=False)
    return model


def targets_of(config: RecognitionConfig, faces: FaceSet, world: World, log: Log) -> Tensor | None:
    """The teachers' fused embeddings `(N, D)` of all faces, or None without teachers."""
    if not config.distillation.teachers:
        return None
    rows = []
    for name in config.distillation.teachers:
        teacher = Recognizer(name, precision="fp32")
        if world.first:
            teacher_embeddings(faces, teacher, Path(config.distillation.cache), log.track)
        world.wait()
        rows.append(teacher_embeddings(faces, teacher, Path(config.distillation.cache), log.track))
    return torch.from_numpy(fuse(rows, config.network.embedding_size))


def facts_of(config: RecognitionConfig, faces: FaceSet, network: nn.Module) -> dict[str, Any]:
    """What a checkpoint says of itself, so that nothing else is needed to use it."""
    return {
        "task": "recognition",
        "architecture": getattr(network, "architecture", None),
        "arguments": config.network.arguments(),
        "config": config.model_dump(mode="json"),
        "class_names": list(faces.class_names),
        "versions": {"mindface": __version__, "torch": torch.__version__},
    }


def _freeze(network: nn.Module, prefixes: tuple[str, ...]) -> None:
    names = [name for name, _ in network.named_parameters()]
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in names):
            raise ConfigError(
                f"network.freeze: no parameter begins with {prefix!r}; they are called "
                f"{', '.join(names[:3])}, ..."
            )
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not name.startswith(prefixes or ("\0",)))


def _recompute(network: nn.Module) -> None:
    """Keeps the inputs of a ViT's blocks alone and computes the rest again when it is needed."""
    for block in network.blocks:  # type: ignore[union-attr]
        plain = block.forward
        block.forward = lambda x, plain=plain: checkpoint(plain, x, use_reentrant=False)


def _shard(network: nn.Module) -> None:
    from torch.distributed.fsdp import fully_shard

    for block in network.blocks:  # type: ignore[union-attr]
        fully_shard(block)
    fully_shard(network)


def _head(
    config: RecognitionConfig, faces: FaceSet, world: World, margin: Margin | None
) -> PartialFC | None:
    if margin is None:
        if config.head.loss is None:
            return None
        margin = _margin(config)
    classes = len(faces.class_names)
    if not classes:
        raise ConfigError(f"{faces.source}: nobody is named in it: set head.loss=null to distil")
    head = PartialFC(
        config.network.embedding_size,
        classes,
        margin,
        rate=config.head.rate,
        seed=config.seed,
        filter_threshold=config.head.filter,
    )
    return head.to(world.device)


def _margin(config: RecognitionConfig) -> Margin:
    loss = config.head.loss
    if loss not in LOSSES:
        raise ConfigError(f"head.loss: {loss!r} is no loss; there are {', '.join(LOSSES)}")
    try:
        return LOSSES[loss](**config.head.arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"head.arguments: {loss}: {error}") from error
