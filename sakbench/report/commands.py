"""What the commands print: the store's answers as tables for people, or as JSON for programs."""

import json
import shlex
import sys
from dataclasses import asdict
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.markup import escape

from sakbench.analysis.leaderboard import leaderboard
from sakbench.analysis.verify import verify as recompute
from sakbench.errors import INTERRUPTED, UserError
from sakbench.experiments import tables
from sakbench.experiments.rows import Experiment
from sakbench.experiments.run import Interruption, only_writer, planned, select
from sakbench.experiments.run import run as run_experiment
from sakbench.report.progress import Display, PretrainingLines, Rendering
from sakbench.report.summary import of_today, summarize
from sakbench.report.terminal import print_cards, print_checks, print_record, print_runs, print_table, print_tables
from sakbench.runs.executor import default_processes
from sakbench.runs.jobs import Job
from sakbench.runs.scales import Scale
from sakbench.runs.scales import get as get_scale
from sakbench.runs.spec import RunSpec
from sakbench.store import published
from sakbench.store.database import open_store
from sakbench.store.jsonl import export_jsonl, write_whole

_PIPE_WIDTH = 160  # a table on a pipe is not cut to a terminal's width


def console(*, stderr: bool = False) -> Console:
    """Where to print: as wide as the terminal, or wide enough for any table on a pipe."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else _PIPE_WIDTH)


def run(
    name: str,
    scale: str,
    seeds: int,
    processes: int | None,
    location: Path,
    *,
    rows: str = "",
    protocol: str = "",
    as_json: bool,
) -> int:
    """Run an experiment with seeds 0 to `seeds` - 1 and print its table; returns the exit code."""
    again = shlex.join(
        ["sakbench", "run", name, "--scale", scale, "--seeds", str(seeds), "--store", str(location)]
        + (["--rows", rows] if rows else [])
        + (["--protocol", protocol] if protocol else [])
    )
    experiment = tables.get(name, protocol)
    return run_and_print(experiment, get_scale(scale), seeds, processes, location, again, rows=rows, as_json=as_json)


def run_and_print(
    experiment: Experiment,
    scale: Scale,
    seeds: int,
    processes: int | None,
    location: Path,
    again: str,
    *,
    rows: str = "",
    as_json: bool,
) -> int:
    """Run an experiment that need not be one of the paper's, and print its table; returns the exit code.

    `again` is the command that goes on after an interruption.
    """
    processes = processes or default_processes()
    # With --json, standard output belongs to the JSON alone.
    out = console(stderr=as_json)
    wanted = select(experiment, scale, range(seeds), rows)
    store = open_store(location, write=True)
    folder = location.parent / "runs"
    with only_writer(folder):
        store.abandon_running("its process ended without a word")
        todo = planned(wanted, store, folder)
        _announce(out, experiment.title, scale.name, scale.dataset, seeds, todo)
        try:
            run_experiment(
                todo,
                experiment,
                scale,
                range(seeds),
                store,
                folder,
                processes=processes,
                watch=lambda work: Display(out, experiment.name, work),
                rendering=Rendering(out),
            )
        except Interruption:
            out.print(f"\nstopped; finished runs and checkpoints are kept. `{escape(again)}` goes on from there.")
            return INTERRUPTED
    summary = summarize(experiment, store.frame(), published.frame())
    if as_json:
        print_json(summary.to_json())
        return 0
    print_table(out, summary)
    out.print(
        f"stored in {escape(str(location))} · again with --seeds 3 · `sakbench show {experiment.name}` reads it",
        style="dim",
    )
    return 0


def show(what: str, location: Path, *, as_json: bool) -> None:
    """Print a stored table, or one run's record."""
    store = open_store(location, write=False)
    if _looks_like_run(what):
        record = store.lookup(what)
        if as_json:
            print_json(asdict(record))
        else:
            print_record(console(), record)
        return
    summary = summarize(tables.get(what), store.frame(), published.frame())
    if as_json:
        print_json(summary.to_json())
    else:
        print_table(console(), summary)


def ls(location: Path | None, *, as_json: bool) -> None:
    """Print the tables that can be run and the runs in the store, if there is one."""
    store = open_store(location, write=False) if location else None
    frame = store.frame() if store else None
    seeds = {} if frame is None else frame.groupby("table")["seed"].unique().map(sorted).to_dict()
    experiments = [
        {"table": e.name, "title": e.title, "seeds": [int(s) for s in seeds.get(e.name, [])]}
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
        of_today(part, tables.get(str(table)), str(scale))[0] if tables.exists(str(table)) else part
        for (table, scale), part in frame.groupby(["table", "scale"], sort=False)
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


def _announce(out: Console, title: str, scale: str, dataset: str, seeds: int, todo: list[Job]) -> None:
    runs = [job.work for job in todo if isinstance(job.work, RunSpec)]
    shared = sum(run.kind == "distill" for run in runs)
    names = "seed 0" if seeds == 1 else f"seeds 0 to {seeds - 1}"
    out.print(f"[bold]{title}[/bold]  ·  scale {scale} · {dataset} · {names}", highlight=False)
    if runs:
        work = f"{len(runs)} runs to train, {shared} of them stage 1"
        out.print(f"{work}; what is finished is kept if you stop (Ctrl-C)\n", highlight=False)
    else:
        out.print("every run is in the store already\n")


def _looks_like_run(what: str) -> bool:
    return not tables.exists(what) and all(c in "0123456789abcdef" for c in what)
