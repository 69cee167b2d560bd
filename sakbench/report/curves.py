"""Tables whose rows are places on an axis, as curves: Table 18 (Figure 5) and Table 20."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from sakbench.plots.figures import Curve
from sakbench.report.summary import Measure, Summary
from sakbench.store import published
from sakbench.tasks.names import TASKS

Panels = dict[str, dict[str, Curve]]
_Points = dict[tuple[str, float], Mapping[str, Measure]]  # by model and place: tasks and delta_m


@dataclass(frozen=True)
class Axis:
    """What a table's rows run along, and how their names tell the place `x` and, of several models, the `model`."""

    label: str
    names: re.Pattern[str]

    def place(self, name: str) -> tuple[str, float] | None:
        """The model and place of a row (or of a published row's group); None if it is none, as the baseline."""
        found = self.names.fullmatch(name)
        return (found.groupdict().get("model") or "SAK", float(found["x"])) if found else None


_SHARE = Axis("labelled images (%)", re.compile(r"(?P<x>\d{1,3})%( (?P<model>.+))?"))
_GAMMA = Axis("γ, the weight of the distillation loss", re.compile(r"γ = (?P<x>\d{1,3}(\.\d{1,3})?)"))
AXES = {"table18": _SHARE, "figure5": _SHARE, "table20": _GAMMA}


def measured_curves(summary: Summary, axis: Axis) -> Panels:
    """A panel for each task and for Δm, with a curve for each model; none where the store has no such row."""
    points: _Points = {}
    for line in summary.lines:
        place = axis.place(line.row)
        if place and line.measured:
            points[place] = line.measured | ({"delta_m": line.delta_m} if line.delta_m else {})
    return _panels(points)


def published_curves(table: str) -> Panels:
    """The same of the paper's table."""
    points: _Points = {}
    for (model, group), lines in published.table(table).groupby(["model", "group"], sort=False):
        place = AXES[table].place(str(group))
        if place:
            values = zip(lines["task"], lines["value"], strict=True)
            points[str(model), place[1]] = {str(task): Measure(float(value), None) for task, value in values}
    return _panels(points)


def _panels(points: _Points) -> Panels:
    quantities = [name for name in (*TASKS, "delta_m") if any(name in values for values in points.values())]
    models = list(dict.fromkeys(model for model, _ in points))
    made: Panels = {}
    for quantity in quantities:
        of_model = {
            model: sorted(
                ((x, of[quantity]) for (name, x), of in points.items() if name == model and quantity in of),
                key=lambda point: point[0],
            )
            for model in models
        }
        made[_title(quantity)] = {model: _curve(of) for model, of in of_model.items() if of}
    return made


def _curve(points: list[tuple[float, Measure]]) -> Curve:
    spreads = [float("nan") if measure.spread is None else measure.spread for _, measure in points]
    alone = all(measure.spread is None for _, measure in points)
    return Curve([x for x, _ in points], [measure.mean for _, measure in points], None if alone else spreads)


def _title(quantity: str) -> str:
    if quantity == "delta_m":
        return "Δm (%) ↑"
    task = TASKS[quantity]
    return f"{task.name} {task.metric} ({task.unit}) {'↑' if task.higher_is_better else '↓'}"
