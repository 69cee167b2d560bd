"""The distillation loss (paper Eq. 5)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.linalg import vecdot, vector_norm

from sakbench.models.autocast import without_autocast
from sakbench.models.interpolation import bilinear

COSINE_WEIGHT, SMOOTH_L1_WEIGHT = 0.9, 0.1
_LEAST_NORM = 1e-8  # of two maps together: a cosine's denominator


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

    The cosine is one per image, over the flattened map, averaged over the batch; smooth-L1 has beta 1. The teacher's
    map is a constant: no gradient flows into it.
    """
    size = (max(student.shape[2], teacher.shape[2]), max(student.shape[3], teacher.shape[3]))
    precision = torch.promote_types(student.dtype, torch.float32)
    with without_autocast(student.device):  # near a cosine of 1 bfloat16 has steps of 0.004
        ours, theirs = (bilinear(maps.to(precision), size) for maps in (student, teacher))
        return _LevelLoss.apply(_flat(ours), _flat(theirs))


def _flat(maps: Tensor) -> Tensor:
    """Maps (B, d, h, w) as rows (B, h * w * d), the order in which the tokens that they come from lie."""
    return maps.permute(0, 2, 3, 1).flatten(1)


class _LevelLoss(torch.autograd.Function):
    """The loss of two matrices (B, D) of flattened maps, whose gradient is made in the forward pass.

    They are long, and every operation reads them from memory: made at once, the gradient takes few of them, and is the
    one matrix that is kept for the backward pass.
    """

    @staticmethod
    def forward(ctx: Any, ours: Tensor, theirs: Tensor) -> Tensor:
        batch, values = ours.shape
        difference = ours - theirs
        clamped = difference.clamp(-1, 1)
        # smooth-L1 of x is c * (x - c / 2) with c = clamp(x, -1, 1), and its derivative is c
        smooth_l1 = vecdot(clamped, difference) - vector_norm(clamped, dim=1).square() / 2
        our_norm = vector_norm(ours, dim=1)
        norms = our_norm * vector_norm(theirs, dim=1)
        safe = norms.clamp(min=_LEAST_NORM)
        cosine = vecdot(ours, theirs) / safe
        if ctx.needs_input_grad[0]:
            # The cosine's derivative is theirs / norms - cosine / our_norm^2 * ours; where a map is zero, the clamped
            # denominator does not move with it.
            shrink = torch.where(norms < _LEAST_NORM, 0, cosine / our_norm.square())
            gradient = clamped.mul_(SMOOTH_L1_WEIGHT / (batch * values))
            gradient.addcmul_(theirs, (-COSINE_WEIGHT / batch / safe)[:, None])
            gradient.addcmul_(ours, (COSINE_WEIGHT / batch * shrink)[:, None])
            ctx.save_for_backward(gradient)
        return COSINE_WEIGHT * (1 - cosine.mean()) + SMOOTH_L1_WEIGHT * smooth_l1.sum() / (batch * values)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, weight: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * weight, None
