"""What each process of the Partial FC tests does; spawned processes import it."""

from pathlib import Path

import torch
import torch.distributed as dist
from torch import multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from mindface.recognition.losses import LOSSES
from mindface.recognition.partial_fc import PartialFC

CLASSES, SIZE, SEED = 11, 8, 5
MARGINS = (
    "softmax",
    "arcface",
    "cosface",
    "curricularface",
    "adaface",
    "magface",
    "uniface",
    "subcenter_arcface",
)
RATES = (1.0, 0.3)
# Seven samples a step, which no number of processes divides. First every process of three has
# positives, then only the first has, and at the lower rate more of them than it would sample.
LABELS = torch.tensor([[10, 4, 0, 4, 7, 9, 5], [0, 2, 1, 2, 1, 0, 2]])


def embeddings(step):
    generator = torch.Generator().manual_seed(step)
    return 10 * torch.randn(len(LABELS[step]), SIZE, generator=generator, dtype=torch.float64)


def centers(sub_centers):
    generator = torch.Generator().manual_seed(99)
    shape = (CLASSES * sub_centers, SIZE)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def optimiser(parameters):
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9)


def whole(sub_centers):
    """The starting centres as one shard."""
    return {
        "first": 0,
        "centers": centers(sub_centers),
        "classes": CLASSES,
        "sub_centers": sub_centers,
        "steps": 0,
    }


def steps(name, rate, rank, processes):
    """Two training steps; what each gave in this process."""
    margin = LOSSES[name]()
    head = PartialFC(SIZE, CLASSES, margin, rate=rate, seed=SEED).double()
    head.load_shards([whole(margin.sub_centers)])
    sgd = optimiser(head.parameters())
    for step, labels in enumerate(LABELS):
        batch = embeddings(step).tensor_split(processes)[rank].requires_grad_()
        sgd.zero_grad()
        loss = head(batch, labels.tensor_split(processes)[rank])
        loss.backward()
        yield {
            "loss": loss.detach(),
            "embeddings": batch.grad,
            "centers": head.centers.grad.clone(),
            "sampled": head.sampled,
            "learnt": [parameter.grad.clone() for parameter in margin.parameters()],
            "remembered": [buffer.clone() for buffer in margin.buffers()],
        }
        sgd.step()


def network():
    torch.manual_seed(3)
    return nn.Linear(SIZE, SIZE).double()


def averaged_gradient(rank, processes):
    """The gradient of a network's weights as DistributedDataParallel leaves it."""
    head = PartialFC(SIZE, CLASSES, LOSSES["arcface"]()).double()
    head.load_shards([whole(1)])
    parallel = DistributedDataParallel(network())
    inputs = embeddings(0).tensor_split(processes)[rank]
    head(parallel(inputs), LABELS[0].tensor_split(processes)[rank]).backward()
    return parallel.module.weight.grad


def resharded(shards):
    """This process's shard of what others saved."""
    head = PartialFC(SIZE, CLASSES, LOSSES["softmax"]()).double()
    head.load_shards(shards)
    return head.shard_state()


def refusal(rank):
    """What every process says where one has a label out of range."""
    head = PartialFC(SIZE, CLASSES, LOSSES["softmax"]())
    try:
        head(torch.ones(1, SIZE), torch.tensor([CLASSES if rank == 0 else 0]))
    except ValueError as error:
        return str(error)


def records(rank, processes):
    return {
        (name, rate): list(steps(name, rate, rank, processes)) for name in MARGINS for rate in RATES
    }


def work(rank, processes, folder, shards):
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=processes
    )
    result = {
        "steps": records(rank, processes),
        "gradient": averaged_gradient(rank, processes),
        "drawn": PartialFC(SIZE, CLASSES, LOSSES["softmax"](), seed=SEED).shard_state(),
        "shard": resharded(shards),
        "refusal": refusal(rank),
    }
    torch.save(result, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def spawn(processes, folder, shards):
    """What each of so many processes found, by rank."""
    multiprocessing.spawn(work, (processes, str(folder), shards), nprocs=processes)
    return [torch.load(Path(folder) / f"{rank}.pt") for rank in range(processes)]
