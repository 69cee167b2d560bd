"""Paired differences: draws shared by both rows, intervals that hold what they promise, gates beyond noise."""

import numpy as np
import pytest
import torch
from scipy import stats

from sakbench.analysis.comparison import Draws, departures, gains, of_images, of_seeds
from sakbench.metrics import MeanIoU


def accuracy(sums):
    return 100 * sums[0] / sums[1]


def rows(rng, images, seeds, shift, noise=0.01):
    """Right answers of two rows on the same images, by seed: the harder an image, the worse both are."""
    easy = rng.uniform(0.3, 0.8, images)
    made = []
    for gap in (0.0, shift):
        right = [rng.binomial(20, np.clip(easy + gap + level, 0, 1)) for level in rng.normal(0, noise, seeds)]
        made.append([np.stack([each, np.full(images, 20)], axis=1) for each in right])
    return made


def values(row):
    return [accuracy(each.sum(0)) for each in row]


def test_a_row_does_not_differ_from_itself():
    (first, _), draws = rows(np.random.default_rng(0), 60, 3, 0.1), Draws(60, 200)
    drawn = draws.values(first, accuracy)
    one = of_images(values(first), values(first), drawn, drawn)
    assert (one.low, one.high) == (0, 0)
    assert not one.distinguishable


def test_pairing_finds_what_the_images_noise_would_hide():
    (first, second), draws = rows(np.random.default_rng(1), 80, 3, 0.05), Draws(80, 400)
    known = values(first), values(second)
    paired = of_images(*known, draws.values(first, accuracy), draws.values(second, accuracy))
    apart = of_images(*known, draws.values(first, accuracy), Draws(80, 400, seed=1).values(second, accuracy))
    assert paired.high - paired.low < 0.6 * (apart.high - apart.low)
    assert paired.low < paired.mean < paired.high


@pytest.mark.parametrize("noise", [0.001, 0.01, 0.05], ids=["of the images", "of both", "of the seeds"])
def test_intervals_of_three_seeds_hold_the_truth_about_as_often_as_they_say(noise):
    hits, worlds = 0, 200
    for number in range(worlds):
        first, second = rows(np.random.default_rng(100 + number), 50, 3, 0.05, noise)
        draws = Draws(50, 100, seed=number)
        drawn = (draws.values(row, accuracy) for row in (first, second))
        one = of_images(values(first), values(second), *drawn)
        hits += one.low <= 5.0 <= one.high  # 0.05, hardly ever clipped
    assert 0.9 * worlds <= hits <= 0.985 * worlds


def test_one_seed_says_nothing_of_another_training():
    (first, second), draws = rows(np.random.default_rng(2), 80, 1, 0.2), Draws(80, 200)
    one = of_images(values(first), values(second), draws.values(first, accuracy), draws.values(second, accuracy))
    assert 0 < one.low < one.high
    assert not one.distinguishable


def test_the_mean_of_the_draws_is_near_the_metric_of_all_images():
    torch.manual_seed(0)
    metric = MeanIoU(3)
    truth = torch.randint(3, (40, 6, 6))
    guess = torch.where(torch.rand(truth.shape) < 0.6, truth, torch.randint(3, truth.shape))
    sums = metric.counted(guess, truth)
    metric.update(guess, truth)
    torch.testing.assert_close(sums.sum(0), metric.sums)
    draws = Draws(40, 300)
    drawn = draws.values([sums.numpy()], lambda one: MeanIoU(3).reduce(torch.from_numpy(one)))
    assert drawn.mean() == pytest.approx(metric.compute(), abs=0.5)
    assert drawn.std() > 0


def test_seeds_alone_give_students_interval():
    first, second = np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.5, 4.5])
    one = of_seeds(first, second)
    known = stats.ttest_rel(second, first).confidence_interval(0.95)
    assert (one.low, one.high) == pytest.approx((known.low, known.high))
    assert one.mean == pytest.approx(1.0)
    assert of_seeds([1.0], [2.0]).low is None
    assert not of_seeds([1.0], [2.0]).distinguishable
    assert of_seeds([1.0, 2.0, 4.0], [2.0, 3.0, 5.0]).low is None  # no seed changes it: their noise is not known
    with pytest.raises(ValueError, match="paired"):
        of_seeds([1.0], [1.0, 2.0])


def test_the_gain_of_the_baseline_is_nothing():
    base = {"a": np.array([1.0, 2.0]), "b": np.array([4.0, 5.0])}
    better = {"a": True, "b": False}
    np.testing.assert_allclose(gains(base, base, better), 0)
    twice = {"a": 2 * base["a"], "b": base["b"] / 2}
    np.testing.assert_allclose(gains(twice, base, better), 75)


def test_gates_of_noise_are_uniform_and_a_real_one_is_found():
    rng = np.random.default_rng(0)
    logits = 0.05 * rng.normal(size=(6, 4, 3, 4))
    logits[:, 2, 1, 0] += 1.0
    weights = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    found = departures(weights)
    assert found.certain[2, 1, 0]
    others = np.ones(found.gap.shape, bool)
    others[2, 1] = False  # the other gates of this router give what it takes
    assert found.beyond_noise[others].mean() < 0.2
    assert not found.certain[others].any()
    np.testing.assert_allclose(found.gap.sum(-1), 0, atol=1e-12)
    with pytest.raises(ValueError, match="one seed"):
        departures(weights[:1])
