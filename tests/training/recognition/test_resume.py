"""A training that was ended at any moment goes on as if nothing had happened."""

import os
import signal
import time

import pytest
import torch
from compared import differing, everything
from processes import apart
from tiny import TinyFaces, metrics, settings, tiny_network, trained
from torch import nn

from mindface.errors import ConfigError, WeightsError
from mindface.training import checkpoint
from mindface.training.checkpoint import Checkpoints
from mindface.training.loading import loaded
from mindface.training.recognition.data import Faces, collate
from mindface.training.recognition.train import train
from mindface.training.sampler import GlobalBatches

KINDS = {
    # Dropout draws from torch's generator, CurricularFace remembers a mean, UniFace learns a bias.
    "sgd": ("head.loss=curricularface", "head.arguments={scale: 16}", "average=0.9"),
    "adamw": (
        "head.loss=uniface",
        "head.arguments={scale: 16}",
        "head.rate=0.5",
        "optimizer.name=adamw",
        "optimizer.lr=0.001",
        "precision=fp16",
        "head.first=0.5",
        "head.ramp=2",
    ),
}


def network():
    return tiny_network(nn.Sequential(nn.BatchNorm2d(8), nn.Dropout(0.2)))


def run(output, kind, *deaths):
    """A training in which signals come at moments: (signal, function's name, call)."""
    model = network()
    for number, name, call in deaths:
        if name == "forward":
            model.register_forward_pre_hook(fatal(number, call))
        else:
            function, before = getattr(checkpoint, name), fatal(number, call)
            setattr(checkpoint, name, lambda *a, f=function, b=before: (b(), f(*a))[1])
    train(settings(output, *KINDS[kind]), network=model, faces=TinyFaces())


def fatal(number, call):
    """What sends this process a signal when it is called so often."""
    calls = []

    def count(*_):
        calls.append(None)
        if len(calls) == call:
            os.kill(os.getpid(), number)

    return count


@pytest.fixture(scope="module", params=KINDS)
def uninterrupted(request, tmp_path_factory):
    output = tmp_path_factory.mktemp(request.param)
    found = trained(output, *KINDS[request.param], network=network())
    return request.param, everything(found), metrics(output), metrics(output, "accuracy")


def check(output, uninterrupted):
    kind, tensors, losses, accuracies = uninterrupted
    assert apart(run, output, kind) == 0
    found = Checkpoints(output / "checkpoints")
    assert differing(everything(found.latest()), tensors) == []
    assert metrics(output) == losses
    assert metrics(output, "accuracy") == accuracies
    assert [*(output / "checkpoints").glob(".*")] == []


KILLED = [("forward", 4), ("forward", 8), ("save_file", 3), ("_flush", 3), ("_remove", 1)]


def test_killed_again_and_again(tmp_path, uninterrupted):
    """Within steps, within a part, before a checkpoint gets its name, and when an old one goes."""
    kind = uninterrupted[0]
    for name, call in KILLED:
        assert apart(run, tmp_path, kind, (signal.SIGKILL, name, call)) == -signal.SIGKILL
    check(tmp_path, uninterrupted)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_saves_after_the_step(tmp_path, uninterrupted, number):
    assert apart(run, tmp_path, uninterrupted[0], (number, "forward", 7)) == 0
    assert Checkpoints(tmp_path / "checkpoints").latest().step == 6
    check(tmp_path, uninterrupted)


def test_a_second_interrupt_does_not_wait(tmp_path):
    signals = [(signal.SIGINT, "forward", 7), (signal.SIGINT, "save_file", 8)]
    assert apart(run, tmp_path, "sgd", *signals) == 1
    assert Checkpoints(tmp_path / "checkpoints").latest().step == 4


def with_workers(output):
    """A training whose whole group of processes is asked to stop, as by a terminal."""
    os.setsid()
    model = network()

    def ask(*_):
        if calls.append(None) or len(calls) == 7:
            os.killpg(0, signal.SIGTERM)
            time.sleep(0.5)  # time for the death of a worker to be noticed

    calls = []
    model.register_forward_pre_hook(ask)
    train(settings(output, *KINDS["sgd"], "data.workers=2"), network=model, faces=TinyFaces())


def test_a_signal_to_the_whole_group_leaves_the_workers_until_all_is_saved(tmp_path):
    assert apart(with_workers, tmp_path) == 0
    assert Checkpoints(tmp_path / "checkpoints").latest().step == 6


def left_open(output):
    """A process that ends while its loader has more to give."""
    config = settings(output, "data.workers=2")
    batches = GlobalBatches(TinyFaces().order, 4, seed=0)
    OPEN.append(loaded(Faces(TinyFaces(), config), batches, collate, 2, torch.device("cpu")))
    next(OPEN[0])


OPEN = []


def test_workers_end_with_the_process_that_trains(tmp_path):
    assert apart(left_open, tmp_path) == 0


def test_a_training_that_is_done_does_nothing_more(tmp_path):
    first = trained(tmp_path)
    lines = (tmp_path / "metrics.jsonl").read_text()
    assert trained(tmp_path).folder == first.folder
    assert (tmp_path / "metrics.jsonl").read_text() == lines


@pytest.mark.parametrize("optimizer", ["sgd", "muon"])
def test_a_longer_training_goes_on_from_a_shorter_one(tmp_path, optimizer):
    rule = f"optimizer.name={optimizer}"
    trained(tmp_path / "short", rule, "schedule.epochs=2")
    longer = trained(tmp_path / "short", rule, "schedule.epochs=3")
    whole = trained(tmp_path / "whole", rule, "schedule.epochs=3")
    assert differing(everything(longer), everything(whole)) == []


@pytest.mark.parametrize(
    ("changes", "parts", "message"),
    [
        ((), {"network": tiny_network(nn.BatchNorm2d(8))}, "norm.running_mean should be .* none"),
        ((), {"network": nn.Sequential(nn.Flatten(), nn.Linear(37632, 16))}, "another network"),
        (("head.loss=subcenter_arcface", "head.arguments={}"), {}, r"head with \(8, 1, 16\)"),
        (("average=0.5",), {}, r"average\.safetensors cannot be read"),
    ],
)
def test_what_is_of_another_training_is_refused(tmp_path, changes, parts, message):
    trained(tmp_path)
    with pytest.raises(WeightsError, match=message):
        trained(tmp_path, *changes, **parts)


def test_other_people_are_refused(tmp_path):
    trained(tmp_path)
    faces = TinyFaces()
    faces.class_names = (*faces.class_names[:-1], "somebody else")
    with pytest.raises(ConfigError, match=r"tiny: not the people that .*step-00000012"):
        trained(tmp_path, faces=faces)


def test_a_damaged_checkpoint_is_named(tmp_path):
    found = trained(tmp_path)
    (found.folder / "optimizer.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(WeightsError, match=r"step-00000012/optimizer\.safetensors cannot be read"):
        trained(tmp_path)
