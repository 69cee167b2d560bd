"""The share of what is right."""

from torch import Tensor


def share(sums: Tensor) -> float:
    """Sums (2,), what is right (or scores from 0 to 1) and how many there are, as percent."""
    return 100 * float(sums[0] / sums[1])
