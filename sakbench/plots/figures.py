"""The figures. Each takes arrays and gives a `Figure`; `figure.savefig(path)` writes it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from numpy.typing import ArrayLike

from sakbench.plots.palette import ACCENT, FAINT, GRID, INK, model_colours
from sakbench.plots.style import COLUMN, NORMAL, PAGE, SMALL, new_figure, quiet


def scenes_sheet(pictures: Mapping[str, ArrayLike], width: float = PAGE) -> Figure:
    """Pictures side by side: a column per kind (image, semseg, ...), a row per scene.

    `pictures` maps a column's title to uint8 (n, H, W, 3), the same n everywhere; sizes may differ between columns.
    Raises `ValueError` for other shapes.
    """
    columns = {title: np.asarray(images) for title, images in pictures.items()}
    rows = len(next(iter(columns.values()), ()))
    for title, images in columns.items():
        if images.ndim != 4 or images.shape[-1] != 3 or len(images) != rows:
            raise ValueError(
                f"the pictures of {title} have shape {images.shape}: ({rows}, height, width, 3) is needed."
            )
    if not rows:
        raise ValueError("there are no pictures to show.")
    side = width / len(columns)
    figure = new_figure(width, side * rows + 0.16, gap=0.024)
    grid = figure.subplots(rows, len(columns), squeeze=False)
    for column, (title, images) in enumerate(columns.items()):
        grid[0, column].set_title(title, fontsize=NORMAL, color=INK, pad=3)
        for row in range(rows):
            grid[row, column].imshow(images[row], interpolation="nearest")
            grid[row, column].set_axis_off()
    return figure


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


def bias_profile(
    improvement: Mapping[str, ArrayLike],
    tasks: Sequence[str],
    summary: Mapping[str, tuple[float, float, float]],
    *,
    reference: str = "ViT",
    width: float = PAGE,
) -> Figure:
    """What each model is good and bad at: bars of its relative improvement per task (paper Figure 1, left).

    `improvement` maps a model to (seeds, tasks) in percent: bars are means over seeds, dots the single seeds. `summary`
    maps it to μ, σ and μ/σ over tasks, for the legend. Raises `ValueError` for other shapes.
    """
    legend_columns = 2 if width > COLUMN else 1
    figure = new_figure(width, 2.45 + 0.15 * len(improvement) / legend_columns)
    axes = figure.subplots()
    colours = model_colours(improvement)
    thickness = 0.84 / len(improvement)
    places = np.arange(len(tasks))
    for number, (model, values) in enumerate(improvement.items()):
        seeds = np.asarray(values, dtype=float)
        if seeds.ndim != 2 or seeds.shape[1] != len(tasks):
            raise ValueError(f"the improvements of {model} have shape {seeds.shape}: (seeds, {len(tasks)}) is needed.")
        mean, sd, ratio = summary[model]
        label = f"{model}   μ {_signed(mean, 1)}   σ {sd:.1f}   μ/σ {_signed(ratio, 2)}"
        at = places + (number - (len(improvement) - 1) / 2) * thickness
        axes.bar(at, seeds.mean(0), thickness * 0.9, color=colours[model], label=label)
        if len(seeds) > 1:
            across = np.linspace(-0.22, 0.22, len(seeds))[:, None] * thickness
            axes.scatter(at + across, seeds, s=5, color=INK, linewidths=0, zorder=3)
    quiet(axes)
    axes.set_xticks(places, tasks, fontsize=NORMAL if width > COLUMN else SMALL)
    axes.set_ylabel(f"relative improvement\nover {reference} (%)", fontsize=NORMAL, color=INK)
    figure.legend(loc="outside lower center", ncols=legend_columns, fontsize=SMALL, frameon=False)
    return figure


def gates(
    weights: ArrayLike, levels: Sequence[str], tasks: Sequence[str], experts: Sequence[str], *, width: float = PAGE
) -> Figure:
    """How the routers weigh the experts at each level for each task (paper Figures 4, 7, 8).

    `weights` is (levels, tasks, experts), each task's experts adding up to 1. Raises `ValueError` for another shape.
    """
    shares = np.asarray(weights, dtype=float)
    if shares.shape != (len(levels), len(tasks), len(experts)):
        raise ValueError(
            f"the gates have shape {shares.shape}: ({len(levels)} levels, {len(tasks)} tasks, {len(experts)} experts)"
            " is needed."
        )
    across = min(len(levels), max(1, int(width / 1.5)))
    down = -(-len(levels) // across)
    figure = new_figure(width, 0.5 + down * (0.25 + 0.22 * len(tasks)))
    panels = figure.subplots(down, across, squeeze=False).flat
    for number, (axes, level) in enumerate(zip(panels, levels, strict=False)):
        _stacked_bars(axes, shares[number], experts, legible=0.22 * across / width)
        axes.set_yticks(range(len(tasks)), [""] * len(tasks) if number % across else tasks, fontsize=NORMAL)
        axes.set_title(level, fontsize=NORMAL, color=INK)
    for axes in panels:  # those that are left over
        axes.set_axis_off()
    figure.supxlabel("gate (% of a task's mixture at that level)", fontsize=SMALL, color=INK)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(experts), fontsize=SMALL, frameon=False)
    return figure


def _stacked_bars(axes: Axes, shares: np.ndarray, experts: Sequence[str], legible: float) -> None:
    """One horizontal bar per row of `shares` (rows, experts), with its percentages where a part is wide enough."""
    colours = model_colours(experts)
    lines = range(len(shares))
    before = np.zeros(len(shares))
    for expert, share in zip(experts, shares.T, strict=True):
        axes.barh(lines, share, 0.78, before, color=colours[expert], edgecolor="white", label=expert)
        for line in np.flatnonzero(share >= legible).tolist():
            middle = before[line] + share[line] / 2
            ink = _readable_on(colours[expert])
            axes.text(middle, line, f"{100 * share[line]:.0f}", ha="center", va="center", fontsize=6, color=ink)
        before += share
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=SMALL, colors=INK)
    axes.set(xlim=(0, 1), xticks=[], ylim=(len(shares) - 0.5, -0.5))


def table(
    title: str,
    columns: Sequence[str],
    rows: Mapping[str, Sequence[str]],
    *,
    bold: ArrayLike | None = None,
    note: str = "",
) -> Figure:
    """A table as a picture, as large as its text needs.

    `rows` maps each row's name to its cells, which stand under `columns`, aligned to the right; `bold` (rows, columns)
    marks those to stand out. `note` may have several lines. Raises `ValueError` if a row has another number of cells.
    """
    for name, cells in rows.items():
        if len(cells) != len(columns):
            raise ValueError(f"the row {name} has {len(cells)} cells for {len(columns)} columns.")
    marked = np.zeros((len(rows), len(columns)), bool) if bold is None else np.asarray(bold, dtype=bool)
    line, gap, margin = 0.21, 0.22, 0.08  # inches
    names_width = max(map(_text_width, rows), default=0)
    widths = [max(map(_text_width, texts)) for texts in zip(columns, *rows.values(), strict=True)]
    rights = names_width + np.cumsum(np.array(widths) + gap)
    width = max(rights[-1], _text_width(title, NORMAL + 1), *map(_text_width, note.splitlines()))
    rights += width - rights[-1]
    lines = len(rows) + 2.4 + len(note.splitlines())

    figure = new_figure(width + 2 * margin, line * lines + 2 * margin)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set(xlim=(-margin, width + margin), ylim=(lines + margin / line, -margin / line))

    def write(x: float, y: float, text: str, **style: Any) -> None:
        axes.text(x, y, text, va="center", **{"fontsize": NORMAL, "color": INK, **style})

    write(0, 0.5, title, fontsize=NORMAL + 1, weight="bold")
    for right, column in zip(rights, columns, strict=True):
        write(right, 1.7, column, color=FAINT, ha="right")
    axes.hlines(2.15, 0, width, color=INK, linewidth=0.8)
    for number, (name, cells) in enumerate(rows.items()):
        write(0, number + 2.7, name)
        for right, cell, strong in zip(rights, cells, marked[number], strict=True):
            write(right, number + 2.7, cell, ha="right", weight="bold" if strong else "normal")
        axes.hlines(number + 3.2, 0, width, color=GRID, linewidth=0.5)
    for number, sentence in enumerate(note.splitlines()):
        write(0, len(rows) + 2.8 + number, sentence, fontsize=SMALL, color=FAINT)
    return figure


def _text_width(text: str, size: float = NORMAL) -> float:
    """In inches, were it bold."""
    return TextPath((0, 0), text, size=size, prop=FontProperties(weight="bold")).get_extents().width / 72 if text else 0


def _signed(value: float, digits: int) -> str:
    """With its sign, except for a zero."""
    return f"{value:+.{digits}f}".replace("-", "−") if round(value, digits) else f"{0:.{digits}f}"


def _readable_on(colour: str) -> str:
    """White or ink, whichever stands out on `colour`."""
    red, green, blue = to_rgb(colour)
    return "white" if 0.3 * red + 0.59 * green + 0.11 * blue < 0.55 else INK
