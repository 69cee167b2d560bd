"""`sakbench compare`: what the stored seeds, and the images, bear out."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.markup import escape

from sakbench.analysis.comparison import Difference, Draws, gains, of_images, of_seeds
from sakbench.errors import UserError
from sakbench.experiments.rows import Experiment
from sakbench.report.output import console, framed, print_json
from sakbench.report.stored_tables import stored_lines, stored_row
from sakbench.report.summary import digits
from sakbench.runs.scales import Scale
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
    experiment, known, frame = stored_lines(store, table, scale, dataset)
    names = [stored_row(frame, experiment.name, row) for row in rows]
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
    _print(experiment, known, names, seeds, found, better, _how(drawn is not None, len(seeds), draws, folder))


def _how(images: bool, seeds: int, draws: int, folder: Path) -> str:
    """What the intervals are."""
    if images and seeds > 1:
        return f"Student's 95% intervals of the noise of paired seeds and of {draws} bootstrap draws of the images"
    if images:
        return f"95% intervals of {draws} bootstrap draws of the images: what another training would do is not in them"
    missing = f"the images' noise is not in them, since {folder} does not hold what each of these runs left by image"
    if seeds > 1:
        return f"Student's 95% intervals over paired seeds; {missing}"
    return "one seed, and nothing is left of its images: there are no intervals"


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
    from sakbench.runs.measures import measures

    found: dict[str, dict[str, Any]] = {row: {} for row in parts}
    left = {run: sums_in(folder / run) for part in parts.values() for run in dict.fromkeys(map(str, part["run"]))}
    for task in tasks:
        counts: set[int] = set()
        for row, part in parts.items():
            chosen = part[(part["task"] == task) & part["seed"].isin(seeds)]
            runs = [str(run) for run in chosen.sort_values("seed")["run"]]
            if any(task not in left[run] for run in runs):
                return None
            reduce = measures(RunSpec.from_dict(store.lookup(runs[0]).spec))[task]
            counts |= {len(left[run][task]) for run in runs}
            if len(counts) > 1:
                sizes = " and ".join(map(str, sorted(counts)))
                raise UserError(f"the rows were measured on different numbers of images of {task} ({sizes}).")
            drawn = Draws(min(counts), draws)
            sums = [left[run][task].numpy() for run in runs]
            found[row][task] = drawn.values(sums, lambda one, reduce=reduce: reduce(torch.from_numpy(one)))  # type: ignore[misc]
    return found


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
            found[task] = of_images(a, b, drawn[first][task], drawn[second][task])
    if baseline in values and better:
        base = {task: np.full(len(each), each.mean()) for task, each in values[baseline].items()}
        a, b = (gains(values[row], base, better) for row in names)
        if drawn is None:
            found[GAIN] = of_seeds(a, b)
        else:
            base = {task: each.mean(0) for task, each in drawn[baseline].items()}
            c, d = (
                np.array(
                    [gains({task: each[i] for task, each in drawn[row].items()}, base, better) for i in range(len(a))]
                )
                for row in names
            )
            found[GAIN] = of_images(a, b, c, d)
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
    told = f"scale {scale.name} · {scale.dataset} · seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}\n{how}"
    table = framed(escape(f"{experiment.title}: {names[1]} against {names[0]}"), told)
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
    if one.seeds == 1:
        return "one seed says nothing"
    if one.low is None:
        return "no seed changes it"
    if not one.distinguishable:
        return "not distinguishable"
    return f"[bold]{escape(names[1] if (one.mean > 0) == up else names[0])} is better[/bold]"
