"""What the commands print of the store and of the published numbers, as tables for people or as JSON for programs.

What imports pandas is imported where it is called: a mistake in a command's words is answered without it.
"""

import shlex
from dataclasses import asdict
from pathlib import Path

from sakbench.experiments import tables
from sakbench.report.listings import print_checks, print_record, print_runs, print_tables
from sakbench.report.output import console, print_json
from sakbench.runs.scales import dataset_of
from sakbench.runs.scales import get as get_scale
from sakbench.store import RunRecord, open_store


def show(what: str, location: str | Path, *, scale: str = "", dataset: str = "", as_json: bool) -> None:
    """Print a stored table, or one run's record. The store's first scale is taken where none is named."""
    if _looks_like_run(what):
        store = open_store(location, write=False)
        record = store.lookup(what)
        history = store.history(record.id)
        again = repeating(record, str(store.location))
        if as_json:
            print_json({**asdict(record), "history": [asdict(event) for event in history], "repeat": again})
        else:
            print_record(console(), record, history, again)
        return
    experiment = tables.get(what)
    if experiment.account:
        from sakbench.report.accounting import account

        account(as_json=as_json, tables=[experiment.name])
        return
    known = None
    if scale or dataset:
        named = scale or "mini"
        known = get_scale(named, dataset or dataset_of(named, experiment.benchmark))
    store = open_store(location, write=False)
    from sakbench.report.frames import show_table

    show_table(console(), experiment, store, known, as_json=as_json)


def ls(location: str | Path | None, *, as_json: bool) -> None:
    """Print the tables that can be run and the runs in the store, if there is one."""
    store = open_store(location, write=False) if location else None
    frame = store.frame() if store else None
    places = ["table", "scale", "dataset"]
    kept = [] if frame is None else [(place, sorted(part["seed"].unique())) for place, part in frame.groupby(places)]
    experiments = [
        {
            "table": e.name,
            "title": e.title,
            "scales": list(e.scales),
            "stored": [
                {"scale": scale, "dataset": dataset, "seeds": [int(seed) for seed in seeds]}
                for (table, scale, dataset), seeds in kept
                if table == e.name
            ],
        }
        for e in tables.EXPERIMENTS.values()
    ]
    runs = [] if store is None else [{str(k): v for k, v in run.items()} for run in store.runs().to_dict("records")]
    gone = set(store.orphans()) if store else set()
    for run in runs:
        run["status"] = "process gone" if run["id"] in gone else run["status"]
    if as_json:
        print_json({"tables": experiments, "runs": runs})
    else:
        print_tables(console(), experiments)
        print_runs(console(), runs)


def export_leaderboard(location: str | Path, output: Path | None, *, as_json: bool) -> None:
    """Write the leaderboard to a file or to standard output."""
    store = open_store(location, write=False)
    from sakbench.report import frames

    frames.export_leaderboard(store, output, as_json=as_json)


def verify(*, as_json: bool) -> None:
    """Recompute the published Δm and μ/σ and print which do not follow from their own rows."""
    from sakbench.analysis.verify import verify as recompute
    from sakbench.store import published

    checks = recompute(published.frame())
    if as_json:
        print_json(checks)
    else:
        print_checks(console(), checks)


def repeating(record: RunRecord, store: str) -> str:
    """The command that does a run once more and compares."""
    if record.kind == "pairs":  # of which the store knows what came out, not the pictures
        return "sakbench pairs probe PAIRS --store OTHER"
    words = ["sakbench", "repeat", record.id, "--store", store]
    return shlex.join([*words, "--data", "DIR"] if record.scale == "paper" else words)


def _looks_like_run(what: str) -> bool:
    return not tables.exists(what) and all(c in "0123456789abcdef" for c in what)
