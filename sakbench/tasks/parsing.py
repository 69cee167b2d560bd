"""Human parsing: background and the parts of a person, learnt and measured as semseg is."""

from dataclasses import asdict, replace

from sakbench.tasks import semseg
from sakbench.tasks.base import Task, check_classes
from sakbench.tasks.names import TASKS

PARTS_AND_BACKGROUND = 7


def make(classes: int | None = None) -> Task:
    """Parsing with that many classes, background included; raises UserError for an impossible number."""
    classes = PARTS_AND_BACKGROUND if classes is None else classes
    check_classes("parsing", classes)
    return replace(semseg.make(classes), **asdict(TASKS["parsing"]))
