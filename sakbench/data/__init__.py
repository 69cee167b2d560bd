"""Data sets by name: rendered ones in splits of arrays (`load`), real ones in splits of files (`open_split`)."""

from collections.abc import Callable

from sakbench.data import miniworld
from sakbench.data.archives import ArchiveSplit, find, open_split
from sakbench.errors import unknown

__all__ = ["ArchiveSplit", "find", "load", "open_split"]

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
