"""In what numbers a model computes; its weights, its losses and its optimiser keep float32 in any case."""

import torch

from sakbench.training.recipe import Precision


def computing_in(precision: Precision, device: str) -> torch.autocast:
    """The context in which models compute: bf16 has matrix products and convolutions in bfloat16, fp32 has none.

    Accelerate keeps one precision per process; this way every training has its own.
    """
    return torch.autocast(device, torch.bfloat16, enabled=precision == "bf16")
