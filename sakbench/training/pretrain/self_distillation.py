"""Self-supervised pretraining of a student and its moving average. Stands for DINOv2.

Two objectives. `MomentumContrast` learns from scratch in minutes: image-level contrast against a queue, and contrast
of masked patches with the same place of the other view. `SelfDistillation` takes its networks over, twice as deep, and
trains them by DINOv2's own objectives: image-level assignments to prototypes (DINO), masked-patch assignments (iBOT)
and KoLeo. The image is its mean patch token in both.
"""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from sakbench.training.pretrain.views import (
    View,
    enlarged,
    normalise,
    positions_in,
    random_crop,
    random_frames,
    random_hues,
    random_sensor,
    surroundings,
    unit,
)
from sakbench.training.pretrain.vit import deepened, tokens, weight_decay_groups

_GLOBALS, _LOCALS = 2, 2
_FARTHER = 5  # in the batch: farther than any image that fills the surroundings
_PATCH_OF_THING = 0.3  # the least share of a patch that must show the thing


@dataclass(frozen=True)
class Crops:
    """Sizes in pixels, and the share that a crop covers of a frame round one thing.

    Frames stand for the curated photographs that DINOv2 learned from, which mostly show one thing. Views of whole
    scenes are told apart by their surroundings alone, and nothing is learned of the things: therefore all views but
    the first show the thing before other surroundings too (as in Ryali et al., 2021). No class is looked at.
    """

    global_size: int = 48
    local_size: int = 32
    global_area: tuple[float, float] = (0.4, 1.0)
    local_area: tuple[float, float] = (0.2, 0.5)
    other_area: tuple[float, float] = (0.3, 1.0)  # of the image whose surroundings are shown
    margin: tuple[float, float] = (1.05, 1.8)
    least: float = 0.35


@dataclass(frozen=True)
class Views:
    """Two global and two local views of each of B images, coloured and normalised.

    `wide` tells where the global ones were taken; `globals` is (2 B, 3, s, s), `locals` (2 B, 3, t, t), and `thing`
    (2 B, 1, s, s) how much of each pixel of the global ones is the thing that all views share.
    """

    wide: list[View]
    globals: Tensor
    locals: Tensor
    thing: Tensor


