"""Where a run is done: what it needs from the machine and the user, none of which changes what it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Place:
    """`runs` holds a folder per run; `data` the real data sets; `weights` are local files by backbone; `pairs` holds
    the counterfactual pairs that runs of that kind look at, Figure 6's rendered ones if None.

    `images` bounds how many images a process takes at once (0: as the scale says); `workers` read images for each
    process; `on_cpu` trains without a GPU.
    """

    runs: Path
    data: Path | None = None
    weights: Mapping[str, Path] = field(default_factory=dict)
    images: int = 0
    workers: int = 0
    on_cpu: bool = True
    pairs: Path | None = None


@dataclass(frozen=True)
class Seat:
    """A process's place among those that do one job together: process `rank`, one for each of `devices`.

    Devices are "cpu" or the number of a GPU; `meeting` is a file that does not exist yet, where they find each other.
    """

    rank: int
    devices: tuple[str, ...]
    meeting: Path | None = None
