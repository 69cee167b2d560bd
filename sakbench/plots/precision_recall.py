"""The curve behind odsF."""

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from sakbench.plots.palette import ACCENT, FAINT, GRID, INK
from sakbench.plots.style import COLUMN, NORMAL, SMALL, new_figure


def precision_recall(
    precision: ArrayLike, recall: ArrayLike, best: tuple[float, float], width: float = COLUMN
) -> Figure:
    """A precision-recall curve over lines of equal F; `best` is the point (precision, recall) of ODS.

    Values are fractions of 1. Raises `ValueError` where the two have not the same length.
    """
    p, r = np.asarray(precision, dtype=float), np.asarray(recall, dtype=float)
    if p.shape != r.shape or p.ndim != 1:
        raise ValueError(f"precision {p.shape} and recall {r.shape} are two lists of one length.")
    figure = new_figure(width, width)
    axes = figure.subplots()
    for f in np.arange(1, 10) / 10:
        lowest = f / (2 - f)  # what precision, or recall, is at least where the other is 1
        along = np.geomspace(lowest, 1, 100)
        axes.plot(along, f * along / (2 * along - f), color=GRID, linewidth=0.8, zorder=1)
        place, shift = (1, lowest), (3, -2)
        axes.annotate(f"F {100 * f:.0f}", place, shift, textcoords="offset points", fontsize=SMALL, color=FAINT)
    order = np.argsort(r, kind="stable")
    axes.plot(r[order], p[order], color=INK, linewidth=1.4, zorder=2)
    axes.scatter(best[1], best[0], s=28, color=ACCENT, zorder=3)
    f_best = 2 * best[0] * best[1] / max(sum(best), np.finfo(float).tiny)
    axes.set_title(f"odsF {100 * f_best:.2f} % at the dot", fontsize=NORMAL, color=INK)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.set_xlabel("recall", fontsize=NORMAL, color=INK)
    axes.set_ylabel("precision", fontsize=NORMAL, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=2, labelsize=SMALL, colors=INK)
    return figure
