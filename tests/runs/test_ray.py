"""The small jobs on a Ray cluster of this machine: the local executor's numbers, whatever is killed."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from sakbench.errors import INTERRUPTED, UserError
from sakbench.runs.local import LocalExecutor
from sakbench.runs.place import Place
from tests.runs.in_memory import Notes, endless_job, job_processes, numbers, small_jobs
from tests.runs.test_executors import ended, read, start, wait_for_checkpoint, words

ray = pytest.importorskip("ray")

from sakbench.runs import on_ray  # noqa: E402

ME = psutil.Process()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", "no Ray cluster answers at 127.0.0.1:1"),
        ("nowhere.invalid:6379", "no Ray cluster answers at nowhere.invalid"),
        ("127.0.0.1:99999", "no Ray cluster answers"),
        ("ray://127.0.0.1:10001", "name its head as HOST:PORT"),
        ("here", "name its head as HOST:PORT, or say auto"),
    ],
)
def test_an_address_without_a_cluster_is_one_sentence(tmp_path, address, message):
    notes = Notes()
    with pytest.raises(UserError, match=message):
        on_ray.RayExecutor(Place(tmp_path), address).run([endless_job()], notes, notes)
    assert not notes.events


@pytest.fixture(scope="module")
def cluster():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAKBENCH_CHECKPOINT_SECONDS", "0")  # which tasks are given, too
        patch.delenv("RAY_ADDRESS", raising=False)
        on_ray.connect()
        yield
        ray.shutdown()


def name_of(process: psutil.Process) -> str:
    try:
        return "".join(process.cmdline()[:1])
    except psutil.Error:  # it has just ended
        return ""


def has_checkpoint(runs: Path, job) -> bool:
    return bool(list((runs / job.id / "training").glob("step-*")))


def test_the_numbers_are_those_of_the_local_executor_whatever_is_killed(undisturbed, cluster, tmp_path):
    """A job's process is killed, and the worker of a task, whose processes end with it."""
    below = []

    def kill(job):  # until it is noticed: who has just done its work is no loss
        if has_checkpoint(tmp_path, job):
            happened = {word for word, _ in notes.events}
            if "died: exit code -9" not in happened:
                victims = job_processes(ME)
            elif "died: its worker was lost" not in happened:
                victims = [p for p in ME.children(recursive=True) if name_of(p) == f"ray::{job.label}"]
            else:
                return
            for process in victims[:1]:
                below.extend(process.children(recursive=True))
                process.kill()

    notes = Notes(hear=kill)
    on_ray.RayExecutor(Place(tmp_path)).run(small_jobs(), notes, notes)
    assert {"died: exit code -9", "died: its worker was lost"} <= {word for word, _ in notes.events}
    assert below and not any(process.is_running() for process in below)
    assert numbers(notes.store) == undisturbed
    assert sorted(words(notes, "finished")) == sorted(job.label for job in small_jobs())


def test_ctrl_c_keeps_checkpoints(undisturbed, cluster, tmp_path):
    def interrupt(job):
        if has_checkpoint(tmp_path, job):
            raise KeyboardInterrupt

    notes = Notes(hear=interrupt)
    with pytest.raises(KeyboardInterrupt):
        on_ray.RayExecutor(Place(tmp_path)).run(small_jobs(), notes, notes)
    assert words(notes, "stopping") and words(notes, "interrupted")
    assert not job_processes(ME)
    assert any(has_checkpoint(tmp_path, job) for job in small_jobs())
    again = Notes(store=notes.store)
    LocalExecutor(["cpu"] * 2, Place(tmp_path)).run(small_jobs(), again, again)
    assert numbers(again.store) == undisturbed


def test_a_lost_job_is_stopped(cluster, tmp_path):
    def lose(job):
        notes.store.holders[job.id] = "another"
        notes.store.results[job.id] = {"metrics": []}

    notes = Notes(hear=lose)
    on_ray.RayExecutor(Place(tmp_path)).run([endless_job()], notes, notes)
    assert [word.partition(":")[0] for word, _ in notes.events] == ["started", "elsewhere", "done elsewhere"]
    assert not job_processes(ME)


def test_a_node_that_cannot_take_part_is_named(cluster, tmp_path, monkeypatch):
    def run(place, job=None):
        notes = Notes()
        on_ray.RayExecutor(place).run([job or endless_job()], notes, notes)

    name = on_ray.nodes()[0].name
    with pytest.raises(UserError) as lacking:
        run(Place(tmp_path, data=tmp_path / "nothing"))
    assert name in str(lacking.value) and f"does not see {tmp_path / 'nothing'}" in str(lacking.value)
    with pytest.raises(UserError, match=f"does not see {Path.cwd() / 'no-pairs'}"):  # wherever the workers are
        run(Place(tmp_path, pairs=Path("no-pairs")))
    with pytest.raises(UserError, match=r"takes 0 GPUs and 99 cores of one node, and no node"):
        run(Place(tmp_path), replace(endless_job(), devices=99))
    with pytest.raises(UserError, match="no node of the Ray cluster has a GPU"):
        run(Place(tmp_path, on_cpu=False))
    monkeypatch.setattr(on_ray, "__version__", "99.0")
    with pytest.raises(UserError) as other:
        run(Place(tmp_path))
    assert name in str(other.value) and "this is 99.0: install the same there" in str(other.value)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_job_outlives_the_command(tmp_path, number):
    """Nor does a signal that ends the cluster's own processes, too, keep the command from ending well."""
    command = start(tmp_path, "ray")
    wait_for_checkpoint(tmp_path, command)
    at_work = job_processes(psutil.Process(command.pid))
    assert at_work
    if number == signal.SIGTERM:
        os.killpg(command.pid, number)
        assert ended(command) == INTERRUPTED
        assert {"stopping", "interrupted"} <= dict(read(tmp_path, "events")).keys()
    else:
        command.kill()
        command.wait()
    _, left = psutil.wait_procs(at_work, timeout=60)
    assert not left
    assert list((tmp_path / "runs").glob("*/training/step-*"))
