"""Curves with error bars, a panel per quantity (paper Figure 5, Table 20)."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from sakbench.plots.palette import INK, model_colours
from sakbench.plots.style import COLUMN, NORMAL, PAGE, SMALL, new_figure, quiet

_MARKERS = "osD^v"
_PANEL = 1.35  # inches high


@dataclass(frozen=True)
class Curve:
    """Values `y` at the places `x`, and their standard deviations where there are several seeds; (n,) each."""

    x: ArrayLike
    y: ArrayLike
    spread: ArrayLike | None = None


def curves(
    blocks: Mapping[str, Mapping[str, Mapping[str, Curve]]], xlabel: str, *, columns: int = 3, width: float = PAGE
) -> Figure:
    """Panels of curves; `blocks` maps a block's title to its panels, those to their curves, by the model's name.

    A panel's title says what is shown and in which unit. Panels do not share their axes: their units differ.
    Raises `ValueError` where there is nothing to draw, or a curve's places and values differ in number.
    """
    for panels in blocks.values():
        for title, lines in panels.items():
            for model, curve in lines.items():
                spread = curve.y if curve.spread is None else curve.spread
                if not np.shape(curve.x) == np.shape(curve.y) == np.shape(spread) or np.ndim(curve.x) != 1:
                    raise ValueError(f"x, y and spread of {model} in {title} are needed as lists of one length.")
    if not blocks:
        raise ValueError("curves need at least one block.")
    models = list(dict.fromkeys(model for panels in blocks.values() for lines in panels.values() for model in lines))
    columns = min(columns, max(map(len, blocks.values())))
    rows = [-(-len(panels) // columns) for panels in blocks.values()]
    figure = new_figure(width, 0.3 + sum(0.35 + _PANEL * count for count in rows))
    parts = figure.subfigures(len(blocks), 1, squeeze=False, height_ratios=[0.35 + _PANEL * count for count in rows])
    for part, count, (title, panels) in zip(parts[:, 0], rows, blocks.items(), strict=True):
        part.suptitle(title, fontsize=NORMAL + 1, color=INK, x=0.01, ha="left")
        grid = part.subplots(count, columns, squeeze=False)
        for axes, (name, lines) in zip(grid.flat, panels.items(), strict=False):
            _draw(axes, lines, models)
            axes.set_title(name, fontsize=NORMAL, color=INK)
        for axes in grid.flat[len(panels) :]:
            axes.set_axis_off()
        part.supxlabel(xlabel, fontsize=NORMAL, color=INK)
    if len(models) > 1:
        of_axes = [zip(*axes.get_legend_handles_labels(), strict=True) for axes in figure.axes]
        handles = {label: handle for pairs in of_axes for handle, label in pairs}
        across = len(models) if width > COLUMN else 2
        figure.legend(
            handles.values(), handles.keys(), loc="outside lower center", ncols=across, fontsize=SMALL, frameon=False
        )
    return figure


def _draw(axes: Axes, lines: Mapping[str, Curve], models: list[str]) -> None:
    colours, markers = model_colours(models), dict(zip(models, cycle(_MARKERS), strict=False))
    for model, curve in lines.items():
        axes.errorbar(
            curve.x,
            curve.y,
            curve.spread,
            color=colours[model],
            marker=markers[model],
            markersize=3.5,
            linewidth=1.2,
            elinewidth=0.9,
            capsize=1.5,
            label=model,
        )
    quiet(axes)
    axes.margins(x=0.06, y=0.12)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, min_n_ticks=3))
    places = np.unique(np.concatenate([np.asarray(curve.x, dtype=float) for curve in lines.values()]))
    if len(places) <= 5:
        axes.set_xticks(places, [f"{place:g}" for place in places])
