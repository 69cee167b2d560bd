"""The six dense tasks, and plug-ins'. What a report needs of them can be looked up without importing torch; `make`
imports it."""

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING

from sakbench import plugins
from sakbench.errors import UserError
from sakbench.tasks.names import LABEL_TASKS, NAMES, TASKS, TaskInfo, info

if TYPE_CHECKING:
    from sakbench.metrics import Metric
    from sakbench.tasks.base import Task

__all__ = ["LABEL_TASKS", "NAMES", "TASKS", "TaskInfo", "info", "make", "register"]

_OWN: "dict[str, Callable[[], Task]]" = {}


def register(about: TaskInfo, make: "Callable[[], Task]") -> None:
    """Add a task of one's own under its name; `make` gives it, and may import torch. Raises UserError for a name of the
    paper's tasks."""
    plugins.claim("task", about.name, NAMES)
    TASKS[about.name] = about
    _OWN[about.name] = make


def make(name: str, *, classes: int | None = None, metric: "Callable[[], Metric] | None" = None) -> "Task":
    """The task of that name; `classes` counts background too, is due for semseg, and is 7 for parsing by default.

    `metric` makes another metric than the usual one, such as odsF under another protocol.

    Raises UserError for an unknown name and for classes where none, or other ones, are due.
    """
    info(name)
    if name in _OWN:
        task = _OWN[name]()
        return replace(task, new_metric=metric) if metric else task
    module = import_module(f"{__name__}.{name}")
    if classes is not None and name not in LABEL_TASKS:
        raise UserError(f"task {name!r} has no classes, but classes={classes} was given: leave it out.")
    task = module.make(classes) if name in LABEL_TASKS else module.make()
    return replace(task, new_metric=metric) if metric else task
