import math
from itertools import pairwise
from unittest import mock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from partial_fc_worker import (
    CLASSES,
    LABELS,
    MARGINS,
    RATES,
    SEED,
    SIZE,
    centers,
    embeddings,
    network,
    optimiser,
    records,
    resharded,
    spawn,
    whole,
)
from torch import nn

from mindface.errors import WeightsError
from mindface.recognition import collectives
from mindface.recognition.losses import LOSSES, MarginHead
from mindface.recognition.losses.softmax import Softmax
from mindface.recognition.partial_fc import PartialFC

CLOSE = {"rtol": 1e-6, "atol": 1e-9}


@pytest.fixture(scope="module")
def single():
    return [{"steps": records(0, 1)}]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return spawn(2, tmp_path_factory.mktemp("pair"), [whole(1)])


@pytest.fixture(scope="module")
def triple(tmp_path_factory, pair):
    merged = resharded([process["shard"] for process in reversed(pair)])
    return spawn(3, tmp_path_factory.mktemp("triple"), [merged])


@pytest.fixture(params=["single", "pair", "triple"])
def processes(request):
    return request.getfixturevalue(request.param)


def unsharded(name, sampled_by_step, expected_classes):
    """The same steps of `MarginHead` on the classes that were sampled."""
    margin = LOSSES[name]()
    full = nn.Parameter(centers(margin.sub_centers))
    heads = [MarginHead(SIZE, len(sampled), margin) for sampled in sampled_by_step]
    margin.initialise(expected_classes)
    margin.double()
    sgd = optimiser([full, *margin.parameters()])
    for step, (head, sampled) in enumerate(zip(heads, sampled_by_step, strict=True)):
        batch = embeddings(step).requires_grad_()
        rows = torch.arange(len(full)).view(CLASSES, -1)[sampled].flatten()
        head.centers = nn.Parameter(full.detach()[rows])
        sgd.zero_grad()
        loss = head(batch, torch.searchsorted(sampled, LABELS[step]))
        loss.backward()
        full.grad = torch.zeros_like(full).index_copy(0, rows, head.centers.grad)
        yield {
            "loss": loss.detach(),
            "embeddings": batch.grad,
            "centers": full.grad.clone(),
            "learnt": [parameter.grad.clone() for parameter in margin.parameters()],
            "remembered": [buffer.clone() for buffer in margin.buffers()],
        }
        sgd.step()


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("name", MARGINS)
def test_two_steps_equal_those_of_one_process_with_the_same_classes(processes, name, rate):
    by_rank = [process["steps"][name, rate] for process in processes]
    by_step = list(zip(*by_rank, strict=True))
    sampled = [torch.cat([rank["sampled"] for rank in ranks]) for ranks in by_step]
    expected_classes = min(CLASSES, len(processes) * math.ceil(rate * CLASSES / len(processes)))
    references = unsharded(name, sampled, expected_classes)
    for ranks, expected in zip(by_step, references, strict=True):
        for rank in ranks:
            for key in ("loss", "learnt", "remembered"):
                torch.testing.assert_close(rank[key], expected[key], **CLOSE)
        gradient = torch.cat([rank["embeddings"] for rank in ranks]) / len(processes)
        torch.testing.assert_close(gradient, expected["embeddings"], **CLOSE)
        gradient = torch.cat([rank["centers"] for rank in ranks])
        torch.testing.assert_close(gradient, expected["centers"], **CLOSE)


@pytest.mark.parametrize("name", MARGINS)
def test_at_rate_1_all_classes_take_part(processes, name):
    for step in range(len(LABELS)):
        sampled = [process["steps"][name, 1.0][step]["sampled"] for process in processes]
        assert torch.cat(sampled).tolist() == list(range(CLASSES))


def test_at_a_lower_rate_all_positives_take_part_and_each_process_has_as_many(processes):
    first, second = ([p["steps"]["arcface", 0.3][step] for p in processes] for step in (0, 1))
    for step, ranks in enumerate((first, second)):
        sampled = torch.cat([rank["sampled"] for rank in ranks]).tolist()
        assert set(LABELS[step].tolist()) <= set(sampled)
        assert sampled == sorted(set(sampled))
    # ceil(0.3 * 11 / n), but never fewer than the positives.
    expected = {1: ([6], [4]), 2: ([3, 3], [3, 2]), 3: ([2, 3, 2], [3, 2, 2])}[len(processes)]
    assert ([len(r["sampled"]) for r in first], [len(r["sampled"]) for r in second]) == expected


