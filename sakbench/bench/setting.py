"""What is measured: models, sizes, and the random images and labels that they see."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F

from sakbench import backbones
from sakbench.backbones.encoder import Encoder
from sakbench.experiments.rows import multi_task, sak
from sakbench.models.sak import SAK
from sakbench.runs.costs import weightless_encoder
from sakbench.runs.scales import Scale
from sakbench.runs.spec import RunSpec
from sakbench.runs.students import build, output_size, tasks_of
from sakbench.tasks.base import Task
from sakbench.training.precision import computing_in
from sakbench.training.recipe import Precision

Act = Callable[[], Any]  # what is called again and again


@dataclass(frozen=True)
class Setting:
    """One point of a sweep. `images` are of one step; `size` is the images' (H, W); teachers and tasks are by name."""

    scale: Scale
    images: int
    size: tuple[int, int]
    teachers: tuple[str, ...]
    tasks: tuple[str, ...]
    device: str
    random_weights: bool

    @property
    def precision(self) -> Precision:
        """That of the scale's recipes."""
        return self.scale.precision

    @property
    def tuned(self) -> RunSpec:
        """Stage 2 of a SAK student; its `start` is stage 1."""
        return sak(self._scale, 0, self.teachers)

    @property
    def baseline(self) -> RunSpec:
        """A multi-task baseline on the same backbone."""
        return multi_task(self._scale, 0)

    @property
    def _scale(self) -> Scale:
        size = None if self.scale.name == "mini" else self.size
        return replace(self.scale, size=size, distill_size=size, tasks=self.tasks)

    @property
    def chosen(self) -> dict[str, Task]:
        """The tasks."""
        return tasks_of(self.tuned)

    @property
    def output(self) -> tuple[int, int]:
        """The size of the tasks' maps (H, W)."""
        return output_size(self.tuned)

    @property
    def computing(self) -> torch.autocast:
        """The context in which our models compute."""
        return computing_in(self.precision, self.device)

    def encoder(self, name: str) -> Encoder:
        """A backbone for the images."""
        own = backbones.info(name).own_input or self.scale.name == "mini"
        return backbones.create(name, image_size=None if own else self.size, pretrained=not self.random_weights)

    def student(self, spec: RunSpec) -> Any:
        """A run's student, fresh but for its backbone."""
        torch.manual_seed(0)
        return build(spec, self.encoder).to(self.device)

    def sak(self) -> SAK:
        """The student of stage 2."""
        student = self.student(self.tuned)
        assert isinstance(student, SAK)
        return student

    def committee(self) -> dict[str, Encoder]:
        """The teachers, which look at the student's images; at scale mini, where their features are kept, none."""
        if self.scale.name == "mini":
            return {}
        return {name: self.encoder(self.scale.teachers[name]) for name in self.teachers}

    def pixels(self) -> torch.Tensor:
        """Random images (B, 3, H, W), on the CPU."""
        return torch.randn(self.images, 3, *self.size, generator=torch.Generator().manual_seed(1))

    def batch(self, *, known: bool = False) -> dict[str, Any]:
        """Random images, and labels of all tasks at their output's size.

        With `known`, and at scale mini, the teachers' features are in it: `features/NAME`, four maps (B, d, h, w).
        """
        draw = torch.Generator().manual_seed(0)
        batch: dict[str, Any] = {"image": self.pixels()}
        for name, task in self.chosen.items():
            batch[name] = _labels(task, (self.images, *self.output), draw)
        if known or self.scale.name == "mini":
            for name in self.teachers:
                batch[f"features/{name}"] = [
                    torch.randn(self.images, *shape, generator=draw).permute(0, 3, 1, 2) for shape in self._maps(name)
                ]
        return {name: _on(value, self.device) for name, value in batch.items()}

    def _maps(self, teacher: str) -> list[tuple[int, int, int]]:
        """The shapes (h, w, d) of a teacher's maps of the images."""
        encoder = weightless_encoder(self.scale.teachers[teacher], None if self.scale.name == "mini" else self.size)
        size = encoder.image_size if self.scale.name == "mini" else self.size
        maps = encoder(torch.empty(1, 3, *size, device="meta"))
        return [(level.shape[2], level.shape[3], level.shape[1]) for level in maps]


def _labels(task: Task, shape: tuple[int, int, int], draw: torch.Generator) -> torch.Tensor:
    images, height, width = shape
    if task.name == "normals":
        return F.normalize(torch.randn(images, 3, height, width, generator=draw), dim=1)
    if task.name == "depth":
        return 1 + 9 * torch.rand(shape, generator=draw)
    return torch.randint(0, task.channels if task.name in ("semseg", "parsing") else 2, shape, generator=draw).byte()


def _on(value: Any, device: str) -> Any:
    return [level.to(device) for level in value] if isinstance(value, list) else value.to(device)
