"""Counts of one image over all thresholds: how many boundary pixels there are and how many of them find a partner."""

from collections.abc import Sequence
from itertools import pairwise
from numbers import Integral, Real
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sakbench.errors import UserError, unknown
from sakbench.metrics.boundary.arrays import BoolMap, ByteMap, require_map
from sakbench.metrics.boundary.matching import assign, most_pairs
from sakbench.metrics.boundary.neighbours import Neighbours, neighbours, tolerance
from sakbench.metrics.boundary.outliers import with_outliers
from sakbench.metrics.boundary.thinning import thin, thin_levels

Mode = Literal["exact", "seism"]
MODES: tuple[str, ...] = get_args(Mode)
Counts = NDArray[np.int64]

THRESHOLDS: NDArray[np.float64] = np.arange(1, 100) / 100  # not k * 0.01, which puts 153 / 255 below 0.60


def match_count(prediction: BoolMap, truth: BoolMap, max_dist: float, mode: Mode = "exact", seed: int = 0) -> int:
    """How many pairs of a predicted and a true boundary pixel a one-to-one matching finds.

    Maps are bool (h, w), taken as they are; two pixels may match where they lie at most `max_dist` of the image's
    diagonal apart. `exact` is the maximum; `seism` imitates MATLAB's solver, which loses about one pair in 2,000, at
    random (`seed`). Raises UserError for other types, for sizes that differ and for an unknown mode.
    """
    require_map("prediction", prediction, np.bool_)
    require_map("truth", truth, np.bool_)
    check_settings(max_dist, mode, seed)
    _check_sizes(prediction.shape, truth.shape)
    rows = np.flatnonzero(prediction).astype(np.int32)
    pairs = neighbours(rows, truth, tolerance(truth.shape, max_dist))
    everything = np.arange(len(rows), dtype=np.int32)
    found, _ = _match([everything], [pairs], mode, seed)
    return int(found[0])


def counts(
    prediction: ByteMap,
    truths: BoolMap,
    max_dist: float,
    thresholds: Sequence[float] | NDArray[np.float64] = THRESHOLDS,
    mode: Mode = "exact",
    seed: int = 0,
    *,
    strict: bool = False,
) -> tuple[Counts, Counts, Counts, Counts]:
    """cntR, sumR, cntP, sumP of one image, int64 (thresholds,) each: what SEISM and the BSDS benchmark count.

    `prediction` (h, w) is a boundary map of 0 to 255, after `nms` where the protocol has it; `truths` (a, h, w) holds
    one map per annotator. At each threshold the pixels with `prediction / 255 >= threshold` (`>` if `strict`) are
    thinned and matched with each annotator's thinned boundary. sumP are the pixels predicted, cntP those matched with
    any annotator's; sumR and cntR are the true pixels and the matched ones, added up over annotators.

    Raises UserError for other types, for sizes that differ, for an unknown mode and for a `max_dist` that is no share.
    """
    require_map("prediction", prediction, np.uint8)
    require_map("truths", truths, np.bool_, dimensions=3)
    check_settings(max_dist, mode, seed)
    _check_sizes(prediction.shape, truths.shape[1:])
    # Falling thresholds: what is predicted mostly grows, so that a matching is a good start for the next one.
    levels, where = np.unique(-_levels(thresholds, strict=strict), return_inverse=True)
    pixels, start = thin_levels(prediction, -levels)
    used = np.unique(pixels)
    rows = np.searchsorted(used, pixels).astype(np.int32)
    lists = [rows[a:b] for a, b in pairwise(start)]
    thinned = [thin(truth) for truth in truths]
    radius = tolerance(prediction.shape, max_dist)
    pairs = [neighbours(used.astype(np.int32), truth, radius) for truth in thinned]
    true_pixels = sum(each.true_pixels for each in pairs)
    recalled, right = _match(lists, pairs, mode, seed)
    sum_r = np.full(len(levels), true_pixels, dtype=np.int64)
    found = recalled, sum_r, right, np.diff(start)
    cnt_r, sum_r, cnt_p, sum_p = (values[where] for values in found)
    return cnt_r, sum_r, cnt_p, sum_p


