"""Running an experiment: plan what the store lacks, prepare the data, do the jobs, fill the table's rows."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sakbench import data
from sakbench.errors import UserError, unknown
from sakbench.experiments.rows import Experiment
from sakbench.experiments.stored import StoredRuns, fill_rows, has_weights
from sakbench.runs.devices import cores
from sakbench.runs.executor import Display, Executor
from sakbench.runs.jobs import Bank, Job, jobs
from sakbench.runs.plan import plan
from sakbench.runs.scales import Scale
from sakbench.runs.spec import RunSpec

if TYPE_CHECKING:
    from sakbench.store.database import Store

Watch = Callable[[list[Job]], AbstractContextManager[Display]]
Rendering = Callable[[str, int, int], None]  # a split, its scenes done, their number


class Interruption(Exception):
    """The user stopped the command; every job under way has saved its checkpoint."""


def select(experiment: Experiment, scale: Scale, seeds: range, rows: str = "") -> list[RunSpec]:
    """The runs of the row named `rows`, or else of those whose name contains it, for every seed.

    Raises `UserError` when there is no such row, and for a scale that lacks the models for the experiment.
    """
    if scale.name not in experiment.scales:
        raise UserError(
            f"{experiment.name} is not for scale {scale.name}: it compares what there is with --scale"
            f" {' or '.join(experiment.scales)}."
        )
    if experiment.benchmark not in ("", scale.published, *scale.also):
        raise UserError(
            f"{experiment.name} is about {experiment.benchmark}, and {scale.dataset} is not: leave --dataset out."
        )
    if not scale.tasks and not experiment.benchmark:
        raise UserError(f"{experiment.name} learns tasks, and {scale.dataset} has none: leave --dataset out.")
    built = experiment.build(scale, 0)
    if experiment.protocol and not any("boundary" in run.tasks for row in built for run in row.runs):
        raise UserError(
            f"{experiment.name.removesuffix(f'-{experiment.protocol}')} measures no boundaries on {scale.dataset}:"
            f" --protocol {experiment.protocol} changes nothing of it."
        )
    if not any(row.runs for row in built):
        raise UserError(f"{experiment.name} has no row that trains anything at scale {scale.name}.")
    names, wanted = [row.name for row in built if row.runs], rows.lower()
    exact = [name for name in names if name.lower() == wanted]
    chosen = exact or [name for name in names if wanted in name.lower()]
    if not chosen:
        raise unknown(f"row of {experiment.name}", rows, names)
    return [spec for seed in seeds for row in experiment.build(scale, seed) if row.name in chosen for spec in row.runs]


def missing(wanted: list[RunSpec], store: "Store | None", folder: Path) -> list[RunSpec]:
    """The runs still to do for some runs, ancestors first: those that the store lacks, all if there is none yet."""
    return plan(
        wanted,
        is_stored=lambda run: store is not None and store.find(run) is not None,
        has_weights=lambda run: has_weights(folder, run),
    )


def planned(wanted: list[RunSpec], store: "Store", folder: Path, devices: int = 1) -> list[Job]:
    """What is left to do for some runs, with so many devices: those that the store lacks, and features they read."""
    return jobs(missing(wanted, store, folder), devices)


def run(
    todo: list[Job],
    experiment: Experiment,
    scale: Scale,
    seeds: range,
    store: "Store",
    folder: Path,
    executor: Executor,
    *,
    command: str,
    watch: Watch,
    rendering: Rendering,
) -> None:
    """Do what was `planned` of `experiment`; store every run as it ends, and with it the rows that are complete then.

    Runs that another command is at, or has done by now, are left to it. `command` is kept with the runs. Raises
    `UserError` when a run fails and `Interruption` on Ctrl-C; what is finished is in the store either way.
    """
    try:
        if scale.name == "mini":
            _render(todo, rendering)
        with watch(todo) as display, store.claims() as claims:
            ended = partial(fill_rows, experiment, scale, seeds, store)
            executor.run(todo, display, StoredRuns(store, claims, folder, todo, command, ended))
        fill_rows(experiment, scale, seeds, store)
    except KeyboardInterrupt:
        raise Interruption from None


def _render(todo: list[Job], rendering: Rendering) -> None:
    needed = dict.fromkeys(split for job in todo for split in _splits(job.work))
    for dataset, split, count in needed:

        def progress(done: int, total: int, split: str = split) -> None:
            rendering(split, done, total)

        data.load(dataset, split, count, workers=cores(), progress=progress)


def _splits(work: RunSpec | Bank) -> list[tuple[str, str, int]]:
    if isinstance(work, Bank):
        return [(work.dataset, work.split, work.count)]
    if work.kind == "pairs":
        return []
    if work.kind == "score":
        return [(work.dataset, work.test_split, work.test_images)]
    learned = "distill" if work.kind in ("distill", "classify", "answer") else "train"
    splits = [(learned, work.train_images), (work.test_split, work.test_images)]
    splits += [("val", work.test_images)] * (work.kind == "classify")
    return [(work.dataset, split, count) for split, count in splits]
