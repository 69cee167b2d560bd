"""What a run learns from and is measured on."""

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Any

Batch = dict[str, Any]


@dataclass(frozen=True)
class Material:
    """`training(step)` yields batches from that step on, in `parts` for each step; `test()` the held-out images with
    their labels, `views()` the same images alone.

    `prepare` makes a part of a batch ready for the model; those of `test` and `views` are ready.
    """

    training: Callable[[int], Generator[Batch]]
    test: Callable[[], Iterable[Batch]]
    views: Callable[[], Iterable[Batch]]
    prepare: Callable[[Batch], Batch]
    parts: int = 1
