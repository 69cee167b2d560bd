"""Each metric against a slow and independent one, in plain Python loops over pixels, and its properties."""

import doctest
import math
from importlib import import_module

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from skimage.morphology import thin

from sakbench.errors import UserError
from sakbench.metrics import RMSE, MaxF, MeanAngularError, MeanIoU, OdsF

CLASSES = 4
METRICS = {
    "miou": lambda: MeanIoU(CLASSES),
    "maxf": MaxF,
    "angular": MeanAngularError,
    "boundary": lambda: OdsF(0.1, nms_radius=0),
    "rmse": RMSE,
}


def example(name, seed, batch=3, height=7, width=9):
    """A random prediction and target with ignored pixels; probabilities include ties with thresholds."""
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, height, width)

    def random(*size):
        return torch.rand(size, generator=generator)

    ignored = random(*shape) < 0.2
    if name == "miou":
        prediction, target = (random(*shape) * CLASSES).byte(), (random(*shape) * (CLASSES - 1)).byte()
    elif name in ("maxf", "boundary"):
        prediction = torch.where(random(*shape) < 0.5, random(*shape), (random(*shape) * 20).round() / 20)
        target = (random(*shape) < 0.2).byte()
    elif name == "angular":
        prediction, target = (torch.nn.functional.normalize(random(batch, 3, height, width) - 0.5, dim=1) for _ in "pg")
        return prediction, torch.where(ignored[:, None], 255.0, target)
    else:
        prediction, target = random(*shape) * 9, random(*shape) * 9
        target[random(*shape) < 0.1] = 0
        target[random(*shape) < 0.1] = 80
    return prediction, target.masked_fill(ignored, 255)


def naive_miou(prediction, target):
    pairs = [(p, t) for p, t in zip(prediction.flatten().tolist(), target.flatten().tolist(), strict=True) if t != 255]
    total = 0.0
    for c in range(CLASSES):
        union = sum(p == c or t == c for p, t in pairs)
        total += sum(p == c and t == c for p, t in pairs) / union if union else 0
    return 100 * total / CLASSES


def naive_maxf(prediction, target):
    pairs = [(p, t) for p, t in zip(prediction.flatten(), target.flatten().tolist(), strict=True) if t != 255]
    best = 0.0
    for k in range(1, 20):
        threshold = torch.tensor(k / 20)
        hits = sum(bool(p >= threshold) and t == 1 for p, t in pairs)
        predicted, salient = sum(bool(p >= threshold) for p, _ in pairs), sum(t == 1 for _, t in pairs)
        if hits:
            precision, recall = hits / predicted, hits / salient
            best = max(best, 1.3 * precision * recall / (0.3 * precision + recall))
    return 100 * best


def naive_angular(prediction, target):
    angles = []
    for p, g in zip(
        prediction.permute(0, 2, 3, 1).reshape(-1, 3).tolist(),
        target.permute(0, 2, 3, 1).reshape(-1, 3).tolist(),
        strict=True,
    ):
        if g != [255, 255, 255]:
            cosine = sum(a * b for a, b in zip(p, g, strict=True))
            angles.append(math.degrees(math.acos(max(-1, min(1, cosine)))))
    return sum(angles) / len(angles)


def naive_rmse(prediction, target):
    squares = [
        (p - t) ** 2
        for p, t in zip(prediction.flatten().tolist(), target.flatten().tolist(), strict=True)
        if 0 < t < 80
    ]
    return math.sqrt(sum(squares) / len(squares))


def naive_ods_f(prediction, target, radius):
    best = 0.0
    for k in range(1, 100):
        matched = predicted = true = 0
        for p, t in zip(prediction, target, strict=True):
            byte = torch.where(t == 255, 0, p * 255).int().numpy()
            guesses = np.argwhere(thin(byte / 255 >= k / 100))
            truths = np.argwhere(thin((t == 1).numpy()))
            near = ((guesses[:, None] - truths[None]) ** 2).sum(-1) <= radius**2
            matched += (maximum_bipartite_matching(csr_array(near)) >= 0).sum() if near.size else 0
            predicted, true = predicted + len(guesses), true + len(truths)
        if matched:
            precision, recall = matched / predicted, matched / true
            best = max(best, 2 * precision * recall / (precision + recall))
    return 100 * best


NAIVE = {
    "miou": naive_miou,
    "maxf": naive_maxf,
    "angular": naive_angular,
    "boundary": lambda prediction, target: naive_ods_f(prediction, target, 0.1 * math.hypot(7, 9)),
    "rmse": naive_rmse,
}


def measure(name, prediction, target):
    metric = METRICS[name]()
    metric.update(prediction, target)
    return metric.compute()


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", METRICS)
def test_equals_the_naive_loop(name, seed):
    prediction, target = example(name, seed)
    assert measure(name, prediction, target) == pytest.approx(NAIVE[name](prediction, target), rel=1e-5)


