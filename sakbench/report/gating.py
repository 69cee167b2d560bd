"""`sakbench routers`: which gates differ from uniform beyond the noise of their seeds."""

from pathlib import Path
from typing import Any

import pandas as pd
from rich.markup import escape

from sakbench.analysis.comparison import departures
from sakbench.analysis.gates import stacked
from sakbench.errors import UserError
from sakbench.report.output import console, framed, print_json
from sakbench.report.stored_tables import stored_lines, stored_row
from sakbench.report.summary import filled_by
from sakbench.runs.plan import label
from sakbench.runs.spec import RunSpec
from sakbench.store import open_store
from sakbench.store.database import Store
from sakbench.store.records import RunRecord


def routers(
    table: str, location: str | Path, *, row: str = "", scale: str = "", dataset: str = "", as_json: bool
) -> None:
    """Print which mean gates of a table's students differ from uniform beyond the noise of their seeds.

    Raises `UserError` for a table that is not in the store, and rows without routers or with one seed alone.
    """
    store = open_store(location, write=False)
    experiment, known, frame = stored_lines(store, table, scale, dataset)
    wanted = [stored_row(frame, experiment.name, row)] if row else list(dict.fromkeys(frame["row"]))
    records = {name: _routed(store, frame[frame["row"] == name]) for name in wanted}
    groups = [(name, group) for name, of_row in records.items() for group in of_row]
    if not groups:
        raise UserError(f"no run of {row or experiment.name} that the store holds has routers of teachers.")
    if not any(len(group) > 1 for _, group in groups):
        raise UserError(
            f"the routers of {row or experiment.name} are of one seed: `{filled_by(experiment, known)} --seeds 3`"
            " trains those of others."
        )
    reports = []
    for name, group in groups:
        spec = RunSpec.from_dict(group[0].spec)
        several = len(records[name]) > 1
        title = f"{name}, {label(spec)}" if several else name
        if len(group) > 1:
            reports.append((title, spec, stacked([record.notes["gates"] for record in group])))
    if as_json:
        print_json([_departures_json(name, spec, weights) for name, spec, weights in reports])
        return
    for name, spec, weights in reports:
        _print_gates(f"{experiment.title} · {name} · scale {known.name} · {known.dataset}", spec, weights)


def _routed(store: Store, part: pd.DataFrame) -> list[list[RunRecord]]:
    """A row's runs with routers, those that differ in their seeds alone together."""
    groups: dict[str, list[RunRecord]] = {}
    for run in dict.fromkeys(part["run"]):
        record = store.lookup(run)
        if "gates" in record.notes:
            groups.setdefault(label(RunSpec.from_dict(record.spec)), []).append(record)
    return list(groups.values())


def _print_gates(title: str, spec: RunSpec, weights: Any) -> None:
    found, means = departures(weights), weights.mean(0)
    experts = ["stem", *(name for name, _ in spec.teachers)]
    levels, tasks = means.shape[:2]
    beyond, count = int(found.beyond_noise.sum()), found.gap.size
    told = (
        f"gate (mean of {len(weights)} seeds) and how far it is from uniform, {1 / len(experts):.3f}, with Student's"
        f" 95% interval\nbold: beyond the seeds' noise ({beyond} of {count}; chance alone would give"
        f" {0.05 * count:.0f}); *: still so when all are looked at together (Holm): {int(found.certain.sum())}"
    )
    table = framed(escape(title), told)
    table.add_column("level")
    table.add_column("task")
    for name in experts:
        table.add_column(name, justify="right")
    for level in range(levels):
        for number in range(tasks):
            cells = []
            for expert in range(len(experts)):
                place = level, number, expert
                cell = f"{means[place]:.3f}  {found.gap[place]:+.3f} ±{found.reach[place]:.3f}"
                star = "*" if found.certain[place] else ""
                cells.append(f"[bold]{cell}{star}[/bold]" if found.beyond_noise[place] else cell)
            table.add_row(str(level + 1) if number == 0 else "", spec.tasks[number], *cells)
        table.add_section()
    console().print(table)


def _departures_json(name: str, spec: RunSpec, weights: Any) -> dict[str, Any]:
    found = departures(weights)
    return {
        "row": name,
        "seeds": len(weights),
        "tasks": list(spec.tasks),
        "experts": ["stem", *(teacher for teacher, _ in spec.teachers)],
        "gates": weights.mean(0).tolist(),
        "from_uniform": found.gap.tolist(),
        "reach": found.reach.tolist(),
        "adjusted_p": found.adjusted.tolist(),
        "beyond_noise": int(found.beyond_noise.sum()),
        "certain": int(found.certain.sum()),
    }
