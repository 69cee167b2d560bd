"""What the commands print of the store and of the published numbers, as tables for people or as JSON for programs.

What imports pandas is imported where it is called: a mistake in a command's words is answered without it.
"""

from dataclasses import asdict
from pathlib import Path

from sakbench.errors import UserError
from sakbench.experiments import tables
from sakbench.report.listings import print_checks, print_record, print_runs, print_tables
from sakbench.report.output import console, print_json
from sakbench.runs.scales import get as get_scale
from sakbench.store import export_jsonl, open_store


def show(what: str, location: Path, *, scale: str = "", dataset: str = "", as_json: bool) -> None:
    """Print a stored table, or one run's record. The store's first scale is taken where none is named."""
    if _looks_like_run(what):
        record = open_store(location, write=False).lookup(what)
        if as_json:
            print_json(asdict(record))
        else:
            print_record(console(), record)
        return
    experiment = tables.get(what)
    known = get_scale(scale or "mini", dataset) if scale or dataset else None
    store = open_store(location, write=False)
    from sakbench.report.frames import show_table

    show_table(console(), experiment, store, known, as_json=as_json)


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
    if what == "results":
        if output is None:
            raise UserError("`sakbench export results` writes a file: name it with --output results.jsonl.")
        export_jsonl(open_store(location, write=False), output)
        return
    store = open_store(location, write=False)
    from sakbench.report.frames import export_leaderboard

    export_leaderboard(store, output, as_json=as_json)


def verify(*, as_json: bool) -> None:
    """Recompute the published Δm and μ/σ and print which do not follow from their own rows."""
    from sakbench.analysis.verify import verify as recompute
    from sakbench.store import published

    checks = recompute(published.frame())
    if as_json:
        print_json(checks)
    else:
        print_checks(console(), checks)


def _looks_like_run(what: str) -> bool:
    return not tables.exists(what) and all(c in "0123456789abcdef" for c in what)
