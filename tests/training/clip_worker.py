"""What each process of the clipping tests does; spawned processes import it."""

from pathlib import Path

import torch
import torch.distributed as dist
from torch import multiprocessing, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from mindface.training.optimizers import clip_gradients

LIMITS = (None, 0.5, 1e9)


def gradient(*shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


NETWORK = [gradient(4, 3, seed=1), gradient(7, seed=2)]
CENTERS = gradient(5, 8, seed=3)


def with_gradients(gradients):
    parameters = [nn.Parameter(torch.zeros_like(each)) for each in gradients]
    for parameter, each in zip(parameters, gradients, strict=True):
        parameter.grad = each.clone()
    return parameters


def clipped(network, centers, limit):
    length = clip_gradients(network, centers, limit)
    return length, [parameter.grad for parameter in (*network, *centers)]


def work(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    mesh = init_device_mesh("cpu", (2,))
    shard = CENTERS.tensor_split(2)[rank]
    fsdp = [distribute_tensor(each, mesh, [Shard(0)]) for each in NETWORK]
    found = {}
    for limit in LIMITS:
        found["shard", limit] = clipped(with_gradients(NETWORK), with_gradients([shard]), limit)
        length, gradients = clipped(with_gradients(fsdp), with_gradients([shard]), limit)
        *network, centers = gradients
        found["fsdp", limit] = length, [*(each.full_tensor() for each in network), centers]
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def spawn(folder):
    """What each of two processes found, by rank."""
    multiprocessing.spawn(work, (str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]
