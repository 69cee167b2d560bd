"""The bias profile: what a backbone is good and bad at, next to the ImageNet ViT (paper Section 2.1, Figure 1 left)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sakbench.analysis.gain import relative_improvement


@dataclass(frozen=True)
class BiasProfile:
    """Relative improvements over the ViT in percent; their mean μ and population standard deviation σ over tasks."""

    improvement: dict[str, float]
    mean: float
    sd: float

    @property
    def ratio(self) -> float:
        """μ/σ, which is high for improvements that are large and even; NaN where σ is 0 (the ViT itself)."""
        return self.mean / self.sd if self.sd > 0 else float("nan")


def bias_profile(
    values: Mapping[str, float], vit: Mapping[str, float], higher_is_better: Mapping[str, bool]
) -> BiasProfile:
    """The profile of a frozen backbone with probe results `values`, where the frozen ViT has `vit`.

    Raises `ValueError` if there is no task, or the ViT lacks one.
    """
    if not values:
        raise ValueError("a bias profile needs at least one task.")
    improvement = relative_improvement(values, vit, higher_is_better)
    over_tasks = np.array(list(improvement.values()))
    return BiasProfile(improvement, mean=float(over_tasks.mean()), sd=float(over_tasks.std()))
