"""The loss of depth probes, against loops over pixels."""

import math

import torch

from sakbench.tasks import depth

IGNORE = 255


def naive(predicted, target):
    """Of one image, as the docstring has it."""
    height, width = target.shape
    gap = {
        (y, x): math.log(predicted[y][x] + 1e-3) - math.log(float(target[y, x]) + 1e-3)
        for y in range(height)
        for x in range(width)
        if 0 < target[y, x] != IGNORE
    }
    mean = sum(gap.values()) / len(gap)
    variance = sum((g - mean) ** 2 for g in gap.values()) / (len(gap) - 1)
    value = math.sqrt(variance + 0.15 * mean**2)
    for step in (1, 2, 4, 6):
        places = {(y, x) for y, x in gap if y % step == 0 and x % step == 0}
        total = sum(
            abs(gap[y, x] - gap[y + dy, x + dx])
            for y, x in places
            for dy, dx in ((2 * step, 0), (0, 2 * step))
            if (y + dy, x + dx) in places
        )
        value += 0.5 * total / max(1, len(places))
    return value


def example():
    generator = torch.Generator().manual_seed(1)
    predicted = 10 * torch.rand(3, 1, 15, 14, generator=generator) + 0.01
    target = 10 * torch.rand(3, 15, 14, generator=generator) + 0.01
    holes = torch.rand(target.shape, generator=generator)
    return predicted, target.masked_fill(holes < 0.1, 0.0).masked_fill(holes > 0.9, IGNORE)


def test_the_loss_is_that_of_its_definition():
    predicted, target = example()
    target[2] = IGNORE  # an image of which nothing is known counts for nothing
    expected = sum(naive(predicted[i, 0].tolist(), target[i]) for i in range(2)) / 2
    torch.testing.assert_close(depth.scale_invariant_loss(predicted, target), torch.tensor(expected))


def test_parts_add_up_and_a_right_answer_costs_nothing():
    predicted, target = example()
    counts = depth.count_images(target)
    parts = [depth.scale_invariant_loss(predicted[rows], target[rows], counts) for rows in (slice(1), slice(1, 3))]
    torch.testing.assert_close(sum(parts), depth.scale_invariant_loss(predicted, target))
    known = target.clamp(0.1, 10).requires_grad_()
    loss = depth.scale_invariant_loss(known[:, None], known.detach())
    loss.backward()
    assert loss < 1e-5
    assert known.grad.isfinite().all()
    empty = depth.scale_invariant_loss(predicted.requires_grad_(), torch.full_like(target, IGNORE))
    empty.backward()
    assert empty == 0
    assert (predicted.grad == 0).all()


def test_only_the_scale_is_forgiven_in_part():
    _, target = example()
    twice, right = (
        depth.scale_invariant_loss(factor * target[:, None].clamp(0.5, 9), target.clamp(0.5, 9)) for factor in (2, 1)
    )
    assert right < twice < math.log(2)
