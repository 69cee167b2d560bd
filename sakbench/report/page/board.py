"""The leaderboard, each measured number with those that it is made of, and the bias profiles of its frozen models."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from sakbench.analysis.gain import relative_improvement
from sakbench.analysis.leaderboard import baselines
from sakbench.analysis.profile import bias_profile
from sakbench.plots.palette import model_colours
from sakbench.report.page import cells, provenance
from sakbench.report.page.markup import Markup, join, tag
from sakbench.report.page.provenance import Numbers
from sakbench.report.summary import FREEZE, PROFILE, Measure
from sakbench.tasks.names import TASKS

_FILTERS = {"source": "source", "scale": "scale", "dataset": "data set"}
_AT_FIRST = 4  # profiles that are drawn before any is chosen

Line = dict[str, Any]


class Board:
    """The lines of a `leaderboard` whose measured ones were made from `frame`."""

    def __init__(self, board: pd.DataFrame, frame: pd.DataFrame, numbers: Numbers) -> None:
        self.lines: list[Line] = [
            {str(key): None if pd.isna(value) else value for key, value in line.items()}
            for line in board.to_dict("records")
        ]
        self._numbers = numbers
        self._rows = {
            (f"{table}, {row}", scale, dataset): part
            for (table, row, scale, dataset), part in frame.groupby(["table", "row", "scale", "dataset"], sort=False)
        }
        self._baselines = baselines(frame)
        self._frozen = [line for line in self.lines if line["setting"] == FREEZE.strip()]
        self._vits = {_place(line): line for line in self._frozen if line["model"] == "ViT"}

    def html(self) -> Markup:
        """The table with its filters."""
        tasks = [task for task in TASKS if any(line[task] is not None for line in self.lines)]
        heads = [
            *map(cells.words_head, ("model", "setting", "source", "data set")),
            *(cells.task_head(t, f"{TASKS[t].metric} {TASKS[t].unit}", TASKS[t].higher_is_better) for t in tasks),
            *map(cells.computed_head, cells.COMPUTED),
            *(cells.number_head(*cells.SIZES[size]) for size in cells.SIZES),
            cells.number_head("seeds"),
            cells.words_head("from"),
        ]
        return join(self._filters(), cells.table("Leaderboard", heads, [self._row(line, tasks) for line in self.lines]))

    def profiles(self) -> Iterator[dict[str, Any]]:
        """The bias profiles, a group for each scale and data set, measured and published apart.

        A group has title, source, tasks and models; a model has its name, the `improvement` over the frozen ViT in
        percent (tasks), `seeds` (seeds, tasks) where there are several, the `summary` μ, σ and μ/σ, and `number`, the
        index of where it comes from, if it was measured.
        """
        for place, vit in self._vits.items():
            source, scale, dataset = place
            where = f"scale {scale}, {dataset}" if source == "measured" else f"{vit['reference']}, {dataset}"
            lines = [line for line in self._frozen if _place(line) == place and line[PROFILE["mean"]] is not None]
            if lines:
                models = [self._profile(line, vit) for line in lines]
                yield {"title": f"{source} · {where}", "source": source, "tasks": list(_values(vit)), "models": models}

    def _profile(self, line: Line, vit: Line) -> dict[str, Any]:
        reference = _values(vit)
        better = {task: TASKS[task].higher_is_better for task in reference}
        found = bias_profile({task: line[task] for task in reference}, reference, better)
        seeds = []
        for _, part in self._of(line).groupby("seed"):
            values = dict(zip(part["task"], part["value"], strict=True))
            if reference.keys() <= values.keys():
                alone = {task: values[task] for task in reference}
                seeds.append(list(relative_improvement(alone, reference, better).values()))
        return {
            "name": line["model"],
            "improvement": list(found.improvement.values()),
            "seeds": seeds if len(seeds) > 1 else [],
            "summary": [found.mean, found.sd, found.ratio if found.sd else None],
            "number": self._bias(line) if line["source"] == "measured" else None,
        }

    def _row(self, line: Line, tasks: list[str]) -> Markup:
        return tag(
            "tr",
            cells.name_cell(line["model"]),
            tag("td", ", ".join(filter(None, (line["setting"], line["backbone"])))),
            tag("td", f"{line['source']}, {line['scale']}"),
            tag("td", line["dataset"]),
            *(self._measured(line, tasks) if line["source"] == "measured" else _published(line, tasks)),
            tag("td", tag("details", tag("summary", line["reference"]), line["protocol"]), class_="from"),
            **{f"data_{key}": line[key] for key in _FILTERS},
        )

    def _measured(self, line: Line, tasks: list[str]) -> Iterator[Markup]:
        lines = self._of(line)
        index = self._numbers.measured(lines)
        spreads = lines.groupby("task")["value"].std()
        for task in tasks:
            yield cells.measured(_measure(line[task], spreads.get(task)), index.get(task), task)
        gain = _measure(line["delta_m"], line["delta_m_sd"])
        yield cells.measured(gain, self._gain(line) if gain else None, cells.DELTA_M)
        for quantity in PROFILE.values():
            measure = _measure(line[quantity])
            yield cells.measured(measure, self._bias(line) if measure else None, quantity)
        for size in cells.SIZES:
            measure = _measure(line[size])
            yield cells.measured(measure, self._size(line) if measure else None)
        yield cells.plain(line["seeds"])

    def _size(self, line: Line) -> int:
        return self._numbers.computed(f"size and MACs of {_whole(line)}", provenance.SIZE, self._tasks(line))

    def _gain(self, line: Line) -> int:
        table = line["reference"].partition(", ")[0]
        baseline = self._numbers.measured(self._baselines[table, line["scale"], line["dataset"]])
        return self._numbers.computed(
            f"Δm of {_whole(line)}", provenance.GAIN, [*self._tasks(line), *baseline.values()]
        )

    def _bias(self, line: Line) -> int:
        of = [*self._tasks(line), *self._tasks(self._vits[_place(line)])]
        return self._numbers.computed(f"bias profile of {_whole(line)}", provenance.PROFILE, of)

    def _tasks(self, line: Line) -> list[int]:
        found = self._numbers.measured(self._of(line))
        return [found[task] for task in TASKS if task in found]

    def _of(self, line: Line) -> pd.DataFrame:
        """The frame's lines of a measured row; none for a published one."""
        none = pd.DataFrame(columns=["seed", "task", "value"])
        return self._rows.get((line["reference"], line["scale"], line["dataset"]), none)

    def _filters(self) -> Markup:
        choices = [self._choice(key, title) for key, title in _FILTERS.items()]
        text = tag("label", "text", tag("input", type="search", name="text", autocomplete="off"))
        return tag("div", *choices, text, tag("output", role="status"), id="filters", class_="controls")

    def _choice(self, key: str, title: str) -> Markup:
        values = dict.fromkeys(line[key] for line in self.lines)
        options = [tag("option", "all", value=""), *(tag("option", value, value=value) for value in values)]
        return tag("label", title, tag("select", *options, name=key, autocomplete="off"))


