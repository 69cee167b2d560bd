"""What is minimised: stage 1's distillation (Eq. 5), and the tasks' losses with or without it (Eq. 6)."""

from torch import Tensor, nn

from sakbench.models.distillation import teacher_loss
from sakbench.models.plain import PlainStudent
from sakbench.models.sak import SAK
from sakbench.tasks.base import Task

Losses = dict[str, Tensor]


class DistillObjective(nn.Module):
    """Stage 1: a student's representations follow its teachers' on unlabelled images."""

    def __init__(self, student: SAK) -> None:
        super().__init__()
        self.student = student

    def forward(self, batch: dict[str, Tensor]) -> Losses:
        """The distillation loss of each teacher, from `image` and `features/TEACHER` (b, 4, tokens, d)."""
        experts = self.student.represent(batch["image"])
        return _distillation(self.student.student_maps(experts), batch)


class TaskObjective(nn.Module):
    """Stage 2, baselines and probes: the weighted losses of the tasks, and gamma times the distillation loss."""

    def __init__(self, student: SAK | PlainStudent, tasks: dict[str, Task], gamma: float) -> None:
        super().__init__()
        self.student = student
        self.tasks = tasks
        self.gamma = gamma

    def forward(self, batch: dict[str, Tensor]) -> Losses:
        """One term per task, already weighted, and one per teacher."""
        height, width = next(batch[name] for name in self.tasks).shape[-2:]
        size = (height, width)
        distilled: Losses = {}
        if isinstance(self.student, SAK):
            experts = self.student.represent(batch["image"])
            logits = self.student.predict(experts, size)
            if self.gamma:
                terms = _distillation(self.student.student_maps(experts), batch)
                distilled = {name: self.gamma * term for name, term in terms.items()}
        else:
            logits = self.student.predict(plain_maps(self.student, batch), size)
        losses = {name: task.loss_weight * task.loss(logits[name], batch[name]) for name, task in self.tasks.items()}
        return {**losses, **distilled}


def plain_maps(student: PlainStudent, batch: dict[str, Tensor]) -> list[Tensor]:
    """The backbone's four maps (b, d, h, w), from the batch where it is frozen and they are known."""
    known = batch.get("features/backbone")
    return student.represent(batch["image"]) if known is None else feature_maps(known)


def feature_maps(features: Tensor) -> list[Tensor]:
    """Stored tokens (b, 4, tokens, d) as four square maps (b, d, h, w)."""
    side = round(features.shape[2] ** 0.5)
    return [level.transpose(1, 2).unflatten(2, (side, side)) for level in features.unbind(1)]


def _distillation(maps: dict[str, list[Tensor]], batch: dict[str, Tensor]) -> Losses:
    return {name: teacher_loss(mine, feature_maps(batch[f"features/{name}"])) for name, mine in maps.items()}
