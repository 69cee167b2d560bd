"""How a run's metrics are made of what it counted image by image."""

from collections.abc import Callable

from torch import Tensor

from sakbench.metrics.accuracy import share
from sakbench.metrics.answers import BENCHMARKS
from sakbench.runs.spec import RunSpec
from sakbench.runs.students import tasks_of

CLASSIFIED = {"accuracy": "top-1 accuracy", "knn": "k-NN accuracy"}


def measures(spec: RunSpec) -> dict[str, Callable[[Tensor], float]]:
    """By the names under which a run's numbers are stored: each one, from its sums (...) over some images."""
    if spec.kind == "classify":
        return dict.fromkeys(CLASSIFIED, share)
    if spec.kind == "answer":
        return {name: benchmark.reduce for name, benchmark in BENCHMARKS.items()}
    return {stored_name(spec, name): task.new_metric().reduce for name, task in tasks_of(spec).items()}


def stored_name(spec: RunSpec, task: str) -> str:
    """Under which name a task's number is stored: depth_lin1 where a linear head was learned for it."""
    return f"{task}_{spec.decoder}" if spec.probes_linearly else task
