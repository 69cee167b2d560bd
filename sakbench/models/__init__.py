"""The student (SAK), its parts, and the baselines it is compared with."""

from sakbench.models import reference
from sakbench.models.checkpoints import load_checkpoint
from sakbench.models.distillation import distillation_loss, level_loss, teacher_loss
from sakbench.models.head import Head
from sakbench.models.interpolation import bilinear
from sakbench.models.parameters import parameter_count, set_trainable
from sakbench.models.plain import PlainStudent
from sakbench.models.prism import Prism
from sakbench.models.sak import SAK, carry_over

__all__ = [
    "SAK",
    "Head",
    "PlainStudent",
    "Prism",
    "bilinear",
    "carry_over",
    "distillation_loss",
    "level_loss",
    "load_checkpoint",
    "parameter_count",
    "reference",
    "set_trainable",
    "teacher_loss",
]
