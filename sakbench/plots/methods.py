"""Methods beside each other (paper Figure 3)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sakbench.plots.palette import INK, model_colours
from sakbench.plots.style import NORMAL, PAGE, SMALL, new_figure, quiet, signed, zero_line

_MARKERS = "osD^vP<>pX*h"


@dataclass(frozen=True)
class Gains:
    """What a method gains over the single-task baseline, in percent: each task and Δm; spreads where there are seeds.

    Spreads are standard deviations over seeds.
    """

    tasks: dict[str, float]
    delta_m: float
    spreads: dict[str, float] = field(default_factory=dict)
    delta_m_spread: float | None = None

    @property
    def label(self) -> str:
        """Δm as a legend says it."""
        spread = "" if self.delta_m_spread is None else f" ± {self.delta_m_spread:.1f}"
        return f"{signed(self.delta_m, 2 if self.delta_m_spread is None else 1)}{spread}"


def methods(blocks: Mapping[str, Mapping[str, Gains]], *, width: float = PAGE) -> Figure:
    """A panel per data set: for each task a dot per method, in percent of the single-task baseline; Δm in the legend.

    `blocks` maps a data set to its methods. All methods of a data set have the same tasks; up is better for each.
    Raises `ValueError` where they have not, or there is none.
    """
    for dataset, rows in blocks.items():
        if not rows or len({tuple(gains.tasks) for gains in rows.values()}) > 1:
            raise ValueError(f"the methods on {dataset} need the same tasks, and at least one method is needed.")
    names = list(dict.fromkeys(name for rows in blocks.values() for name in rows))
    heights = [max(1.9, 0.35 + 0.155 * len(rows)) for rows in blocks.values()]
    figure = new_figure(width, sum(heights) + 0.1)
    panels = figure.subplots(len(blocks), 1, squeeze=False, height_ratios=heights)
    for axes, (dataset, rows) in zip(panels[:, 0], blocks.items(), strict=True):
        _draw(axes, rows, names)
        axes.set_title(dataset, fontsize=NORMAL, color=INK)
        axes.set_ylabel("relative improvement over\nthe single-task baseline (%)", fontsize=NORMAL, color=INK)
        axes.legend(
            loc="center left",
            bbox_to_anchor=(1.0, 0.5),
            fontsize=SMALL,
            frameon=False,
            title="Δm (%)",
            title_fontsize=SMALL,
            labelspacing=0.35,
        )
    return figure


def _draw(axes: Axes, rows: Mapping[str, Gains], names: list[str]) -> None:
    colours, markers = model_colours(names), dict(zip(names, cycle(_MARKERS), strict=False))
    tasks = list(next(iter(rows.values())).tasks)
    places = np.arange(len(tasks))
    for number, (name, gains) in enumerate(rows.items()):
        axes.errorbar(
            places + 0.76 * ((number + 0.5) / len(rows) - 0.5),
            [gains.tasks[task] for task in tasks],
            [gains.spreads.get(task, np.nan) for task in tasks] if gains.spreads else None,
            fmt=markers[name],
            color=colours[name],
            markersize=4.5,
            elinewidth=0.9,
            label=f"{name}  {gains.label}",
        )
    quiet(axes)
    zero_line(axes)
    for between in places[1:] - 0.5:
        axes.axvline(between, color="#eeeeee", linewidth=0.8, zorder=0)
    axes.set_xlim(-0.5, len(tasks) - 0.5)
    axes.set_xticks(places, tasks, fontsize=NORMAL)
