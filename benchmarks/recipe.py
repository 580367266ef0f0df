"""The preset `scratch` beside plain ArcFace with arcface_torch's settings: same data, same steps.

    bash recipes/arcface_mobilefacenet/data.sh
    pip install ninja
    python benchmarks/recipe.py run [--recipes NAME ...] [--seeds 0 1 2] [--epochs 2]
    python benchmarks/recipe.py table

The labelled sets of `../shared` without the people who are held out, from random weights; measured
on all pairs of these people. The network is MobileFaceNet, which sees pictures of 64x64, a third of
the work (`--size 112`: whole ones). A training is one process and as many threads as torch takes;
what is done is written down and is not done again.

Plain ArcFace is that of arcface_torch: its head (`arcface_torch_step.py`), SGD with a rate of 0.1
and a weight decay of 5e-4 on every parameter, a rate that falls with the square, flips.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import closing
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from arcface_torch_step import FullHead, autocast
from torch import nn
from torch.nn.utils import clip_grad_norm_

from mindface.models import convention
from mindface.training.config import load_config
from mindface.training.loading import loaded, to_input
from mindface.training.networks import initial_network
from mindface.training.recognition.config import RecognitionConfig
from mindface.training.recognition.data import Faces, collate
from mindface.training.recognition.setup import open_sets
from mindface.training.recognition.train import train
from mindface.training.recognition.verifier import Verifier
from mindface.training.sampler import GlobalBatches

RECIPE = Path(__file__).parents[1] / "recipes" / "arcface_mobilefacenet"
sys.path.insert(0, str(RECIPE))
from fused import fuse  # noqa: E402
from looking import look_at  # noqa: E402

PRESETS = files("mindface.training.recognition") / "presets"
WORK = Path("build/recipe")
HELD_OUT = WORK / "held_out_all"
PLAIN = "arcface_torch"
RECIPES = {
    PLAIN: ["schedule={warmup_epochs: 0, shape: polynomial, power: 2}"],
    "scratch": [],
    "SGD, 0.1, instead of Muon": [
        "optimizer={name: sgd, lr: 0.1, momentum: 0.9, weight_decay: 5e-4, max_norm: 5}"
    ],
    "AdamW, 2e-3, instead of Muon": [
        "optimizer={name: adamw, lr: 2e-3, weight_decay: 0.05, max_norm: 5}"
    ],
    "ArcFace, 0.5, instead of CosFace": ["head.loss=arcface", "head.arguments.margin=0.5"],
    "the margin whole from the start": ["head.ramp=0"],
    "shifted, other colours, low resolution": [
        "data.augmentation={flip: 0.5, shift: 0.3, photometric: 0.2, low_resolution: 0.1}"
    ],
    "without averaged weights": ["average=0"],
}


def configured(
    recipe: str, seed: int, epochs: float, shared: Path, work: Path
) -> RecognitionConfig:
    """The training of a recipe; that of arcface_torch takes its data and schedule from it."""
    sets = [
        f"{{path: {path}, exclude: {RECIPE}/people/{name}_exclude.txt}}"
        for name, path in (
            ("celeba200", WORK / "celeba200"),
            ("celeba_small", shared / "data/faces112/celeba_small.rec"),
            ("pins90", shared / "data/faces112/pins90.rec"),
        )
    ]
    sets.append(f"{{path: {shared / 'data/faces112/celebs6.rec'}}}")
    return load_config(
        RecognitionConfig,
        PRESETS / "scratch.yaml",
        (
            f"data.sets=[{', '.join(sets)}]",
            f"verification=[{{path: {HELD_OUT}}}]",
            "verify_every=1000000",
            "save_every=100",
            "keep=1",
            "data.workers=1",
            *RECIPES[recipe],
            f"schedule.epochs={epochs}",
            f"seed={seed}",
            f"output={work}",
        ),
    )


def fresh(config: RecognitionConfig, size: int) -> nn.Module:
    """The network with random weights."""
    torch.manual_seed(config.seed)
    network = initial_network(config.network.name, None, **config.network.arguments())
    fuse(network)
    if size != 112:
        look_at(network, size)
    return network


def ours(config: RecognitionConfig, size: int) -> dict[str, float]:
    """What `mindface train recognition` reaches."""
    best = train(config, network=fresh(config, size))
    return dict(best.facts["verification"])


def plain_arcface(config: RecognitionConfig, size: int) -> dict[str, float]:
    """What arcface_torch's way reaches."""
    network = fresh(config, size).to(memory_format=torch.channels_last)
    faces = open_sets(config.data)
    head = FullHead(len(faces.class_names), "arcface", torch.bfloat16)
    parameters = [*network.parameters(), *head.parameters()]
    optimizer = torch.optim.SGD(parameters, 0.1, momentum=0.9, weight_decay=5e-4)
    batches = GlobalBatches(faces.order, config.data.batch, seed=config.seed)
    epoch = batches.steps_per_epoch
    batches.stop = config.schedule.steps(epoch)
    cpu, facts = torch.device("cpu"), convention(config.network.name).preprocessing
    read = loaded(Faces(faces, config), batches, collate, config.data.workers, cpu)
    network.train()
    with closing(read):
        for step, batch in enumerate(read):
            for group in optimizer.param_groups:
                group["lr"] = config.schedule.rate(step, 0.1, epoch)
            with autocast(cpu, torch.bfloat16):
                embeddings = network(to_input(batch.faces, facts.mean, facts.std))
            loss = head(embeddings.float(), batch.labels)
            loss.backward()
            clip_grad_norm_(network.parameters(), 5)
            optimizer.step()
            optimizer.zero_grad()
            if step % 20 == 0:
                print(f"step {step} of {batches.stop}: loss {loss.item():.3f}", flush=True)
    return Verifier(config)(network, cpu)


