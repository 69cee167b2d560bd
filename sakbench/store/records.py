"""What the store holds: runs with their measurements and files, and the rows of tables that they fill."""

import math
import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from sakbench import whole

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
class Artifact:
    """A file that a run left, relative to the folder of runs. Raises `ValueError` for a path that leads out of it."""

    path: str
    bytes: int
    sha256: str

    def __post_init__(self):
        require_inside(self.path)

    def state(self, file: Path) -> Literal["whole", "missing", "altered"]:
        """Whether a file is the one that the run left, by size and SHA-256; it is read whole."""
        if not file.is_file():
            return "missing"
        same_size = file.stat().st_size == self.bytes
        return "whole" if same_size and whole.sha256(file) == self.sha256 else "altered"


@dataclass(frozen=True)
class RunRecord:
    """A run: what it was asked to be, where it ran, what it cost and, once `status` is `done`, what it gave.

    Times are UTC in ISO 8601; `duration_s` is time spent training and evaluating, summed over resumes; `checkpoint`
    is the file of its weights, relative to the folder of runs; `notes` holds whatever else is worth keeping (losses,
    parameters, gates, an error). Raises `ValueError` for an id or a path that could lead out of that folder.
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
    artifacts: tuple[Artifact, ...] = ()

    def __post_init__(self):
        if not re.fullmatch(r"[0-9A-Za-z_-]+", self.id):
            raise ValueError(f"{self.id!r} is no id of a run")
        if self.checkpoint is not None:
            require_inside(self.checkpoint)
        for artifact in self.artifacts:
            if PurePosixPath(artifact.path).parts[0] != self.id:
                raise ValueError(f"{artifact.path!r} is no file of run {self.id}")


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


@dataclass(frozen=True)
class Event:
    """Something that happened to a run: when (UTC, ISO 8601), what, in which process, and what is known of it."""

    at: str
    kind: str
    by: str
    detail: dict[str, Any]


def require_inside(path: str) -> None:
    """Raise `ValueError` for a path that is not one of a file below a folder, whatever the folder."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith(("/", "\\")) or ".." in parts or "\\" in path or ":" in parts[0] or "\0" in path:
        raise ValueError(f"{path!r} is no path inside the folder of runs")
