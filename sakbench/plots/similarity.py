"""How alike representations are: the student's to each teacher's (Table 17), the teachers' to each other."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from numpy.typing import ArrayLike, NDArray

from sakbench.plots.palette import FAINT, INK, MODELS
from sakbench.plots.style import NORMAL, PAGE, SMALL, new_figure, quiet, readable_on

_ON_WHITE = {"facecolor": "white", "linewidth": 0, "pad": 0.5}

Row = tuple[ArrayLike, ArrayLike | None]  # a number per teacher, and its deviation over seeds


def similarity(
    cosines: Mapping[str, Mapping[str, Row]],
    teachers: Sequence[str],
    cka: ArrayLike,
    models: Sequence[str],
    levels: Sequence[str],
    *,
    heading: str = "linear CKA",
    width: float = PAGE,
) -> Figure:
    """Above, bars of the cosine to each teacher, a panel for each of `cosines` and a bar for each of its rows; below,
    the CKA (levels, models, models) of all pairs of models as a heat map per level, under a `heading`.

    Raises `ValueError` for other shapes.
    """
    values = np.asarray(cka, dtype=float)
    if values.shape != (len(levels), len(models), len(models)):
        raise ValueError(f"the CKA has shape {values.shape}: ({len(levels)}, {len(models)}, {len(models)}) is needed.")
    figure = new_figure(width, 4.0)
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(1.75, 2.15))[:, 0]
    names = list(dict.fromkeys(name for rows in cosines.values() for name in rows))
    colours = dict(zip(names, cycle((FAINT, MODELS["SAK"])), strict=False))
    panels = above.subplots(1, len(cosines), squeeze=False, sharey=True)
    for axes, (title, rows) in zip(panels[0], cosines.items(), strict=True):
        _bars(axes, rows, teachers, colours)
        axes.set_title(title, fontsize=NORMAL, color=INK)
    panels[0, 0].set_ylabel("cosine of student\nand teacher", fontsize=NORMAL, color=INK)
    handles = {label: bar for axes in panels[0] for bar, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    above.legend(handles.values(), handles.keys(), loc="outside right center", fontsize=SMALL, frameon=False)
    below.suptitle(heading, fontsize=NORMAL, color=INK)
    _heat_maps(below, values, models, levels)
    return figure


def _bars(axes: Axes, rows: Mapping[str, Row], teachers: Sequence[str], colours: Mapping[str, str]) -> None:
    places = np.arange(len(teachers))
    thickness = 0.8 / len(rows)
    for number, (name, (means, spreads)) in enumerate(rows.items()):
        if np.shape(means) != (len(teachers),):
            raise ValueError(f"the cosines of {name} have shape {np.shape(means)}: ({len(teachers)},) is needed.")
        at = places + (number - (len(rows) - 1) / 2) * thickness
        bars = axes.bar(at, means, thickness * 0.9, color=colours[name], label=name)
        if spreads is not None:
            axes.errorbar(at, means, spreads, fmt="none", ecolor=INK, elinewidth=0.9)
        axes.bar_label(bars, fmt="%.2f", fontsize=SMALL, color=INK, padding=2, bbox=_ON_WHITE)
    quiet(axes)
    axes.set_ylim(0, 1.12)
    axes.set_yticks([0, 0.5, 1])
    axes.set_xticks(places, teachers, fontsize=NORMAL)


def _heat_maps(figure: SubFigure, values: NDArray[np.float64], models: Sequence[str], levels: Sequence[str]) -> None:
    panels = figure.subplots(1, len(levels), squeeze=False)[0]
    for axes, level, title in zip(panels, values, levels, strict=True):
        image = axes.imshow(level, vmin=0, vmax=1, cmap="cividis")
        for (row, column), value in np.ndenumerate(level):
            ink = readable_on(image.cmap(image.norm(value))[:3])
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=SMALL, color=ink)
        first = axes is panels[0]
        axes.set_xticks(range(len(models)), models, fontsize=SMALL)
        axes.set_yticks(range(len(models)), models if first else [""] * len(models), fontsize=SMALL)
        axes.tick_params(length=0, colors=INK)
        axes.spines[:].set_visible(False)
        axes.set_title(title, fontsize=NORMAL, color=INK)
    scale = figure.colorbar(image, ax=panels, shrink=0.8, pad=0.01)
    scale.ax.tick_params(labelsize=SMALL, length=2, colors=INK)
    scale.outline.set_visible(False)
