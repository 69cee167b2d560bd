"""What of a store the page shows: its tables, each with the numbers that it is made of."""

from dataclasses import dataclass

import pandas as pd

from sakbench.errors import UserError
from sakbench.experiments import tables
from sakbench.experiments.rows import Experiment, Row
from sakbench.report.summary import PROFILE, Summary, of_today, summarize
from sakbench.runs.scales import Scale
from sakbench.runs.scales import get as get_scale


@dataclass(frozen=True)
class Part:
    """A table at one scale on one data set, and the lines of the store's frame that it shows, with their index."""

    summary: Summary
    frame: pd.DataFrame
    sources: dict[str, list[str]]  # where published numbers are printed -> the rows, or quantities, from there

    @property
    def place(self) -> str:
        """Its scale and data set."""
        return f"scale {self.summary.scale.name} · {self.summary.scale.dataset}"

    @property
    def key(self) -> str:
        """What tells it from the others."""
        return f"{self.summary.experiment.name} · {self.place}"

    def row(self, name: str) -> pd.DataFrame:
        """The lines of one of its rows."""
        return self.frame[self.frame["row"] == name]


def parts(frame: pd.DataFrame, published: pd.DataFrame) -> tuple[list[Part], list[str]]:
    """The tables in the store's frame, in the paper's order, and a sentence on each that cannot be shown."""
    found, troubles = [], []
    places = frame.groupby(["table", "scale", "dataset"], sort=False)
    for (table, scale_name, dataset), lines in sorted(places, key=lambda place: _order(*map(str, place[0]))):
        try:
            scale = get_scale(str(scale_name), str(dataset))
        except UserError as error:
            troubles.append(f"{table} is left out: {error}")
            continue
        experiment = _experiment(str(table), lines, scale)
        todays, _ = of_today(lines, experiment, scale)
        summary = summarize(experiment, lines, published, scale)
        found.append(Part(summary, todays, _sources(summary, published)))
    return found, troubles


def _sources(summary: Summary, published: pd.DataFrame) -> dict[str, list[str]]:
    printed = published.groupby(["table", "row"], sort=False)["source"].first().to_dict()
    rows = {row.name: row.published for row in summary.experiment.build(summary.scale, 0)}
    found: dict[str, list[str]] = {}
    for line in summary.lines:
        place = rows.get(line.row)
        if line.published and place:
            found.setdefault(printed[place], []).append(line.row)
    if any(PROFILE["mean"] in line.published for line in summary.lines):
        found[printed["figure1", "SAK"]] = ["bias μ, σ, μ/σ"]
    return found


def _order(table: str, scale: str, dataset: str) -> tuple[int, str, str, str]:
    papers = list(tables.EXPERIMENTS)
    base = table.partition("-")[0]
    return (papers.index(base) if base in papers else len(papers), table, scale, dataset)


def _experiment(name: str, lines: pd.DataFrame, scale: Scale) -> Experiment:
    """The table of that name; where nothing here defines it (a user's own file, say), its rows as they are stored."""
    if tables.exists(name):
        try:
            experiment = tables.get(name)
            experiment.build(scale, 0)
            return experiment
        except UserError:  # a probe of a backbone, or a table at a scale, that only another version knows
            pass
    rows = [Row(str(row)) for row in lines.sort_values("position", kind="stable")["row"].unique()]
    baselines = [str(row) for row in lines[lines["baseline"]]["row"].unique()]
    extras = tuple(str(task) for task in lines["task"].unique() if task not in scale.tasks)
    return Experiment(
        name, name, lambda scale, seed: rows, baseline="".join(baselines[:1]), extras=extras, profile=True, own=True
    )
