import numpy as np
import pytest

from sakbench.analysis.gates import over_seeds, stacked

ONE = [[[0.5, 0.3, 0.2], [0.8, 0.1, 0.1]]]  # a level, two tasks, three experts
OTHER = [[[0.7, 0.2, 0.1], [0.8, 0.2, 0.0]]]


def test_mean_and_spread_over_seeds():
    mean, spread = over_seeds(stacked([ONE, OTHER]))
    assert mean == pytest.approx(np.array([[[0.6, 0.25, 0.15], [0.8, 0.15, 0.05]]]))
    assert spread[0, 0, 0] == pytest.approx(0.2 / np.sqrt(2)) and spread[0, 1, 0] == 0


def test_a_single_seed_has_no_spread():
    mean, spread = over_seeds(stacked([ONE]))
    assert mean.tolist() == ONE and spread is None


@pytest.mark.parametrize("gates", [[], [ONE, [ONE[0][:1]]], [ONE[0]]])
def test_gates_of_other_shapes_are_refused(gates):
    with pytest.raises(ValueError, match="one shape"):
        stacked(gates)


def test_shares_add_up():
    with pytest.raises(ValueError, match="add up to 1"):
        stacked([np.full((4, 5, 3), 0.5)])
