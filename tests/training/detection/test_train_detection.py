"""Training a detector, from little photos to a checkpoint."""

import json
import os
import signal

import numpy as np
import pytest
import torch
from compared import differing, everything
from processes import apart, together
from tiny_scenes import TinyScenes, metrics, settings, trained, write_scenes

from mindface.detection.models.retinaface import retinaface_mobilenet025
from mindface.errors import ConfigError, ImageError, PlanError, TrainingError
from mindface.models import create_model
from mindface.training import checkpoint
from mindface.training.checkpoint import Checkpoints
from mindface.training.detection import plan
from mindface.training.detection.config import DetectionConfig
from mindface.training.detection.step import judgement
from mindface.training.detection.train import train
from mindface.training.networks import network_of
from mindface.weights import network_arrays

HEADS = ("bboxhead", "classhead", "landmarkhead")  # the coarse ones see no face here
ADAPTED = ("average=0.9", "precision=fp16")


def test_it_learns_and_keeps_what_is_needed(tmp_path):
    found = trained(tmp_path, "schedule.epochs=10", "precision=bf16")
    losses = [*metrics(tmp_path).values()]
    assert len(losses) == found.step == 40
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
    assert metrics(tmp_path, "boxes").keys() == metrics(tmp_path, "landmarks").keys()
    network = network_of(found.folder)
    assert type(network) is type(retinaface_mobilenet025())
    assert DetectionConfig.model_validate_json(json.dumps(found.facts["config"]))
    assert found.facts["task"] == "detection"


def run(output, *deaths):
    """A training in which signals come: (signal, name of a function of checkpoints, call)."""
    for number, name, call in deaths:
        function, calls = getattr(checkpoint, name), []

        def fatal(*arguments, function=function, calls=calls, number=number, call=call):
            calls.append(None)
            if len(calls) == call:
                os.kill(os.getpid(), number)
            return function(*arguments)

        setattr(checkpoint, name, fatal)
    train(settings(output, *ADAPTED), scenes=TinyScenes())


def test_killed_while_it_saves_and_resumed_it_gives_the_same_bits(tmp_path):
    whole = trained(tmp_path / "whole", *ADAPTED)
    killed = tmp_path / "killed"
    for death in ((signal.SIGKILL, "save_file", 2), (signal.SIGKILL, "_remove", 1)):
        assert apart(run, killed, death) == -signal.SIGKILL
    assert apart(run, killed) == 0
    found = Checkpoints(killed / "checkpoints").latest()
    assert differing(everything(found), everything(whole)) == []
    assert metrics(killed) == metrics(tmp_path / "whole")


def test_workers_and_accumulation_change_what_they_must(tmp_path):
    alone = trained(tmp_path / "alone", "schedule.epochs=1")
    workers = trained(tmp_path / "workers", "schedule.epochs=1", "data.workers=2")
    assert differing(everything(alone), everything(workers)) == []
    parts = trained(tmp_path / "parts", "schedule.epochs=1", "accumulation=2")
    assert parts.step == alone.step


def two(output):
    train(settings(output, "schedule.epochs=1"), scenes=TinyScenes())


def test_two_processes_share_a_batch(tmp_path):
    assert together(two, 2, tmp_path) == [0, 0]
    found = Checkpoints(tmp_path / "checkpoints").latest()
    assert found.step == 4
    assert {"random-0", "random-1"} <= {*found.names()}


def test_photos_that_cannot_be_read_are_skipped_and_named(tmp_path, capsys):
    trained(tmp_path, "schedule.epochs=1", scenes=TinyScenes(broken={2, 3}))
    said = capsys.readouterr().err
    assert "skipped, cannot be read: photo 2" in said
    assert "2 pictures could not be read" in said
    with pytest.raises(ImageError, match=r"photo [23]: cannot be read"):
        trained(tmp_path / "strict", "data.strict=true", scenes=TinyScenes(broken={2, 3}))


class Overflowing(torch.nn.Module):
    """Gives what is not finite for the first photo of its third step."""

    def __init__(self):
        super().__init__()
        self.inner = create_model("retinaface_mobilenet025")
        self.calls = 0

    def forward(self, x):
        boxes, scores, landmarks = self.inner(x)
        self.calls += self.training and not x.is_meta
        if self.calls == 4:  # the plan's pass is the first
            boxes = torch.cat([boxes[:1] * torch.inf, boxes[1:]])
        return boxes, scores, landmarks


def test_a_step_that_is_not_finite_ends_it_and_names_the_photo(tmp_path):
    with pytest.raises(TrainingError, match=r"step 2, .*not finite are of photo \d+\. No weight"):
        trained(tmp_path, "save_every=1", network=Overflowing())
    assert Checkpoints(tmp_path / "checkpoints").latest().step == 2


