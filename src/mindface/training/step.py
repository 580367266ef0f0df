"""What the steps of all trainings have in common."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from mindface.errors import TrainingError
from mindface.training.distributed import World
from mindface.training.optimizers import clip_gradients
from mindface.training.settings import Settings
from mindface.training.state import State

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SHOWN = 8


def set_rate(state: State, settings: Settings, batch: int, steps_per_epoch: int) -> float:
    """Sets the learning rate that follows from the step, and returns it.

    Args:
        state: what is trained.
        settings: of the training.
        batch: pictures of a step in all processes together.
        steps_per_epoch: likewise.
    """
    peak = settings.optimizer.peak(batch)
    rate = settings.schedule.rate(state.step, peak, steps_per_epoch)
    for optimizer in state.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate
    return rate


def set_mode(network: nn.Module, training: bool) -> None:
    """Training mode, except for frozen layers, so that the statistics of batch norms stay too."""
    network.train(training)
    for module in network.modules():
        own = [*module.parameters(recurse=False)]
        if own and not any(module.children()) and not any(p.requires_grad for p in own):
            module.eval()


def autocast(settings: Settings, device: torch.device) -> torch.autocast:
    """The precision of the network."""
    kind = TYPES[settings.precision]
    return torch.autocast(device.type, kind, enabled=settings.precision != "fp32")


def add_gradients(loss: Tensor, state: State) -> None:
    """Runs the backward pass; under fp16 of the loss times its scale."""
    (loss * (state.scale.value if state.scale else 1.0)).backward()  # type: ignore[no-untyped-call]


def clip(state: State, max_norm: float | None) -> float:
    """Undoes the loss scale, clips all gradients together and returns their norm before."""
    if state.scale:
        for parameters in (state.parameters, state.sharded):
            gradients = [p.grad for p in parameters if p.grad is not None]
            if gradients:  # none of a network whose centres learn alone
                torch._foreach_mul_(gradients, 1 / state.scale.value)
    return clip_gradients(state.parameters, state.sharded, max_norm)


def check_finite(
    norm: float,
    state: State,
    losses: Mapping[str, Tensor],
    indices: Tensor,
    odd: Tensor,
    describe: Callable[[int], str],
    world: World,
) -> None:
    """Raises where a step must not be taken and a lower loss scale would not help.

    Args:
        norm: of all gradients.
        state: what is trained.
        losses: the parts of the loss.
        indices: `(B,)` int64, which pictures the batch has.
        odd: `(B,)` bool, of which of them the network's outputs are not finite.
        describe: says what the picture of a number is called.
        world: the processes.

    Raises:
        TrainingError: the gradients are not finite; says step, process, loss and pictures.
    """
    if math.isfinite(norm) or (state.scale and not state.scale.exhausted):
        return
    odd = odd.cpu()
    suspects = indices[odd] if odd.any() else indices
    names = ", ".join(describe(int(index)) for index in suspects[:SHOWN])
    parts = ", ".join(f"{name} {float(value):.4g}" for name, value in losses.items())
    raise TrainingError(
        f"step {state.step}, process {world.rank}: the gradients' norm is {norm} (loss: {parts}); "
        f"{'outputs that are not finite are of' if odd.any() else 'the batch begins with'} "
        f"{names}. No weight was changed by this step, and the last checkpoint stands: lower "
        "optimizer.lr or optimizer.max_norm, or look at these pictures"
    )


def take_step(state: State, norm: float) -> None:
    """Moves the weights and their average, unless the loss scale says no; forgets the gradients."""
    if state.scale is None or state.scale.update(norm):
        for optimizer in state.optimizers:
            optimizer.step()
        if state.average:
            state.average.update(state.network)
    for optimizer in state.optimizers:
        optimizer.zero_grad()
