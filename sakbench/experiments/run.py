"""Running an experiment: plan what the store lacks, prepare the data, do the jobs, fill the table's rows."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock, Timeout

from sakbench import data
from sakbench.errors import UserError, unknown
from sakbench.experiments.rows import Experiment, Row
from sakbench.runs.devices import cores
from sakbench.runs.executor import Display, Executor
from sakbench.runs.jobs import Bank, Job, jobs
from sakbench.runs.plan import label, plan, training_folder
from sakbench.runs.scales import Scale
from sakbench.runs.spec import RunSpec
from sakbench.store.records import Measurement, RunRecord

if TYPE_CHECKING:
    from sakbench.store.database import Store

Watch = Callable[[list[Job]], AbstractContextManager[Display]]
Rendering = Callable[[str, int, int], None]  # a split, its scenes done, their number


class Interruption(Exception):
    """The user stopped the command; every job under way has saved its checkpoint."""


def select(experiment: Experiment, scale: Scale, seeds: range, rows: str = "") -> list[RunSpec]:
    """The runs of the rows whose name contains `rows`, for every seed.

    Raises `UserError` when there is no such row, and for a scale that lacks the models for the experiment.
    """
    if scale.name not in experiment.scales:
        raise UserError(
            f"scale {scale.name} has not the models that {experiment.name} compares: it is for --scale"
            f" {' or '.join(experiment.scales)}."
        )
    chosen = [row for seed in seeds for row in experiment.build(scale, seed) if rows.lower() in row.name.lower()]
    if not chosen:
        raise unknown(f"row of {experiment.name}", rows, [row.name for row in experiment.build(scale, 0)])
    return [spec for row in chosen for spec in row.runs]


def missing(wanted: list[RunSpec], store: "Store | None", folder: Path) -> list[RunSpec]:
    """The runs still to do for some runs, ancestors first: those that the store lacks, all if there is none yet."""
    return plan(
        wanted,
        is_stored=lambda run: store is not None and store.find(run) is not None,
        has_weights=lambda run: (folder / run / "model.safetensors").exists(),
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
    watch: Watch,
    rendering: Rendering,
) -> None:
    """Do what was `planned` of `experiment`; store every run as it ends, and with it the rows that are complete then.

    Raises `UserError` when a run fails and `Interruption` on Ctrl-C; what is finished is in the store either way.
    """
    try:
        if scale.name == "mini":
            _render(todo, rendering)
        with watch(todo) as display:
            record = _StoredRuns(store, folder, partial(_fill_rows, experiment, scale, seeds, store))
            executor.run(todo, display, record)
        _fill_rows(experiment, scale, seeds, store)
    except KeyboardInterrupt:
        raise Interruption from None


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Keep a second command from training in the same folder.

    Raises `UserError` when there is one already, and when the folder cannot be made or written.
    """
    lock = FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"another sakbench is training in {folder}: wait for it, or choose another folder.") from None
    except OSError as error:
        raise UserError(
            f"the folder {folder} cannot be written to ({error.strerror}), and weights and checkpoints need a place:"
            " name a store (--store) or an --output in another folder."
        ) from error
    try:
        yield
    finally:
        lock.release()


def _render(todo: list[Job], rendering: Rendering) -> None:
    needed = dict.fromkeys(split for job in todo for split in _splits(job.work))
    for dataset, split, count in needed:

        def progress(done: int, total: int, split: str = split) -> None:
            rendering(split, done, total)

        data.load(dataset, split, count, workers=cores(), progress=progress)


def _splits(work: RunSpec | Bank) -> list[tuple[str, str, int]]:
    if isinstance(work, Bank):
        return [(work.dataset, work.split, work.count)]
    if work.kind == "score":
        return [(work.dataset, work.test_split, work.test_images)]
    learned = "distill" if work.kind == "distill" else "train"
    return [(work.dataset, learned, work.train_images), (work.dataset, work.test_split, work.test_images)]


class _StoredRuns:
    """Keeps in the store how the runs among the jobs begin and end; features leave no trace there.

    `fill_rows` is told the id of every run that has ended well.
    """

    def __init__(self, store: "Store", folder: Path, fill_rows: Callable[..., None]) -> None:
        self.store = store
        self.folder = folder
        self.fill_rows = fill_rows
        self.records: dict[str, RunRecord] = {}

    def started(self, job: Job) -> None:
        spec = job.work
        if isinstance(spec, RunSpec):
            self.records[job.id] = self.store.begin(
                spec.id,
                spec.to_dict(),
                kind=spec.kind,
                label=label(spec),
                seed=spec.seed,
                scale=spec.scale,
                dataset=spec.dataset,
            )

    def finished(self, job: Job, result: dict[str, Any]) -> None:
        if isinstance(job.work, RunSpec):
            self.store.finish(
                replace(
                    self.records[job.id],
                    duration_s=result["seconds"],
                    peak_memory_mb=result["peak_memory_mb"],
                    gpu=result["gpu"],
                    checkpoint=result["checkpoint"],
                    notes=result["notes"],
                    metrics=tuple(Measurement(**metric) for metric in result["metrics"]),
                )
            )
            self.fill_rows(ended=job.id)
            shutil.rmtree(training_folder(self.folder, job.work), ignore_errors=True)

    def failed(self, job: Job, reason: str) -> None:
        self._ended(job, reason, "failed")

    def interrupted(self, job: Job) -> None:
        if job.id in self.records and self.store.lookup(job.id).status == "running":
            self._ended(job, "stopped by the user or by another run's failure", "interrupted")

    def _ended(self, job: Job, reason: str, status: Literal["failed", "interrupted"]) -> None:
        if job.id in self.records:
            self.store.fail(job.id, reason, status=status)


def _fill_rows(
    experiment: Experiment, scale: Scale, seeds: Iterable[int], store: "Store", ended: str | None = None
) -> None:
    """Store which runs the rows consist of, where all of a row's are complete; only rows of the run `ended`, if any."""
    places = ((seed, *place) for seed in seeds for place in enumerate(experiment.build(scale, seed)))
    for seed, position, row in places:
        if ended is not None and all(run.id != ended for run in row.runs):
            continue
        found = _numbers(row, (*scale.tasks, *experiment.extras), store)
        if found is not None:
            store.record_row(
                experiment.name,
                row.name,
                position=position,
                scale=scale.name,
                dataset=scale.dataset,
                seed=seed,
                runs=found,
                baseline=row.name == experiment.baseline,
            )


def _numbers(row: Row, quantities: tuple[str, ...], store: "Store") -> dict[str, str] | None:
    """Which run of the row gives which quantity; None while one of its runs is not in the store."""
    found = {}
    for spec in row.runs:
        record = store.find(spec.id)
        if record is None:
            return None
        found.update({m.task: record.id for m in record.metrics if m.task in quantities})
    return found
