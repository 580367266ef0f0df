"""What one step of a detector's training computes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mindface.detection.anchors import STRIDES, anchors
from mindface.detection.losses import MultiBoxLoss
from mindface.detection.models.retinaface import ANCHORS
from mindface.models import convention
from mindface.training.detection.config import DetectionConfig
from mindface.training.detection.data import Batch
from mindface.training.distributed import World
from mindface.training.loading import to_input
from mindface.training.state import State
from mindface.training.step import add_gradients, autocast


@dataclass(frozen=True)
class Outcome:
    """What a step computed.

    Attributes:
        losses: the parts of the loss, means over this process's batch.
        odd: `(B,)` bool, of which pictures the outputs are not finite.
    """

    losses: dict[str, Tensor]
    odd: Tensor


def prepared(images: Tensor, name: str, device: torch.device) -> Tensor:
    """Pixels `(B, H, W, 3)` uint8 RGB as the detector called `name` takes them."""
    facts = convention(name).preprocessing
    images = images.to(device, non_blocking=True)
    return to_input(images.flip(3) if facts.color == "bgr" else images, facts.mean, facts.std)


def backward(
    model: nn.Module,
    state: State,
    batch: Batch,
    loss: MultiBoxLoss,
    kept: nn.Module | None,
    config: DetectionConfig,
    world: World,
) -> Outcome:
    """Adds the gradients of a batch, in as many pieces as the configuration says.

    Args:
        model: the network in its wrappers.
        state: what is trained.
        batch: this process's part of the step.
        loss: of anchors.
        kept: an older network whose judgement of the background is kept, or None.
        config: of the training.
        world: the processes.
    """
    device, count = world.device, config.accumulation
    grid = torch.tensor(anchors(config.data.size, config.data.size), device=device)
    size = len(batch.images) // count
    sums: dict[str, Tensor] = {}
    odd = []
    for start in range(0, len(batch.images), size):
        piece = slice(start, start + size)
        inputs = prepared(batch.images[piece], config.network.name, device)
        with autocast(config, device):
            outputs = model(inputs)
            with torch.no_grad():
                older = judgement(kept, inputs) if kept else None
        faces = (
            [each.to(device) for each in part[piece]]
            for part in (batch.boxes, batch.landmarks, batch.ignored)
        )
        losses = loss(outputs, *faces, grid, older)
        add_gradients(torch.stack([*losses.values()]).sum() / count, state)
        for name, value in losses.items():
            sums[name] = sums.get(name, 0) + value.detach() / count
        odd.append(
            ~torch.stack([part.detach().isfinite().all(2).all(1) for part in outputs]).all(0)
        )
    return Outcome(sums, torch.cat(odd))


def judgement(network: nn.Module, inputs: Tensor) -> Tensor:
    """Class probabilities `(B, A, 2)` of square pictures and their mirror images, the means."""
    plain: Tensor = network(inputs)[1]
    mirrored: Tensor = network(inputs.flip(3))[1]
    sides = [inputs.shape[3] // stride for stride in STRIDES]
    levels = mirrored.split([ANCHORS * side**2 for side in sides], dim=1)  # type: ignore[no-untyped-call]
    rows = [
        level.unflatten(1, (side, side, ANCHORS)).flip(2).flatten(1, 3)
        for level, side in zip(levels, sides, strict=True)
    ]
    return (plain + torch.cat(rows, 1)) / 2


def measured(state: State, outcome: Outcome, world: World) -> dict[str, float]:
    """What the log says of a step before it is taken, the means over all processes."""
    values = {name: world.mean(value) for name, value in outcome.losses.items()}
    values = {"loss": sum(values.values()), **values}
    if state.scale:
        values["loss scale"] = state.scale.value
    return values
