"""The loss against the papers' loops, gradients included, and its corners."""

import naive_multibox as naive
import pytest
import torch
from crowds import crowd, grid, noise

from mindface.detection.losses import MultiBoxLoss
from mindface.detection.losses.diou import decode_boxes, diou_loss
from mindface.detection.losses.matching import Targets, areas
from mindface.detection.losses.multibox import hard_negatives

OPTIONS = [
    {},
    {"classification": "focal"},
    {"regression": "diou"},
    {"matching": "atss"},
    {"classification": "focal", "regression": "diou", "matching": "atss"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_parts_and_gradients_are_the_papers(options):
    anchors, faces = grid(64, 64), crowd(5, (3, 0, 5), 64)
    outputs = tuple(each.requires_grad_() for each in noise(6, 3, len(anchors)))
    parts = MultiBoxLoss(**options)(outputs, *faces, anchors)
    sum(parts.values()).backward()

    boxes, landmarks, ignored = ([each.tolist() for each in part] for part in faces)
    matching = naive.atss if options.get("matching") == "atss" else naive.match
    rows = anchors.tolist()
    matches = [matching(b, i, rows) for b, i in zip(boxes, ignored, strict=True)]
    moved = [each.tolist() for each in outputs]
    kinds = (options.get("classification", ""), options.get("regression", ""))

    def loss():
        return naive.multibox(moved, boxes, landmarks, rows, matches, *kinds)

    assert {name: part.item() for name, part in parts.items()} == pytest.approx(loss(), rel=1e-9)
    assert all(parts.values())
    for i, (classes, _) in enumerate(matches):
        some = [a for a, label in enumerate(classes) if label == 1][:4]
        some += [a for a, label in enumerate(classes) if label == 0][:40:5]
        some += [a for a, label in enumerate(classes) if label == -1][:3]
        for values, output in zip(moved, outputs, strict=True):
            for a in some:
                for k, value in enumerate(values[i][a]):
                    values[i][a][k] = value + 1e-6
                    above = sum(loss().values())
                    values[i][a][k] = value - 1e-6
                    below = sum(loss().values())
                    values[i][a][k] = value
                    slope = (above - below) / 2e-6
                    assert output.grad[i, a, k].item() == pytest.approx(slope, rel=1e-5, abs=1e-7)


def aimed(classes):
    """Targets with nothing but classes."""
    classes = torch.tensor(classes, dtype=torch.int8)
    nothing = torch.zeros(0, 4)
    return Targets(classes, (classes.flatten() == 1).nonzero()[:, 0], nothing, nothing, nothing)


@pytest.mark.parametrize(
    ("classes", "scores", "rows"),
    [
        ([[1, 0, 0, 0, 0, 0]], [[9, 1, 5, 3, 4, 2]], [2, 4]),
        ([[1, 0, 0, 1, 0, 0]], [[9, 1, 5, 9, 4, 2]], [1, 2, 4, 5]),  # no more than there are
        ([[1, -1, 0, -1, 0, 0]], [[0, 9, 1, 8, 3, 2]], [4, 5]),
        ([[0, 0, 0], [1, 0, 0]], [[1, 3, 2], [0, 0, 1]], [1, 2, 4, 5]),  # as for one face
        ([[-1, -1], [-1, 0]], [[1, 2], [3, 4]], [3]),
        ([[-1, -1]], [[1, 2]], []),
    ],
)
def test_the_hardest_negatives_of_each_picture(classes, scores, rows):
    logits = torch.zeros(len(classes) * len(classes[0]), 2)
    logits[:, 1] = torch.tensor(scores).flatten()
    shifted = logits + torch.arange(len(logits))[:, None]  # only the difference counts
    for each in (logits, shifted):
        assert sorted(hard_negatives(each, aimed(classes), 2).tolist()) == rows


def test_of_equal_negatives_no_more_are_taken():
    classes = [[1] + [0] * 50, [0] * 51, [1, 1] + [0] * 49]
    rows = hard_negatives(torch.zeros(153, 2), aimed(classes), 7)
    assert len(rows.unique()) == len(rows)
    assert torch.bincount(rows // 51).tolist() == [7, 7, 14]


def learn(faces, options, anchors, outputs):
    """The parts, and the gradients that they leave."""
    outputs = tuple(each.clone().requires_grad_() for each in outputs)
    parts = MultiBoxLoss(**options)(outputs, *faces, anchors)
    sum(parts.values()).backward()
    return parts, [each.grad for each in outputs]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_batch_without_faces_learns_what_is_background(options):
    anchors = grid(64, 64)
    parts, gradients = learn(crowd(0, (0, 0), 64), options, anchors, noise(1, 2, len(anchors)))
    assert parts["boxes"].item() == parts["landmarks"].item() == 0
    assert parts["classes"].item() > 0
    assert not gradients[0].any()
    assert not gradients[2].any()
    moved = gradients[1].any(2).sum(1).tolist()
    assert moved == ([168, 168] if options.get("classification") == "focal" else [7, 7])


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_picture_all_of_which_is_ignored_teaches_nothing(options):
    anchors = grid(64, 64)
    whole = [torch.tensor([[-300.0, -300, 364, 364]])]
    faces = (whole, [torch.zeros(1, 5, 2)], [torch.tensor([True])])
    parts, gradients = learn(faces, options, anchors, noise(1, 1, len(anchors)))
    assert [part.item() for part in parts.values()] == [0, 0, 0]
    assert not any(each.any() for each in gradients)


def test_a_face_without_landmarks_teaches_its_class_and_box():
    anchors = grid(64, 64)
    boxes = torch.tensor([[4.0, 4, 28, 28], [34.0, 34, 60, 60]])
    landmarks = torch.full((2, 5, 2), torch.nan)
    landmarks[0] = torch.tensor([[10.0, 10], [20, 10], [15, 15], [11, 20], [19, 20]])
    faces = ([boxes], [landmarks], [torch.zeros(2, dtype=bool)])
    _, (boxes, classes, points) = learn(faces, {}, anchors, noise(2, 1, len(anchors)))
    upper = (anchors[:, :2] < 32).all(1)
    for gradient, elsewhere in ((boxes, True), (classes, True), (points, False)):
        assert gradient.isfinite().all()
        assert gradient[0][upper].any()
        assert gradient[0][~upper].any() == elsewhere


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_float32_under_autocast(options):
    anchors = grid(64, 64).float()
    faces = crowd(5, (3, 2), 64)
    outputs = tuple(each.bfloat16() for each in noise(6, 2, len(anchors)))
    expected, _ = learn(faces, options, anchors, [each.float() for each in outputs])
    with torch.autocast("cpu", torch.bfloat16):
        parts, gradients = learn(faces, options, anchors, outputs)
    assert {each.dtype for each in parts.values()} == {torch.float32}
    assert {each.dtype for each in gradients} == {torch.bfloat16}
    torch.testing.assert_close(parts, expected)


def test_where_no_face_is_labelled_an_older_judgement_is_kept():
    anchors, faces = grid(64, 64), crowd(5, (3, 0, 5), 64)
    boxes, scores, points = (each.requires_grad_() for each in noise(6, 3, len(anchors)))
    kept = noise(7, 3, len(anchors))[1].softmax(2)
    loss = MultiBoxLoss(keeping_weight=3)
    parts = loss((boxes, scores, points), *faces, anchors, kept)
    parts["kept"].backward()
    targets = loss.match(*faces, anchors)
    background = targets.classes != 1
    found = scores.detach().softmax(2)
    apart = (kept * (kept / found).log())[background].sum() * 3 / len(targets.positives)
    assert parts["kept"].item() == pytest.approx(apart.item(), rel=1e-9)
    slopes = 3 * (found - kept) / len(targets.positives) * background[:, :, None]
    torch.testing.assert_close(scores.grad, slopes)
    scores.grad = None
    parts = loss((boxes, scores, points), *faces, anchors, kept)
    parts["classes"].backward()
    assert not scores.grad[background].any()


def test_a_normalizer_says_what_is_divided_by():
    anchors, faces = grid(64, 64), crowd(5, (3, 5), 64)
    outputs, seen = noise(6, 2, len(anchors)), []
    parts = MultiBoxLoss()(outputs, *faces, anchors)
    summed = MultiBoxLoss(normalizer=lambda counts: seen.append(counts) or counts * 0)(
        outputs, *faces, anchors
    )
    positives, marked = seen[0].tolist()
    assert positives > marked > 1
    for name, count in (("boxes", positives), ("classes", positives), ("landmarks", marked)):
        assert summed[name].item() == pytest.approx(count * parts[name].item())


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_what_learns_finds_the_faces(options):
    anchors = grid(96, 96)
    boxes = torch.tensor([[10.0, 12, 34, 40], [50.0, 44, 88, 90]]).double()
    faces = ([boxes], [torch.rand(2, 5, 2) * 96], [torch.zeros(2, dtype=bool)])
    outputs = tuple(torch.zeros_like(each).requires_grad_() for each in noise(0, 1, len(anchors)))
    loss, optimizer = MultiBoxLoss(**options), torch.optim.Adam(outputs, lr=0.3)
    for _ in range(40):
        optimizer.zero_grad()
        sum(loss(outputs, *faces, anchors).values()).backward()
        optimizer.step()
    best = (outputs[1][0, :, 1] - outputs[1][0, :, 0]).topk(2).indices
    found = decode_boxes(outputs[0][0, best], anchors[best])
    for box in found:
        assert min((box - truth).abs().max().item() for truth in boxes) < 1


def test_diou_by_hand():
    truth = torch.tensor([[0.0, 0, 2, 2]])
    assert diou_loss(truth, truth).item() == 0
    apart = torch.tensor([[4.0, 0, 6, 2]], requires_grad=True)
    loss = diou_loss(apart, truth)
    loss.backward()
    assert loss.item() == pytest.approx(1 + 16 / 40)
    assert apart.grad[0, 0] > 0  # comes nearer although nothing overlaps
    assert areas(truth).tolist() == [4]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 0}, "above 0, at most 1, not 0"),
        ({"threshold": 1.5}, "not 1.5"),
        ({"negatives": 0}, "at least 1 negative for a positive, not 0"),
        ({"classification": "softmax"}, "cross_entropy or focal, not 'softmax'"),
        ({"regression": "giou"}, "smooth_l1 or diou, not 'giou'"),
        ({"matching": "simota"}, "overlap or atss, not 'simota'"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MultiBoxLoss(**options)
