"""Shared fixtures. What tests render and compute lies in a cache of its own, never in the user's."""

import io
import os
import subprocess
import warnings
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

import pytest

from sakbench.cli import main
from sakbench.runs.scales import MINI, Scale
from tests import postgresql as servers

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """A fresh cache folder for the whole session, which child processes inherit."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["SAKBENCH_CACHE"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def tiny() -> Scale:
    """Mini with a few images and steps: the same code in seconds, for numbers that mean nothing."""
    return replace(
        MINI,
        distill_images=24,
        train_images=16,
        test_images=12,
        distill=replace(MINI.distill, steps=4, batch_size=8, warmup=1),
        tune=replace(MINI.tune, steps=6, batch_size=8),
        probe=replace(MINI.probe, steps=4, batch_size=8),
        depth=replace(MINI.depth, steps=4, batch_size=4, warmup=1),
        classify=replace(MINI.classify, steps=4, batch_size=8),
        align=replace(MINI.align, steps=2, batch_size=4, warmup=1),
        instruct=replace(MINI.instruct, steps=3, batch_size=4, warmup=1),
    )


@pytest.fixture
def sakbench(tmp_path, monkeypatch):
    """The command, called in an empty folder; gives what a process would. In this one, which has PyTorch already."""

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        monkeypatch.chdir(tmp_path)
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings(), pytest.raises(SystemExit) as end:
            warnings.resetwarnings()
            for unseen in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
                warnings.simplefilter("ignore", unseen)  # as in a process of its own, where the others are printed
            warnings.showwarning = lambda *about: err.write(warnings.formatwarning(*about[:4]))
            main(arguments)
        return subprocess.CompletedProcess(arguments, end.value.code, out.getvalue(), err.getvalue())

    return call


@pytest.fixture(scope="session")
def postgresql():
    """A PostgreSQL server, for the whole session."""
    programs = servers.programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed: `apt-get install postgresql` brings it")
    server = servers.Server(programs)
    yield server
    server.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path) -> str:
    """Where a new store can be made: a file, and a database of a server."""
    if request.param == "sqlite":
        return str(tmp_path / "new" / "sakbench.db")
    return request.getfixturevalue("postgresql").database()