@pytest.mark.parametrize("name", METRICS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), split=st.integers(1, 4), order=st.permutations(range(5)))
def test_order_and_batches_change_nothing(name, seed, split, order):
    prediction, target = example(name, seed, batch=5)
    first, second = METRICS[name](), METRICS[name]()
    first.update(prediction[order[:split]], target[order[:split]])
    second.update(prediction[order[split:]], target[order[split:]])
    first.merge(second)
    # angles are float32, and a vector unit rounds them differently at the end of a row
    tolerance = 1e-7 if name == "angular" else 1e-12
    assert first.compute() == pytest.approx(measure(name, prediction, target), rel=tolerance)


@pytest.mark.parametrize("name", METRICS)
def test_ignored_pixels_change_nothing(name):
    prediction, target = example(name, 3)
    ignored = (target == 255).expand_as(prediction)
    other = torch.where(ignored, prediction.roll(1, 0), prediction)
    assert not torch.equal(other, prediction)
    assert measure(name, other, target) == measure(name, prediction, target)


@pytest.mark.parametrize("name", METRICS)
def test_truth_as_prediction_is_perfect(name):
    _, target = example(name, 4)
    target = target.masked_fill(target == 2, 3) if name == "miou" else target  # classes 0, 1 and 3 of four
    perfect = target.clone() if name in ("angular", "rmse") else torch.where(target == 255, 0, target)
    best = {"miou": 75.0, "maxf": 100.0, "angular": 0.0, "boundary": 100.0, "rmse": 0.0}[name]
    perfect = perfect.float() if name in ("maxf", "boundary") else perfect
    assert measure(name, perfect, target) == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize("name", METRICS)
def test_no_valid_pixel_is_a_sentence(name):
    metric = METRICS[name]()
    with pytest.raises(UserError, match="no valid pixel"):
        metric.compute()
    prediction, target = example(name, 5)
    metric.update(prediction, torch.full_like(target, 255))
    with pytest.raises(UserError, match="no valid pixel"):
        metric.compute()


@pytest.mark.parametrize("name", METRICS)
def test_shapes_that_do_not_match_are_refused(name):
    prediction, target = example(name, 6)
    with pytest.raises(ValueError, match="does not match"):
        METRICS[name]().update(prediction, target[:1])


@pytest.mark.parametrize(
    ("name", "prediction", "target", "sentence"),
    [
        ("miou", CLASSES, 0, "prediction is not a class"),
        ("miou", 0, CLASSES, "target is neither"),
        ("maxf", 1.5, 1, "not a probability"),
        ("maxf", math.nan, 1, "not a probability"),
        ("maxf", 0.5, 2, "none of 0, 1 and 255"),
        ("boundary", -3.0, 0, "not a probability"),
        ("boundary", 0.5, 7, "none of 0, 1 and 255"),
        ("angular", math.nan, 1.0, "not finite"),
        ("rmse", math.inf, 1.0, "not finite"),
    ],
)
def test_values_out_of_range_are_told(name, prediction, target, sentence):
    good, truth = example(name, 7)
    good[..., 0, 0], truth[..., 0, 0] = prediction, target
    with pytest.raises(UserError, match=sentence):
        measure(name, good, truth)


def test_maps_of_the_wrong_rank_are_refused():
    with pytest.raises(ValueError, match=r"\(\.\.\., 3, H, W\)"):
        MeanAngularError().update(torch.ones(2, 4, 4), torch.ones(2, 4, 4))
    with pytest.raises(ValueError, match=r"\(B, H, W\)"):
        OdsF().update(torch.ones(4, 4), torch.ones(4, 4))


def test_only_metrics_of_one_kind_and_settings_merge():
    for one, other in [(MeanIoU(2), MeanIoU(3)), (OdsF(0.0075), OdsF(0.011)), (MaxF(), RMSE())]:
        with pytest.raises(ValueError, match="cannot merge"):
            one.merge(other)


def test_angles_do_not_depend_on_length():
    # targets from 8-bit files are not quite of unit length
    prediction, target = example("angular", 8)
    longer = torch.where(target == 255, target, 1.02 * target)
    assert measure("angular", prediction, longer) == pytest.approx(measure("angular", prediction, target), rel=1e-6)


def test_absent_foreground_gives_zero():
    nothing = torch.zeros(1, 4, 4)
    assert measure("maxf", nothing, nothing) == 0
    assert measure("boundary", nothing, nothing) == 0
    assert measure("maxf", nothing + 1, nothing) == 0
    assert measure("boundary", nothing, nothing + 1) == 0


@pytest.mark.parametrize("name", METRICS)
def test_the_examples_in_the_docstrings(name):
    result = doctest.testmod(import_module(f"sakbench.metrics.{name}"))
    assert result.attempted and not result.failed
