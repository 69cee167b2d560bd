"""What the store holds: runs with their measurements, and the rows of tables that they fill."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["running", "done", "failed", "interrupted"]


@dataclass(frozen=True)
class Measurement:
    """One number of a run, of a task or of another quantity (`rep_sim`). Raises `ValueError` unless it is finite."""

    task: str
    metric: str
    value: float
    unit: str
    higher_is_better: bool | None
    protocol: str = ""

    def __post_init__(self):
        if not math.isfinite(self.value):
            raise ValueError(f"the {self.metric} of {self.task} is {self.value}: a measurement is a finite number.")


@dataclass(frozen=True)
class RunRecord:
    """A run: what it was asked to be, where it ran, what it cost and, once `status` is `done`, what it gave.

    Times are UTC in ISO 8601; `duration_s` is time spent training and evaluating, summed over resumes; `checkpoint`
    is a path relative to the store; `notes` holds whatever else is worth keeping (losses, parameters, gates, an error).
    """

    id: str
    kind: str
    label: str
    spec: dict[str, Any]
    seed: int
    scale: str
    dataset: str
    status: Status = "running"
    started: str | None = None
    finished: str | None = None
    duration_s: float = 0.0
    peak_memory_mb: float | None = None
    git_commit: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    gpu: str | None = None
    checkpoint: str | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    metrics: tuple[Measurement, ...] = ()


@dataclass(frozen=True)
class RowRecord:
    """One row of a table for one seed: the run of each of its numbers, by task."""

    table: str
    row: str
    position: int
    scale: str
    dataset: str
    seed: int
    runs: dict[str, str]
    baseline: bool = False
