"""Data sets by name. The rendered ones are here; each answers with splits of images and targets."""

from collections.abc import Callable

from sakbench.data import miniworld
from sakbench.errors import unknown

_KINDS = {"miniworld-pascal": "pascal", "miniworld-nyud": "nyud"}


def load(
    dataset: str,
    split: str,
    count: int,
    *,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> miniworld.Split:
    """The first `count` scenes of a split, from the cache or rendered into it. Raises `UserError` for unknown names."""
    if dataset not in _KINDS:
        raise unknown("data set", dataset, _KINDS)
    return miniworld.load_split(split, _KINDS[dataset], count, workers=workers, progress=progress)
