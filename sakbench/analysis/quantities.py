"""The numbers that are measured on counterfactual pairs, by name: light to import (see `counterfactuals.numbers`)."""

# In the order of a table: metric, unit, and whether more is better, where that can be said.
QUANTITIES: dict[str, tuple[str, str, bool | None]] = {
    "contrast small": ("norm ratio", "", None),
    "contrast middle": ("norm ratio", "", None),
    "contrast large": ("norm ratio", "", None),
    "change inside": ("of RMS norm", "", None),
    "change outside": ("of RMS norm", "", None),
    "share inside": ("of change²", "%", None),
    "outliers": ("of tokens", "%", None),
    "flips": ("labels", "%", True),
    "flips small": ("labels", "%", True),
    "flips middle": ("labels", "%", True),
    "flips large": ("labels", "%", True),
    "mask IoU": ("IoU", "%", True),
    "flips kept": ("labels", "%", True),
    "belief shift": ("of belief", "%", True),
}
