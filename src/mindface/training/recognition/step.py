"""What one step of training does, piece by piece; `train.py` puts the pieces together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mindface.models import convention
from mindface.recognition.losses.distillation import cosine_distillation, relational_distance
from mindface.training.distributed import World
from mindface.training.loading import to_input
from mindface.training.recognition.config import RecognitionConfig
from mindface.training.recognition.data import Batch
from mindface.training.recognition.state import RecognitionState
from mindface.training.step import add_gradients, autocast


@dataclass(frozen=True)
class Outcome:
    """What a step computed.

    Attributes:
        losses: the parts of the loss, means over this process's batch.
        embeddings: `(B, D)`, without a gradient.
        labels: `(B,)`.
        seen: how many of them, the last ones, the head saw together.
    """

    losses: dict[str, Tensor]
    embeddings: Tensor
    labels: Tensor
    seen: int


def set_strength(state: RecognitionState, config: RecognitionConfig, steps_per_epoch: int) -> None:
    """Sets the strength of the margin that follows from the step."""
    if state.head is not None and config.head.ramp:
        epochs = state.step / steps_per_epoch - config.head.start
        state.head.strength = min(max(epochs / config.head.ramp, 0.0), 1.0)


def backward(
    model: nn.Module,
    state: RecognitionState,
    batch: Batch,
    targets: Tensor | None,
    config: RecognitionConfig,
    world: World,
    *,
    margin: bool,
    alone: bool,
) -> Outcome:
    """Adds the gradients of a batch, in as many pieces as the configuration says.

    Args:
        model: the network in its wrappers.
        state: what is trained.
        batch: this process's part of the step.
        targets: teachers' embeddings `(N, D)` of the whole set, or None.
        config: of the training.
        world: the processes.
        margin: whether the loss over labelled people counts yet.
        alone: whether the class centres learn alone.
    """
    facts = convention(config.network.name).preprocessing
    device, count = world.device, config.accumulation
    embedded: list[Tensor] = []
    sums: dict[str, Tensor] = {}
    pieces = (each.chunk(count) for each in (batch.faces, batch.labels, batch.indices))
    for faces, labels, indices in zip(*pieces, strict=True):
        inputs = to_input(faces.to(device, non_blocking=True), facts.mean, facts.std)
        with torch.set_grad_enabled(not alone), autocast(config, device):
            embeddings = model(inputs).float()
        wanted = None if targets is None else targets[indices].to(device)
        losses = _losses(state, embeddings, labels, wanted, config, world, margin)
        loss = torch.stack([*losses.values()]).sum() / count
        if loss.requires_grad:  # not where the centres learn alone and the piece names nobody
            add_gradients(loss, state)
        for name, value in losses.items():
            sums[name] = sums.get(name, 0) + value.detach() / count
        embedded.append(embeddings.detach())
    return Outcome(sums, torch.cat(embedded), batch.labels.to(device), len(embedded[-1]))


def _losses(
    state: RecognitionState,
    embeddings: Tensor,
    labels: Tensor,
    targets: Tensor | None,
    config: RecognitionConfig,
    world: World,
    margin: bool,
) -> dict[str, Tensor]:
    losses = {}
    named = (labels >= 0).nonzero()[:, 0]
    if state.head is not None and margin and world.any(len(named) > 0):
        device = embeddings.device
        loss = state.head(embeddings[named.to(device)], labels[named].to(device))
        losses["margin"] = config.head.weight * loss
    if targets is not None:
        distil = config.distillation
        if distil.cosine:
            losses["cosine"] = distil.cosine * cosine_distillation(embeddings, targets)
        if distil.relational:
            distances = relational_distance(embeddings, targets)
            losses["relational"] = distil.relational * distances
    return losses


def measured(state: RecognitionState, outcome: Outcome, world: World) -> dict[str, float]:
    """What the log says of a step before it is taken, the means over all processes."""
    values = {name: world.mean(value) for name, value in outcome.losses.items()}
    values = {"loss": sum(values.values()), **(values if len(values) > 1 else {})}
    values["norm"] = world.mean(outcome.embeddings.norm(dim=1).mean())
    embeddings, labels = outcome.embeddings[-outcome.seen :], outcome.labels[-outcome.seen :]
    named = labels >= 0
    if state.head is not None and "margin" in outcome.losses and world.any(bool(named.any())):
        values["accuracy"] = state.head.accuracy(embeddings[named], labels[named])
    if state.scale:
        values["loss scale"] = state.scale.value
    return values
