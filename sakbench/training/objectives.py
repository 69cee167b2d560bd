"""What is minimised: stage 1's distillation (Eq. 5), and the tasks' losses with or without it (Eq. 6)."""

from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sakbench.models.agglomeration import Agglomerated, agglomeration_loss
from sakbench.models.classifiers import Classifier
from sakbench.models.distillation import teacher_loss
from sakbench.models.llava import Llava, answer_loss
from sakbench.models.plain import PlainStudent
from sakbench.models.prism import BALANCE, Prism
from sakbench.models.processes import uniform_choice
from sakbench.models.sak import SAK
from sakbench.models.upper_bound import UpperBound
from sakbench.tasks.base import Task

Losses = dict[str, Tensor]
Batch = dict[str, Any]
FROZEN = "features/backbone"  # in a batch: what a frozen backbone makes of its images, where that is known
Whole = dict[str, Tensor]  # what `survey` counts, summed over all parts of a batch


class DistillObjective(nn.Module):
    """Stage 1: a student's representations follow its teachers' on unlabelled images."""

    def __init__(self, student: SAK) -> None:
        super().__init__()
        self.student = student

    def survey(self, parts: list[Batch]) -> Whole:
        """How many images these parts of a batch hold."""
        return {"images": _images(parts)}

    def forward(self, batch: Batch, whole: Whole | None = None) -> Losses:
        """The distillation loss of each teacher, from `image` and `features/TEACHER`."""
        experts = self.student.represent(batch["image"])
        return _distillation(self.student.student_maps(experts), batch, whole)


class AgglomerationObjective(nn.Module):
    """Stage 1 as RADIO and Theia do it: one backbone's last level follows all teachers'."""

    def __init__(self, student: Agglomerated) -> None:
        super().__init__()
        self.student = student

    def survey(self, parts: list[Batch]) -> Whole:
        """How many images these parts of a batch hold."""
        return {"images": _images(parts)}

    def forward(self, batch: Batch, whole: Whole | None = None) -> Losses:
        """The loss of each teacher, from `image` and `features/TEACHER`; of a part of a batch, the part's share."""
        share = 1.0 if whole is None else len(batch["image"]) / whole["images"]
        predicted = self.student.predicted(self.student.represent(batch["image"]))
        known = {name: self.student.standardised(name, batch[f"features/{name}"][-1]) for name in predicted}
        return {name: agglomeration_loss(maps, known[name]) * share for name, maps in predicted.items()}


class TaskObjective(nn.Module):
    """Stage 2, baselines and probes: the weighted losses of the tasks, and gamma times the distillation loss."""

    def __init__(self, student: SAK | PlainStudent | UpperBound, tasks: dict[str, Task], gamma: float) -> None:
        super().__init__()
        self.student = student
        self.tasks = tasks
        self.gamma = gamma

    def train(self, mode: bool = True) -> Self:
        """As any module; but what is frozen whole stays as in evaluation."""
        super().train(mode)
        _rest(self.student)
        return self

    def survey(self, parts: list[Batch]) -> Whole:
        """How many images these parts of a batch hold, and how many pixels each task's loss divides by."""
        return _surveyed(self.tasks, parts)

    def forward(self, batch: Batch, whole: Whole | None = None) -> Losses:
        """One term per task, already weighted, and one per teacher."""
        height, width = next(batch[name] for name in self.tasks).shape[-2:]
        size = (height, width)
        distilled: Losses = {}
        if isinstance(self.student, SAK):
            experts = self.student.represent(batch["image"])
            logits = self.student.predict(experts, size)
            if self.gamma:
                terms = _distillation(self.student.student_maps(experts), batch, whole)
                distilled = {name: self.gamma * term for name, term in terms.items()}
        else:
            known = batch.get(FROZEN)
            logits = self.student(batch["image"], size) if known is None else self.student.predict(known, size)
        counts = whole or {}
        losses = {
            name: task.loss_weight * task.loss(logits[name], batch[name], counts.get(name))
            for name, task in self.tasks.items()
        }
        return {**losses, **distilled}


