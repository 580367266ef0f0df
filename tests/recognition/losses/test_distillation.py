"""Distillation losses against hand-made answers and the papers' loops."""

import naive_losses as naive
import pytest
import torch

from mindface.recognition.losses import distillation
from mindface.recognition.losses.distillation import (
    cosine_distillation,
    l2_distillation,
    relational_angle,
    relational_distance,
)

ALL = [cosine_distillation, l2_distillation, relational_distance, relational_angle]
RELATIONAL = [relational_distance, relational_angle]


def points(seed, count=5, size=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, size, generator=generator, dtype=torch.float64)


def test_cosine_by_hand():
    student = torch.tensor([[3.0, 4.0], [0.0, -2.0]])
    teacher = torch.tensor([[5.0, 0.0], [0.0, 1.0]])
    assert cosine_distillation(student, teacher).item() == pytest.approx((0.4 + 2) / 2)


def test_l2_by_hand():
    student = torch.tensor([[1.0, 2.0], [0.0, 0.0]])
    teacher = torch.tensor([[4.0, 6.0], [0.0, 1.0]])
    assert l2_distillation(student, teacher).item() == pytest.approx((25 + 1) / 2)


def test_relations_by_hand():
    right = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])  # sides 3, 4, 5
    line = torch.tensor([[0.0], [1.0], [2.0]])  # sides 1, 2, 1
    sides = [(3 / 4, 1 / (4 / 3)), (4 / 4, 2 / (4 / 3)), (5 / 4, 1 / (4 / 3))]
    distance = sum((a - b) ** 2 / 2 for a, b in sides) / 3
    assert relational_distance(line, right).item() == pytest.approx(distance)
    corners = [(0.0, 1.0), (0.6, -1.0), (0.8, 1.0)]  # cosines at each corner
    angle = sum(naive.huber(a - b) for a, b in corners) / 3
    assert relational_angle(line, right).item() == pytest.approx(angle)


@pytest.mark.parametrize("name", ["relational_distance", "relational_angle"])
@pytest.mark.parametrize("spread", [1.0, 30.0])
def test_values_and_gradients_are_the_papers(name, spread):
    student, teacher = points(1), points(2, size=4)
    student[0] *= spread
    student.requires_grad_()
    loss = getattr(distillation, name)(student, teacher)
    loss.backward()
    rows, paper = student.tolist(), getattr(naive, name)
    assert loss.item() == pytest.approx(paper(rows, teacher.tolist()), rel=1e-9)
    for i, row in enumerate(rows):
        for j, value in enumerate(row):
            row[j] = value + 1e-6
            above = paper(rows, teacher.tolist())
            row[j] = value - 1e-6
            below = paper(rows, teacher.tolist())
            row[j] = value
            expected = (above - below) / 2e-6
            assert student.grad[i, j].item() == pytest.approx(expected, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("loss", ALL)
def test_a_perfect_student_has_nothing_to_learn(loss):
    student = points(3).requires_grad_()
    value = loss(student, student.detach().clone())
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-12)
    assert student.grad.abs().max().item() < 1e-9


@pytest.mark.parametrize("loss", RELATIONAL)
def test_relations_do_not_see_size_shift_or_rotation(loss):
    student, teacher = points(4), points(5)
    turn = torch.linalg.qr(points(6, 3)).Q
    same = 3 * student @ turn + points(7, 1)
    torch.testing.assert_close(loss(same, teacher), loss(student, teacher))


@pytest.mark.parametrize("loss", ALL)
def test_equal_samples_have_finite_gradients(loss):
    student, teacher = points(8), points(9)
    student[1] = student[0]
    for rows in (student, torch.ones_like(student)):
        rows = rows.clone().requires_grad_()
        loss(rows, teacher).backward()
        assert rows.grad.isfinite().all()
        assert rows.grad.abs().max() < 1e3


@pytest.mark.parametrize("loss", ALL)
def test_float32_under_autocast_and_no_gradient_for_the_teacher(loss):
    student, teacher = points(1).bfloat16().requires_grad_(), points(2).bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(student, teacher)
    value.backward()
    assert value.dtype == torch.float32
    expected = loss(student.detach().float(), teacher.detach().float())
    assert torch.equal(value, expected)
    assert teacher.grad is None


@pytest.mark.parametrize(
    ("loss", "student", "teacher", "message"),
    [
        (cosine_distillation, (4, 3), (4, 2), r"\(4, 3\) and teacher's \(4, 2\)"),
        (l2_distillation, (4, 3), (5, 3), r"\(4, 3\) and teacher's \(5, 3\)"),
        (relational_distance, (4, 3), (5, 3), "2 at least, not 4 and 5"),
        (relational_distance, (1, 3), (1, 3), "2 at least, not 1 and 1"),
        (relational_angle, (2, 3), (2, 3), "3 at least, not 2 and 2"),
    ],
)
def test_unfit_embeddings_are_refused(loss, student, teacher, message):
    with pytest.raises(ValueError, match=message):
        loss(torch.zeros(student), torch.zeros(teacher))
