"""The bias profile (paper Figure 1, left): what each model is good and bad at, as bars or as a radar."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.projections.polar import PolarAxes
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from sakbench.plots.palette import FAINT, GRID, INK, model_colours
from sakbench.plots.style import COLUMN, NORMAL, PAGE, SMALL, new_figure, quiet, signed, zero_line

Floats = NDArray[np.float64]
Profile = tuple[float, float, float]  # μ, σ and μ/σ over tasks


def bias_profile(
    improvement: Mapping[str, ArrayLike],
    tasks: Sequence[str],
    summary: Mapping[str, Profile],
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
    for number, (model, seeds) in enumerate(_checked(improvement, tasks).items()):
        at = places + (number - (len(improvement) - 1) / 2) * thickness
        axes.bar(at, seeds.mean(0), thickness * 0.9, color=colours[model], label=_label(model, summary[model]))
        if len(seeds) > 1:
            across = np.linspace(-0.22, 0.22, len(seeds))[:, None] * thickness
            axes.scatter(at + across, seeds, s=5, color=INK, linewidths=0, zorder=3)
    quiet(axes)
    zero_line(axes)
    axes.set_xticks(places, tasks, fontsize=NORMAL if width > COLUMN else SMALL)
    axes.set_ylabel(f"relative improvement\nover {reference} (%)", fontsize=NORMAL, color=INK)
    figure.legend(loc="outside lower center", ncols=legend_columns, fontsize=SMALL, frameon=False)
    return figure


def radar(
    improvement: Mapping[str, ArrayLike],
    tasks: Sequence[str],
    summary: Mapping[str, Profile],
    *,
    reference: str = "ViT",
    width: float = PAGE,
) -> Figure:
    """The same as `bias_profile` on a ray for each task; the dashed ring is the reference, where nothing is gained."""
    figure = new_figure(width, 0.45 * width)
    axes = figure.add_subplot(projection="polar")
    assert isinstance(axes, PolarAxes)
    colours = model_colours(improvement)
    angles = 2 * np.pi * np.arange(len(tasks)) / len(tasks)
    around = np.linspace(0, 2 * np.pi, 200)
    axes.plot(around, np.zeros_like(around), color=FAINT, linewidth=1.2, linestyle="--", zorder=1)
    for model, seeds in _checked(improvement, tasks).items():
        mean = seeds.mean(0)
        label = _label(model, summary[model])
        axes.plot([*angles, angles[0]], [*mean, mean[0]], color=colours[model], linewidth=1.4, label=label)
        if len(seeds) > 1:
            axes.scatter(np.tile(angles, (len(seeds), 1)), seeds, s=6, color=colours[model], linewidths=0, zorder=3)
    axes.set_theta_zero_location("N")
    axes.set_theta_direction(-1)
    axes.set_xticks(angles, tasks, fontsize=SMALL, color=INK)
    lowest, highest = axes.get_ylim()
    axes.set_ylim(lowest - 0.2 * (highest - lowest), highest)  # room in the middle, where rays meet
    axes.set_rlabel_position(180 / len(tasks))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.tick_params(labelsize=SMALL, colors=INK, pad=1)
    axes.yaxis.set_major_formatter(lambda value, _: f"{signed(value, 0)} %")
    axes.grid(color=GRID, linewidth=0.6)
    axes.spines[:].set_visible(False)
    title = f"relative improvement over {reference}"
    figure.legend(loc="outside right center", fontsize=SMALL, frameon=False, title=title, title_fontsize=NORMAL)
    return figure


def _checked(improvement: Mapping[str, ArrayLike], tasks: Sequence[str]) -> dict[str, Floats]:
    arrays = {model: np.asarray(values, dtype=float) for model, values in improvement.items()}
    for model, seeds in arrays.items():
        if seeds.ndim != 2 or seeds.shape[1] != len(tasks):
            raise ValueError(f"the improvements of {model} have shape {seeds.shape}: (seeds, {len(tasks)}) is needed.")
    return arrays


def _label(model: str, profile: Profile) -> str:
    mean, sd, ratio = profile
    return f"{model}   μ {signed(mean, 1)}   σ {sd:.1f}   μ/σ {signed(ratio, 2)}"