class Network(nn.Module):
    """An encoder with a projection of the image, from its mean patch token, and of its patches."""

    def __init__(self, vit: VisionTransformer, dim: int = 128) -> None:
        super().__init__()
        d = vit.embed_dim
        self.dim = dim
        self.encoder = vit
        self.mask_token = nn.Parameter(0.02 * torch.randn(d))
        self.image_head = nn.Sequential(
            nn.Linear(d, 4 * dim, bias=False),
            nn.BatchNorm1d(4 * dim),
            nn.GELU(),
            nn.Linear(4 * dim, dim, bias=False),
            nn.BatchNorm1d(dim, affine=False),
        )
        self.patch_head = nn.Sequential(nn.Linear(d, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, images: Tensor, masked: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Unit image projections (B, dim), and the patch tokens (B, n, d) for `project_patches`."""
        patches = tokens(self.encoder, images, masked=masked, mask_token=self.mask_token)[:, 1:]
        return F.normalize(self.image_head(patches.mean(dim=1)), dim=1), patches

    def deepened(self) -> "Network":
        """A copy whose encoder has twice the blocks and computes the same."""
        deep = copy.deepcopy(self)
        deep.encoder = deepened(self.encoder)
        return deep

    def project_patches(self, patches: Tensor) -> Tensor:
        """Unit projections of patch tokens (..., d)."""
        return F.normalize(self.patch_head(patches), dim=-1)


class StudentAndTeacher(nn.Module):
    """A student, and the teacher that is its exponential moving average; the queue holds the teacher's last images."""

    queue: Tensor

    def __init__(
        self, student: Network, teacher: Network, crops: Crops, *, steps: int, momentum: float, queue: Tensor
    ) -> None:
        super().__init__()
        self.student = student
        self.teacher = teacher.requires_grad_(False)
        self.crops = crops
        self.steps = steps
        self.momentum = momentum
        self.register_buffer("queue", queue)
        self._keys: Tensor | None = None

    def views(self, batch: Mapping[str, Tensor]) -> Views:
        """Random views of `images` uint8 (B, H, W, 3) round the things of `instance` (B, h, w)."""
        images, c = unit(batch["images"]), self.crops
        frames, thing = random_frames(batch["instance"], c.margin, c.least)
        others = surroundings(images, batch["instance"])
        pictures = torch.cat([images, enlarged(thing, images)], dim=1)
        views = []
        for number in range(_GLOBALS + _LOCALS):
            if number < _GLOBALS:
                size, area = c.global_size, c.global_area
            else:
                size, area = c.local_size, c.local_area
            view = random_crop(pictures, size, area, frames=frames)
            if number:
                other = random_crop(others.roll(_FARTHER + number, 0), size, c.other_area).images
                view = replace(view, images=_before(view.images, other))
            views.append(view)
        wide, near = views[:_GLOBALS], views[_GLOBALS:]
        return Views(wide, _coloured(wide), _coloured(near), torch.cat([view.images[:, 3:] for view in wide]))

    def masks(self, images: Tensor, share: float) -> Tensor:
        """Random masks (B, n): in each image the same number of patches is true."""
        n = (images.shape[-1] // self.student.encoder.patch_embed.patch_size[0]) ** 2
        ranks = torch.rand(len(images), n, device=images.device).argsort(dim=1)
        return ranks < round(share * n)

    def after_step(self, step: int) -> None:
        """Move the teacher towards the student (momentum to 1 along a cosine) and the queue along."""
        momentum = 1 - (1 - self.momentum) * (1 + math.cos(math.pi * step / self.steps)) / 2
        with torch.no_grad():
            for teacher, student in self.averaged():
                torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), 1 - momentum)
            if self._keys is not None:
                self.queue.copy_(torch.cat([self._keys, self.queue])[: len(self.queue)])

    def averaged(self) -> list[tuple[nn.Module, nn.Module]]:
        """Which modules are moving averages of which."""
        return [(self.teacher, self.student)]

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Matrices decay, the rest does not."""
        return weight_decay_groups(self, 0.04)


class MomentumContrast(StudentAndTeacher):
    """Contrast of images with a queue (MoCo v3 with its predictor), and of masked patches with the other view's."""

    def __init__(self, vit: VisionTransformer, *, steps: int, crops: Crops | None = None) -> None:
        student = Network(vit)
        dim = student.dim
        super().__init__(
            student,
            copy.deepcopy(student),
            crops or Crops(),
            steps=steps,
            momentum=0.98,
            queue=F.normalize(torch.randn(2048, dim), dim=1),
        )
        self.predictor = nn.Sequential(
            nn.Linear(dim, 2 * dim, bias=False), nn.BatchNorm1d(2 * dim), nn.GELU(), nn.Linear(2 * dim, dim)
        )
        self.temperature = 0.15

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`images` uint8 (B, 128, 128, 3); `instance` uint8 (B, 64, 64), 0 where there is none."""
        views = self.views(batch)
        with torch.no_grad():
            keys, key_patches = self.teacher(views.globals)
            key_patches = self.teacher.project_patches(key_patches)
        self._keys = keys
        masked = self.masks(views.globals, 0.33)
        globals_, patches = self.student(views.globals, masked)
        locals_, _ = self.student(views.locals)
        queries = F.normalize(self.predictor(torch.cat([globals_, locals_])), dim=1)
        return {
            "image": self.image_contrast(queries.chunk(_GLOBALS + _LOCALS), keys.chunk(_GLOBALS)),
            "patch": self.patch_contrast(views, patches, masked, key_patches),
        }

    def image_contrast(self, queries: tuple[Tensor, ...], keys: tuple[Tensor, ...]) -> Tensor:
        """Each view must find the other global views of its image among the batch and the queue."""
        target = torch.arange(len(keys[0]), device=keys[0].device)
        losses = [
            F.cross_entropy(query @ torch.cat([key, self.queue]).T / self.temperature, target)
            for i, query in enumerate(queries)
            for j, key in enumerate(keys)
            if i != j
        ]
        return torch.stack(losses).mean()

    def patch_contrast(self, views: Views, patches: Tensor, masked: Tensor, keys: Tensor) -> Tensor:
        """A masked patch of the thing in one global view must find what the teacher sees there in the other view."""
        side = math.isqrt(patches.shape[1])
        points = _patch_centres(side).to(patches.device)
        first, second = views.wide
        there = torch.cat([positions_in(first, second, points), positions_in(second, first, points)])
        other = torch.cat(keys.chunk(2)[::-1]).transpose(1, 2).unflatten(2, (side, side))
        keys_there = F.grid_sample(other, there.unsqueeze(1), padding_mode="border", align_corners=False)
        on_thing = F.avg_pool2d(views.thing, views.thing.shape[-1] // side).flatten(1) > _PATCH_OF_THING
        inside = masked & (there.abs() < 1).all(dim=-1) & on_thing
        queries = self.student.project_patches(patches[inside])
        found = F.normalize(keys_there.squeeze(2).transpose(1, 2)[inside], dim=1)
        target = torch.arange(len(queries), device=queries.device)
        return F.cross_entropy(queries @ found.T / self.temperature, target)


class SelfDistillation(StudentAndTeacher):
    """DINO on images, iBOT on masked patches, KoLeo: the teacher's balanced prototype assignments are predicted.

    Goes on from the networks (made twice as deep) and the queue of `contrast`. The prototypes (512 of images, 512 of
    patches) begin as projections that its teacher gives: of the queue, and of random patches of `batch`.
    """

    def __init__(
        self, contrast: MomentumContrast, batch: Mapping[str, Tensor], *, steps: int, crops: Crops | None = None
    ) -> None:
        super().__init__(
            contrast.student.deepened(),
            contrast.teacher.deepened(),
            crops or Crops(),
            steps=steps,
            momentum=0.994,
            queue=contrast.queue.clone(),
        )
        with torch.no_grad():
            patches = self.teacher.project_patches(self.teacher(self.views(batch).globals)[1]).flatten(0, 1)
        first = {"image": self.queue[::4], "patch": patches[torch.randperm(len(patches))[: len(self.queue) // 4]]}
        self.prototypes = nn.ParameterDict({k: nn.Parameter(v.clone()) for k, v in first.items()})
        self.teacher_prototypes = nn.ParameterDict({k: nn.Parameter(v.clone()) for k, v in first.items()})
        self.teacher_prototypes.requires_grad_(False)
        self.student_temperature = 0.1
        self.teacher_temperature = 0.05

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`images` uint8 (B, 128, 128, 3); `instance` uint8 (B, 64, 64), 0 where there is none."""
        views = self.views(batch)
        masked = self.masks(views.globals, 0.33)
        with torch.no_grad():
            keys, key_patches = self.teacher(views.globals)
            assigned = self.assign(torch.cat([keys, self.queue]), self.teacher_prototypes["image"])[: len(keys)]
            patch_keys = self.teacher.project_patches(key_patches)
            patch_assigned = self.assign(patch_keys.flatten(0, 1), self.teacher_prototypes["patch"])
            patch_assigned = patch_assigned.view(*patch_keys.shape[:2], -1)[masked]
        self._keys = keys
        globals_, patches = self.student(views.globals, masked)
        locals_, _ = self.student(views.locals)
        images = torch.cat([globals_, locals_])
        scores = self.scores(images, self.prototypes["image"]).chunk(_GLOBALS + _LOCALS)
        patch_scores = self.scores(self.student.project_patches(patches[masked]), self.prototypes["patch"])
        losses = [
            cross_entropy(target, score)
            for i, score in enumerate(scores)
            for j, target in enumerate(assigned.chunk(_GLOBALS))
            if i != j
        ]
        return {
            "image": torch.stack(losses).mean(),
            "patch": cross_entropy(patch_assigned, patch_scores),
            "koleo": 0.1 * torch.stack([koleo(z) for z in globals_.chunk(_GLOBALS)]).mean(),
        }

    def averaged(self) -> list[tuple[nn.Module, nn.Module]]:
        """The teacher's prototypes are averaged with its network."""
        return [*super().averaged(), (self.teacher_prototypes, self.prototypes)]

    def scores(self, projections: Tensor, prototypes: Tensor) -> Tensor:
        """The student's log-probabilities of the prototypes."""
        return (projections @ F.normalize(prototypes, dim=1).T / self.student_temperature).log_softmax(dim=1)

    def assign(self, projections: Tensor, prototypes: Tensor) -> Tensor:
        """The teacher's assignments (n, K), balanced over the prototypes."""
        return sinkhorn(projections @ F.normalize(prototypes, dim=1).T / self.teacher_temperature)


def cross_entropy(target: Tensor, log_probabilities: Tensor) -> Tensor:
    """Mean cross-entropy of soft targets (n, K)."""
    return -(target * log_probabilities).sum(dim=1).mean()


def sinkhorn(logits: Tensor, iterations: int = 3) -> Tensor:
    """Sinkhorn-Knopp: exp(logits) (n, K) scaled so that every prototype is used alike and every row sums to 1."""
    q = (logits - logits.max()).exp()
    for _ in range(iterations):
        q = q / q.sum(dim=0, keepdim=True).clamp(min=1e-12)
        q = q / q.sum(dim=1, keepdim=True).clamp(min=1e-12)
    return q


def koleo(z: Tensor) -> Tensor:
    """Kozachenko-Leonenko regulariser of unit vectors (n, d): -mean log distance to the nearest other one."""
    similarity = (z @ z.T).fill_diagonal_(-1).max(dim=1).values
    return -(0.5 * (2 - 2 * similarity).clamp(min=1e-8).log()).mean()


def _before(pictures: Tensor, others: Tensor) -> Tensor:
    """Pictures (B, 3 + 1, s, s), the last channel the thing's mask, before other images (B, 3, s, s)."""
    pixels, thing = pictures.split([3, 1], dim=1)
    return torch.cat([torch.lerp(others, pixels, thing), thing], dim=1)


def _coloured(views: list[View]) -> Tensor:
    pixels = [random_sensor(random_hues(view.images[:, :3], 0.3, grey=0.15), 0.03) for view in views]
    return normalise(torch.cat(pixels))


def _patch_centres(side: int) -> Tensor:
    """Centres (1, side * side, 2) of a square grid's patches, as (x, y) from -1 to 1, row by row."""
    ticks = (torch.arange(side) + 0.5) / side * 2 - 1
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    return torch.stack([x, y], dim=-1).view(1, -1, 2)
