"""Numbers of a trained model on held-out scenes: the tasks' metrics, its likeness to the teachers, its gates."""

from typing import Any

import torch
from torch.nn import functional as F

from sakbench.models.interpolation import bilinear
from sakbench.models.plain import PlainStudent
from sakbench.models.sak import SAK
from sakbench.tasks.base import Task
from sakbench.training.objectives import feature_maps, plain_maps
from sakbench.training.scenes import TARGET_SIZE, Scenes


@torch.inference_mode()
def task_metrics(student: SAK | PlainStudent, scenes: Scenes, tasks: dict[str, Task]) -> dict[str, float]:
    """Each task's metric over all `scenes`."""
    student.eval()
    metrics = {name: task.new_metric() for name, task in tasks.items()}
    for batch in scenes.in_order():
        if isinstance(student, SAK):
            logits = student.predict(student.represent(batch["image"]), TARGET_SIZE)
        else:
            logits = student.predict(plain_maps(student, batch), TARGET_SIZE)
        for name, task in tasks.items():
            metrics[name].update(task.decode(logits[name]), batch[name])
    return {name: metric.compute() for name, metric in metrics.items()}


@torch.inference_mode()
def similarity(student: SAK, scenes: Scenes) -> dict[str, float]:
    """Cosine of the student's and each teacher's flattened maps, mean over images and the four levels (Tables 3, 17).

    Where the two maps differ in size, the smaller is resized to the larger, as in the distillation loss.
    """
    student.eval()
    totals: dict[str, list[torch.Tensor]] = {}
    for batch in scenes.in_order():
        for name, maps in student.student_maps(student.represent(batch["image"])).items():
            for mine, theirs in zip(maps, feature_maps(batch[f"features/{name}"]), strict=True):
                size = (max(mine.shape[2], theirs.shape[2]), max(mine.shape[3], theirs.shape[3]))
                ours, known = bilinear(mine, size), bilinear(theirs, size)
                totals.setdefault(name, []).append(F.cosine_similarity(ours.flatten(1), known.flatten(1)))
    return {name: torch.cat(values).mean().item() for name, values in totals.items()}


@torch.inference_mode()
def mean_gates(student: SAK, scenes: Scenes) -> list[Any]:
    """Gates averaged over the images, as nested lists (levels, tasks, experts): Figures 4 and 7."""
    student.eval()
    gates = [student.gates(batch["image"]) for batch in scenes.in_order()]
    return torch.cat(gates, dim=1).mean(1).tolist()
