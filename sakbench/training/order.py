"""In which order training sees its images: endless shuffled epochs, a function of seed and step alone."""

from functools import lru_cache

import numpy as np


def rows_of_step(count: int, batch_size: int, seed: int, step: int) -> np.ndarray:
    """Which of `count` images the batch of a step holds, int (batch_size,); an epoch shows each image once."""
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs = range(step * batch_size // count, ((step + 1) * batch_size - 1) // count + 1)
    orders = np.concatenate([_epoch(count, seed, epoch) for epoch in epochs])
    return orders[positions - epochs[0] * count]


@lru_cache(maxsize=2)  # a million images take longer to shuffle than a step
def _epoch(count: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, 0, epoch)).permutation(count)


def coins_of_step(batch_size: int, seed: int, step: int) -> np.ndarray:
    """A fair coin for each image of the batch of a step, bool (batch_size,): which are mirrored."""
    return np.random.default_rng((seed, 1, step)).random(batch_size) < 0.5


def seed_of_image(seed: int, step: int, place: int) -> int:
    """From what the augmentation of the image at `place` of a step's batch is drawn, whoever reads it."""
    return int(np.random.SeedSequence((seed, 2, step, place)).generate_state(1, np.uint64)[0] >> np.uint64(1))