def test_a_process_without_positives_still_repels(triple):
    for process in triple[1:]:
        step = process["steps"]["arcface", 1.0][1]
        assert not set(step["sampled"].tolist()) & set(LABELS[1].tolist())
        assert step["centers"].abs().sum() > 0


def test_ddp_averages_to_the_gradient_of_the_whole_batch(pair, triple):
    head = MarginHead(SIZE, CLASSES, LOSSES["arcface"]()).double()
    head.centers = nn.Parameter(centers(1))
    alone = network()
    head(alone(embeddings(0)), LABELS[0]).backward()
    for process in (*pair, *triple):
        torch.testing.assert_close(process["gradient"], alone.weight.grad, **CLOSE)


def test_centres_survive_from_one_to_two_to_one_to_three_processes(pair, triple):
    for processes, firsts in ((pair, [0, 6]), (triple, [0, 4, 8])):
        shards = [process["shard"] for process in processes]
        assert [shard["first"] for shard in shards] == firsts
        assert torch.equal(torch.cat([shard["centers"] for shard in shards]), centers(1))


def test_any_number_of_processes_draws_the_same_centres(pair, triple):
    alone = PartialFC(SIZE, CLASSES, LOSSES["softmax"](), seed=SEED).centers.detach()
    assert len(alone.unique(dim=0)) == CLASSES
    assert alone.std() == pytest.approx(0.01, rel=0.3)
    for processes in (pair, triple):
        drawn = torch.cat([process["drawn"]["centers"] for process in processes])
        assert torch.equal(drawn, alone)


def test_blocks_of_centres_lie_across_processes():
    found = []
    for place in [(0, 1), (0, 3), (1, 3), (2, 3)]:
        with mock.patch.object(collectives, "place", lambda place=place: place):
            found.append(PartialFC(SIZE, 3000, Softmax(), sub_centers=2).centers)
    assert torch.equal(torch.cat(found[1:]), found[0])
    assert len(found[0].unique(dim=0)) == 6000


def test_one_label_out_of_range_stops_all_processes(pair):
    for process in pair:
        assert process["refusal"] == "labels must be from 0 to 10, not 0 to 11"


def test_classes_by_chance_go_by_seed_and_step():
    def sampled(seed, steps):
        head = PartialFC(SIZE, 1000, Softmax(), rate=0.1, seed=seed)
        head.load_shards([{**head.shard_state(), "steps": steps}])
        head(torch.ones(1, SIZE), torch.tensor([999]))
        return head.sampled.tolist()

    assert sampled(1, 4) == sampled(1, 4)
    assert len(sampled(1, 4)) == 100
    assert sampled(1, 4) != sampled(1, 5)
    assert sampled(1, 4) != sampled(2, 4)


def test_evaluation_takes_all_classes_and_counts_no_step():
    head = PartialFC(SIZE, CLASSES, Softmax(), rate=0.3).eval()
    head(torch.ones(1, SIZE), torch.tensor([0]))
    assert head.sampled.tolist() == list(range(CLASSES))
    assert head.shard_state()["steps"] == 0


def test_momentum_keeps_moving_a_class_that_is_not_taken():
    head = PartialFC(SIZE, CLASSES, Softmax(), rate=0.1, seed=SEED)
    sgd = optimiser(head.parameters())
    for label in (0, 10):
        before = head.centers.detach().clone()
        sgd.zero_grad()
        head(torch.eye(SIZE)[:2], torch.tensor([label, label])).backward()
        sgd.step()
    first_only = ~torch.isin(torch.arange(CLASSES), head.sampled)
    assert not head.centers.grad[first_only].any()
    assert (head.centers.detach() - before)[0].any()


