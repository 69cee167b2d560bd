"""Data sets by name: rendered ones in splits of arrays (`load`), real ones in splits of files (`open_split`)."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from sakbench.data.archives import ArchiveSplit, find, open_split, register
from sakbench.errors import unknown

if TYPE_CHECKING:
    from sakbench.data import miniworld

__all__ = ["ArchiveSplit", "cached_checksum", "find", "load", "open_split", "register"]

_KINDS = {"miniworld-pascal": "pascal", "miniworld-nyud": "nyud"}


def load(
    dataset: str,
    split: str,
    count: int,
    *,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> "miniworld.Split":
    """The first `count` scenes of a split, from the cache or rendered into it. Raises `UserError` for unknown names."""
    from sakbench.data import miniworld  # here, because a plan and a mistake need no renderer

    return miniworld.load_split(split, _kind(dataset), count, workers=workers, progress=progress)


def cached_checksum(dataset: str, split: str, count: int) -> str | None:
    """The checksum of what `load` would give, if the scenes are in the cache already; nothing is rendered or read.

    Raises `UserError` for unknown names.
    """
    from sakbench.data import miniworld

    return miniworld.cached_checksum(split, _kind(dataset), count)


def _kind(dataset: str) -> str:
    if dataset not in _KINDS:
        raise unknown("data set", dataset, _KINDS)
    return _KINDS[dataset]
