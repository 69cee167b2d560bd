import numpy as np
import pytest

from sakbench.analysis.similarity import average_cosine, linear_cka


def rng():
    return np.random.default_rng(0)


def test_one_cosine_per_sample_over_the_whole_map():
    first = np.zeros((2, 1, 1, 2))
    second = np.zeros((2, 1, 1, 2))
    first[0], second[0] = [[[3, 4]]], [[[6, 8]]]  # parallel
    first[1], second[1] = [[[1, 1]]], [[[1, 0]]]  # at 45 degrees
    assert average_cosine(first, second) == pytest.approx((1 + np.sqrt(0.5)) / 2)
    # per token each position counts alone: 1, 1, 1 and an undefined one
    with pytest.raises(ValueError, match="zero everywhere"):
        average_cosine(first.reshape(4, 1), second.reshape(4, 1))


def test_cosine_ignores_scale_and_sees_sign():
    maps = rng().normal(size=(3, 4, 2, 2))
    assert average_cosine(maps, 7 * maps) == pytest.approx(1)
    assert average_cosine(maps, -maps) == pytest.approx(-1)


def test_cosine_of_shapes_that_differ():
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(2, 4\)"):
        average_cosine(np.ones((2, 3)), np.ones((2, 4)))


@pytest.mark.parametrize("samples", [6, 40])  # fewer and more than features
def test_cka_does_not_see_rotation_shift_or_scale(samples):
    features = rng().normal(size=(samples, 10))
    rotation, _ = np.linalg.qr(rng().normal(size=(10, 10)))
    assert linear_cka(features, 3 * features @ rotation + 5) == pytest.approx(1)
    assert linear_cka(features, rng().normal(size=(samples, 4))) < 0.9


def test_both_forms_of_cka_agree():
    first, second = rng().normal(size=(20, 19)), rng().normal(size=(20, 5))
    wide = np.hstack([second, np.zeros((20, 16))])  # the same kernel, but wider than there are samples
    assert linear_cka(first, wide) == pytest.approx(linear_cka(first, second))


def test_cka_of_uncorrelated_samples_is_zero():
    assert linear_cka([[1.0], [1], [-1], [-1]], [[1.0], [-1], [1], [-1]]) == pytest.approx(0)


@pytest.mark.parametrize(
    ("first", "second", "complaint"),
    [
        (np.ones((3, 2)), np.eye(3), "the same for every sample"),
        (np.eye(3), np.eye(4), "here are 3 and 4"),
        (np.ones((1, 2)), np.ones((1, 2)), "at least two"),
        (np.ones(3), np.ones(3), "first axis"),
    ],
)
def test_cka_refuses(first, second, complaint):
    with pytest.raises(ValueError, match=complaint):
        linear_cka(first, second)
