from dataclasses import replace
from itertools import count

import pytest
import torch
from torch import nn

from sakbench.errors import UserError
from sakbench.training import loop
from sakbench.training.loop import Interrupted, fit
from sakbench.training.recipe import Recipe

RECIPE = Recipe(steps=30, batch_size=8, lr=1e-2, weight_decay=1e-2, warmup=5, clip=1.0)


class Noisy(nn.Module):
    """A small regression whose loss draws random numbers, as routers do, and that keeps a moving average."""

    def __init__(self, poison_at=None):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))
        self.average = nn.Linear(4, 8).requires_grad_(False)
        self.poison_at = poison_at
        self.steps = []

    def forward(self, batch):
        loss = (self.layer(batch["x"] + 0.1 * torch.randn(8, 4)) - batch["y"]).square().mean()
        if self.poison_at == len(self.steps):
            loss = loss * float("nan")
        return {"fit": loss, "size": 1e-3 * self.layer[0].weight.square().sum()}

    def after_step(self, step):
        self.steps.append(step)
        self.average.weight.lerp_(self.layer[0].weight.detach(), 0.1)


def batches(start):
    for step in count(start):
        stream = torch.Generator().manual_seed(step)
        x = torch.randn(8, 4, generator=stream)
        yield {"x": x, "y": x.sum(1, keepdim=True)}


def weights(objective):
    return torch.cat([value.flatten().float() for value in objective.state_dict().values()])


def stop_after(calls):
    counter = count(1)
    return lambda: next(counter) == calls


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_resuming_equals_not_stopping(tmp_path, precision):
    recipe = replace(RECIPE, precision=precision)
    whole = Noisy()
    fit(whole, batches, recipe, seed=3)
    for stop in (7, 11):  # stopped twice, on the way to the same weights
        with pytest.raises(Interrupted):
            fit(Noisy(), batches, recipe, seed=3, checkpoints=tmp_path, stop=stop_after(stop))
    resumed = Noisy()
    fit(resumed, batches, recipe, seed=3, checkpoints=tmp_path)
    assert resumed.steps == list(range(18, 30))
    assert torch.equal(weights(resumed), weights(whole))


def test_the_seed_matters():
    one, other = Noisy(), Noisy()
    fit(one, batches, RECIPE, seed=0)
    fit(other, batches, RECIPE, seed=1)
    assert not torch.equal(weights(one), weights(other))


def test_training_lowers_the_loss():
    seen = []
    recipe = Recipe(steps=400, batch_size=8, lr=3e-2)
    fit(Noisy(), batches, recipe, seed=0, report=lambda progress: seen.append(progress.losses["fit"]))
    untrained = Noisy()(next(batches(0)))["fit"].item()
    assert seen[-1] < untrained / 3


def test_a_loss_that_is_not_finite_stops_with_a_sentence_and_leaves_no_checkpoint_of_it(tmp_path):
    with pytest.raises(UserError, match="no longer finite"):
        fit(Noisy(poison_at=12), batches, RECIPE, seed=0, checkpoints=tmp_path)
    assert not list(tmp_path.glob("step-*"))


def test_only_what_requires_a_gradient_moves():
    objective = Noisy()
    objective.layer[2].requires_grad_(False)
    before = objective.layer[2].weight.clone()
    fit(objective, batches, RECIPE, seed=0)
    assert torch.equal(objective.layer[2].weight, before)


@pytest.mark.parametrize("damage", ["truncate", "flip", "missing"])
def test_a_damaged_checkpoint_is_named(tmp_path, damage):
    with pytest.raises(Interrupted):
        fit(Noisy(), batches, RECIPE, seed=0, checkpoints=tmp_path, stop=stop_after(5))
    file = next(tmp_path.glob("step-*")) / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    match damage:
        case "truncate":
            file.write_bytes(content[: len(content) // 2])
        case "flip":
            file.write_bytes(content)
        case "missing":
            file.unlink()
    with pytest.raises(UserError, match="cannot be read") as error:
        fit(Noisy(), batches, RECIPE, seed=0, checkpoints=tmp_path)
    assert str(tmp_path) in str(error.value)


def test_a_half_written_checkpoint_is_not_taken_for_a_whole_one(tmp_path):
    (tmp_path / ".draft-123").mkdir(parents=True)
    (tmp_path / ".draft-123" / "model.safetensors").write_bytes(b"half")
    whole, other = Noisy(), Noisy()
    fit(whole, batches, RECIPE, seed=0)
    fit(other, batches, RECIPE, seed=0, checkpoints=tmp_path)
    assert torch.equal(weights(whole), weights(other))


def test_the_share_of_time_that_data_take_is_reported(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(loop.time, "monotonic", lambda: clock[0])

    class Slow(Noisy):
        def forward(self, batch):
            clock[0] += 1
            return super().forward(batch)

    def slow(start):
        for batch in batches(start):
            clock[0] += 3
            yield batch

    reports = []
    fit(Slow(), slow, RECIPE, seed=0, report=reports.append)
    assert [report.waited for report in reports] == pytest.approx([0.75] * RECIPE.steps)


def test_schedules_by_hand():
    cosine = Recipe(steps=110, batch_size=1, lr=1e-3, warmup=10, warmup_lr=1e-5, min_lr=1e-4, schedule="cosine")
    assert cosine.lr_at(0) == pytest.approx(1e-5)
    assert cosine.lr_at(5) == pytest.approx((1e-5 + 1e-3) / 2)
    assert cosine.lr_at(10) == pytest.approx(1e-3)
    assert cosine.lr_at(60) == pytest.approx((1e-3 + 1e-4) / 2)
    poly = Recipe(steps=40_000, batch_size=4, lr=2e-5, schedule="poly")  # Table 11, stage 2
    assert poly.lr_at(0) == pytest.approx(2e-5)
    assert poly.lr_at(20_000) == pytest.approx(2e-5 * 0.5**0.9)
