import json

import pytest
import torch

from mindface.errors import WeightsError
from mindface.training import checkpoint
from mindface.training.checkpoint import Checkpoints, open_checkpoint, size_on_disk
from mindface.training.distributed import World

ALONE = World(0, 1, torch.device("cpu"))
WEIGHTS = {"a.weight": torch.arange(6.0).view(2, 3), "steps": torch.tensor(7)}


def saved(checkpoints, step, **facts):
    own = {"head": {"centers": torch.full((2, 2), float(step))}}
    return checkpoints.save(step, {"network": WEIGHTS}, own, facts, ALONE)


def steps(checkpoints):
    return [found.step for found in checkpoints.all()]


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path / "checkpoints", keep=2)


def test_what_was_saved_is_read(checkpoints):
    folder = saved(checkpoints, 3, config={"people": ["Zoë", "张"]}, score=None)
    found = open_checkpoint(folder)
    assert (found.step, found.folder) == (3, folder)
    assert found.facts == {"step": 3, "config": {"people": ["Zoë", "张"]}, "score": None}
    assert found.names() == ["head-0", "network"]
    for name, tensor in WEIGHTS.items():
        assert torch.equal(found.tensors("network")[name], tensor)
    assert found.tensors("head-0")["centers"].tolist() == [[3.0, 3.0], [3.0, 3.0]]


def test_tensors_in_any_memory_can_be_saved(checkpoints):
    tied = torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last)
    part = {"a": tied, "b": tied, "view": tied[1:, :2]}
    found = open_checkpoint(checkpoints.save(1, {"network": part}, {}, {}, ALONE))
    for name, tensor in part.items():
        assert torch.equal(found.tensors("network")[name], tensor)


def test_the_newest_and_the_best_stay(checkpoints):
    for step, score in enumerate([0.5, 0.9, 0.9, 0.7, None, 0.8]):
        saved(checkpoints, step, score=score)
    assert steps(checkpoints) == [2, 4, 5]
    assert checkpoints.best().step == 2
    assert checkpoints.latest().step == 5
    assert open_checkpoint(checkpoints.folder.parent).step == 2


def test_without_scores_the_newest_is_taken(checkpoints):
    for step in (8, 9, 10):
        saved(checkpoints, step)
    assert checkpoints.best() is None
    assert open_checkpoint(checkpoints.folder.parent).step == 10
    assert steps(checkpoints) == [9, 10]


def test_there_may_be_none(checkpoints):
    assert checkpoints.latest() is checkpoints.best() is None
    assert size_on_disk(checkpoints.folder) == 0


def test_the_size_on_disk_is_that_of_all_files(checkpoints):
    folders = [saved(checkpoints, step) for step in (1, 2)]
    sizes = [path.stat().st_size for folder in folders for path in folder.iterdir()]
    assert size_on_disk(checkpoints.folder) == sum(sizes)


def test_a_step_is_saved_once(checkpoints):
    saved(checkpoints, 1, score=0.5)
    saved(checkpoints, 1, score=0.6)
    assert checkpoints.latest().facts["score"] == 0.5


class Killed(BaseException):
    """Ends a save where a signal would."""


@pytest.mark.parametrize("name", ["save_file", "_write", "_flush", "_remove"])
@pytest.mark.parametrize("call", [1, 2, 3, 4])
def test_what_was_cut_off_is_never_read_and_is_removed(checkpoints, monkeypatch, name, call):
    for step in (1, 2):
        saved(checkpoints, step)
    calls, whole = [], getattr(checkpoint, name)

    def deadly(*arguments):
        calls.append(name)
        if len(calls) == call:
            raise Killed
        return whole(*arguments)

    monkeypatch.setattr(checkpoint, name, deadly)
    try:
        saved(checkpoints, 3)
        assert len(calls) < call
    except Killed:
        assert steps(checkpoints) in ([1, 2], [1, 2, 3])
    monkeypatch.undo()
    for step in (3, 4):
        saved(checkpoints, step)
    assert steps(checkpoints) == [3, 4]
    assert all(found.tensors("network") for found in checkpoints.all())
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == [
        "step-00000003",
        "step-00000004",
    ]


def test_a_folder_that_was_half_removed_is_no_checkpoint(checkpoints, monkeypatch):
    for step in (1, 2):
        saved(checkpoints, step)

    def half_removed(folder):
        (folder / "checkpoint.json").unlink()
        raise Killed

    monkeypatch.setattr(checkpoint.shutil, "rmtree", half_removed)
    with pytest.raises(Killed):
        saved(checkpoints, 3)
    assert steps(checkpoints) == [2, 3]


@pytest.mark.parametrize(
    "content", [None, "", "{", "[]", "{}", '{"step": "3"}', '{"step": null}', b"\xff\xfe"]
)
def test_what_is_no_checkpoint(tmp_path, content):
    if content is not None:
        path = tmp_path / "checkpoint.json"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(WeightsError, match=r"no checkpoint, checkpoint\.json"):
        open_checkpoint(tmp_path)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(WeightsError, match="nowhere: no checkpoint"):
        open_checkpoint(tmp_path / "nowhere")


@pytest.mark.parametrize("cut", [0, 5, 40, -1])
def test_a_damaged_part_is_named(checkpoints, cut):
    folder = saved(checkpoints, 1)
    path = folder / "network.safetensors"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(WeightsError, match=r"network\.safetensors cannot be read"):
        open_checkpoint(folder).tensors("network")


def test_a_missing_part_is_named(checkpoints):
    with pytest.raises(WeightsError, match=r"average\.safetensors cannot be read"):
        open_checkpoint(saved(checkpoints, 1)).tensors("average")


def test_facts_are_json_for_people(checkpoints):
    text = (saved(checkpoints, 1, name="Zoë") / "checkpoint.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"step": 1, "name": "Zoë"}
    assert '"Zoë"' in text
