"""How the routers weigh the experts (paper Figures 4, 7 and 8)."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from sakbench.plots.palette import FAINT, GRID, INK, model_colours
from sakbench.plots.style import NORMAL, PAGE, SMALL, new_figure

_LINE = 0.095  # inches of an expert's bar


def gates(
    weights: Mapping[str, Mapping[str, ArrayLike]],
    levels: Sequence[str],
    experts: Sequence[str],
    *,
    width: float = PAGE,
) -> Figure:
    """The gate of each expert for each task, a column per level: bars are means over seeds, whiskers one deviation.

    `weights` maps a data set to its tasks, and a task to (seeds, levels, experts), those of one level adding up to 1.
    The dotted line is an even share, which a router gives that prefers none. Raises `ValueError` for other shapes.
    """
    for dataset, tasks in weights.items():
        for task, values in tasks.items():
            shape = np.shape(values)
            if len(shape) != 3 or shape[1:] != (len(levels), len(experts)):
                raise ValueError(
                    f"the gates of {task} on {dataset} have shape {shape}: (seeds, {len(levels)} levels,"
                    f" {len(experts)} experts) is needed."
                )
    heights = [0.3 + _LINE * (len(experts) + 1) * len(tasks) for tasks in weights.values()]
    figure = new_figure(width, 0.55 + sum(heights))
    rows = figure.subplots(len(weights), len(levels), squeeze=False, sharex=True, height_ratios=heights)
    for place, (panels, (dataset, tasks)) in enumerate(zip(rows, weights.items(), strict=True)):
        for number, (axes, level) in enumerate(zip(panels, levels, strict=True)):
            _bars(axes, [np.asarray(values, dtype=float)[:, number] for values in tasks.values()], experts)
            centres = np.arange(len(tasks)) * (len(experts) + 1) + (len(experts) - 1) / 2
            axes.set_yticks(centres, [""] * len(tasks) if number else list(tasks), fontsize=NORMAL)
            if place == 0:
                axes.set_title(level, fontsize=NORMAL, color=INK)
        panels[0].set_ylabel(dataset, fontsize=NORMAL, color=INK)
    figure.supxlabel("gate (% of a task's mixture at that level)", fontsize=NORMAL, color=INK)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(handles), fontsize=SMALL, frameon=False)
    return figure


def _bars(axes: Axes, tasks: Sequence[NDArray[np.float64]], experts: Sequence[str]) -> None:
    """Bars in percent of one level, grouped by task; each of the `tasks` is (seeds, experts)."""
    colours = model_colours(experts)
    first = np.arange(len(tasks)) * (len(experts) + 1)
    means = 100 * np.stack([seeds.mean(0) for seeds in tasks])
    spreads = 100 * np.stack([seeds.std(0, ddof=1) if len(seeds) > 1 else np.zeros(len(experts)) for seeds in tasks])
    for number, expert in enumerate(experts):
        at = first + number
        axes.barh(at, means[:, number], 0.86, color=colours[expert], label=expert)
        axes.errorbar(means[:, number], at, xerr=spreads[:, number], fmt="none", ecolor=INK, elinewidth=0.8)
    axes.axvline(100 / len(experts), color=FAINT, linewidth=0.9, linestyle=":", label="even share")
    axes.spines[:].set_visible(False)
    axes.grid(axis="x", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=SMALL, colors=INK)
    axes.set_ylim(len(tasks) * (len(experts) + 1) - 1.2, -0.8)
