"""How a run is optimised: the numbers of the paper's Table 11, as one flat record."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

Count = Annotated[int, "from 1"]  # `RunSpec.from_dict` takes other whole numbers from 0
Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class Recipe:
    """Optimisation of one training run, with AdamW or with SGD (momentum 0.9). Rates are per step, not per epoch."""

    steps: Count
    batch_size: Count
    lr: float
    weight_decay: float = 0.0
    schedule: Literal["cosine", "poly"] = "cosine"
    warmup: int = 0  # steps of linear warm-up
    warmup_lr: float = 0.0  # where the warm-up begins
    min_lr: float = 0.0  # where the cosine ends
    clip: float | None = None  # largest norm of the gradient of all losses together
    precision: Precision = "fp32"
    optimizer: Literal["adamw", "sgd"] = "adamw"

    def lr_at(self, step: int) -> float:
        """Learning rate of `step` (0-based): linear warm-up, then cosine, or poly with power 0.9."""
        if step < self.warmup:
            return self.warmup_lr + (self.lr - self.warmup_lr) * step / self.warmup
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        if self.schedule == "poly":
            return self.lr * (1 - progress) ** 0.9
        return self.min_lr + (self.lr - self.min_lr) * (1 + math.cos(math.pi * progress)) / 2
