"""What one step of training does, piece by piece; `train.py` puts the pieces together."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mindface.datasets import FaceSet
from mindface.errors import TrainingError
from mindface.models import convention
from mindface.recognition.losses.distillation import cosine_distillation, relational_distance
from mindface.training.distributed import World
from mindface.training.optimizers import clip_gradients
from mindface.training.recognition.config import RecognitionConfig
from mindface.training.recognition.data import Batch, to_input
from mindface.training.recognition.state import State

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SHOWN = 8


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


def set_rate(state: State, config: RecognitionConfig, steps_per_epoch: int) -> float:
    """Sets what follows from the step: the learning rate, returned, and the margin's strength."""
    peak = config.optimizer.peak(config.data.batch)
    rate = config.schedule.rate(state.step, peak, steps_per_epoch)
    for optimizer in state.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate
    if state.head is not None and config.head.ramp:
        epochs = state.step / steps_per_epoch - config.head.start
        state.head.strength = min(max(epochs / config.head.ramp, 0.0), 1.0)
    return rate


def set_mode(network: nn.Module, training: bool) -> None:
    """Training mode, except for frozen layers, so that the statistics of batch norms stay too."""
    network.train(training)
    for module in network.modules():
        own = [*module.parameters(recurse=False)]
        if own and not any(module.children()) and not any(p.requires_grad for p in own):
            module.eval()


def backward(
    model: nn.Module,
    state: State,
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
        with (
            torch.set_grad_enabled(not alone),
            torch.autocast(
                device.type, TYPES[config.precision], enabled=config.precision != "fp32"
            ),
        ):
            embeddings = model(inputs).float()
        wanted = None if targets is None else targets[indices].to(device)
        losses = _losses(state, embeddings, labels, wanted, config, world, margin)
        loss = torch.stack([*losses.values()]).sum() / count
        if loss.requires_grad:  # not where the centres learn alone and the piece names nobody
            (loss * (state.scale.value if state.scale else 1.0)).backward()  # type: ignore[no-untyped-call]
        for name, value in losses.items():
            sums[name] = sums.get(name, 0) + value.detach() / count
        embedded.append(embeddings.detach())
    return Outcome(sums, torch.cat(embedded), batch.labels.to(device), len(embedded[-1]))


def _losses(
    state: State,
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


def clip(state: State, config: RecognitionConfig) -> float:
    """Undoes the loss scale, clips all gradients together and returns their norm before."""
    network, head = [*state.network.parameters()], state.head
    margin = [*head.margin.parameters()] if head is not None else []
    centers = [head.centers] if head is not None else []
    if state.scale:
        for parameters in (network, [*margin, *centers]):
            gradients = [p.grad for p in parameters if p.grad is not None]
            if gradients:  # none of a network whose centres learn alone
                torch._foreach_mul_(gradients, 1 / state.scale.value)
    return clip_gradients([*network, *margin], centers, config.optimizer.max_norm)


def check_finite(
    norm: float, state: State, outcome: Outcome, batch: Batch, faces: FaceSet, world: World
) -> None:
    """Raises where a step must not be taken and a lower loss scale would not help.

    Raises:
        TrainingError: the gradients are not finite; says step, process, loss and pictures.
    """
    if math.isfinite(norm) or (state.scale and not state.scale.exhausted):
        return
    odd = ~torch.isfinite(outcome.embeddings).all(1).cpu()
    suspects = batch.indices[odd] if odd.any() else batch.indices
    names = ", ".join(faces.describe(int(index)) for index in suspects[:SHOWN])
    losses = ", ".join(f"{name} {float(value):.4g}" for name, value in outcome.losses.items())
    raise TrainingError(
        f"step {state.step}, process {world.rank}: the gradients' norm is {norm} (loss: {losses}); "
        f"{'embeddings that are not finite are of' if odd.any() else 'the batch begins with'} "
        f"{names}. No weight was changed by this step, and the last checkpoint stands: lower "
        "optimizer.lr or optimizer.max_norm, or look at these pictures"
    )


def measured(state: State, outcome: Outcome, world: World) -> dict[str, float]:
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
