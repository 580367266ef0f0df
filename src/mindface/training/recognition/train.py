"""Training a recogniser, from a configuration to a checkpoint that verification has measured.

```
mindface train recognition casia_r50 'data.sets=[{path: casia/train.rec}]'
torchrun --nproc_per_node 8 -m mindface train recognition ms1mv2_r100 'data.sets=[{path: ms1mv2}]'
```
"""

from __future__ import annotations

from contextlib import closing, nullcontext
from pathlib import Path

import torch
from torch import nn

from mindface.datasets import FaceSet
from mindface.recognition.losses import Margin
from mindface.training.checkpoint import Checkpoint, Checkpoints
from mindface.training.distributed import World, joined
from mindface.training.loading import loaded
from mindface.training.log import Log
from mindface.training.networks import parallel
from mindface.training.recognition.config import RecognitionConfig
from mindface.training.recognition.data import Faces, collate
from mindface.training.recognition.plan import make_plan
from mindface.training.recognition.setup import (
    build_state,
    check_faces,
    facts_of,
    margin_of,
    open_sets,
    targets_of,
)
from mindface.training.recognition.step import backward, measured, set_strength
from mindface.training.recognition.verifier import Verifier
from mindface.training.sampler import GlobalBatches
from mindface.training.state import State
from mindface.training.step import check_finite, clip, set_mode, set_rate, take_step
from mindface.training.stopping import stop_requested


def train(
    config: RecognitionConfig,
    *,
    network: nn.Module | None = None,
    margin: Margin | None = None,
    faces: FaceSet | None = None,
) -> Checkpoint:
    """Trains a recogniser; one that was stopped goes on where it was.

    SIGTERM or SIGINT stops it after a step, when it has saved.

    Args:
        config: everything else.
        network: one of your own instead of `config.network.name`; maps `(B, 3, 112, 112)`, RGB of
            `(x - 127.5) / 127.5`, to `(B, D)`.
        margin: a loss of your own instead of `config.head.loss`.
        faces: a set of your own instead of `config.data.sets`.

    Returns:
        The best checkpoint if verification was measured, else the last.

    Raises:
        ConfigError: the configuration asks for what is not there.
        PlanError: it cannot fit in memory or on the disk.
        TrainingError: the gradients are not finite; says in which step and process, with which
            pictures. The last checkpoint stands.
        ImageError: a picture has another size, or cannot be read and `data.strict` is set.
        WeightsError: a checkpoint or `network.weights` does not fit the network.
    """
    with joined(config.device) as world:
        faces = faces if faces is not None else open_sets(config.data)
        margin = margin if margin is not None else margin_of(config.head)
        checkpoints = Checkpoints(Path(config.output) / "checkpoints", config.keep)
        last = checkpoints.latest()
        check_faces(config, faces, margin, last, world)
        batches = GlobalBatches(
            faces.order,
            config.data.batch,
            seed=config.seed,
            rank=world.rank,
            processes=world.processes,
            start=last.step if last else 0,
        )
        epoch = batches.steps_per_epoch
        total = batches.stop = config.schedule.steps(epoch)
        log = Log(Path(config.output), total, batches.start, config.data.batch, world.first)
        plan = make_plan(config, faces, network, margin, epoch, batches.start, world)
        log.say(plan.text)
        plan.check()

        verifier = Verifier(config)
        state = build_state(config, faces, world, network, margin)
        if last:
            state.load(last, world, config.seed)
        targets = targets_of(config, faces, world, log)
        model = parallel(state.network, world, compiled=config.compile, sharded=config.fsdp)
        facts = facts_of(config, faces, state.network)

        pictures = Faces(faces, config)
        read = loaded(pictures, batches, collate, config.data.workers, world.device)
        with log, stop_requested() as stopping, closing(read):
            if last is None and config.network.weights:
                state.save(checkpoints, facts | verify(state, verifier, world, log), world)
            for batch in read:
                log.skipped([faces.describe(index) for index in batch.skipped])
                rate = set_rate(state, config, config.data.batch, epoch)
                set_strength(state, config, epoch)
                since = state.step / epoch - config.head.start
                alone = 0 <= since < config.head.first
                set_mode(state.network, not alone)
                outcome = backward(
                    model, state, batch, targets, config, world, margin=since >= 0, alone=alone
                )
                norm = clip(state, config.optimizer.max_norm)
                odd = ~torch.isfinite(outcome.embeddings).all(1)
                check_finite(norm, state, outcome.losses, batch.indices, odd, faces.describe, world)
                state.step += 1
                logged = state.step % config.log_every == 0 or state.step == total
                values = measured(state, outcome, world) if logged else {}
                take_step(state, norm)

                if logged:
                    log.write(state.step, {**values, "rate": rate})
                stop = world.any(stopping())
                verified = state.step % config.verify_every == 0 or state.step == total
                found = verify(state, verifier, world, log) if verified else {}
                if verified or stop or state.step % config.save_every == 0:
                    state.save(checkpoints, facts | found, world)
                if stop:
                    log.say(f"stopped at step {state.step}: the same command goes on from there")
                    break
    return checkpoints.best() or checkpoints.all()[-1]


def verify(state: State, verifier: Verifier, world: World, log: Log) -> dict[str, object]:
    """Measures the averaged weights, or the plain ones where none are averaged.

    Returns:
        What the checkpoint says of it: `verification`, the figures, and `score`.
    """
    with state.average.swapped(state.network) if state.average else nullcontext():
        figures = verifier(state.network, world.device)
    if not figures:
        return {}
    log.measured(state.step, "verification", figures)
    return {"verification": figures, "score": verifier.score(figures)}
