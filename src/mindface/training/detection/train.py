"""Training a detector, from a configuration to a checkpoint that validation has measured.

```
mindface train detection retinaface_mobilenet025 'data.sets=[{path: widerface/train/label.txt}]'
torchrun --nproc_per_node 4 -m mindface train detection retinaface_resnet50 ...
```
"""

from __future__ import annotations

from contextlib import closing, nullcontext
from pathlib import Path

from torch import nn

from mindface.datasets.scenes import SceneMixture, SceneSet
from mindface.training.checkpoint import Checkpoint, Checkpoints
from mindface.training.detection.config import DetectionConfig
from mindface.training.detection.data import Scenes, collate
from mindface.training.detection.plan import make_plan
from mindface.training.detection.setup import (
    build_state,
    check_batch,
    facts_of,
    kept_network,
    loss_of,
    open_sets,
)
from mindface.training.detection.step import backward, measured
from mindface.training.detection.validator import Validator
from mindface.training.distributed import World, joined
from mindface.training.loading import loaded
from mindface.training.log import Log
from mindface.training.networks import parallel
from mindface.training.sampler import GlobalBatches
from mindface.training.state import State
from mindface.training.step import check_finite, clip, set_mode, set_rate, take_step
from mindface.training.stopping import stop_requested


def train(
    config: DetectionConfig,
    *,
    network: nn.Module | None = None,
    scenes: SceneSet | None = None,
) -> Checkpoint:
    """Trains a detector; one that was stopped goes on where it was.

    SIGTERM or SIGINT stops it after a step, when it has saved.

    Args:
        config: everything else.
        network: one of your own instead of `config.network.name`; what `RetinaFace.forward` says.
        scenes: a set of your own instead of `config.data.sets`.

    Returns:
        The best checkpoint if validation was measured, else the last.

    Raises:
        ConfigError: the configuration asks for what is not there.
        PlanError: it cannot fit in memory or on the disk.
        TrainingError: the gradients are not finite; says in which step and process, with which
            photos. The last checkpoint stands.
        ImageError: a photo cannot be read and `data.strict` is set.
        WeightsError: a checkpoint, `network.weights` or `network.backbone` do not fit.
    """
    with joined(config.device) as world:
        scenes = open_sets(config.data) if scenes is None else SceneMixture([scenes])
        checkpoints = Checkpoints(Path(config.output) / "checkpoints", config.keep)
        last = checkpoints.latest()
        check_batch(config, world)
        batches = GlobalBatches(
            scenes.order,
            config.data.batch,
            seed=config.seed,
            rank=world.rank,
            processes=world.processes,
            start=last.step if last else 0,
        )
        epoch = batches.steps_per_epoch
        total = batches.stop = config.schedule.steps(epoch)
        log = Log(Path(config.output), total, batches.start, config.data.batch, world.first)
        plan = make_plan(config, scenes, network, epoch, batches.start, world)
        log.say(plan.text)
        plan.check()

        validator = Validator(config)
        state = build_state(config, world, network)
        if last:
            state.load(last, world, config.seed)
        loss, kept = loss_of(config.loss), kept_network(config, world)
        model = parallel(state.network, world, compiled=config.compile)
        facts = facts_of(config, state.network)

        pictures = Scenes(scenes, config)
        read = loaded(pictures, batches, collate, config.data.workers, world.device)
        with log, stop_requested() as stopping, closing(read):
            if last is None and config.network.weights:
                state.save(checkpoints, facts | validate(state, validator, world, log), world)
            for batch in read:
                log.skipped([scenes.describe(index) for index in batch.skipped])
                rate = set_rate(state, config, config.data.batch, epoch)
                set_mode(state.network, True)
                outcome = backward(model, state, batch, loss, kept, config, world)
                norm = clip(state, config.optimizer.max_norm)
                check_finite(
                    norm, state, outcome.losses, batch.indices, outcome.odd, scenes.describe, world
                )
                state.step += 1
                logged = state.step % config.log_every == 0 or state.step == total
                values = measured(state, outcome, world) if logged else {}
                take_step(state, norm)

                if logged:
                    log.write(state.step, {**values, "rate": rate})
                stop = world.any(stopping())
                validated = state.step % config.verify_every == 0 or state.step == total
                found = validate(state, validator, world, log) if validated else {}
                if validated or stop or state.step % config.save_every == 0:
                    state.save(checkpoints, facts | found, world)
                if stop:
                    log.say(f"stopped at step {state.step}: the same command goes on from there")
                    break
    return checkpoints.best() or checkpoints.all()[-1]


def validate(state: State, validator: Validator, world: World, log: Log) -> dict[str, object]:
    """Measures the averaged weights, or the plain ones where none are averaged.

    Returns:
        What the checkpoint says of it: `verification`, the figures, and `score`.
    """
    with state.average.swapped(state.network) if state.average else nullcontext():
        figures = validator(state.network, world.device)
    if not figures:
        return {}
    log.measured(state.step, "validation", figures)
    return {"verification": figures, "score": validator.score(figures)}
