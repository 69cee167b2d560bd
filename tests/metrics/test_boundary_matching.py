"""Which pixels match: cases counted by hand, and other algorithms for the same numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from sakbench.errors import UserError
from sakbench.metrics.boundary import match_count
from sakbench.metrics.boundary.matching import assign
from sakbench.metrics.boundary.neighbours import neighbours, tolerance

MASKS = st.integers(0, 2**32 - 1)


def masks(seed, shape=(14, 17)):
    random = np.random.default_rng(seed)
    return [random.random(shape) < share for share in random.uniform(0, 0.6, 2)]


def squared_distances(prediction, truth):
    return ((np.argwhere(prediction)[:, None] - np.argwhere(truth)[None]) ** 2).sum(-1)


def of_radius(radius, shape):
    return radius / np.hypot(*shape)


@settings(max_examples=60, deadline=None)
@given(seed=MASKS, radius=st.sampled_from([0.3, 1.001, 1.5, 2.3, 4.2]))
def test_exact_is_the_maximum_cardinality(seed, radius):
    prediction, truth = masks(seed)
    near = csr_array(squared_distances(prediction, truth) <= radius**2)
    most = (maximum_bipartite_matching(near) >= 0).sum() if near.nnz else 0
    assert match_count(prediction, truth, of_radius(radius, truth.shape)) == most
    assert match_count(truth, prediction, of_radius(radius, truth.shape)) == most


@settings(max_examples=40, deadline=None)
@given(seed=MASKS)
def test_the_nearest_of_all_maximum_matchings(seed):
    prediction, truth = masks(seed, (9, 8))
    radius = 2.3
    pairs = neighbours(np.flatnonzero(prediction).astype(np.int32), truth, radius)
    rows = np.arange(len(pairs.start) - 1, dtype=np.int32)
    alone = 10**7
    mate = assign(rows, pairs.start, pairs.columns, pairs.costs, pairs.true_pixels, alone)
    taken = mate[mate >= 0]
    assert len(set(taken)) == len(taken)
    squares = squared_distances(prediction, truth)
    dense = np.where(squares <= radius**2, np.rint(100 * np.sqrt(squares)), alone)
    dense = np.hstack([dense, np.full((len(rows), len(rows)), alone)])
    best = dense[linear_sum_assignment(dense)].sum()
    assert sum(dense[i, column] if column >= 0 else alone for i, column in enumerate(mate)) == best


def test_an_augmenting_path_is_found():
    # only if the upper predicted pixel takes the upper true one can both be matched
    prediction, truth = np.zeros((2, 5, 3), dtype=bool)
    prediction[1, 1] = prediction[3, 1] = True
    truth[0, 1] = truth[2, 1] = True
    assert match_count(prediction, truth, of_radius(1.01, truth.shape)) == 2


def test_one_true_pixel_matches_once():
    prediction, truth = np.ones((3, 3), dtype=bool), np.zeros((3, 3), dtype=bool)
    truth[1, 1] = True
    assert match_count(prediction, truth, 1.0) == 1
    assert match_count(truth, prediction, 1.0) == 1


@pytest.mark.parametrize(("radius", "matched"), [(0.9, 0), (1.0, 0), (2**0.5 + 1e-9, 1), (1.4, 0)])
def test_the_tolerance_is_a_disc(radius, matched):
    prediction, truth = np.zeros((2, 4, 4), dtype=bool)
    prediction[1, 1] = truth[2, 2] = True
    assert match_count(prediction, truth, of_radius(radius, truth.shape)) == matched


def test_tolerance_is_a_share_of_the_diagonal():
    assert tolerance((321, 481), 0.0075) == pytest.approx(0.0075 * (321**2 + 481**2) ** 0.5)


@pytest.mark.parametrize("mode", ["exact", "seism"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (6, 7)])
def test_empty_and_full_maps(mode, shape):
    full, empty = np.ones(shape, dtype=bool), np.zeros(shape, dtype=bool)
    assert match_count(empty, empty, 0.1, mode) == match_count(full, empty, 0.1, mode) == 0
    assert match_count(empty, full, 0.1, mode) == 0
    lost = 0 if mode == "exact" else full.size  # so small a map may find no outlier for anything
    assert full.size - lost <= match_count(full, full, 0.0, mode) <= full.size


def test_seism_loses_few_pairs_and_repeats_itself():
    random = np.random.default_rng(0)
    prediction, truth = random.random((2, 120, 160)) < 0.2
    most = match_count(prediction, truth, 0.01)
    found = [match_count(prediction, truth, 0.01, "seism", seed=seed) for seed in range(8)]
    assert all(0.997 * most <= count <= most for count in found)  # MATLAB loses about one pair in 2,000
    assert min(found) < most and len(set(found)) > 1
    assert found[3] == match_count(prediction, truth, 0.01, "seism", seed=3)


@pytest.mark.parametrize(
    ("prediction", "truth", "max_dist", "mode", "sentence"),
    [
        (np.ones((3, 4), bool), np.ones((4, 3), bool), 0.1, "exact", "3x4 pixels does not fit a truth of 4x3"),
        (np.ones((3, 4)), np.ones((3, 4), bool), 0.1, "exact", "prediction holds float64, not bool"),
        ([[True]], np.ones((1, 1), bool), 0.1, "exact", "prediction is a list"),
        (np.ones((1, 3, 4), bool), np.ones((3, 4), bool), 0.1, "exact", "2 dimensions"),
        (np.ones((3, 4), bool), np.ones((3, 4), bool), -0.1, "exact", "share of the image's diagonal"),
        (np.ones((3, 4), bool), np.ones((3, 4), bool), np.nan, "exact", "share of the image's diagonal"),
        (np.ones((3, 4), bool), np.ones((3, 4), bool), 0.1, "exat", "did you mean exact"),
    ],
)
def test_wrong_input_is_told(prediction, truth, max_dist, mode, sentence):
    with pytest.raises(UserError, match=sentence):
        match_count(prediction, truth, max_dist, mode)
