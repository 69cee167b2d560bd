"""What is printed of the store's frame beside the published numbers: tables, and the leaderboard."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from rich.console import Console

from sakbench import whole
from sakbench.analysis.leaderboard import leaderboard
from sakbench.errors import UserError
from sakbench.experiments import tables
from sakbench.experiments.rows import Experiment
from sakbench.report.output import print_json
from sakbench.report.summary import of_today, summarize
from sakbench.report.terminal import print_table
from sakbench.runs.scales import Scale
from sakbench.runs.scales import get as get_scale
from sakbench.runs.spec import RunSpec
from sakbench.store import published
from sakbench.store.database import Store


def show_table(out: Console, experiment: Experiment, store: Store, scale: Scale | None, *, as_json: bool) -> None:
    """Print what the store holds of a table; without a scale, at the store's first.

    Raises `UserError` when it holds none of its rows.
    """
    summary = summarize(experiment, store.frame(), published.frame(), scale)
    if as_json:
        print_json(summary.to_json())
    else:
        print_table(out, summary)


def export_leaderboard(store: Store, output: Path | None, *, as_json: bool) -> None:
    """Write the measured and published rows, comma-separated or as JSON, to a file or to standard output."""
    frame = _todays(store.frame())
    board = leaderboard(frame, published.frame(), sizes(store, frame["run"].unique()))
    text = board.to_json(orient="records", indent=2, force_ascii=False) if as_json else board.to_csv(index=False)
    if output is None:
        print(text.rstrip("\n"))
        return
    try:
        whole.write_text(output, text)
    except OSError as error:
        raise UserError(f"{output} cannot be written: {error.strerror}.") from error


def sizes(store: Store, runs: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Parameters and MACs per image, by the paper's convention, of the runs' models.

    What cannot be built today (another version's run, a user's own weights) is left out.
    """
    from sakbench.runs.costs import inference  # here, because it imports torch

    found = {}
    for run in runs:
        try:
            parameters, macs = inference(RunSpec.from_dict(store.lookup(run).spec))
        except UserError:
            continue
        found[run] = (parameters, macs.paper)
    return found


def _todays(frame: pd.DataFrame) -> pd.DataFrame:
    """The store's numbers without those of other settings than today's."""
    kept = [
        of_today(part, tables.get(str(table)), get_scale(str(scale), str(dataset)))[0]
        if tables.exists(str(table))
        else part
        for (table, scale, dataset), part in frame.groupby(["table", "scale", "dataset"], sort=False)
    ]
    return pd.concat(kept) if kept else frame
