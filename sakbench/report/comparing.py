"""`sakbench compare` and `sakbench routers`: what the stored seeds, and the images, bear out."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich import box
from rich.markup import escape
from rich.table import Table

from sakbench.analysis.comparison import Difference, Draws, departures, gains, of_draws, of_seeds
from sakbench.analysis.gates import stacked
from sakbench.errors import UserError, unknown
from sakbench.experiments import tables
from sakbench.experiments.rows import Experiment
from sakbench.report.output import console, print_json
from sakbench.report.summary import digits, of_today
from sakbench.runs.scales import Scale
from sakbench.runs.scales import get as get_scale
from sakbench.runs.spec import RunSpec
from sakbench.store import open_store
from sakbench.store.database import Store

DRAWS = 1000
GAIN = "Δm"


def compare(
    table: str,
    rows: Sequence[str],
    location: str | Path,
    *,
    runs: Path | None,
    scale: str = "",
    dataset: str = "",
    draws: int = DRAWS,
    as_json: bool,
) -> None:
    """Print by how much the second of two rows of a stored table is better than the first, and whether that is certain.

    Raises `UserError` for a table or rows that are not in the store, and rows that share no seed.
    """
    store = open_store(location, write=False)
    experiment, known, frame = _stored(store, table, scale, dataset)
    names = [_row(frame, experiment.name, row) for row in rows]
    if names[0] == names[1]:
        raise UserError(f"{names[0]} is compared with itself: name another row.")
    needed = [*names, *([experiment.baseline] if frame["baseline"].any() else [])]
    parts = {row: frame[frame["row"] == row] for row in dict.fromkeys(needed)}
    seeds = sorted(set.intersection(*(set(part["seed"]) for part in parts.values())))
    if not seeds:
        raise UserError(f"{' and '.join(parts)} share no seed in the store: run them with the same seeds.")
    tasks = [task for task in (*known.tasks, *experiment.extras) if all(task in set(p["task"]) for p in parts.values())]
    tasks = [task for task in tasks if frame.loc[frame["task"] == task, "higher_is_better"].notna().all()]
    better = {task: bool(frame.loc[frame["task"] == task, "higher_is_better"].iloc[0]) for task in tasks}
    folder = runs or store.location.runs
    values = {row: {task: _values(part, task, seeds) for task in tasks} for row, part in parts.items()}
    drawn = _drawn(store, parts, seeds, tasks, folder, draws)
    found = _differences(names, experiment.baseline, values, drawn, better)
    how = (
        f"95% intervals of {draws} paired bootstrap draws of images and seeds"
        if drawn
        else "95% intervals of Student's t over paired seeds; the noise of the images is not in them, since what the"
        f" runs left is not in {folder}, or older"
    )
    if as_json:
        print_json(
            {
                "table": experiment.name,
                "scale": known.name,
                "dataset": known.dataset,
                "rows": names,
                "seeds": [int(seed) for seed in seeds],
                "images": drawn is not None,
                "differences": {
                    task: asdict(one) | {"mean": one.mean, "distinguishable": one.distinguishable}
                    for task, one in found.items()
                },
            }
        )
        return
    _print(experiment, known, names, seeds, found, better, how)


def routers(
    table: str, location: str | Path, *, row: str = "", scale: str = "", dataset: str = "", as_json: bool
) -> None:
    """Print which mean gates of a table's students differ from uniform beyond the noise of their seeds.

    Raises `UserError` for a table that is not in the store, and rows without routers or with one seed alone.
    """
    store = open_store(location, write=False)
    experiment, known, frame = _stored(store, table, scale, dataset)
    wanted = [_row(frame, experiment.name, row)] if row else list(dict.fromkeys(frame["row"]))
    reports = []
    for name in wanted:
        records = [store.lookup(run) for run in dict.fromkeys(frame.loc[frame["row"] == name, "run"])]
        routed = [record for record in records if "gates" in record.notes]
        if len(routed) < 2:
            continue
        spec = RunSpec.from_dict(routed[0].spec)
        reports.append((name, spec, stacked([record.notes["gates"] for record in routed])))
    if not reports:
        which = f"the row {row} of {experiment.name}" if row else experiment.name
        raise UserError(
            f"the store has no routers of {which} with two seeds or more: `sakbench {experiment.command} --seeds 3`"
            " trains them."
        )
    if as_json:
        print_json([_departures_json(name, spec, weights) for name, spec, weights in reports])
        return
    for name, spec, weights in reports:
        _print_gates(f"{experiment.title} · {name} · scale {known.name} · {known.dataset}", spec, weights)


def _stored(store: Store, table: str, scale: str, dataset: str) -> tuple[Experiment, Scale, pd.DataFrame]:
    """A table's lines in the store, of today's settings."""
    experiment = tables.get(table)
    frame = store.frame()
    frame = frame[frame["table"] == experiment.name]
    if scale or dataset:
        known = get_scale(scale or "mini", dataset)
    elif not frame.empty:
        known = get_scale(str(frame.iloc[0]["scale"]), str(frame.iloc[0]["dataset"]))
    else:
        known = get_scale("mini")
    frame = frame[(frame["scale"] == known.name) & (frame["dataset"] == known.dataset)]
    if frame.empty:
        raise UserError(f"the store holds nothing of {experiment.name}: `sakbench {experiment.command}` fills it.")
    return experiment, known, of_today(frame, experiment, known)[0]


def _row(frame: pd.DataFrame, table: str, row: str) -> str:
    names = list(dict.fromkeys(frame["row"]))
    if row not in names:
        raise unknown(f"row of {table} in the store", row, names)
    return row


def _values(part: pd.DataFrame, task: str, seeds: Sequence[int]) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """A task's value of every seed."""
    of_task = part[part["task"] == task].set_index("seed")["value"]
    return np.array([float(of_task.loc[seed]) for seed in seeds])


