"""Trainings of several processes, over gloo on CPU, are the training of one."""

import os
import signal

import pytest
import torch
from compared import differing, everything
from processes import together
from tiny import TinyFaces, metrics, settings, tiny_network, trained, write_faces
from torch import nn

from mindface.recognition.models.vit import VisionTransformer
from mindface.training.checkpoint import Checkpoints
from mindface.training.recognition.train import train

CLOSE = {"rtol": 1e-4, "atol": 1e-6}
# The bias of UniFace is learnt in all processes, its centres in one each.
CHANGES = ("head.loss=uniface", "head.arguments={scale: 16}", "average=0.9", "head.first=0.5")


def run(output, until=None, norm=lambda: None):
    """A training that the first process is asked to stop in step `until`."""
    network = tiny_network(norm())

    def ask(*_):
        lines = output / "metrics.jsonl"
        done = len(lines.read_text().splitlines()) if lines.exists() else 0
        if os.environ.get("RANK") == "0" and done == until - 1:
            os.kill(os.getpid(), signal.SIGTERM)

    if until is not None:
        network.register_forward_pre_hook(ask)
    train(settings(output, *CHANGES), network=network, faces=TinyFaces())


def whole(checkpoint):
    """All tensors but random numbers, those of the centres joined."""
    tensors = everything(checkpoint)
    parts = sorted(name for name in checkpoint.names() if name.startswith("head-"))
    rows = [n.split("/")[1] for n in tensors if n.startswith("head-0/centers")]
    joined = {
        name: torch.cat([tensors[f"{part}/{name}"].flatten() for part in parts]) for name in rows
    }
    kept = {n: t for n, t in tensors.items() if not n.startswith(("head-", "random-"))}
    return kept | joined


def test_two_then_one_then_three_processes_continue_the_curve_of_one(tmp_path):
    alone = trained(tmp_path / "alone", *CHANGES)
    output = tmp_path / "several"
    for processes, step, until in ((2, 4, 4), (1, 8, 8), (3, 12, None)):
        assert together(run, processes, output, until) == [0] * processes
        found = Checkpoints(output / "checkpoints").latest()
        assert (found.step, found.facts["processes"]) == (step, processes)
    expected = metrics(tmp_path / "alone")
    assert metrics(output) == pytest.approx(expected, rel=1e-4)
    accuracies = metrics(tmp_path / "alone", "accuracy")
    assert metrics(output, "accuracy") == pytest.approx(accuracies)
    assert whole(found).keys() == whole(alone).keys()
    for name, tensor in whole(found).items():
        torch.testing.assert_close(tensor, whole(alone)[name], **CLOSE, msg=name)


def batch_norm():
    return nn.Sequential(nn.BatchNorm2d(8), nn.Dropout(0.2))


def test_two_processes_go_on_bit_for_bit_with_batch_norms_and_dropout(tmp_path):
    found = []
    for name, until in (("whole", None), ("stopped", 6), ("stopped", None)):
        assert together(run, 2, tmp_path / name, until, batch_norm) == [0, 0]
        found.append(Checkpoints(tmp_path / name / "checkpoints").latest())
    assert [each.step for each in found] == [12, 6, 12]
    assert differing(everything(found[0]), everything(found[2])) == []
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "stopped")


VIT = (
    "network.name=arcface_vit_t",
    "optimizer.name=adamw",
    "optimizer.lr=0.001",
    "average=0.5",
    "channels_last=false",
)


def transformer(output, *changes):
    torch.manual_seed(0)
    network = VisionTransformer(width=64, depth=2, embedding_size=16)
    train(settings(output, *VIT, *changes), network=network, faces=TinyFaces())


def test_sharded_parameters_learn_what_copied_ones_do_and_resume(tmp_path):
    held_out = write_faces(tmp_path / "held_out", people=2, each=2)
    given = f"verification=[{{path: '{held_out}'}}]"
    assert together(transformer, 2, tmp_path / "ddp", given, "schedule.epochs=1") == [0, 0]
    for epochs in (0.5, 1):
        changes = (given, "fsdp=true", f"schedule.epochs={epochs}")
        assert together(transformer, 2, tmp_path / "fsdp", *changes) == [0, 0]
    copied, sharded = (Checkpoints(tmp_path / n / "checkpoints").latest() for n in ("ddp", "fsdp"))
    assert metrics(tmp_path / "fsdp") == pytest.approx(metrics(tmp_path / "ddp"), rel=1e-4)
    areas = [metrics(tmp_path / name, "held_out/auc") for name in ("ddp", "fsdp")]
    assert areas[0][4] == areas[1][4]
    # Not the values: AdamW makes whole steps of gradients that are nothing but rounding.
    shapes = [{n: t.shape for n, t in whole(found).items()} for found in (copied, sharded)]
    assert shapes[0] == shapes[1]
