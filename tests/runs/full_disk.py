"""`python full_disk.py DISK`: what is written to a disk that has become full, DISK being a small one of its own.

Everything on it must be as before, with one sentence to the user, and go on when there is room: exit code 0 if so.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from sakbench import backbones, data, whole
from sakbench.errors import UserError
from sakbench.experiments.rows import multi_task
from sakbench.runs import artifacts, perform, results
from sakbench.runs.place import Place
from sakbench.runs.plan import training_folder
from sakbench.runs.scales import MINI
from sakbench.training import checkpoint, features, kept, saved


def files(folder: Path) -> dict[str, bytes]:
    """Everything below a folder but locks, which are empty."""
    found = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}
    return {str(path): content for path, content in found.items() if path.name not in (".lock", "filler")}


def fill(disk: Path) -> None:
    with (disk / "filler").open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            return


def refused(disk: Path, module: Any, name: str, work: Callable[[], object]) -> None:
    """Have `work` meet a full disk when it comes to calling `module.name`; then make room."""
    genuine, before = getattr(module, name), dict[str, bytes]()

    def with_a_full_disk(*arguments: Any) -> Any:
        before.update(files(disk))
        fill(disk)
        return genuine(*arguments)

    with patch.object(module, name, with_a_full_disk):
        try:
            work()
        except UserError as error:
            assert "No space left" in str(error) and "make room" in str(error) and "\n" not in str(error), error
        else:
            raise AssertionError(f"{name} was not refused")
    (disk / "filler").unlink()
    assert files(disk) == before, sorted(set(files(disk)) ^ set(before))


def checkpoints(disk: Path) -> None:
    model = torch.nn.Linear(200, 200)
    optimizer = torch.optim.AdamW(model.parameters())
    folder = disk / "training"
    checkpoint.save(folder, 1, 1.0, model, optimizer)
    refused(disk, checkpoint, "save", lambda: checkpoint.save(folder, 2, 2.0, model, optimizer))
    assert checkpoint.restore(folder, model, optimizer) == (1, 1.0)
    checkpoint.save(folder, 2, 2.0, model, optimizer)
    assert [path.name for path in folder.iterdir()] == ["step-00000002"] and not saved.problems(folder)
    whole.discard(folder)


def banks(disk: Path) -> None:
    scenes = data.load("miniworld-pascal", "train", 10)
    os.environ["SAKBENCH_CACHE"] = str(disk)

    def bank() -> features.Levels:
        return features.bank("vit", lambda: backbones.create("mini_vit_s.supervised"), scenes, 64)

    refused(disk, features, "_write", bank)
    bank()
    (folder,) = kept.place().glob("[!.]*")
    assert kept.trouble(folder, summed=True) is None
    whole.discard(kept.place())


def runs(disk: Path) -> None:
    """A run that finds the disk full at its checkpoint, at its weights, at their list, at its result; then it ends."""
    steps = replace(MINI.tune, steps=2, batch_size=4)
    spec = multi_task(replace(MINI, train_images=8, test_images=4, tune=steps), 0)
    training, trained = training_folder(disk, spec), list[int]()

    def run() -> dict[str, Any]:
        trained.clear()
        return perform.perform(spec, Place(disk), lambda progress: trained.append(progress.step), lambda: False)

    refused(disk, checkpoint, "save", run)
    assert trained[-1] == 2 and saved.newest(training) is None
    refused(disk, perform, "write", run)
    assert trained[-1] == 2 and not (disk / spec.id / "model.safetensors").exists()
    refused(disk, artifacts, "write", run)
    refused(disk, results, "write", run)
    assert not trained and results.read(training, disk) is None
    assert run() == results.read(training, disk)
    assert not artifacts.problems(disk / spec.id) and not artifacts.drafts(disk)


if __name__ == "__main__":
    for check in (checkpoints, banks, runs):
        check(Path(sys.argv[1]))
