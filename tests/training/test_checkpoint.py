"""Checkpoints on a disk that flips, cuts and half-writes, in a folder that other processes and machines write to."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from sakbench import whole
from sakbench.errors import UserError
from sakbench.training import checkpoint, saved

FILES = ("model.safetensors", "optimizer.safetensors", "state.json")


def training(steps=3):
    """A small model and its AdamW after some steps."""
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.ones(1, 3)).square().sum().backward()
        optimizer.step()
    return model, optimizer


def flip(content: bytes, position: int) -> bytes:
    changed = bytearray(content)
    changed[position] ^= 1
    return bytes(changed)


@pytest.fixture
def folder(tmp_path):
    checkpoint.save(tmp_path, 3, 1.5, *training())
    return tmp_path


@pytest.mark.parametrize("name", FILES)
def test_a_byte_that_flips_anywhere_is_noticed(folder, name):
    file = folder / "step-00000003" / name
    content, before = file.read_bytes(), saved.read_state(file.parent)
    assert saved.problems(folder) == []
    for position in range(len(content)):
        file.write_bytes(flip(content, position))
        if not saved.problems(folder):  # the name of the seal itself: all that is read is what it was
            assert {**saved.read_state(file.parent), **before} == saved.read_state(file.parent)
            assert name == "state.json"


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [lambda c: c[: len(c) // 2], lambda c: b"", lambda c: flip(c, len(c) // 2)])
def test_what_is_damaged_is_not_loaded_and_the_sentence_says_how_to_go_on(folder, name, damage):
    file = folder / "step-00000003" / name
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(UserError, match="cannot be read") as error:
        checkpoint.restore(folder, *training(0))
    told = str(error.value)
    assert str(folder / "step-00000003") in told and "sakbench store check --repair" in told and "\n" not in told
    (problem,) = saved.problems(folder)
    assert str(file.parent) in problem


def test_a_checkpoint_of_an_older_version_goes_on(folder):
    file = folder / "step-00000003" / "state.json"
    file.write_text(json.dumps({key: value for key, value in json.loads(file.read_text()).items() if key != "seal"}))
    assert checkpoint.restore(folder, *training(0)) == (3, 1.5)


def test_only_drafts_of_processes_that_certainly_ended_are_cleared(folder):
    code = "import sys, pathlib; from sakbench.whole import draft_of; print(draft_of(pathlib.Path(sys.argv[1])))"
    named = subprocess.run([sys.executable, "-c", code, folder / "checkpoint"], capture_output=True, text=True)
    dead, alive = Path(named.stdout.strip()), whole.draft_of(folder / "another")
    *_, machine, process, born, number = alive.name.replace(".draft", "").split("-")
    elsewhere = folder / dead.name.replace(f"draft-{machine}", "draft-00000000")
    # of a process that had our number before
    reused = folder / f".checkpoint.draft-{machine}-{process}-{int(born) - 1}-{number}"
    unknown = folder / ".draft-123"  # an older version's, which does not tell where it was written
    for draft in (dead, alive, elsewhere, reused, unknown):
        draft.mkdir()
        (draft / "model.safetensors").write_bytes(b"half")
    assert whole.left_behind(folder) == sorted([dead, reused])
    checkpoint.save(folder, 4, 2.0, *training(4))
    assert {path.name for path in folder.iterdir()} == {
        "step-00000004",
        *(path.name for path in (alive, elsewhere, unknown)),
    }
    assert saved.newest(folder) == folder / "step-00000004" and saved.problems(folder) == []


def test_a_slower_process_does_not_take_a_faster_ones_checkpoint(folder):
    checkpoint.save(folder, 2, 1.0, *training(2))
    model, optimizer = training(0)
    assert checkpoint.restore(folder, model, optimizer) == (3, 1.5)
    assert torch.equal(model.weight, training(3)[0].weight)


def test_a_clock_that_jumps_changes_nothing(tmp_path, monkeypatch):
    year = 365 * 86400
    model, optimizer = training(3)
    for jump in (-20 * year, 30 * year):
        before = time.time()
        monkeypatch.setattr(time, "time", lambda before=before, jump=jump: before + jump)
        checkpoint.save(tmp_path, 3, 1.5, model, optimizer)
        again, other = training(0)
        assert checkpoint.restore(tmp_path, again, other) == (3, 1.5)
        assert torch.equal(again.weight, model.weight)
        assert [path.name for path in tmp_path.iterdir()] == ["step-00000003"]
