"""Numbers of a trained model on held-out images: the tasks' metrics, its likeness to the teachers, its gates.

Where several processes evaluate, each sees its share of the images, and all get the numbers of the whole.
"""

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sakbench.models.agglomeration import Agglomerated
from sakbench.models.autocast import without_autocast
from sakbench.models.interpolation import bilinear
from sakbench.models.plain import PlainStudent
from sakbench.models.prism import Prism
from sakbench.models.processes import in_order, total, world
from sakbench.models.sak import SAK
from sakbench.models.upper_bound import UpperBound
from sakbench.tasks.base import Task
from sakbench.training.compiling import Compiled, compiles
from sakbench.training.objectives import FROZEN

Batches = Iterable[dict[str, Any]]
_AHEAD = 8  # images per thread that may wait to be counted


def metric_of(task: Task, sums: Tensor) -> float:
    """A task's metric of the images whose sums these are (n, ...)."""
    return task.new_metric().reduce(sums.sum(0))


@torch.inference_mode()
def task_sums(
    student: SAK | Prism | PlainStudent | UpperBound,
    batches: Batches,
    tasks: dict[str, Task],
    *,
    threads: int = 1,
    mirrored: bool = False,
) -> dict[str, Tensor]:
    """What each task's metric is made of, image by image in their order: (n, ...) on the CPU.

    A batch may hold a `box` (b, 4) for each image: top, left, height and width within its padding, which is cut away.
    `truth/TASK` is what a task is measured against where that is not what it is trained on. Boundaries are counted on
    `threads` cores while the device goes on. `mirrored` takes the mean of an image's logits and its mirror's, which is
    for tasks whose maps a mirror only moves.
    """
    student.eval()
    forward = Compiled(student) if compiles(next(student.parameters()).device) else student
    metrics = {name: task.new_metric() for name, task in tasks.items()}
    counted: dict[str, list[Tensor]] = {name: [] for name in tasks}
    under_way: deque[tuple[str, Future[Tensor]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for batch in batches:
            height, width = next(batch[name] for name in tasks).shape[-2:]
            known = batch.get(FROZEN)
            size = (height, width)
            logits = forward(batch["image"], size) if known is None else student.predict(known, size)
            if mirrored:
                flipped = forward(batch["image"].flip(-1), size)
                logits = {name: (logits[name] + flipped[name].flip(-1)) / 2 for name in tasks}
            for name, task in tasks.items():
                metric = metrics[name]
                target = batch[f"truth/{name}" if f"truth/{name}" in batch else name]
                for piece in _unpadded(task.decode(logits[name]), target, batch):
                    if name == "boundary" and threads > 1:
                        on_cpu = [values.cpu() for values in piece]
                        under_way.append((name, pool.submit(metric.counted, *on_cpu)))
                    else:
                        counted[name].append(metric.counted(*piece))
            while len(under_way) > _AHEAD * threads:
                _take(under_way, counted)
        while under_way:
            _take(under_way, counted)
    return {name: in_order(torch.cat(parts)).cpu() for name, parts in counted.items()}


@torch.inference_mode()
def similarity(student: SAK | Prism, batches: Batches) -> dict[str, float]:
    """Cosine of the student's and each teacher's flattened maps, mean over images and the four levels (Tables 3, 17).

    Where the two maps differ in size, the smaller is resized to the larger, as in the distillation loss.
    """
    student.eval()
    cosines: dict[str, list[Tensor]] = {}
    for batch in batches:
        for name, maps in student.student_maps(student.represent(batch["image"])).items():
            for mine, theirs in zip(maps, batch[f"features/{name}"], strict=True):
                size = (max(mine.shape[2], theirs.shape[2]), max(mine.shape[3], theirs.shape[3]))
                with without_autocast(mine.device):
                    ours, known = bilinear(mine.float(), size), bilinear(theirs.float(), size)
                    cosines.setdefault(name, []).append(F.cosine_similarity(ours.flatten(1), known.flatten(1)))
    return {name: _mean(torch.cat(values)).item() for name, values in cosines.items()}


@torch.inference_mode()
def likeness(student: Agglomerated, batches: Batches) -> dict[str, float]:
    """Cosine of each token that a backbone's heads predict and the teacher's standardised one, mean over both."""
    student.eval()
    cosines: dict[str, list[Tensor]] = {}
    for batch in batches:
        for name, maps in student.predicted(student.represent(batch["image"])).items():
            known = student.standardised(name, batch[f"features/{name}"][-1])
            size = (max(maps.shape[2], known.shape[2]), max(maps.shape[3], known.shape[3]))
            with without_autocast(maps.device):
                cosine = F.cosine_similarity(bilinear(maps.float(), size), bilinear(known.float(), size), dim=1)
            cosines.setdefault(name, []).append(cosine.flatten(1).mean(1))
    return {name: _mean(torch.cat(values)).item() for name, values in cosines.items()}


@torch.inference_mode()
def mean_gates(student: SAK | UpperBound, batches: Batches) -> list[Any]:
    """Gates averaged over the images, as nested lists (levels, tasks, experts): Figures 4 and 7."""
    student.eval()
    gates = [student.gates(batch["image"]) for batch in batches]
    return _mean(torch.cat(gates, dim=1).transpose(0, 1)).tolist()


def _take(under_way: deque[tuple[str, "Future[Tensor]"]], counted: dict[str, list[Tensor]]) -> None:
    """Put the oldest count to its task's."""
    name, count = under_way.popleft()
    counted[name].append(count.result())


def _unpadded(prediction: Tensor, target: Tensor, batch: dict[str, Any]) -> Iterable[tuple[Tensor, Tensor]]:
    """Prediction and target (b, ..., H, W) without padding: whole where there is none, otherwise image by image."""
    if "box" not in batch:
        return [(prediction, target)]
    pieces = []
    for i, (top, left, height, width) in enumerate(batch["box"].tolist()):
        inside = (slice(i, i + 1), ..., slice(top, top + height), slice(left, left + width))
        pieces.append((prediction[inside], target[inside]))
    return pieces


def _mean(values: Tensor) -> Tensor:
    """The mean over the images of all processes, of values (images, ...)."""
    if world() == 1:
        return values.mean(0)
    return total(values.sum(0)) / total(torch.tensor(len(values), device=values.device))
