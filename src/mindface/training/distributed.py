"""The processes of a training: one, or those that torchrun starts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module

import torch
import torch.distributed as dist
from torch import Tensor

from mindface.errors import EngineError


@dataclass(frozen=True)
class World:
    """Where this process stands.

    Attributes:
        rank: its number, from 0 on.
        processes: how many there are.
        device: what it computes on.
        here: how many there are on this machine.
    """

    rank: int
    processes: int
    device: torch.device
    here: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that prints and writes."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process; all call it together."""
        if self.processes == 1:
            return flag
        found = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return bool(found.item())

    def mean(self, value: Tensor) -> float:
        """The mean over all processes; all call it together."""
        value = value.detach().float().clone()
        if self.processes > 1:
            dist.all_reduce(value)
        return float(value) / self.processes

    def wait(self) -> None:
        """Returns when all processes are here."""
        if self.processes > 1:
            dist.barrier()


@contextmanager
def joined(device: str = "auto") -> Iterator[World]:
    """Joins the processes that torchrun started; alone where it did not.

    Reads torchrun's `RANK`, `LOCAL_RANK`, `WORLD_SIZE` and `LOCAL_WORLD_SIZE`.

    Args:
        device: "auto" (cuda or npu where there is one, else cpu), "cpu", "cuda" or "npu"; the
            processes of a machine take its devices in turn.

    Raises:
        EngineError: no such device is here.
    """
    rank, processes = _told("RANK", 0), _told("WORLD_SIZE", 1)
    chosen = _device(device, _told("LOCAL_RANK", 0))
    if processes > 1:
        backend = {"cuda": "nccl", "npu": "hccl"}.get(chosen.type, "gloo")
        dist.init_process_group(backend, device_id=chosen if chosen.type == "cuda" else None)
    try:
        yield World(rank, processes, chosen, _told("LOCAL_WORLD_SIZE", processes))
    finally:
        if processes > 1:
            dist.destroy_process_group()


def _told(name: str, otherwise: int) -> int:
    return int(os.environ.get(name, otherwise))


def _device(name: str, place: int) -> torch.device:
    there = [kind for kind in ("cuda", "npu") if _count(kind)]
    kind = name if name != "auto" else next(iter(there), "cpu")
    if kind == "cpu":
        return torch.device("cpu")
    if kind not in there:
        raise EngineError(f"device {name!r} is not here; there are {', '.join([*there, 'cpu'])}")
    if place >= _count(kind):
        raise EngineError(
            f"process {place} of this machine has no {kind} device, there are {_count(kind)}: "
            "start as many processes with --nproc_per_node"
        )
    device = torch.device(kind, place)
    getattr(torch, kind).set_device(device)
    return device


def _count(kind: str) -> int:
    if kind == "npu":
        try:
            import_module("torch_npu")
        except ImportError:
            return 0
    return int(getattr(torch, kind).device_count())
