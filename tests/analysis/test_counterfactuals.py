"""What models make of counterfactual pairs: by hand and by properties."""

from dataclasses import replace

import numpy as np
import pytest

from sakbench.analysis.counterfactuals import Objects, Seen, flips, numbers
from sakbench.analysis.norm_maps import contrast, outliers, shares
from sakbench.analysis.quantities import QUANTITIES


@pytest.fixture
def objects():
    """Two pairs of 32 x 32 pixels: a small and a large object, and a middle one."""
    masks = np.zeros((2, 32, 32), np.uint8)
    masks[0, :4, :4], masks[0, 16:, 16:], masks[1, 8:16, 8:16] = 1, 2, 1
    return Objects.of(masks)


def test_objects_have_a_size_of_their_own(objects):
    assert objects.pair.tolist() == [0, 0, 1]
    assert objects.sides == pytest.approx([1 / 8, 1 / 2, 1 / 4])
    assert [size for size in ("small", "middle", "large") for one in objects.of_size(size) if one] == [
        "small",
        "middle",
        "large",
    ]
    assert objects.of_size("small").tolist() == [True, False, False]
    assert (objects.around[0] == objects.around[1]).all() and objects.around[0].sum() == 32**2 - 16 - 256
    with pytest.raises(ValueError, match="no object"):
        Objects.of(np.zeros((1, 4, 4)))


def test_norms_and_changes_by_hand(objects):
    norms = np.full((2, 8, 8), 2.0)  # cells of 4 pixels
    norms[0, 0, 0], norms[0, 4:, 4:], norms[1, 2:4, 2:4] = 6.0, 1.0, 3.0
    change = np.zeros((2, 8, 8))
    change[0, 0, 0], change[0, 4:, 4:], change[1, 2:4, 2:4], change[1, 0, 0] = 0.5, 0.5, 1.0, 2.0
    found = numbers(Seen(norms, norms, change, (32, 32)), objects)
    assert [found[f"contrast {size}"] for size in ("small", "middle", "large")] == pytest.approx([3.0, 1.5, 0.5])
    assert found["change inside"] == pytest.approx((0.5 + 0.5 + 1.0) / 3)
    assert found["change outside"] == pytest.approx((0 + 2.0 / 60) / 2)
    assert found["share inside"] == pytest.approx((100 + 50) / 2)  # 4 of 8 squared in the second
    assert found["outliers"] == 0 and "flips" not in found
    louder = norms.copy()
    louder[1, 7, 7] = 7.0
    assert numbers(Seen(norms, louder, change, (32, 32)), objects)["outliers"] == pytest.approx(100 / 64 / 4)


def test_labels_that_follow_and_masks_that_are_kept_by_hand():
    mask = np.zeros((4, 16, 16), bool)
    mask[:, 4:12, 4:12] = True
    old, new, other = 3, 5, 1
    before, after = (np.where(mask, label, 0) for label in (old, new))
    after[1, 4:12, 4:12] = other  # called something else
    after[2, 8:12, 4:12] = 0  # half of it is lost: a tie, which the lower label wins
    after[3] = old  # everything is the old class afterwards
    flipped, overlap = flips(before, after, mask, (old, new))
    assert flipped.tolist() == [True, False, False, False]
    assert overlap == pytest.approx([1.0, 0.0, 0.5, 64 / 144])  # of the window of 12 x 12 around the box
    neighbour = before.copy()
    neighbour[:, 4:12, 13:15] = old  # beside the object, in its window: it neither helps nor harms
    assert flips(neighbour, after, mask, (old, new))[1][:3] == pytest.approx([1.0, 0.0, 0.5])
    alone = np.where(neighbour == old, neighbour, 0) * ~mask
    assert flips(alone, alone, mask, (old, new))[1].tolist() == [0, 0, 0, 0]
    hidden = mask.copy()
    hidden[:, 8:] = False  # what another object covers does not count
    assert flips(before, after, mask, (old, new), hidden)[1][2] == pytest.approx(1.0)
    nothing = np.zeros_like(before)
    assert flips(nothing, nothing, mask, (old, new))[1].tolist() == [0, 0, 0, 0]


def test_swapping_before_and_after_swaps_what_is_seen(objects):
    rng = np.random.default_rng(0)
    a, b, change = rng.random((3, 2, 7, 7)) + 0.5
    labels = tuple(rng.integers(0, 3, (2, 2, 32, 32)))
    beliefs = tuple(rng.random((2, 2, 32, 32)))
    seen = Seen(a, b, change, (28.0, 28.0), labels, beliefs)
    swapped = Seen(b, a, change, (28.0, 28.0), labels[::-1], beliefs[::-1])
    first, second = numbers(seen, objects, (1, 2)), numbers(swapped, objects, (2, 1))
    assert first.pop("belief shift") == pytest.approx(-second.pop("belief shift"))
    assert first == pytest.approx(second) and set(first) <= set(QUANTITIES)
    certain = replace(seen, beliefs=(np.zeros((2, 32, 32)), np.ones((2, 32, 32))))
    assert numbers(certain, objects, (1, 2))["belief shift"] == pytest.approx(100)


@pytest.mark.parametrize("grid", [(1, 1), (4, 8), (5, 7), (36, 36)])
def test_cells_share_a_mask_to_the_fraction_of_a_pixel(grid):
    mask = np.random.default_rng(0).random((2, 32, 32)) < 0.4
    found = shares(mask, grid)
    assert found.mean((1, 2)) == pytest.approx(mask.mean((1, 2)))
    assert ((found >= -1e-9) & (found <= 1 + 1e-9)).all()
    fine = np.kron(mask, np.ones((1, 35, 36)))  # whose sides 5, 7 and 36 divide
    height, width = fine.shape[1] // grid[0], fine.shape[2] // grid[1]
    if fine.shape[1] % grid[0] == 0 and fine.shape[2] % grid[1] == 0:
        blocks = fine.reshape(2, grid[0], height, grid[1], width).mean((2, 4))
        assert found == pytest.approx(blocks)


def test_a_grid_may_leave_a_rim_unseen():
    mask = np.zeros((1, 16, 16))
    mask[:, :, 14:] = 1
    assert shares(mask, (7, 7), (14, 14)).sum() == 0
    with pytest.raises(ValueError, match="covers 17 pixels"):
        shares(mask, (2, 2), (17, 16))


def test_what_is_around_may_leave_others_out():
    values = np.array([[[6.0, 2.0], [9.0, 2.0]]])
    inside, around = np.array([[[1.0, 0], [0, 0]]]), np.array([[[0, 1.0], [0, 1.0]]])
    assert contrast(values, inside, around) == pytest.approx(3.0)


def test_outliers_do_not_depend_on_a_models_unit():
    norms = np.ones((2, 5, 5))
    norms[0, 2, 3], norms[1, 0, 0] = 3.5, 2.5
    assert np.argwhere(outliers(norms)).tolist() == [[0, 2, 3]]
    assert (outliers(1000 * norms) == outliers(norms)).all()
