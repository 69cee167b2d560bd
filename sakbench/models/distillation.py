"""The distillation loss (paper Eq. 5)."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sakbench.models.interpolation import bilinear

COSINE_WEIGHT, SMOOTH_L1_WEIGHT = 0.9, 0.1


def distillation_loss(student: Mapping[str, Sequence[Tensor]], teachers: Mapping[str, Sequence[Tensor]]) -> Tensor:
    """Eq. 5: the sum of `level_loss` over the student's teachers and the four levels, a scalar.

    `student` and `teachers` give per teacher four maps (B, d_teacher, h, w); grids may differ.
    Raises KeyError if a teacher's maps are missing.
    """
    return torch.stack([teacher_loss(maps, teachers[name]) for name, maps in student.items()]).sum()


def teacher_loss(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """The share of one teacher in Eq. 5: the sum of `level_loss` over the levels."""
    return torch.stack([level_loss(ours, theirs) for ours, theirs in zip(student, teacher, strict=True)]).sum()


def level_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """0.9 * (1 - cosine) + 0.1 * smooth-L1 between two maps (B, d, h, w), the smaller enlarged to the larger.

    The cosine is one per image, over the flattened map, averaged over the batch; smooth-L1 has beta 1.
    """
    size = (max(student.shape[2], teacher.shape[2]), max(student.shape[3], teacher.shape[3]))
    precision = torch.promote_types(student.dtype, torch.float32)  # not bf16, whatever autocast says
    ours, theirs = bilinear(student, size).to(precision), bilinear(teacher.to(precision), size).to(precision)
    cosine = _cosine(ours.flatten(1), theirs.flatten(1)).mean()
    return COSINE_WEIGHT * (1 - cosine) + SMOOTH_L1_WEIGHT * F.smooth_l1_loss(ours, theirs)


def _cosine(ours: Tensor, theirs: Tensor) -> Tensor:
    """The cosines (B,) between the rows of two matrices; `F.cosine_similarity` at a quarter of its cost on a CPU."""
    norms = ours.norm(dim=1) * theirs.norm(dim=1)
    return torch.linalg.vecdot(ours, theirs) / norms.clamp(min=1e-8)
