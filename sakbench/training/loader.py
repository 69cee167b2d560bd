"""Batches from data sets that are read while training: by worker processes, in an order known beforehand."""

from collections.abc import Generator, Iterator, Sequence
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from sakbench.errors import UserError
from sakbench.models.processes import rank, world
from sakbench.training.order import rows_of_step, seed_of_image

AHEAD = 4  # batches that a worker reads ahead

Item = dict[str, Any]


class Images(Protocol):
    """A data set whose items are functions of their row and a seed."""

    def __len__(self) -> int:
        """How many images it has."""

    def __getitem__(self, place: tuple[int, int]) -> Item:
        """The image of a row with its labels, augmented as a seed says."""


class _Steps(Sampler[list[tuple[int, int]]]):
    """This process's parts of the batches of steps `start`, `start + 1`, ...: parts of a step follow each other."""

    def __init__(self, count: int, batch_size: int, seed: int, start: int, parts: int) -> None:
        self.count, self.batch_size, self.seed, self.start, self.parts = count, batch_size, seed, start, parts
        self.rank, self.world = rank(), world()

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        share = self.batch_size // self.world
        images = share // self.parts
        step = self.start
        while True:
            rows = rows_of_step(self.count, self.batch_size, self.seed, step)
            for part in range(self.parts):
                first = self.rank * share + part * images
                places = range(first, first + images)
                yield [(int(rows[place]), seed_of_image(self.seed, step, place)) for place in places]
            step += 1


def shares(rows: np.ndarray, parts: int) -> list[np.ndarray]:
    """Of the rows of a step's batch those of this process, in so many parts."""
    share = len(rows) // world()
    mine, size = rows[rank() * share : (rank() + 1) * share], share // parts
    return [mine[part * size : (part + 1) * size] for part in range(parts)]


def parts_of(batch_size: int, images: int) -> int:
    """In how many parts each of the processes takes its share of a batch, so that at most `images` meet at once.

    Raises UserError where the processes cannot share the batch evenly.
    """
    share, left = divmod(batch_size, world())
    if left or not share:
        raise UserError(f"{world()} processes cannot share a batch of {batch_size}: start as many as divide it.")
    return next(parts for parts in range(1, share + 1) if share % parts == 0 and share // parts <= images)


def draw(
    images: Images, batch_size: int, seed: int, start: int, *, parts: int = 1, workers: int = 0
) -> Generator[Item]:
    """Endless shuffled epochs from step `start` on, as this process's parts of each step's batch.

    What an image looks like is a function of `seed`, the step and its place in the batch, so that the batches are the
    same for any number of processes, parts and workers.
    """
    return _told_plainly(_loader(images, _Steps(len(images), batch_size, seed, start, parts), workers))


def in_order(images: Images, batch_size: int, *, workers: int = 0) -> Generator[Item]:
    """This process's share of a data set, every image once."""
    mine = range(rank(), len(images), world())
    batches = [mine[first : first + batch_size] for first in range(0, len(mine), batch_size)]
    return listed(images, batches, workers=workers)


def listed(images: Images, rows: Sequence[Sequence[int]], *, workers: int = 0) -> Generator[Item]:
    """Batches of these rows."""
    return _told_plainly(_loader(images, [[(row, 0) for row in batch] for batch in rows], workers))


def _told_plainly(loader: DataLoader[Item]) -> Generator[Item]:
    """Its batches. What a worker complains of comes without the traceback that torch puts around it."""
    try:
        yield from loader
    except UserError as error:
        sentence = str(error).strip().splitlines()[-1].rpartition(f"{UserError.__name__}: ")[2]
        raise UserError(sentence) from None


def _loader(images: Images, batches: Any, workers: int) -> DataLoader[Item]:
    return DataLoader(
        cast(Dataset[Item], images),
        batch_sampler=batches,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        prefetch_factor=AHEAD if workers else None,
        generator=torch.Generator(),  # not the global one, from which a training draws its own numbers
    )
