"""Norm maps, their changes, and objects as vectors: by hand and by properties."""

import numpy as np
import pytest

from sakbench.analysis.norm_maps import changes, contrast, inside_share, norm_maps, shares
from sakbench.analysis.objects import interval, linear_hits, object_vectors
from sakbench.data.miniworld.pairs import pairs
from sakbench.errors import UserError


def test_the_norms_of_a_constant_map_are_one_number():
    assert norm_maps(np.full((2, 4, 3, 3), 0.5)) == pytest.approx(1.0)


def test_equal_maps_do_not_change_and_opposite_ones_move_by_two():
    maps = np.random.default_rng(0).normal(size=(2, 5, 4, 4))
    assert not changes(maps, maps).any()
    unit = maps / np.linalg.norm(maps, axis=1, keepdims=True)
    assert changes(unit, -unit) == pytest.approx(2.0)
    assert changes(7 * unit, -7 * unit) == pytest.approx(2.0)  # whatever a model's norms are


def test_an_object_stands_out_by_the_ratio_of_its_norms():
    mask = np.zeros((1, 8, 8), bool)
    mask[0, :4, :4] = True
    share = shares(mask, (2, 2))
    assert share.tolist() == [[[1.0, 0.0], [0.0, 0.0]]]
    assert contrast(np.where(share > 0, 6.0, 2.0), share) == pytest.approx(3.0)
    assert inside_share(np.where(share > 0, 3.0, 1.0), share) == pytest.approx(9 / 12)
    assert np.isnan(contrast(np.ones((1, 2, 2)), np.ones((1, 2, 2))))


def test_an_objects_vector_is_the_mean_of_its_cells():
    maps = np.arange(8.0).reshape(1, 2, 2, 2)
    assert object_vectors(maps, [[[1.0, 0.0], [0.0, 0.5]]]) == pytest.approx(np.array([[1.0, 5.0]]))
    with pytest.raises(ValueError, match="covers nothing"):
        object_vectors(maps, np.zeros((1, 2, 2)))


def test_a_planted_code_is_read_and_noise_is_not():
    rng = np.random.default_rng(0)
    labels, truth = rng.integers(2, size=200), rng.integers(2, size=200)
    code = np.array([[-1.0, 0.0], [1.0, 0.0]])
    learned, asked = (code[of] + 0.1 * rng.normal(size=(200, 2)) for of in (labels, truth))
    assert linear_hits(learned, labels, asked, truth).all()
    blind = linear_hits(rng.normal(size=(200, 2)), labels, rng.normal(size=(200, 2)), truth)
    low, high = interval(blind, np.arange(200))
    assert low < 0.5 < high and low < blind.mean() < high


def test_an_interval_counts_the_objects_of_a_scene_together():
    hits, scenes = np.tile([1.0, 0.0], 50), np.arange(100) // 50
    alone, together = interval(hits, np.arange(100)), interval(np.repeat([1.0, 0.0], 50), scenes)
    assert together == (0.0, 1.0) and alone[1] - alone[0] < 0.25


def test_a_pair_differs_in_its_object_alone():
    cats = pairs("cat", "dog", "test", 3)
    changed = (cats.before.images != cats.after.images).any(-1)
    assert all(inside.any() for inside in changed & cats.mask)
    # light that the object throws on others is all that may change outside
    assert (changed & ~cats.mask).mean() < 0.01
    assert (cats.sides >= 8).all()
    with pytest.raises(UserError, match="shapes differ"):
        pairs("cat", "ball", "test", 1)
