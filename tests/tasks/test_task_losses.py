"""Each loss against its definition written as a plain loop over pixels, and how it behaves at the edges."""

import math

import pytest
import torch

from sakbench import tasks

CLASSES = {"semseg": 5}
SHAPE = (2, 4, 3)


def example(name, seed=0):
    generator = torch.Generator().manual_seed(seed)
    task = tasks.make(name, classes=CLASSES.get(name))
    batch, height, width = SHAPE
    logits = torch.randn(batch, task.channels, height, width, generator=generator)
    uniform = torch.rand(SHAPE, generator=generator)
    ignored = torch.rand(SHAPE, generator=generator) < 0.3
    if name in tasks.LABEL_TASKS:
        target = (uniform * task.channels).byte()
    elif name in ("saliency", "boundary"):
        target = (uniform < 0.3).byte()
    elif name == "normals":
        directions = torch.randn(batch, 3, height, width, generator=generator)
        target = directions / directions.norm(dim=1, keepdim=True)
        return task, logits, target.masked_fill(ignored[:, None], 255)
    else:
        target = 10 * uniform
        target[0, 0] = 0
    return task, logits, target.masked_fill(ignored, 255)


def pixels(logits, target):
    """Per pixel: its logits as a list, and its target as a number or a list."""
    for b, y, x in torch.cartesian_prod(*map(torch.arange, SHAPE)).tolist():
        truth = target[b, y, x] if target.ndim == 3 else target[b, :, y, x]
        yield logits[b, :, y, x].tolist(), truth.tolist()


def log_softmax(logits, c):
    return logits[c] - math.log(sum(math.exp(z) for z in logits))


def naive_labels(logits, target):
    terms = [-log_softmax(z, t) for z, t in pixels(logits, target) if t != 255]
    return sum(terms) / len(terms)


def naive_saliency(logits, target):
    valid = [(z, t) for z, t in pixels(logits, target) if t != 255]
    positives = sum(t == 1 for _, t in valid) / len(valid)
    terms = [-log_softmax(z, t) * (1 - positives if t == 1 else positives) for z, t in valid]
    return sum(terms) / len(valid)


def naive_boundary(logits, target):
    terms = []
    for (z,), t in pixels(logits, target):
        probability = 1 / (1 + math.exp(-z))
        if t != 255:
            terms.append(-0.95 * math.log(probability) if t == 1 else -0.05 * math.log(1 - probability))
    return sum(terms) / len(terms)


def naive_normals(logits, target):
    terms = []
    for z, t in pixels(logits, target):
        length = math.sqrt(sum(v * v for v in z))
        if t != [255, 255, 255]:
            terms.append(sum(abs(v / length - g) for v, g in zip(z, t, strict=True)))
    return sum(terms) / len(terms)


def naive_depth(logits, target):
    terms = [abs(z - t) for (z,), t in pixels(logits, target) if t not in (0, 255)]
    return sum(terms) / len(terms)


NAIVE = {
    "semseg": naive_labels,
    "parsing": naive_labels,
    "saliency": naive_saliency,
    "normals": naive_normals,
    "boundary": naive_boundary,
    "depth": naive_depth,
}


@pytest.mark.parametrize("name", tasks.NAMES)
def test_equals_the_naive_loop(name):
    task, logits, target = example(name)
    loss = task.loss(logits, target)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(NAIVE[name](logits, target), rel=1e-5)


@pytest.mark.parametrize("name", tasks.NAMES)
def test_ignored_pixels_get_no_gradient_and_others_do(name):
    task, logits, target = example(name, seed=1)
    logits.requires_grad_()
    task.loss(logits, target).backward()
    invalid = (target == 255).all(1) if name == "normals" else (target == 255) | ((target == 0) & (name == "depth"))
    touched = (logits.grad != 0).any(1)
    assert torch.equal(touched, ~invalid)


@pytest.mark.parametrize("name", tasks.NAMES)
def test_a_batch_of_ignored_pixels_costs_nothing(name):
    task, logits, target = example(name)
    logits.requires_grad_()
    loss = task.loss(logits, torch.full_like(target, 255))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("name", tasks.NAMES)
def test_half_precision_logits_are_summed_in_single_precision(name):
    task, logits, target = example(name)
    loss = task.loss(logits.bfloat16(), target)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(task.loss(logits.bfloat16().float(), target).item())


def test_zero_normals_are_ignored():
    task, logits, target = example("normals")
    zeros = torch.where(target == 255, 0, target)
    assert task.loss(logits, zeros) == task.loss(logits, target)


@pytest.mark.parametrize("name", ["normals", "boundary", "depth"])
def test_sizes_that_would_broadcast_are_refused(name):
    task, logits, target = example(name)
    with pytest.raises(ValueError, match="do not fit"):
        task.loss(logits, target[:1])


@pytest.mark.parametrize("name", tasks.NAMES)
def test_parts_of_a_batch_add_up_to_its_loss(name):
    task, logits, target = example(name)
    whole = task.counts(target)
    parts = [task.loss(logits[i : i + 1], target[i : i + 1], whole) for i in range(len(logits))]
    assert (sum(task.counts(part[None]) for part in target) == whole).all()
    assert sum(parts).item() == pytest.approx(task.loss(logits, target).item())
