"""The figures that need only a store, drawn by sakbench.plots and put into the page as SVG.

A new one is a function from `Material` to its pictures, in `DRAWN`.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from sakbench.analysis.gates import stacked
from sakbench.errors import UserError
from sakbench.plots import figures
from sakbench.report.curves import AXES, measured_curves
from sakbench.report.page.content import Part
from sakbench.report.page.markup import Markup, tag
from sakbench.runs.spec import RunSpec
from sakbench.store.records import RunRecord


@dataclass(frozen=True)
class Material:
    """What a figure can be drawn from: the tables, the bias profiles (see `Board.profiles`), the runs by their ids."""

    parts: Sequence[Part]
    profiles: Sequence[dict[str, Any]]
    runs: dict[str, RunRecord]


@dataclass(frozen=True)
class Picture:
    """A figure with its title."""

    title: str
    figure: Figure


def bias_profiles(material: Material) -> Iterator[Picture]:
    """Each measured bias profile, of all its models (Figure 1)."""
    for group in material.profiles:
        if group["source"] == "measured":
            models = {model["name"]: model for model in group["models"]}
            figure = figures.bias_profile(
                {name: model["seeds"] or [model["improvement"]] for name, model in models.items()},
                group["tasks"],
                {name: _profile(*model["summary"]) for name, model in models.items()},
                reference="the frozen ViT",
            )
            yield Picture(f"Bias profile of the frozen models, {group['title']}; bars are means, dots seeds", figure)


def _profile(mean: float, sd: float, ratio: float | None) -> tuple[float, float, float]:
    return mean, sd, np.nan if ratio is None else ratio


def curves(material: Material) -> Iterator[Picture]:
    """The tables whose rows are places on an axis: Table 18 (Figure 5) and Table 20."""
    for part in material.parts:
        axis = AXES.get(part.summary.experiment.name.partition("-")[0])
        panels = measured_curves(part.summary, axis) if axis else {}
        if axis and panels:
            yield Picture(part.summary.experiment.title, figures.curves({part.place: panels}, axis.label))


def gates(material: Material) -> Iterator[Picture]:
    """How the routers of SAK weigh the experts, with the largest committee on each data set (Figures 4, 7 and 8)."""
    best: dict[str, tuple[int, Part, list[RunRecord]]] = {}
    for part in material.parts:
        for line in part.summary.lines:
            records = [material.runs[run] for run in line.runs]
            experts = _experts(records)
            if experts > best.get(part.place, (0,))[0]:
                best[part.place] = experts, part, records
    for place, (_, part, records) in best.items():
        spec = RunSpec.from_dict(records[0].spec)
        weights = stacked([record.notes["gates"] for record in records])  # (seeds, levels, tasks, experts)
        figure = figures.gates(
            {part.summary.scale.dataset: dict(zip(spec.tasks, np.moveaxis(weights, 2, 0), strict=True))},
            [f"level {number + 1}" for number in range(weights.shape[1])],
            ["stem", *(name for name, _ in spec.teachers)],
        )
        seeds = f"{len(records)} seed{'s' * (len(records) > 1)}"
        name = f"{part.summary.experiment.name}, {records[0].label}"
        yield Picture(f"Gates of the routers: {name}, {place}, {seeds}", figure)


def _experts(records: list[RunRecord]) -> int:
    """How many experts a row's routers weigh; 0 where its runs are no SAK with both stages, or noted no gates.

    The notes of an export can be anything.
    """
    try:
        weights = stacked([record.notes["gates"] for record in records])
        spec = RunSpec.from_dict(records[0].spec)
    except (KeyError, TypeError, UserError, ValueError):
        return 0
    is_whole = spec.is_sak and spec.start is not None and spec.gamma > 0
    return weights.shape[-1] if is_whole and weights.shape[2:] == (len(spec.tasks), 1 + len(spec.teachers)) else 0


DRAWN: tuple[Callable[[Material], Iterator[Picture]], ...] = (bias_profiles, curves, gates)


def drawn(material: Material) -> list[Markup]:
    """All figures, each with its title."""
    with mpl.rc_context({"text.parse_math": False, "svg.fonttype": "path"}):  # names are no formulas
        pictures = [picture for draw in DRAWN for picture in draw(material)]
        return [
            tag(
                "figure",
                tag("figcaption", picture.title),
                tag("div", inline(picture.figure, f"figure{number}", picture.title), class_="scroll"),
            )
            for number, picture in enumerate(pictures, 1)
        ]


_ELEMENTS = {"svg", "g", "defs", "clipPath", "path", "rect", "use"}
_ATTRIBUTES = {"id", "viewBox", "transform", "d", "x", "y", "width", "height", "clip-path", "href"}
_PAINT = re.compile(r"(fill|stroke|opacity)(-[a-z]+)*")


def inline(figure: Figure, name: str, title: str) -> Markup:
    """A figure as an SVG element of a page: of shapes alone, without style sheets, scripts or links to elsewhere.

    `name` begins all its ids. What matplotlib writes as `style` becomes attributes: the page allows no inline styles.
    """
    content = BytesIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(content, format="svg", metadata={"Date": None})
    root = ET.fromstring(content.getvalue())
    _clean(root, name)
    for side in ("width", "height"):
        del root.attrib[side]
    root.attrib |= {"role": "img", "aria-label": title, "stroke-linejoin": "round", "stroke-linecap": "butt"}
    return Markup(ET.tostring(root, encoding="unicode"))


def _clean(element: ET.Element, name: str) -> None:
    element.tag = _local(element.tag)
    given = {_local(key): value for key, value in element.attrib.items()}
    declared = (declaration.partition(":") for declaration in given.pop("style", "").split(";"))
    given |= {key.strip(): value.strip() for key, _, value in declared}
    element.attrib.clear()
    for key, value in given.items():
        if key == "id":
            element.set(key, f"{name}-{value}")
        elif key in _ATTRIBUTES or _PAINT.fullmatch(key):
            if key != "href" and "url(" not in value:
                element.set(key, value)
            elif found := re.fullmatch(r"(url\()?#(.+)", value):  # of the same figure; anything else leads out
                element.set(key, f"{found[1] or ''}#{name}-{found[2]}")
    for child in list(element):
        _clean(child, name) if _local(child.tag) in _ELEMENTS else element.remove(child)


def _local(name: str) -> str:
    """A name without its namespace."""
    return name.rpartition("}")[2]