class PrismObjective(nn.Module):
    """PRISM's stages: every image follows one teacher that is drawn for it; with `tasks` their losses beside that.

    `gamma` weighs the distillation. The balance of the experts' choices, within each part of a batch, is a term of its
    own. A teacher that no image of a part has drawn has a loss of zero with gradients of zero: other processes may
    have drawn it.
    """

    def __init__(self, student: Prism, tasks: dict[str, Task] | None = None, gamma: float = 1.0) -> None:
        super().__init__()
        self.student, self.tasks, self.gamma = student, tasks or {}, gamma

    def survey(self, parts: list[Batch]) -> Whole:
        """How many images these parts of a batch hold, and how many pixels each task's loss divides by."""
        return _surveyed(self.tasks, parts)

    def forward(self, batch: Batch, whole: Whole | None = None) -> Losses:
        """One term per task, already weighted, one per teacher, and the balance."""
        (tokens,) = self.student.represent(batch["image"])
        images = len(batch["image"])
        share = 1.0 if whole is None else images / whole["images"]
        losses: Losses = {}
        balance = tokens.new_zeros(())
        if self.tasks:
            height, width = next(batch[name] for name in self.tasks).shape[-2:]
            logits, balance = self.student.recomposed(tokens, (height, width))
            counts = whole or {}
            losses = {
                name: task.loss_weight * task.loss(logits[name], batch[name], counts.get(name))
                for name, task in self.tasks.items()
            }
        if self.gamma:
            chosen = uniform_choice(images, len(self.student.teachers), device=tokens.device)
            maps, followed = self.student.deconstructed(tokens, chosen)
            balance = balance + followed
            for name, (rows, mine) in maps.items():
                known = [level[rows] for level in batch[f"features/{name}"]]
                part = share * len(rows) / images
                nothing = torch.stack([level.sum() for level in mine]).sum() * 0
                losses[name] = self.gamma * part * teacher_loss(mine, known) if len(rows) else nothing
        return {**losses, "balance": BALANCE * share * balance}


class ClassifyObjective(nn.Module):
    """Linear classifiers on a frozen model: the cross-entropies of all, each times its rate (see `Sweep`)."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def train(self, mode: bool = True) -> Self:
        """As any module; but what is frozen whole stays as in evaluation."""
        super().train(mode)
        _rest(self.model)
        return self

    def survey(self, parts: list[Batch]) -> Whole:
        """How many images these parts of a batch hold."""
        return {"images": torch.tensor(sum(len(part["label"]) for part in parts))}

    def forward(self, batch: Batch, whole: Whole | None = None) -> Losses:
        """From `label` and `image`, or what is `represented` of it; of a part of a batch, the part's share."""
        known = batch.get("represented")
        if known is None:
            with torch.no_grad():
                known = self.model.represent(batch["image"])
        logits = self.model.predict(known)
        classifiers, images, _ = logits.shape
        labels = batch["label"].expand(classifiers, images)
        each = F.cross_entropy(logits.transpose(1, 2), labels, reduction="none").sum(1)
        count = images if whole is None else whole["images"]
        return {"classifiers": (each * self.model.sweep.rates).sum() / count}


class AnswerObjective(nn.Module):
    """LLaVA's phases: the tokens of answers are told by the image and by what stands before them."""

    def __init__(self, model: Llava) -> None:
        super().__init__()
        self.model = model

    def train(self, mode: bool = True) -> Self:
        """As any module; but what is frozen whole stays as in evaluation."""
        super().train(mode)
        _rest(self.model)
        return self

    def survey(self, parts: list[Batch]) -> Whole:
        """How many tokens are learned in these parts of a batch."""
        return {"tokens": torch.tensor(sum(int(part["learned"].sum()) for part in parts))}

    def forward(self, batch: Batch, whole: Whole | None = None) -> Losses:
        """From `before`, `pictured`, `after`, `learned`, and `image` or what is `represented` of it: see `Llava`."""
        known = batch.get("represented")
        if known is None and self.model.tower is not None:
            with torch.no_grad():
                known = self.model.tower.represent(batch["image"])
        logits = self.model(batch["before"], known, batch["pictured"], batch["after"])
        count = batch["learned"].sum() if whole is None else whole["tokens"]
        return {"answer": answer_loss(logits, batch["after"], batch["learned"], count)}


def _distillation(maps: dict[str, list[Tensor]], batch: Batch, whole: Whole | None) -> Losses:
    """Each teacher's term; of a part of a batch, the part's share in it."""
    terms = {name: teacher_loss(mine, batch[f"features/{name}"]) for name, mine in maps.items()}
    if whole is None:
        return terms
    share = len(batch["image"]) / whole["images"]
    return {name: term * share for name, term in terms.items()}


def _surveyed(tasks: dict[str, Task], parts: list[Batch]) -> Whole:
    counts = {name: sum(task.counts(part[name]) for part in parts) for name, task in tasks.items()}
    return {"images": _images(parts), **{name: torch.as_tensor(count) for name, count in counts.items()}}


def _rest(model: nn.Module) -> None:
    """What is frozen whole stays as in evaluation, whatever layers it has."""
    for part in model.modules():
        parameters = list(part.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            part.eval()


def _images(parts: list[Batch]) -> Tensor:
    return torch.tensor(sum(len(part["image"]) for part in parts))