def test_half_precision_under_autocast_is_float32():
    head = PartialFC(SIZE, CLASSES, Softmax())
    batch = torch.ones(2, SIZE, dtype=torch.bfloat16, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = head(batch, torch.tensor([1, 2]))
    loss.backward()
    assert loss.dtype == torch.float32
    assert batch.grad.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"embedding_size": 0}, "not 0, 11 and 1"),
        ({"classes": 0}, "not 8, 0 and 1"),
        ({"sub_centers": 0}, "not 8, 11 and 0"),
        ({"rate": 0.0}, "not 0.0"),
        ({"rate": 1.1}, "not 1.1"),
        ({"rate": float("nan")}, "not nan"),
    ],
)
def test_heads_that_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        PartialFC(**{"embedding_size": SIZE, "classes": CLASSES, "margin": Softmax()} | arguments)


def test_fewer_classes_than_processes(monkeypatch):
    monkeypatch.setattr(collectives, "place", lambda: (0, 3))
    with pytest.raises(ValueError, match="2 classes cannot be spread over 3 processes"):
        PartialFC(SIZE, 2, Softmax())


def test_a_head_made_before_its_processes(monkeypatch):
    head = PartialFC(SIZE, CLASSES, Softmax())
    monkeypatch.setattr(collectives, "place", lambda: (1, 3))
    with pytest.raises(RuntimeError, match="process 0 of 1, and is now 1 of 3"):
        head(torch.ones(1, SIZE), torch.tensor([0]))


@pytest.mark.parametrize(
    ("shape", "labels", "message"),
    [
        ((2, SIZE), [0], "shapes"),
        ((SIZE,), [0], "shapes"),
        ((1, SIZE), [11], "from 0 to 10, not 11 to 11"),
        ((2, SIZE), [-1, 3], "from 0 to 10, not -1 to 3"),
    ],
)
def test_batches_that_cannot_be(shape, labels, message):
    with pytest.raises(ValueError, match=message):
        PartialFC(SIZE, CLASSES, Softmax())(torch.ones(shape), torch.tensor(labels))


@given(st.sets(st.integers(1, CLASSES - 1)), st.integers(1, CLASSES), st.randoms())
def test_any_shards_become_any_number_of_shards(cuts, processes, random):
    everything = centers(2)
    bounds = [0, *sorted(cuts), CLASSES]
    shards = [
        {**whole(2), "first": low, "centers": everything[2 * low : 2 * high], "steps": 7}
        for low, high in pairwise(bounds)
    ]
    random.shuffle(shards)
    found = []
    for rank in range(processes):
        with mock.patch.object(collectives, "place", lambda rank=rank: (rank, processes)):
            head = PartialFC(SIZE, CLASSES, Softmax(), sub_centers=2).double()
        head.load_shards(shards)
        assert head.shard_state()["steps"] == 7
        found.append(head.shard_state())
    sizes = [len(shard["centers"]) for shard in found]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] - sizes[-1] <= 2
    assert torch.equal(torch.cat([shard["centers"] for shard in found]), everything)


def part(first, count, **changes):
    return {**whole(1), "first": first, "centers": centers(1)[first : first + count]} | changes


@pytest.mark.parametrize(
    ("shards", "message"),
    [
        ([], "do not hold each of 11"),
        ([part(0, 5)], "do not hold each of 11"),
        ([part(0, 5), part(6, 5)], r"classes \[0, 6\]"),
        ([part(0, 6), part(5, 6)], r"classes \[0, 5\]"),
        ([part(0, 11), part(0, 11)], "do not hold each of 11"),
        ([part(0, 5), part(5, 6, steps=3)], "steps 0 and 3"),
        ([part(0, 11, classes=12)], r"\(12, 1, 8\)"),
        ([part(0, 11, sub_centers=2)], r"\(11, 2, 8\)"),
        ([part(0, 11, centers=torch.ones(11, 4))], r"\(11, 1, 4\)"),
    ],
)
def test_shards_that_do_not_fit_change_nothing(shards, message):
    head = PartialFC(SIZE, CLASSES, Softmax())
    before = head.centers.detach().clone()
    with pytest.raises(WeightsError, match=message):
        head.load_shards(shards)
    assert torch.equal(head.centers, before)