def _levels(thresholds: Sequence[float] | NDArray[np.float64], *, strict: bool) -> NDArray[np.int64]:
    """The least byte that reaches each threshold; 256 where none does."""
    values = np.asarray(thresholds)
    if values.ndim != 1 or not len(values) or values.dtype.kind not in "fiu" or not np.isfinite(values).all():
        raise UserError(f"thresholds are a list of finite numbers, not {thresholds!r}.")
    return np.searchsorted(np.arange(256) / 255, values, side="right" if strict else "left")


def check_settings(max_dist: float, mode: str, seed: int = 0) -> None:
    """Raise UserError unless `max_dist` is from 0 to 1, the mode is known and the seed a whole number from 0."""
    if not isinstance(max_dist, Real) or not 0 <= max_dist <= 1:
        raise UserError(f"max_dist is a share of the image's diagonal, such as 0.0075, not {max_dist!r}.")
    if mode not in MODES:
        raise unknown("mode of matching", str(mode), MODES)
    if not isinstance(seed, Integral) or seed < 0:
        raise UserError(f"a seed is a whole number from 0, not {seed!r}.")


def _check_sizes(shape: tuple[int, ...], truth: tuple[int, ...]) -> None:
    if shape != truth:
        raise UserError(f"a prediction of {shape[0]}x{shape[1]} pixels does not fit a truth of {truth[0]}x{truth[1]}.")


def _match(lists: list[NDArray[np.int32]], pairs: list[Neighbours], mode: str, seed: int) -> tuple[Counts, Counts]:
    """For each list of predicted pixels: pairs added up over annotators, and predicted pixels matched with any."""
    if mode == "exact" and len(pairs) == 1:
        start = np.cumsum([0, *(len(rows) for rows in lists)])
        found = most_pairs(np.concatenate(lists), start, pairs[0].start, pairs[0].columns, pairs[0].true_pixels)
        return found, found
    recalled, right = np.zeros((2, len(lists)), dtype=np.int64)
    before = None
    for i, rows in enumerate(lists):
        if before is not None and np.array_equal(rows, before):
            recalled[i], right[i] = recalled[i - 1], right[i - 1]
            continue
        before = rows
        matched = np.zeros(len(pairs[0].start) - 1, dtype=np.bool_)
        for annotator, each in enumerate(pairs):
            if mode == "exact":
                found = _nearest(rows, each)
            else:
                found = _lossy(rows, each, seed=(seed, i, annotator))
            recalled[i] += len(found)
            matched[found] = True
        right[i] = np.count_nonzero(matched)
    return recalled, right


def _nearest(rows: NDArray[np.int32], pairs: Neighbours) -> NDArray[np.int32]:
    """The predicted pixels that a matching of most pairs, and of these of least distance, gives a partner."""
    # With several annotators it counts which pixels are matched, not only how many.
    alone = (int(pairs.costs.max(initial=0)) + 1) * (len(rows) + 1)
    mate = assign(rows, pairs.start, pairs.columns, pairs.costs, pairs.true_pixels, alone)
    return rows[mate[rows] >= 0]


def _lossy(rows: NDArray[np.int32], pairs: Neighbours, seed: tuple[int, ...]) -> NDArray[np.int32]:
    """The same among random outliers: see `outliers`."""
    linked = rows[pairs.start[rows] < pairs.start[rows + 1]]
    outlier_cost = 100 * (int(pairs.costs.max(initial=0)) + 1)
    start, columns, costs, true_pixels = with_outliers(
        linked, pairs.start, pairs.columns, pairs.costs, pairs.true_pixels, outlier_cost, np.random.default_rng(seed)
    )
    everything = np.arange(len(start) - 1, dtype=np.int32)
    columns_count = true_pixels + len(linked)
    mate = assign(everything, start, columns, costs, columns_count, outlier_cost * (len(everything) + 1))
    partners = mate[: len(linked)]
    return linked[(partners >= 0) & (partners < true_pixels)]
