"""Values with intervals for several models: along an axis of sizes, or side by side for several questions."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from sakbench.plots.palette import FAINT, INK, model_colours
from sakbench.plots.style import COLUMN, NORMAL, SMALL, new_figure, quiet

_MARKS = ("o", "s", "^", "D", "v", "P")


def points(
    places: Sequence[str],
    models: Mapping[str, tuple[ArrayLike, ArrayLike]],
    *,
    ylabel: str,
    xlabel: str = "",
    joined: bool = True,
    reference: tuple[float, str] | None = None,
    width: float = COLUMN,
) -> Figure:
    """A value per place and model: `models` maps a name to values (n,) and intervals (n, 2), low and high.

    `joined` connects a model's points, where the places have an order; `reference` is a level with its name.
    Raises `ValueError` where a model has another number of values than there are places.
    """
    figure = new_figure(width, 0.75 * width)
    axes = figure.subplots()
    at, colours = np.arange(len(places)), model_colours(models)
    spread = 0.12 if len(models) > 1 else 0.0
    for number, (name, (values, intervals)) in enumerate(models.items()):
        middle, ends = np.asarray(values, dtype=float), np.asarray(intervals, dtype=float)
        if middle.shape != (len(places),) or ends.shape != (len(places), 2):
            raise ValueError(
                f"{name} has values {middle.shape} and intervals {ends.shape}: one for each of {len(places)} places is"
                " needed."
            )
        x = at + spread * (number - (len(models) - 1) / 2)
        axes.errorbar(
            x,
            middle,
            yerr=np.stack([middle - ends[:, 0], ends[:, 1] - middle]).clip(min=0),
            color=colours[name],
            marker=_MARKS[number % len(_MARKS)],
            markersize=4,
            linewidth=1.2 if joined else 0,
            elinewidth=0.8,
            label=name,
        )
    if reference:
        axes.axhline(reference[0], color=FAINT, linewidth=0.8, linestyle="--")
        axes.annotate(
            reference[1],
            (1, reference[0]),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="bottom",
            fontsize=SMALL,
            color=FAINT,
        )
    axes.set_xticks(at, list(places))
    axes.set_ylabel(ylabel, fontsize=NORMAL, color=INK)
    axes.set_xlabel(xlabel, fontsize=NORMAL, color=INK)
    quiet(axes)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=4, frameon=False, fontsize=SMALL)
    return figure
