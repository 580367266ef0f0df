"""The head of one process: loss and gradients against the papers, and that training helps."""

import math

import naive_losses as naive
import pytest
import torch

from mindface.recognition.losses import LOSSES, MarginHead

CLASSES, SIZE, BATCH = 4, 3, 5


def setting(count):
    """Embeddings of lengths from 5 to 60 or so, centres and labels, in float64."""
    generator = torch.Generator().manual_seed(11)
    embeddings = torch.randn(BATCH, SIZE, generator=generator, dtype=torch.float64)
    embeddings *= torch.tensor([5.0, 12.0, 20.0, 30.0, 40.0]).double()[:, None]
    centers = torch.randn(CLASSES * count, SIZE, generator=generator, dtype=torch.float64)
    return embeddings, centers, [0, 3, 1, 2, 3]


def paper_loss(name, embeddings, centers, labels, start, sub_centers):
    """The loss by the papers; `start` are the embeddings and centres without a gradient."""
    cosines = naive.cosines_of(embeddings, centers, sub_centers)
    norms = [naive.length(each) for each in embeddings]
    still = [naive.length(each) for each in start[0]]
    if name == "curricularface":
        t = naive.curricularface_t(naive.cosines_of(*start, sub_centers), labels)
        return naive.cross_entropy(naive.curricularface(cosines, labels, norms, t=t), labels)
    if name == "adaface":
        return naive.cross_entropy(naive.adaface(cosines, labels, still), labels)
    if name == "magface":
        logits = naive.magface(cosines, labels, norms)
        return naive.cross_entropy(logits, labels) + naive.magface_penalty(norms)
    if name == "uniface":
        logits = naive.uniface(cosines, labels, norms, math.log(10 * CLASSES))
        return naive.unified_cross_entropy(logits, labels)
    if name.startswith("elastic"):
        margins = [{"elastic_arcface": 0.5, "elastic_cosface": 0.35}[name]] * BATCH
        return naive.cross_entropy(getattr(naive, name)(cosines, labels, norms, margins), labels)
    logits = getattr(naive, name.removeprefix("subcenter_"))(cosines, labels, norms)
    return naive.cross_entropy(logits, labels)


@pytest.mark.parametrize("name", LOSSES)
def test_loss_and_gradients_are_the_papers(name):
    margin = LOSSES[name](sigma=0) if name.startswith("elastic") else LOSSES[name]()
    embeddings, centers, labels = setting(margin.sub_centers)
    head = MarginHead(SIZE, CLASSES, margin).double()
    head.centers.data.copy_(centers)
    if name == "uniface":
        assert margin.bias.item() == pytest.approx(math.log(10 * CLASSES))
        margin.bias.data.fill_(math.log(10 * CLASSES))  # in float64
    inputs = embeddings.clone().requires_grad_()
    loss = head(inputs, torch.tensor(labels))
    loss.backward()

    start = (embeddings.tolist(), centers.tolist())
    moved = (embeddings.tolist(), centers.tolist())

    def at():
        return paper_loss(name, *moved, labels, start, margin.sub_centers)

    assert loss.item() == pytest.approx(at(), rel=1e-9)
    for points, gradient in zip(moved, (inputs.grad, head.centers.grad), strict=True):
        for i, point in enumerate(points):
            for j, value in enumerate(point):
                point[j] = value + 1e-5
                above = at()
                point[j] = value - 1e-5
                below = at()
                point[j] = value
                slope = (above - below) / 2e-5
                assert gradient[i, j].item() == pytest.approx(slope, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_falls(name):
    torch.manual_seed(0)
    people = torch.nn.functional.normalize(torch.randn(6, 16))
    labels = torch.arange(6).repeat(8)
    faces = people[labels] + 0.2 * torch.randn(48, 16)
    network = torch.nn.Linear(16, 16)
    head = MarginHead(16, 6, LOSSES[name]())
    optimizer = torch.optim.Adam([*network.parameters(), *head.parameters()], lr=0.01)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = head(20 * network(faces), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(map(math.isfinite, losses))
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5]), losses
    assert (head.cosines(network(faces)).argmax(1) == labels).float().mean() > 0.9


@pytest.mark.parametrize("name", LOSSES)
def test_autocast_changes_nothing(name):
    torch.manual_seed(0)
    head = MarginHead(16, 6, LOSSES[name]())
    embeddings, labels = 20 * torch.randn(4, 16), torch.tensor([0, 5, 2, 1])
    embeddings = embeddings.bfloat16().float()
    head.eval()
    plain = head(embeddings, labels)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(head(embeddings.bfloat16(), labels), plain)
        assert head.cosines(embeddings.bfloat16()).dtype == torch.float32
    assert plain.dtype == torch.float32


def test_centers_are_small_and_as_many_as_asked():
    torch.manual_seed(0)
    head = MarginHead(64, 100, LOSSES["cosface"](), sub_centers=2)
    assert head.centers.shape == (200, 64)
    assert head.centers.std().item() == pytest.approx(0.01, rel=0.05)
    assert MarginHead(64, 100, LOSSES["subcenter_arcface"]()).centers.shape == (300, 64)


def test_filtering_is_applied():
    head = MarginHead(2, 2, LOSSES["softmax"](scale=1.0), filter_threshold=0.5)
    head.centers.data.copy_(torch.eye(2))
    loss = head(torch.tensor([[3.0, 4.0]]), torch.tensor([0]))  # cosines 0.6 and 0.8
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-0.6)))


@pytest.mark.parametrize("sizes", [(0, 5, None), (8, 0, None), (8, 5, 0)])
def test_an_empty_head_is_refused(sizes):
    size, classes, sub_centers = sizes
    with pytest.raises(ValueError, match="at least one value, class and sub-centre"):
        MarginHead(size, classes, LOSSES["arcface"](), sub_centers)
