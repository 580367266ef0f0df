import json
from itertools import count
from types import SimpleNamespace

import pytest

from mindface.training import log as module
from mindface.training.log import Log


def logged(folder, start=0, first=True):
    return Log(folder, steps=20, start=start, batch=12, first=first)


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def clock(monkeypatch):
    """Half a second passes whenever the time is asked for."""
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=count(1000, 0.5).__next__))


def test_each_step_is_a_line_of_json_with_images_a_second(tmp_path, clock, capsys):
    with logged(tmp_path / "run", start=2) as log:
        log.write(4, {"loss": 3.25, "rate": 0.1})
    assert lines(tmp_path / "run") == [
        {"step": 4, "loss": 3.25, "rate": 0.1, "images/s": 2 * 12 / 0.5}
    ]
    assert capsys.readouterr().err == "step 4 of 20: loss 3.25, rate 0.1, images/s 48\n"


def test_nothing_is_written_before_it_is_opened(tmp_path, capsys):
    log = logged(tmp_path / "run")
    log.say("the plan")
    assert not (tmp_path / "run").exists()
    assert capsys.readouterr().err == "the plan\n"


def test_lines_are_said_now_and_then_and_at_the_end(tmp_path, clock, capsys):
    with logged(tmp_path) as log:
        for step in range(1, 21):
            log.write(step, {"loss": 1.0})
    said = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in said] == [
        "step 1 of 20",
        "step 11 of 20",
        "step 20 of 20",
    ]


def test_a_resumed_training_overwrites_what_comes_again(tmp_path):
    with logged(tmp_path) as log:
        for step in (1, 2, 3):
            log.write(step, {"loss": 1.0})
            log.measured(step, "verification", {"a/auc": 0.5})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 1, "lo')
    with logged(tmp_path, start=2) as log:
        log.write(3, {"loss": 2.0})
    found = [(line["step"], line.get("loss"), line.get("a/auc")) for line in lines(tmp_path)]
    assert found == [(1, 1.0, None), (1, None, 0.5), (2, 1.0, None), (2, None, 0.5), (3, 2.0, None)]


@pytest.mark.parametrize(
    ("losses", "areas", "called_out"),
    [
        ([4.0, 2.0], {"a/auc": 0.51}, True),
        ([4.0, 2.0], {"a/auc": 0.51, "b/auc": 0.6}, False),
        ([4.0, 3.9], {"a/auc": 0.51}, False),
        ([4.0, 2.0], {"a/auc": 0.9}, False),
        ([], {"a/auc": 0.5}, False),
    ],
)
@pytest.mark.parametrize("resumed", [False, True])
def test_a_falling_loss_beside_chance_is_called_out(
    tmp_path, capsys, losses, areas, called_out, resumed
):
    log = logged(tmp_path)
    with log:
        for step, loss in enumerate(losses, 1):
            log.write(step, {"loss": loss})
        if not resumed:
            log.measured(3, "verification", areas)
    if resumed:
        with logged(tmp_path, start=2) as log:
            log.measured(3, "verification", areas)
    said = capsys.readouterr().err
    assert "verification at step 3: " in said
    assert ("no better than chance" in said) == called_out


def test_skipped_pictures_are_named_once_and_counted_by_any_process(tmp_path, capsys):
    with logged(tmp_path, first=False) as log:
        log.skipped(["a.jpg", "b.jpg"])
        log.skipped(["a.jpg"])
        log.say("not for this process")
        log.write(1, {"loss": 1.0})
        log.measured(1, "verification", {"a/auc": 1.0})
    assert capsys.readouterr().err.splitlines() == [
        "skipped, cannot be read: a.jpg",
        "skipped, cannot be read: b.jpg",
        "2 pictures could not be read and were skipped",
    ]
    assert not list(tmp_path.iterdir())


def test_long_work_is_tracked(tmp_path, clock, capsys):
    log = logged(tmp_path)
    assert list(log.track("abcdefghijklmnopqrstuvwxyz", 26, "embeddings")) == [
        *"abcdefghijklmnopqrstuvwxyz"
    ]
    assert capsys.readouterr().err.splitlines() == [
        "embeddings: 1 of 26",
        "embeddings: 21 of 26",
    ]


def test_a_terminal_gets_a_bar(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module.sys.stderr, "isatty", lambda: True, raising=False)
    with logged(tmp_path) as log:
        log.write(5, {"loss": 1.5})
        log.say("a [bold] word")
    assert "a [bold] word" in capsys.readouterr().err


def test_tensorboard_has_the_values_and_forgets_what_comes_again(tmp_path):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    with logged(tmp_path) as log:
        log.write(1, {"loss": 1.5})
    with logged(tmp_path, start=1) as log:
        log.measured(2, "verification", {"a/auc": 0.75})
    scalars, purged = {}, set()
    for path in (tmp_path / "tensorboard").iterdir():
        for record in records(path.read_bytes()):
            event = Event.FromString(record)
            if event.HasField("session_log"):
                purged.add(event.step)
            for value in event.summary.value:
                scalars[value.tag, event.step] = value.simple_value
    assert scalars["loss", 1] == 1.5
    assert scalars["a/auc", 2] == 0.75
    assert purged == {1, 2}


def records(content):
    """TFRecord: a length, its check sum, so many bytes, their check sum."""
    while content:
        length = int.from_bytes(content[:8], "little")
        yield content[12 : 12 + length]
        content = content[16 + length :]
