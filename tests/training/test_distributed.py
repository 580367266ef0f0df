import json
import os

import pytest
import torch
from processes import together

from mindface.errors import EngineError
from mindface.training import distributed
from mindface.training.distributed import World, joined


def test_alone_there_is_nobody_to_ask():
    with joined("cpu") as world:
        assert world == World(rank=0, processes=1, device=torch.device("cpu"), here=1)
        assert world.first
        assert [world.any(False), world.any(True)] == [False, True]
        assert world.mean(torch.tensor(1.5, dtype=torch.bfloat16)) == 1.5
        world.wait()
    assert not torch.distributed.is_initialized()


def ask(folder):
    with joined("cpu") as world:
        values = torch.tensor(float(world.rank))
        found = {
            "processes": [world.rank, world.processes, world.here, world.first],
            "any": [world.any(world.rank == 1), world.any(False)],
            "mean": world.mean(values),
            "untouched": values.item(),
        }
        world.wait()
    (folder / f"{world.rank}.json").write_text(json.dumps(found))


def test_two_processes_agree(tmp_path):
    assert together(ask, 2, tmp_path) == [0, 0]
    for rank in (0, 1):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        assert found["processes"] == [rank, 2, 2, rank == 0]
        assert found["any"] == [True, False]
        assert found["mean"] == 0.5
        assert found["untouched"] == rank


@pytest.mark.parametrize(
    ("there", "asked", "place", "message"),
    [
        ({}, "cuda", 0, "device 'cuda' is not here; there are cpu"),
        ({"npu": 1}, "cuda", 0, "device 'cuda' is not here; there are npu, cpu"),
        ({}, "abacus", 0, "device 'abacus' is not here"),
        ({"cuda": 2}, "auto", 2, "process 2 of this machine has no cuda device, there are 2"),
    ],
)
def test_devices_that_are_not_here(monkeypatch, there, asked, place, message):
    monkeypatch.setattr(distributed, "_count", lambda kind: there.get(kind, 0))
    monkeypatch.setitem(os.environ, "LOCAL_RANK", str(place))
    with pytest.raises(EngineError, match=message), joined(asked):
        pass