def run(asked: argparse.Namespace) -> None:
    """Trains what has not been trained yet."""
    for seed in asked.seeds:
        for recipe in asked.recipes:
            name = f"{recipe}, {asked.epochs:g} epochs of {asked.size}, seed {seed}"
            done = asked.results / f"{name}.json"
            if done.exists():
                continue
            print(name, flush=True)
            config = configured(recipe, seed, asked.epochs, asked.shared, asked.results / name)
            way = plain_arcface if recipe == PLAIN else ours
            figures = way(config, asked.size)
            found = {"recipe": recipe, "seed": seed, "epochs": asked.epochs, "size": asked.size}
            done.write_text(json.dumps(found | {"figures": figures}, indent=1) + "\n")


def table(results: Path) -> None:
    """Prints the mean over seeds, and the spread."""
    found = [json.loads(path.read_text()) for path in sorted(results.glob("*.json"))]
    print("| recipe | seeds | TAR at FMR 1e-3 | AUC |\n|---|---|---|---|")
    for recipe in RECIPES:
        rows = [each["figures"] for each in found if each["recipe"] == recipe]
        if rows:
            cells = [
                spread([row[f"{HELD_OUT.name}/{figure}"] for row in rows])
                for figure in ("tar@1e-3", "auc")
            ]
            print(f"| {recipe} | {len(rows)} | {' | '.join(cells)} |")


def spread(values: Sequence[float]) -> str:
    """The mean and the least and greatest value."""
    if len(values) == 1:
        return f"{values[0]:.4f}"
    return f"{np.mean(values):.4f} ({min(values):.4f} to {max(values):.4f})"


def main() -> None:
    """Runs what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("run", "table"))
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=[*RECIPES])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--size", type=int, default=64, help="of the pictures, pixels")
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--results", type=Path, default=WORK / "recipes")
    asked = parser.parse_args()
    asked.results.mkdir(parents=True, exist_ok=True)
    if asked.part == "run":
        run(asked)
    else:
        table(asked.results)


if __name__ == "__main__":
    main()
