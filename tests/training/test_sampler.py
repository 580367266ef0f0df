from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from mindface.errors import ConfigError
from mindface.training.sampler import GlobalBatches


def shuffled(samples):
    return lambda rng: rng.permutation(samples)


def batches(samples=26, batch=6, *, seed=3, **arguments):
    return GlobalBatches(shuffled(samples), batch, seed=seed, **arguments)


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_all_processes_together_have_the_batch_of_one(processes):
    alone = islice(batches(), 10)
    ranks = [batches(rank=rank, processes=processes) for rank in range(processes)]
    for whole, parts in zip(alone, zip(*ranks, strict=True), strict=False):
        assert [len(part) for part in parts] == [6 // processes] * processes
        interleaved = [item for items in zip(*parts, strict=True) for item in items]
        assert interleaved == whole


@given(
    st.integers(1, 40), st.integers(1, 6), st.integers(1, 3), st.integers(0, 30), st.integers(0, 30)
)
def test_resuming_gives_the_same_tail(samples, share, processes, start, stop):
    batch = min(share * processes, samples // processes * processes) or processes
    samples = max(samples, batch)
    common = {"rank": processes - 1, "processes": processes, "stop": stop}
    whole = list(batches(samples, batch, **common))
    resumed = batches(samples, batch, **common, start=start)
    assert list(resumed) == whole[start:]
    assert len(resumed) == len(whole[start:])


def test_an_epoch_shows_each_sample_once_but_for_the_remainder():
    found = batches()
    assert found.steps_per_epoch == 4
    items = [item for step in islice(found, 8) for item in step]
    turns, indices = zip(*items, strict=True)
    orders = [np.random.default_rng((3, epoch)).permutation(26)[:24] for epoch in (0, 1)]
    assert turns == tuple(range(48))
    assert indices == (*orders[0], *orders[1])
    assert indices[:24] != indices[24:]


def test_seeds_differ_and_repeat():
    first, again, other = (list(islice(batches(seed=s), 4)) for s in (1, 1, 2))
    assert first == again
    assert first != other


def test_it_never_ends_unless_told_to():
    endless = batches()
    assert len(list(islice(endless, 100))) == 100
    with pytest.raises(TypeError, match="no length"):
        len(endless)
    assert len(list(batches(stop=9))) == len(batches(stop=9)) == 9
    assert list(batches(stop=9, start=12)) == []


def test_skipped_epochs_are_not_drawn():
    drawn = []

    def order(rng):
        drawn.append(rng.bit_generator.seed_seq.entropy)
        return rng.permutation(12)

    next(iter(GlobalBatches(order, 4, seed=5, start=3_000_001)))
    assert drawn == [(5, 0), (5, 1_000_000)]


class Items(Dataset):
    def __getitem__(self, item):
        return torch.tensor(item)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_takes_them(workers):
    loader = DataLoader(Items(), batch_sampler=batches(stop=5, start=1), num_workers=workers)
    found = [list(map(tuple, batch.tolist())) for batch in loader]
    assert found == list(batches(stop=5))[1:]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch": 8, "processes": 3}, "a batch of 8 .* 3 processes: take a multiple of 3"),
        ({"batch": 0}, "a batch of 0"),
        ({"samples": 5}, "an epoch of 5 samples has no batch of 6"),
        ({"samples": 0}, "an epoch of 0 samples"),
    ],
)
def test_batches_that_cannot_be(arguments, message):
    with pytest.raises(ConfigError, match=message):
        batches(**arguments)


def test_an_order_of_another_length_is_refused():
    lengths = iter([12, 12, 13])
    found = iter(GlobalBatches(lambda rng: np.arange(next(lengths)), 6, seed=0))
    assert len(list(islice(found, 2))) == 2
    with pytest.raises(RuntimeError, match="epoch 1 has 13 samples and epoch 0 has 12"):
        next(found)
