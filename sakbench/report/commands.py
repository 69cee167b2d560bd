"""What the commands print: the store's answers as tables for people, or as JSON for programs."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import pandas as pd
from rich.console import Console

from sakbench.analysis.leaderboard import leaderboard
from sakbench.analysis.verify import verify as recompute
from sakbench.errors import UserError
from sakbench.experiments import tables
from sakbench.experiments.run import only_writer
from sakbench.report.progress import PretrainingLines, Rendering
from sakbench.report.summary import of_today, summarize
from sakbench.report.terminal import print_cards, print_checks, print_record, print_runs, print_table, print_tables
from sakbench.runs.scales import get as get_scale
from sakbench.store import published
from sakbench.store.database import open_store
from sakbench.store.jsonl import export_jsonl, write_whole

_PIPE_WIDTH = 160  # a table on a pipe is not cut to a terminal's width


def console(*, stderr: bool = False) -> Console:
    """Where to print: as wide as the terminal, or wide enough for any table on a pipe."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else _PIPE_WIDTH)


def show(what: str, location: Path, *, scale: str = "", dataset: str = "", as_json: bool) -> None:
    """Print a stored table, or one run's record. The store's first scale is taken where none is named."""
    store = open_store(location, write=False)
    if _looks_like_run(what):
        record = store.lookup(what)
        if as_json:
            print_json(asdict(record))
        else:
            print_record(console(), record)
        return
    known = get_scale(scale or "mini", dataset) if scale or dataset else None
    summary = summarize(tables.get(what), store.frame(), published.frame(), known)
    if as_json:
        print_json(summary.to_json())
    else:
        print_table(console(), summary)


def ls(location: Path | None, *, as_json: bool) -> None:
    """Print the tables that can be run and the runs in the store, if there is one."""
    store = open_store(location, write=False) if location else None
    frame = store.frame() if store else None
    places = ["table", "scale", "dataset"]
    kept = [] if frame is None else [(place, sorted(part["seed"].unique())) for place, part in frame.groupby(places)]
    experiments = [
        {
            "table": e.name,
            "title": e.title,
            "stored": [
                {"scale": scale, "dataset": dataset, "seeds": [int(seed) for seed in seeds]}
                for (table, scale, dataset), seeds in kept
                if table == e.name
            ],
        }
        for e in tables.EXPERIMENTS.values()
    ]
    runs = [] if store is None else [{str(k): v for k, v in run.items()} for run in store.runs().to_dict("records")]
    if as_json:
        print_json({"tables": experiments, "runs": runs})
    else:
        print_tables(console(), experiments)
        print_runs(console(), runs)


def export(what: str, location: Path, output: Path | None, *, as_json: bool) -> None:
    """Write the leaderboard, or everything in the store as JSON lines, to a file or to standard output."""
    store = open_store(location, write=False)
    if what == "results":
        if output is None:
            raise UserError("`sakbench export results` writes a file: name it with --output results.jsonl.")
        export_jsonl(store, output)
        return
    board = leaderboard(_todays(store.frame()), published.frame())
    text = board.to_json(orient="records", indent=2, force_ascii=False) if as_json else board.to_csv(index=False)
    if output is None:
        print(text.rstrip("\n"))
        return
    try:
        write_whole(output, text)
    except OSError as error:
        raise UserError(f"{output} cannot be written: {error.strerror}.") from error


def _todays(frame: pd.DataFrame) -> pd.DataFrame:
    """The store's numbers without those of other settings than today's."""
    kept = [
        of_today(part, tables.get(str(table)), get_scale(str(scale), str(dataset)))[0]
        if tables.exists(str(table))
        else part
        for (table, scale, dataset), part in frame.groupby(["table", "scale", "dataset"], sort=False)
    ]
    return pd.concat(kept) if kept else frame


def verify(*, as_json: bool) -> None:
    """Recompute the published Δm and μ/σ and print which do not follow from their own rows."""
    checks = recompute(published.frame())
    if as_json:
        print_json(checks)
    else:
        print_checks(console(), checks)


def pretrain(names: list[str], output: Path) -> None:
    """Train mini's backbones anew into a folder, with their cards."""
    from sakbench.training.pretrain import run as pretraining  # here, because it imports torch

    out = console()
    chosen = pretraining.chosen_names(names)
    with only_writer(output / "training"):
        cards = pretraining.pretrain(
            chosen,
            output,
            checkpoints=output / "training",
            progress=PretrainingLines(out),
            rendering=lambda done, count: Rendering(out)("pretrain", done, count),
        )
    print_cards(out, cards)


def print_json(content: object) -> None:
    """Print JSON to standard output."""
    print(json.dumps(content, indent=2, ensure_ascii=False))


def _looks_like_run(what: str) -> bool:
    return not tables.exists(what) and all(c in "0123456789abcdef" for c in what)
