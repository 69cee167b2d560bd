"""Features of frozen backbones on a disk that damages them, beside processes that are killed or compute the same."""

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from filelock import FileLock

from sakbench.runs import banks, perform, rendered
from sakbench.runs.jobs import Bank
from sakbench.runs.place import Place
from sakbench.training import features, kept
from tests.conftest import ROOT


@pytest.fixture
def own_cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("SAKBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


BANK = Bank("miniworld-pascal", "test", 8, "mini_vit_s.supervised")
WRITE = """
import time
from pathlib import Path
from sakbench.runs import perform
from sakbench.runs.place import Place
from sakbench.training import features
from tests.runs.test_banks import BANK

def written(progress):
    print(progress.step, flush=True)
    if progress.step == 4:
        time.sleep(600)

features._BATCH = 2
perform.perform(BANK, Place(Path()), written, lambda: False)
"""


def compute(stop=lambda: False) -> Path:
    """Have the features on the disk; their folder."""
    perform.perform(BANK, Place(Path()), lambda progress: None, stop)
    (folder,) = kept.place().glob("[!.]*")
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def flip(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-9] + bytes([file.read_bytes()[-9] ^ 1]) + file.read_bytes()[-8:])


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize("name", ["level-3.npy", "manifest.json"])
@pytest.mark.parametrize("damage", [flip, cut, Path.unlink])
def test_damaged_features_are_never_used(own_cache, capsys, name, damage):
    folder = compute()
    whole = content(folder)
    assert set(whole) == {*kept.LEVELS, "manifest.json"}

    assert banks._is_kept(BANK, {})
    compute()
    assert not capsys.readouterr().err
    damage(folder / name)
    damaged = content(folder)
    assert not banks._is_kept(BANK, {})  # by the command, before it plans
    assert content(folder) == damaged  # which may be a dry run
    readers = {"the process whose job they are": compute}
    if damage is not flip:
        readers["a run that reads them"] = partial(rendered.stored, BANK, Place(Path()), stop=lambda: False)
    for again in readers.values():
        again()
        told = capsys.readouterr().err
        assert told.count("\n") == 1 and f"the features {folder} are computed again" in told
        assert content(folder) == whole
        damage(folder / name)


def test_what_was_killed_while_it_wrote_is_never_taken_for_whole(own_cache):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", WRITE], stdout=subprocess.PIPE, text=True, env=environment)
    while (line := process.stdout.readline().strip()) != "4":
        assert line, "it ended by itself"
    (draft,) = kept.place().glob(".*.draft-*")
    with pytest.raises(perform.Stopped):  # it is alive, so its place is left to it
        compute(stop=lambda: True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert draft.exists() and not list(kept.place().glob("[!.]*"))
    folder = compute()
    assert {path.name for path in kept.place().iterdir()} == {folder.name, f".{folder.name}.lock"}
    assert kept.trouble(folder, summed=True) is None


def test_who_waited_for_features_reads_the_others(own_cache, monkeypatch):
    folder = compute()
    aside = folder.rename(own_cache / "aside")
    other = FileLock(folder.with_name(f".{folder.name}.lock"))
    other.acquire()
    monkeypatch.setattr(features, "_write", None)  # would be called

    def ends() -> bool:
        if other.is_locked:
            aside.rename(folder)
            other.release()
        return False

    rendered.stored(BANK, Place(Path()), stop=ends)
    assert not other.is_locked
