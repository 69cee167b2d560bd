"""What the studies share: their options, how they end, and what they take from a store."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pandas as pd
from matplotlib.figure import Figure

from sakbench.errors import UserError
from sakbench.experiments import tables
from sakbench.plots import figures
from sakbench.report.curves import AXES, Panels, measured_curves, published_curves
from sakbench.report.summary import Summary, summarize
from sakbench.runs.scales import get as get_scale
from sakbench.store import open_store, published
from sakbench.store.location import hide_passwords

STORE = "results/mini.jsonl"
DPI = 200
SUFFIXES = (".png", ".pdf", ".svg")

T = TypeVar("T")
Options = argparse.Namespace


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


def about(summary: Summary) -> str:
    """Where a measured block's numbers come from, as its title."""
    seeds = len(summary.seeds)
    return f"measured at scale {summary.scale.name} on {summary.scale.dataset}, {seeds} seed{'s' * (seeds > 1)}"


@dataclass(frozen=True)
class CurveStudy:
    """A study of the first of `experiments`, whose rows are places on an axis, with the paper's curves beside."""

    doc: str | None
    experiments: Sequence[str]
    output: str

    def measured(self, numbers: pd.DataFrame) -> dict[str, Panels]:
        """The rows of a store's table, by their data set."""
        found = {}
        for summary in summaries(numbers, self.experiments):
            found[about(summary)] = measured_curves(summary, AXES[summary.experiment.name])
            if not found[about(summary)]:
                raise UserError(
                    f"the store holds no row of {summary.experiment.name} beside its baseline: `sakbench"
                    f" {summary.experiment.command}` fills it."
                )
        return found

    def paper(self) -> dict[str, Panels]:
        """The paper's table."""
        table = self.experiments[0]
        return {f"published for PASCAL-Context (Table {table.removeprefix('table')})": published_curves(table)}

    def figure(self, blocks: dict[str, Panels]) -> Figure:
        """A block of panels for each of `blocks`, by its title."""
        return figures.curves(blocks, AXES[self.experiments[0]].label)

    def main(self, words: Sequence[str] | None = None) -> None:
        """The script."""
        options = parser(self.doc, self.output)
        options.add_argument("--published", action="store_true", help="the paper's numbers alone")

        def study(chosen: Options) -> Figure:
            return self.figure(({} if chosen.published else self.measured(frame(chosen.store))) | self.paper())

        draw(options, study, words)
