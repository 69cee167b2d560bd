import math

import pytest
import torch
import torch.nn.functional as F

from sakbench.models import distillation_loss, level_loss


def test_one_level_by_hand():
    # two images, one channel, 1 x 2 maps
    student = torch.tensor([[[[3.0, 4.0]]], [[[0.0, 2.0]]]])
    teacher = torch.tensor([[[[4.0, 3.0]]], [[[0.0, -1.0]]]])
    cosine = ((12 + 12) / 25 + -2 / (2 * 1)) / 2
    # |difference| 1, 1, 0, 3 gives smooth-L1 .5, .5, 0, 2.5
    smooth_l1 = (0.5 + 0.5 + 0 + 2.5) / 4
    assert level_loss(student, teacher).item() == pytest.approx(0.9 * (1 - cosine) + 0.1 * smooth_l1, abs=1e-6)


def test_the_cosine_is_of_the_flattened_map_not_per_token():
    # one token agrees and is large, the other is opposite and small: per token the mean cosine would be 0
    student = torch.tensor([[[[10.0, 1.0]]]])
    teacher = torch.tensor([[[[10.0, -1.0]]]])
    cosine = 99 / 101
    assert level_loss(student, teacher).item() == pytest.approx(0.9 * (1 - cosine) + 0.1 * 1.5 / 2, abs=1e-6)


def test_the_cosine_and_its_gradient_are_torchs():
    torch.manual_seed(0)
    teacher = torch.randn(3, 4, 2, 5, dtype=torch.float64)
    ours, theirs = (torch.randn(3, 4, 2, 5, dtype=torch.float64).requires_grad_() for _ in range(2))
    theirs.data.copy_(ours.data)
    level_loss(ours, teacher).backward()
    cosine = F.cosine_similarity(theirs.flatten(1), teacher.flatten(1)).mean()
    (0.9 * (1 - cosine) + 0.1 * F.smooth_l1_loss(theirs, teacher)).backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_an_empty_map_has_a_finite_loss():
    student = torch.zeros(1, 2, 3, 3, requires_grad=True)
    level_loss(student, torch.randn(1, 2, 3, 3)).backward()
    assert student.grad.isfinite().all()


def test_the_smaller_map_is_enlarged_whichever_it_is():
    torch.manual_seed(0)
    small, large = torch.randn(2, 3, 4, 6), torch.randn(2, 3, 9, 8)
    enlarged = F.interpolate(small, size=(9, 8), mode="bilinear", align_corners=False)
    expected = level_loss(enlarged, large)
    torch.testing.assert_close(level_loss(small, large), expected)
    torch.testing.assert_close(level_loss(large, small), expected)


def test_the_loss_sums_over_teachers_and_levels():
    torch.manual_seed(0)
    shapes = {"dinov2": (2, 5, 4, 4), "sam": (2, 7, 8, 8)}
    teachers = {name: [torch.randn(shape) for _ in range(4)] for name, shape in shapes.items()}
    student = {name: [torch.randn(2, shape[1], 4, 4) for _ in range(4)] for name, shape in shapes.items()}
    expected = sum(
        level_loss(ours, theirs).item()
        for name in shapes
        for ours, theirs in zip(student[name], teachers[name], strict=True)
    )
    assert distillation_loss(student, teachers).item() == pytest.approx(expected, rel=1e-5)
    doubled = {name: [2 * level for level in levels] for name, levels in teachers.items()}
    far = {name: [2 * level + 1000 for level in levels] for name, levels in teachers.items()}
    assert distillation_loss(teachers, teachers).item() == pytest.approx(0, abs=1e-5)
    # doubling leaves the cosine at 1: only smooth-L1 remains, and far away it grows linearly
    assert 0 < distillation_loss(teachers, doubled).item() < 0.1 * 8
    assert distillation_loss(teachers, far).item() > 0.1 * 8 * 990
    assert math.isfinite(distillation_loss({"sam": student["sam"]}, teachers).item())


def test_cached_half_precision_teacher_maps_are_compared_in_the_students_precision():
    student, teacher = torch.randn(1, 2, 3, 3), torch.randn(1, 2, 3, 3).half()
    loss = level_loss(student, teacher)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, level_loss(student, teacher.float()))


def test_autocast_does_not_touch_the_loss():
    torch.manual_seed(0)
    teacher = torch.randn(2, 8, 6, 6)
    students = [
        (0.9 * teacher + 0.1 * torch.randn_like(teacher)).requires_grad_(),
        torch.randn(2, 8, 3, 3).requires_grad_(),
    ]
    for student in students:
        exact = level_loss(student, teacher)
        (expected,) = torch.autograd.grad(exact, student)
        with torch.autocast("cpu", torch.bfloat16):
            loss = level_loss(student, teacher)
        (gradient,) = torch.autograd.grad(loss, student)
        torch.testing.assert_close(loss, exact)
        torch.testing.assert_close(gradient, expected)


def test_missing_teachers_and_levels_are_noticed():
    maps = [torch.randn(1, 2, 3, 3) for _ in range(4)]
    with pytest.raises(KeyError, match="clip"):
        distillation_loss({"clip": maps}, {"sam": maps})
    with pytest.raises(ValueError, match="zip"):
        distillation_loss({"clip": maps}, {"clip": maps[:3]})