def chooser(colours: dict[str, str], groups: list[dict[str, Any]]) -> Markup:
    """A box to tick for each model that has a profile."""
    sources = _sources(groups)
    boxes = [
        tag(
            "label",
            tag("input", type="checkbox", value=name, checked=place < _AT_FIRST, autocomplete="off"),
            _swatch(colour),
            name,
            tag("small", f"{min(sources[name])} only") if len(sources[name]) == 1 else "",
        )
        for place, (name, colour) in enumerate(colours.items())
    ]
    return tag("fieldset", tag("legend", "models to compare"), *boxes, id="models", class_="controls")


def colours_of(groups: list[dict[str, Any]]) -> dict[str, str]:
    """A colour for each model that has a profile; those that are both measured and published come first."""
    sources = _sources(groups)
    return model_colours(sorted(sources, key=lambda name: -len(sources[name])))


def _sources(groups: list[dict[str, Any]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for group in groups:
        for model in group["models"]:
            found.setdefault(model["name"], set()).add(group["source"])
    return found


def _swatch(colour: str) -> Markup:
    square = tag("rect", width="12", height="12", rx="2", fill=colour, class_="bar")
    return tag("svg", square, class_="swatch", viewBox="0 0 12 12", aria_hidden="true")


def _published(line: Line, tasks: list[str]) -> Iterator[Markup]:
    for quantity in (*tasks, *cells.COMPUTED, *cells.SIZES, "seeds"):
        value = line[quantity]
        yield cells.published(None if value is None else float(value), quantity)


def _place(line: Line) -> tuple[str, str, str]:
    return line["source"], line["scale"], line["dataset"]


def _whole(line: Line) -> str:
    """A measured line's name, which tells it from all others."""
    return f"{line['reference']} · scale {line['scale']} · {line['dataset']}"


def _values(line: Line) -> dict[str, float]:
    return {task: float(line[task]) for task in TASKS if line[task] is not None}


def _measure(mean: float | None, spread: float | None = None) -> Measure | None:
    if mean is None:
        return None
    return Measure(float(mean), None if spread is None or pd.isna(spread) else float(spread))
