import numpy as np
import pytest
import torch

from sakbench.errors import UserError
from sakbench.training import loader
from sakbench.training.order import seed_of_image

COUNT, BATCH = 10, 4


class Numbers:
    """Row and seed, as a data set's images."""

    def __len__(self):
        return COUNT

    def __getitem__(self, place):
        row, seed = place
        return {"row": row, "seed": seed % 1000}


class Broken(Numbers):
    def __getitem__(self, place):
        raise UserError(f"the image {place[0]} cannot be read.")


def images(stream, batches):
    return [pair for _ in range(batches) for pair in zip(*(v.tolist() for v in next(stream).values()), strict=True)]


def seat(monkeypatch, rank, world):
    monkeypatch.setattr(loader, "rank", lambda: rank)
    monkeypatch.setattr(loader, "world", lambda: world)


def test_processes_and_parts_share_the_batches_of_one(monkeypatch):
    steps = 6
    whole = images(loader.draw(Numbers(), BATCH, 3, 0), steps)
    shares = []
    for rank in range(2):
        seat(monkeypatch, rank, 2)
        assert loader.parts_of(BATCH, images=1) == 2
        shares.append(images(loader.draw(Numbers(), BATCH, 3, 0, parts=2), 2 * steps))
    together = [pair for step in range(steps) for share in shares for pair in share[2 * step : 2 * step + 2]]
    assert together == whole


def test_a_step_has_its_images_wherever_one_starts_and_whoever_reads_them():
    whole = images(loader.draw(Numbers(), BATCH, 3, 0), 8)
    later = loader.draw(Numbers(), BATCH, 3, 5, workers=1)
    assert images(later, 3) == whole[5 * BATCH :]
    later.close()


def test_an_epoch_shows_every_image_once_and_never_the_same_way_twice():
    epochs = np.array(images(loader.draw(Numbers(), BATCH, 0, 0), 5)).reshape(2, COUNT, 2)
    assert (np.sort(epochs[:, :, 0]) == np.arange(COUNT)).all()
    seeds = {seed_of_image(0, step, place) for step in range(50) for place in range(BATCH)}
    assert len(seeds) == 50 * BATCH


def test_reading_draws_no_number_of_the_training():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    next(loader.draw(Numbers(), BATCH, 0, 0))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_in_order_every_image_is_seen_by_one_process(monkeypatch, world):
    rows = []
    for rank in range(world):
        seat(monkeypatch, rank, world)
        rows += [row for batch in loader.in_order(Numbers(), 3) for row in batch["row"].tolist()]
    assert sorted(rows) == list(range(COUNT))


def test_processes_that_cannot_share_a_batch_are_refused(monkeypatch):
    seat(monkeypatch, 0, 3)
    with pytest.raises(UserError, match="3 processes cannot share a batch of 4"):
        loader.parts_of(BATCH, 16)


@pytest.mark.parametrize("workers", [0, 1])
def test_what_a_reader_complains_of_is_one_sentence(workers):
    with pytest.raises(UserError) as error:
        next(loader.in_order(Broken(), 2, workers=workers))
    assert str(error.value) == "the image 0 cannot be read."
