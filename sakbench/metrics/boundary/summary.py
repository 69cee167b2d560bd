"""From the counts of all images to ODS, OIS and AP."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sakbench.errors import UserError


class Summary(NamedTuple):
    """A boundary benchmark's numbers, as fractions of 1.

    `ods` is the best F of one threshold for the whole data set, reached at `threshold` with `precision` and `recall`;
    `ois` pools each image's counts at its own best threshold; `ap` is the area under the precision-recall curve.
    """

    ods: float
    threshold: float
    precision: float
    recall: float
    ois: float
    ap: float


def summarize(counts: ArrayLike, thresholds: ArrayLike | None = None) -> Summary:
    """ODS, threshold, precision, recall, OIS, AP of `counts` (images, thresholds, 4): cntR, sumR, cntP, sumP.

    `np.stack(boundary.counts(...), axis=-1)` is an image's part. Counts are added up over the images before anything is
    divided; ODS is the plain maximum over the thresholds, without interpolation; AP interpolates the precision at
    recall 0, 0.01, ..., 1, and is 0 where the curve is a single point, as that of a map of 0 and 255. Thresholds are
    k / (n + 1) if none are given. Raises UserError where the shape is another, where there is no image and where counts
    are negative or more pixels are matched than there are.
    """
    table = np.asarray(counts)
    if table.ndim != 3 or table.shape[2] != 4 or 0 in table.shape:
        raise UserError(
            f"counts have the shape (images, thresholds, 4) and at least one image, not {table.shape}: "
            "np.stack(counts(...), axis=-1) makes an image's part."
        )
    if (
        not np.isfinite(table).all()
        or (table < 0).any()
        or (table[..., 0] > table[..., 1]).any()
        or (table[..., 2] > table[..., 3]).any()
    ):
        raise UserError("counts are whole numbers, cntR <= sumR and cntP <= sumP, none of them negative.")
    steps = np.arange(1, table.shape[1] + 1) / (table.shape[1] + 1) if thresholds is None else np.asarray(thresholds)
    if steps.shape != (table.shape[1],):
        raise UserError(f"{steps.size} thresholds do not fit the counts of {table.shape[1]}.")
    precision, recall = precision_recall(table.sum(axis=0))
    f = f_measure(precision, recall)
    best = int(f.argmax())
    own_best = f_measure(*precision_recall(table)).argmax(axis=1)
    pooled = table[np.arange(len(table)), own_best].sum(axis=0)
    return Summary(
        ods=float(f[best]),
        threshold=float(steps[best]),
        precision=float(precision[best]),
        recall=float(recall[best]),
        ois=float(f_measure(*precision_recall(pooled))),
        ap=_average_precision(precision, recall),
    )


def precision_recall(counts: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Precision cntP / sumP and recall cntR / sumR of counts (..., 4).

    Where nothing is true, precision is 0 and recall 1; where nothing is predicted, precision is 1 and recall 0.
    """
    found, true, right, predicted = np.moveaxis(np.asarray(counts, dtype=np.float64), -1, 0)
    recall = np.where(true > 0, found / np.maximum(true, 1), 1.0)
    precision = np.where(predicted > 0, right / np.maximum(predicted, 1), 1.0)
    return np.where(true > 0, precision, 0.0), recall


def f_measure(precision: ArrayLike, recall: ArrayLike) -> NDArray[np.float64]:
    """Harmonic mean of precision and recall, 0 where both are."""
    p, r = np.asarray(precision, dtype=np.float64), np.asarray(recall, dtype=np.float64)
    return np.asarray(2 * p * r / np.maximum(p + r, np.finfo(np.float64).tiny))


def _average_precision(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> float:
    """Sum of the precision at recall 0, 0.01, ..., 1, over 100, as published AP has it; 0 beyond the curve's ends."""
    reached, first = np.unique(recall, return_index=True)
    if len(reached) < 2:
        return 0.0
    grid = np.arange(101) / 100
    return float(np.interp(grid, reached, precision[first], left=0.0, right=0.0).sum() / 100)
