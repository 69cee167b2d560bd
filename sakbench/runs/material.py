"""What a run learns from and is measured on."""

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Any

Batch = dict[str, Any]


@dataclass(frozen=True)
class Material:
    """`training(step)` yields batches from that step on, in `parts` for each step; `test()` the held-out images.

    `prepare` makes a part of a batch ready for the model; those of `test` are ready.
    """

    training: Callable[[int], Generator[Batch]]
    test: Callable[[], Iterable[Batch]]
    prepare: Callable[[Batch], Batch]
    parts: int = 1
