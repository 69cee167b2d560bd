"""What a run is done with: its place, its reports, the training loop; and what every kind of run asks of them."""

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from sakbench.errors import UserError
from sakbench.models.processes import world
from sakbench.runs import artifacts
from sakbench.runs.material import Material
from sakbench.runs.place import Place
from sakbench.runs.plan import training_folder
from sakbench.runs.spec import RunSpec
from sakbench.training.loop import fit
from sakbench.training.precision import computing_in
from sakbench.training.progress import Progress
from sakbench.training.recipe import Recipe


@dataclass(frozen=True)
class Learned:
    """What a run gave: its metrics as the store has them, the seconds of its training loop, notes; its model, if that
    is to be kept, what its tasks' metrics are made of, image by image, or the files that it has left itself."""

    metrics: list[dict[str, Any]]
    seconds: float = 0.0
    notes: dict[str, Any] = field(default_factory=dict)
    student: Any = None
    sums: dict[str, torch.Tensor] = field(default_factory=dict)
    left: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Session:
    """A run's place, whom it reports to, and what asks it to stop. `trained` are the seconds in the loop so far."""

    spec: RunSpec
    place: Place
    report: Callable[[Progress], None]
    stop: Callable[[], bool]
    trained: float = 0.0

    def train(self, objective: nn.Module, given: Material, *, recipe: Recipe | None = None, phase: str = "") -> float:
        """Train with the run's recipe, or with that of one of several phases; the seconds, earlier commands' too.

        Each phase has checkpoints of its own.
        """
        started = time.monotonic()
        folder = training_folder(self.place.runs, self.spec)
        seconds = fit(
            objective,
            given.training,
            recipe or self.spec.recipe,
            seed=self.spec.seed,
            parts=given.parts,
            on_cpu=self.place.on_cpu,
            prepare=given.prepare,
            checkpoints=folder / phase if phase else folder,
            report=self.report,
            stop=self.stop,
        )
        self.trained += time.monotonic() - started
        return seconds

    @property
    def computing(self) -> torch.autocast:
        """A run is evaluated as it was trained."""
        return computing_in(self.spec.recipe.precision, "cpu" if self.place.on_cpu else "cuda")

    @property
    def device(self) -> torch.device:
        """Where its models compute."""
        return torch.device("cpu" if self.place.on_cpu else "cuda")

    def weights_of(self, run: RunSpec) -> dict[str, torch.Tensor]:
        """The weights that an earlier run left. Raises UserError if they are not those any more."""
        folder = self.place.runs / run.id
        remedy = (
            f"`sakbench store check --repair` removes it, or delete {folder}, and the same command trains this run"
            " again."
        )
        problems = artifacts.problems(folder)
        for file in (folder / artifacts.NAME, folder / artifacts.WEIGHTS):
            if file in problems:
                raise UserError(f"{problems[file].removesuffix('.')}: {remedy}")
        path: Path = folder / artifacts.WEIGHTS
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path} cannot be read ({error}): {remedy}") from error

    @property
    def gpu(self) -> str | None:
        """How many GPUs of which kind work together; None on a CPU."""
        return None if self.place.on_cpu else f"{world()} x {torch.cuda.get_device_name()}"

    @property
    def peak_memory_mb(self) -> float:
        """The GPU's memory where one is used, this process's otherwise."""
        if not self.place.on_cpu:
            return torch.cuda.max_memory_allocated() / 2**20
        unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts bytes there, KiB elsewhere
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