def _drawn(
    store: Store, parts: dict[str, pd.DataFrame], seeds: Sequence[int], tasks: Sequence[str], folder: Path, draws: int
) -> dict[str, dict[str, Any]] | None:
    """The draws' values by row and task; None where a run has not left what its images' metrics are made of."""
    import torch

    from sakbench.runs.folder import sums_in  # here, because they import torch
    from sakbench.runs.students import tasks_of

    sums: dict[tuple[str, str], list[Any]] = {}
    metrics: dict[str, Any] = {}
    for row, part in parts.items():
        for task in tasks:
            for seed in seeds:
                (run,) = part.loc[(part["task"] == task) & (part["seed"] == seed), "run"]
                left = sums_in(folder / str(run))
                if task not in left:
                    return None
                spec = RunSpec.from_dict(store.lookup(str(run)).spec)
                metrics[task] = next(
                    made for name, made in tasks_of(spec).items() if task in (name, f"{name}_{spec.decoder}")
                ).new_metric()
                sums.setdefault((row, task), []).append(left[task].numpy())
    counts = {len(one) for each in sums.values() for one in each}
    if len(counts) != 1:
        raise UserError(f"the rows were measured on different numbers of images ({', '.join(map(str, counts))}).")
    drawn = Draws(counts.pop(), len(seeds), draws)

    def values(row: str, task: str) -> Any:
        return drawn.values(sums[row, task], lambda one: metrics[task].reduce(torch.from_numpy(one)))

    return {row: {task: values(row, task) for task in tasks} for row in parts}


def _differences(
    names: Sequence[str],
    baseline: str,
    values: dict[str, dict[str, Any]],
    drawn: dict[str, dict[str, Any]] | None,
    better: dict[str, bool],
) -> dict[str, Difference]:
    """Of every task, and of Δm where there is a baseline."""
    first, second = names
    found = {}
    for task in better:
        a, b = values[first][task], values[second][task]
        if drawn is None:
            found[task] = of_seeds(a, b)
        else:
            found[task] = of_draws(a.mean(), b.mean(), drawn[first][task], drawn[second][task])
    if baseline in values and better:
        base = {task: np.full(len(each), each.mean()) for task, each in values[baseline].items()}
        a, b = (gains(values[row], base, better) for row in names)
        if drawn is None:
            found[GAIN] = of_seeds(a, b)
        else:
            c, d = (gains(drawn[row], drawn[baseline], better) for row in names)
            found[GAIN] = of_draws(a.mean(), b.mean(), c, d)
    return found


def _print(
    experiment: Experiment,
    scale: Scale,
    names: Sequence[str],
    seeds: Sequence[int],
    found: dict[str, Difference],
    better: dict[str, bool],
    how: str,
) -> None:
    told = f"scale {scale.name} · {scale.dataset} · seeds {', '.join(map(str, seeds))}\n{how}"
    table = Table(
        title=escape(f"{experiment.title}: {names[1]} against {names[0]}"),
        title_justify="left",
        title_style="bold",
        caption=told,
        caption_justify="left",
        caption_style="",
        box=box.HORIZONTALS,
    )
    for heading in ("", escape(names[0]), escape(names[1]), "difference", "95% interval", ""):
        table.add_column(heading, justify="left" if heading == "" else "right", overflow="fold")
    for task, one in found.items():
        places = digits(task)
        interval = "" if one.low is None else f"{one.low:+.{places}f} to {one.high:+.{places}f}"
        up = better.get(task, True)
        arrow = "↑" if up else "↓"
        table.add_row(
            f"{task} {arrow}",
            f"{one.first:.{places}f}",
            f"{one.second:.{places}f}",
            f"{one.mean:+.{places}f}",
            interval,
            _verdict(one, names, up=up),
        )
    console().print(table)


def _verdict(one: Difference, names: Sequence[str], *, up: bool) -> str:
    if one.low is None:
        return "one seed says nothing"
    if not one.distinguishable:
        return "not distinguishable"
    return f"[bold]{escape(names[1] if (one.mean > 0) == up else names[0])} is better[/bold]"


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
    table = Table(
        title=escape(title),
        title_justify="left",
        title_style="bold",
        caption=told,
        caption_justify="left",
        caption_style="",
        box=box.HORIZONTALS,
    )
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