@pytest.mark.parametrize("kind", ["pth", "safetensors", "folder"])
def test_fine_tuning_measures_before_and_after_and_keeps_the_better(tmp_path, capsys, kind):
    labels = write_scenes(tmp_path / "scenes")
    network = create_model("retinaface_mobilenet025")
    weights = tmp_path / f"weights.{kind}"
    if kind == "pth":
        torch.save(network.state_dict(), weights)
    elif kind == "safetensors":
        from safetensors.numpy import save_file

        save_file(network_arrays(network), weights)
    else:
        weights = trained(tmp_path / "before", "schedule.epochs=1").folder.parent.parent
    found = trained(
        tmp_path / "after",
        "schedule.epochs=1",
        f"network.weights={weights}",
        f"validation=[{{path: {labels}}}]",
    )
    said = capsys.readouterr().err
    assert "validation at step 0: scenes/ap" in said
    assert "validation at step 4: scenes/ap" in said
    scores = [each.facts["score"] for each in Checkpoints(tmp_path / "after/checkpoints").all()]
    assert found.facts["score"] == max(scores)


@pytest.mark.shared
def test_a_backbone_of_imagenet_is_where_it_starts(shared, tmp_path):
    backbone = shared / "data/weights/mobilenetV1X0.25_pretrain.tar"
    found = trained(
        tmp_path, f"network.backbone={backbone}", "optimizer.lr=1e-12", "schedule.epochs=0.25"
    )
    plain = create_model("retinaface_mobilenet025").body.stage1[0][0].weight
    weight = found.tensors("network")["body.stage1.0.0.weight"]
    state = torch.load(backbone, map_location="cpu", weights_only=True)["state_dict"]
    wanted = state["module.stage1.0.0.weight"]
    assert torch.allclose(weight, wanted, atol=1e-6)
    assert not torch.allclose(weight, plain, atol=1e-3)


def test_what_does_not_fit_is_refused_with_proposals_that_do(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "free_memory", lambda world: 20_000_000)
    with pytest.raises(PlanError, match=r"try accumulation=\d+ or data\.size=32"):
        trained(tmp_path, "data.batch=16")
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["network.name=arcface_r50"], "no detector; there are retinaface_mobilenet025"),
        (["data.size=100"], "data.size=100 is no multiple of 32"),
        (["network.weights=a.pth"], "validation must name a set"),
        (["network.weights=a.pth", "network.backbone=b.pth"], "has a backbone already"),
        (["loss.matching=nearest"], "matching"),
        (["data.augmentation.mosaics=1"], "mosaics"),
    ],
)
def test_impossible_configurations_are_refused(tmp_path, overrides, message):
    with pytest.raises(ConfigError, match=message):
        settings(tmp_path, *overrides)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.batch=3", "accumulation=2"], "data.batch=3 cannot be divided"),
        (["network.freeze=[head.]"], "no parameter begins with 'head.'"),
    ],
)
def test_impossible_trainings_are_refused(tmp_path, overrides, message):
    with pytest.raises(ConfigError, match=message):
        trained(tmp_path, *overrides)


def test_without_sets_it_says_how_to_name_one(tmp_path):
    with pytest.raises(ConfigError, match=r"data\.sets is empty: name what to train on"):
        train(settings(tmp_path))


def test_frozen_parts_stay(tmp_path):
    torch.manual_seed(3)
    found = trained(tmp_path, "network.freeze=[body.]", "schedule.epochs=1")
    torch.manual_seed(3)
    before = create_model("retinaface_mobilenet025").state_dict()
    after = found.tensors("network")
    changed = {name.split(".")[0] for name in after if not torch.equal(after[name], before[name])}
    assert "body" not in changed
    assert "bboxhead" in changed


def test_frozen_norms_keep_their_statistics_and_factors(tmp_path):
    torch.manual_seed(3)
    found = trained(tmp_path, "network.freeze_norms=true", "schedule.epochs=1")
    torch.manual_seed(3)
    network = create_model("retinaface_mobilenet025")
    after, before = found.tensors("network"), network.state_dict()
    same = {name for name in after if torch.equal(after[name], before[name])}
    norms = {
        f"{place}.{name}"
        for place, module in network.named_modules()
        if isinstance(module, torch.nn.BatchNorm2d)
        for name in module.state_dict()
    }
    assert {name for name in same if not name.startswith(HEADS)} == norms


def test_what_an_older_network_judges_can_be_kept(tmp_path):
    kept = tmp_path / "kept.pth"
    torch.save(create_model("retinaface_mobilenet025").state_dict(), kept)
    trained(tmp_path / "run", "schedule.epochs=0.5", f"loss.kept={kept}", "loss.keeping=2")
    assert min(metrics(tmp_path / "run", "kept").values()) > 0


def test_a_judgement_is_the_same_of_a_mirror_image():
    network = create_model("retinaface_mobilenet025").eval()
    images = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        plain, mirrored = judgement(network, images), judgement(network, images.flip(3))
        alone = network(images)[1]
    torch.testing.assert_close(plain.sum(2), torch.ones(2, plain.shape[1]))
    finest = slice(0, 2 * 12 * 12)
    rows, others = (each[:, finest].unflatten(1, (12, 12, 2)) for each in (plain, mirrored))
    torch.testing.assert_close(rows, others.flip(2))
    assert not torch.equal(plain, alone)


@pytest.mark.parametrize(
    "options",
    [
        ["loss.classification=focal"],
        ["loss.regression=diou"],
        ["loss.matching=atss"],
        ["optimizer.name=muon"],
    ],
)
def test_options_train(tmp_path, options):
    assert trained(tmp_path, *options, "schedule.epochs=0.5").step == 2
