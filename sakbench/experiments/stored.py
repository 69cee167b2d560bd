"""How jobs begin and end, kept in the store, and the rows of tables that their runs fill."""

import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sakbench import whole
from sakbench.errors import UserError
from sakbench.experiments.rows import Experiment, Row
from sakbench.runs.artifacts import MAPS, WEIGHTS
from sakbench.runs.executor import Claim, Taken
from sakbench.runs.jobs import Job
from sakbench.runs.plan import label, training_folder
from sakbench.runs.scales import Scale
from sakbench.runs.spec import RunSpec
from sakbench.store.records import Artifact, Measurement, RunRecord

if TYPE_CHECKING:
    from sakbench.store.claims import Claims
    from sakbench.store.database import Store


class StoredRuns:
    """Claims the runs among the jobs and keeps how they begin and end; features leave no trace in the store.

    `ended` is told the id of every run that has ended well; `command` is what a user typed.
    """

    def __init__(
        self,
        store: "Store",
        claims: "Claims",
        folder: Path,
        todo: Iterable[Job],
        command: str,
        ended: Callable[..., None],
    ) -> None:
        self.store = store
        self.claims = claims
        self.folder = folder
        self.command = command
        self.ended = ended
        self.records: dict[str, RunRecord] = {}
        runs = [job.work for job in todo if isinstance(job.work, RunSpec)]
        self.needed_for_weights = {run.start.id for run in runs if run.start is not None}
        self.needed_for_weights |= {run.id for run in runs if run.kind == "pairs"}

    def take(self, job: Job) -> Taken:
        """Claim a run, unless somebody else is at it or has done it since this command was planned."""
        spec = job.work
        if not isinstance(spec, RunSpec):
            return Claim.OURS
        holder = self.claims.take(spec.id)
        if holder is not None:
            return str(holder)
        if self._is_done(spec.id):
            self.claims.release(spec.id)
            return Claim.DONE
        self.records[spec.id] = self.store.begin(
            spec.id,
            spec.to_dict(),
            kind=spec.kind,
            label=label(spec),
            seed=spec.seed,
            scale=spec.scale,
            dataset=spec.dataset,
            command=self.command,
        )
        return Claim.OURS

    def lost(self) -> set[str]:
        """The runs that another command has taken over."""
        return self.claims.lost()

    def died(self, job: Job, reason: str) -> None:
        """Note that a job's process died and that it goes on from its checkpoint."""
        if job.id in self.records:
            self.store.note(job.id, "died", reason=reason)

    def finished(self, job: Job, result: dict[str, Any]) -> None:
        """Store what a run gave; then its checkpoint is of no more use."""
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
                    artifacts=tuple(Artifact(**artifact) for artifact in result["artifacts"]),
                )
            )
            self.ended(ended=job.id)
            if self.claims.release(job.id):  # otherwise whoever has it now may be reading there
                whole.discard(training_folder(self.folder, job.work))

    def failed(self, job: Job, reason: str) -> None:
        """Note why a run will not end."""
        if job.id in self.records and job.id not in self.claims.lost():
            self.store.fail(job.id, reason)
            self.claims.release(job.id)

    def interrupted(self, job: Job) -> None:
        """Note that a run was stopped, unless it had failed, or is another command's by now."""
        if job.id in self.records and job.id not in self.claims.lost():
            try:
                self.store.interrupt(job.id, "stopped by the user or by another run's failure")
                self.claims.release(job.id, patience=0.0)
            except UserError as trouble:  # the next command finds out by itself; this one is to end now
                warnings.warn(f"it could not be noted that {job.label} was stopped: {trouble}", stacklevel=1)

    def _is_done(self, run: str) -> bool:
        has_use = run not in self.needed_for_weights or has_weights(self.folder, run)
        return has_use and self.store.find(run) is not None


def has_weights(folder: Path, run: str) -> bool:
    """Whether a run's weights, or what it saw in pairs, lie in the folder of runs."""
    return any((folder / run / name).exists() for name in (WEIGHTS, MAPS))


def fill_rows(
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
    """Which run of the row gives which quantity; None while one of its runs is not in the store, or it has none."""
    records = [store.find(spec.id) for spec in row.runs]
    if not records:
        return None
    found: dict[str, tuple[Measurement, str]] = {}
    for record in records:
        if record is None:
            return None
        for m in record.metrics:
            if m.task in quantities and not (row.best and m.task in found and _as_good(found[m.task][0], m)):
                found[m.task] = (m, record.id)
    return {task: run for task, (_, run) in found.items()}


def _as_good(one: Measurement, other: Measurement) -> bool:
    return one.value >= other.value if one.higher_is_better else one.value <= other.value
