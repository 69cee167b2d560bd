"""The tasks as a table that is light to import: what a report needs to know of a task without torch."""

from dataclasses import dataclass

from sakbench import plugins
from sakbench.errors import unknown


@dataclass(frozen=True)
class TaskInfo:
    """A task's name, its metric's display name and unit, the metric's direction and the weight of the task's loss."""

    name: str
    metric: str
    unit: str
    higher_is_better: bool
    loss_weight: float


# loss weights: those of the authors' code; the order is that of the paper's tables, depth last
TASKS = {
    task.name: task
    for task in (
        TaskInfo("semseg", "mIoU", "%", True, 1.0),
        TaskInfo("parsing", "mIoU", "%", True, 2.0),
        TaskInfo("saliency", "maxF", "%", True, 5.0),
        TaskInfo("normals", "mErr", "°", False, 10.0),
        TaskInfo("boundary", "odsF", "%", True, 50.0),
        TaskInfo("depth", "RMSE", "m", False, 1.0),
    )
}
NAMES = tuple(TASKS)  # the paper's; plug-ins add to the table
LABEL_TASKS = ("semseg", "parsing")


def info(name: str) -> TaskInfo:
    """The table's row of that name; raises UserError for an unknown one."""
    plugins.load()
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    return TASKS[name]
