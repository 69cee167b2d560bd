"""What the studies share: their options, how they end, and what they take from a store."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import pandas as pd
from matplotlib.figure import Figure

from sakbench.errors import UserError
from sakbench.experiments import tables
from sakbench.plots.figures import Curve
from sakbench.report.summary import Measure, Summary, summarize
from sakbench.runs.scales import get as get_scale
from sakbench.store import open_store, published
from sakbench.store.location import hide_passwords
from sakbench.tasks.names import TASKS

STORE = "results/mini.jsonl"
DPI = 200
SUFFIXES = (".png", ".pdf", ".svg")

T = TypeVar("T")
Options = argparse.Namespace
Panels = dict[str, dict[str, Curve]]
Points = dict[tuple[str, float], dict[str, Measure]]  # by model and place on the x axis: tasks and delta_m


def parser(doc: str | None, output: str, *, store: bool = True) -> argparse.ArgumentParser:
    """The options that every study has, and --store for those that read one."""
    options = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    if store:
        options.add_argument("--store", default=STORE, help="a store or an export (default: %(default)s)")
    options.add_argument("--output", type=Path, default=Path(output), help="the picture (default: %(default)s)")
    return options


def at_least(lowest: int) -> Callable[[str], int]:
    """What reads a whole number from there on, for an option."""

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < lowest:
            raise argparse.ArgumentTypeError(f"{text} is no whole number from {lowest} on")
        return int(text)

    return number


def draw(options: argparse.ArgumentParser, study: Callable[[Options], Figure], words: Sequence[str] | None) -> None:
    """Write a study's figure and say where; exits with 2 and one sentence where something is missing."""
    finish(options, study, lambda figure, output: figure.savefig(output, dpi=DPI), words)


def finish(
    options: argparse.ArgumentParser,
    study: Callable[[Options], T],
    write: Callable[[T, Path], None],
    words: Sequence[str] | None,
) -> None:
    """Write what a study makes and say where; exits with 2 and one sentence where something is missing."""
    chosen = options.parse_args(words)
    try:
        if chosen.output.suffix not in SUFFIXES:
            raise UserError(f"{chosen.output} cannot be the picture: name a file that ends in {', '.join(SUFFIXES)}.")
        made = study(chosen)
        try:
            write(made, chosen.output)
        except (OSError, ValueError) as error:
            raise UserError(f"{chosen.output} cannot be written ({error}).") from error
    except UserError as error:
        print(f"{Path(sys.argv[0]).name}: {hide_passwords(str(error))}", file=sys.stderr)
        raise SystemExit(2) from None
    print(chosen.output)


def frame(store: str) -> pd.DataFrame:
    """Every number of a store."""
    return open_store(store, write=False).frame()


def summaries(numbers: pd.DataFrame, names: Sequence[str]) -> list[Summary]:
    """A summary for each scale and data set that a store has of the tables `names`: of the first of them that is there.

    Raises `UserError`, which says how to fill the first, if none is there at all.
    """
    known = numbers[numbers["table"].isin(names)]
    if known.empty:
        return [summarize(tables.get(names[0]), numbers, published.frame())]  # which raises
    found = []
    for (scale, dataset), part in known.groupby(["scale", "dataset"], sort=False):
        name = next(name for name in names if name in set(part["table"]))
        found.append(summarize(tables.get(name), part, published.frame(), get_scale(str(scale), str(dataset))))
    return found


def measured_points(summary: Summary, place: Callable[[str], tuple[str, float] | None]) -> Points:
    """The rows of a table as points of curves; `place` tells the model and x of a row's name, None if it is none."""
    points: Points = {}
    for line in summary.lines:
        where = place(line.row)
        if where and line.measured and line.delta_m:
            points[where] = {**line.measured, "delta_m": line.delta_m}
    if not points:
        raise UserError(
            f"the store holds no row of {summary.experiment.name} beside its baseline: `sakbench"
            f" {summary.experiment.command}` fills it."
        )
    return points


def published_points(table: str, place: Callable[[str], float]) -> Points:
    """The paper's rows of a table as points of curves; `place` reads x off a row's group ("25%", "γ = 0.5")."""
    rows = published.table(table)
    return {
        (str(model), place(str(group))): {
            str(task): Measure(float(value), None) for task, value in zip(lines["task"], lines["value"], strict=True)
        }
        for (model, group), lines in rows.groupby(["model", "group"], sort=False)
    }


def panels(points: Mapping[tuple[str, float], Mapping[str, Measure]]) -> Panels:
    """A panel for each task and one for Δm, with a curve for each model."""
    tasks = [task for task in TASKS if all(task in values for values in points.values())]
    models = dict.fromkeys(model for model, _ in points)
    made: Panels = {}
    for quantity in (*tasks, "delta_m"):
        curves = {}
        for model in models:
            x = sorted(place for name, place in points if name == model)
            values = [points[model, place][quantity] for place in x]
            spreads = [float("nan") if value.spread is None else value.spread for value in values]
            alone = all(value.spread is None for value in values)
            curves[model] = Curve(x, [value.mean for value in values], None if alone else spreads)
        made[_title(quantity)] = curves
    return made


def _title(quantity: str) -> str:
    if quantity == "delta_m":
        return "Δm (%) ↑"
    task = TASKS[quantity]
    return f"{task.name} {task.metric} ({task.unit}) {'↑' if task.higher_is_better else '↓'}"


def about(summary: Summary) -> str:
    """Where a measured block's numbers come from, as its title."""
    seeds = len(summary.seeds)
    return f"measured at scale {summary.scale.name} on {summary.scale.dataset}, {seeds} seed{'s' * (seeds > 1)}"
