"""Several commands at one table, and processes that die: each job is done once, and its numbers stay."""

import importlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing import forkserver
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from sakbench.errors import UserError
from sakbench.report.progress import Display
from sakbench.runs import schedule, team
from sakbench.runs.jobs import Job
from sakbench.runs.local import LocalExecutor
from sakbench.runs.place import Place
from sakbench.runs.schedule import Done, carry_out
from sakbench.training.progress import Progress
from tests.runs.in_memory import Notes, Store, endless_job, job_processes, numbers, small_jobs

COMMAND = Path(__file__).with_name("in_memory.py")
ME = psutil.Process()


def start(folder, executor="local"):
    """The command at small jobs, in a process group of its own."""
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, str(COMMAND), str(folder), executor],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which a test run in the background lacks
        env=os.environ | {"SAKBENCH_CHECKPOINT_SECONDS": "0", "PYTHONPATH": str(COMMAND.parents[2])},
    )


def ended(process) -> int:
    output, _ = process.communicate()
    assert "Traceback" not in output, output
    return process.returncode


def wait_for_checkpoint(folder, process):
    """Until a training that is under way has written its first checkpoint."""
    while process.poll() is None:
        if list((folder / "runs").glob("*/training/step-*")):
            return
        time.sleep(0.005)
    raise AssertionError(f"no training was seen under way: {process.communicate()[0]}")


def read(folder, what):
    return json.loads((folder / f"{what}.json").read_text())


@pytest.fixture
def impatient(monkeypatch):
    """What others hold is asked for all the time."""
    monkeypatch.setattr(schedule, "ASK_SECONDS", 0.05)


class AtOnce:
    """A pool of `devices` whose jobs are done as soon as anybody asks."""

    def __init__(self, devices: int) -> None:
        self.free = devices
        self.running: list[Job] = []

    def fits(self, job: Job) -> bool:
        return job.devices <= self.free

    def start(self, job: Job) -> None:
        self.free -= job.devices
        self.running.append(job)

    def messages(self, seconds: float) -> Iterator[tuple[Job, Done]]:
        time.sleep(0 if self.running else seconds)
        if self.running:
            job = self.running.pop(0)
            self.free += job.devices
            yield job, Done({"metrics": []})

    def stop(self) -> None:
        self.running.clear()


def wide_and_narrow():
    """Three narrow jobs with a wide one among them."""
    narrow = [replace(job, after=()) for job in small_jobs()[:4]]
    return [narrow[0], narrow[1], replace(narrow[2], devices=2), narrow[3]]


def words(notes, word):
    return [label for found, label in notes.events if found == word]


def test_a_wide_job_is_not_overtaken():
    jobs, notes = wide_and_narrow(), Notes()
    carry_out([jobs[0], *jobs[2:]], AtOnce(2), notes, notes)
    assert [e for e in notes.events if e[0] in ("started", "finished")] == [
        (word, job.label) for job in (jobs[0], *jobs[2:]) for word in ("started", "finished")
    ]


def test_jobs_of_others_are_passed_over_and_asked_for_again(impatient):
    jobs, notes = small_jobs(), Notes()
    run = next(job for job in jobs if not job.after and "single" in job.label)
    before = next(job for job in jobs if "stage 1" in job.label)
    notes.store.holders |= {run.id: "another", before.id: "another"}
    asked = []

    def take(job):
        asked.append(job.id)
        if asked.count(before.id) == 3:  # one is done, the other is left
            notes.store.holders.clear()
            notes.store.results[before.id] = {"metrics": []}
        return Notes.take(notes, job)

    notes.take = take
    carry_out(jobs, AtOnce(2), notes, notes)
    assert len(words(notes, "elsewhere: another")) == 2
    assert words(notes, "done elsewhere") == [before.label]
    after = next(job for job in jobs if "stage 2" in job.label)
    done = words(notes, "stored")
    assert sorted(done) == sorted(job.label for job in jobs if job != before)
    assert notes.events.index(("started", after.label)) > notes.events.index(("done elsewhere", before.label))


def test_ctrl_c_ends_the_wait_for_others(impatient):
    notes, job = Notes(), endless_job()
    notes.store.holders[job.id] = "another"
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            LocalExecutor(["cpu"], Place(Path("unused"))).run([job], notes, notes)
    finally:
        signal.signal(signal.SIGINT, before)
    assert notes.events == [("elsewhere: another", job.label)]


def test_two_commands_do_each_run_once(undisturbed, tmp_path, impatient):
    store = Store()
    both = [Notes(name, store) for name in ("one", "other")]
    threads = [
        threading.Thread(target=LocalExecutor(["cpu"], Place(tmp_path)).run, args=(small_jobs(), notes, notes))
        for notes in both
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert numbers(store) == undisturbed
    runs = {job.label for job in small_jobs() if job.id in undisturbed}
    stored = [label for notes in both for label in words(notes, "stored") if label in runs]
    assert sorted(stored) == sorted(runs)
    for notes in both:  # what one has not done, it has seen done
        assert set(words(notes, "finished")) | set(words(notes, "done elsewhere")) >= runs


def test_a_lost_job_is_stopped_and_nothing_of_it_is_stored(tmp_path, impatient):
    job, store = endless_job(), Store()

    def lose(job):
        store.holders[job.id] = "another"

    notes = Notes(store=store, hear=lose)

    def elsewhere(job, holder):
        Notes.elsewhere(notes, job, holder)
        store.results[job.id] = {"metrics": []}

    notes.elsewhere = elsewhere
    LocalExecutor(["cpu"], Place(tmp_path)).run([job], notes, notes)
    assert [word.partition(":")[0] for word, _ in notes.events] == ["started", "elsewhere", "done elsewhere"]
    assert not job_processes(ME)


@pytest.mark.parametrize("width", [1, 2])
def test_a_job_whose_process_dies_three_times_has_failed(tmp_path, width):
    def kill(job):
        for process in job_processes(ME)[-1:]:  # of two the second, so that the first fails for want of it
            process.kill()

    notes = Notes(hear=kill)
    job = replace(endless_job(), devices=width)
    with pytest.raises(UserError, match=r"died 3 times \(exit code -9; .*call the same command again"):
        LocalExecutor(["cpu"] * width, Place(tmp_path)).run([job], notes, notes)
    given_up = "failed: its process died 3 times, the last time with exit code -9"
    died = ["died: exit code -9"] * 2  # the record hears of it, and the display
    assert [word for word, _ in notes.events] == ["started", *died, *died, given_up]
    assert not job_processes(ME)


def test_a_process_that_is_killed_changes_no_number(undisturbed, tmp_path):
    command = start(tmp_path)
    wait_for_checkpoint(tmp_path, command)
    for process in job_processes(psutil.Process(command.pid)):
        process.kill()
    assert ended(command) == 0
    assert "died: exit code -9" in dict(read(tmp_path, "events"))
    assert read(tmp_path, "numbers") == undisturbed


def test_another_fork_server_takes_the_place_of_one_that_was_killed():
    for _ in range(2):
        process = team._context().Process(target=os.getpid)
        team._begin(process)
        process.join()
        assert process.exitcode == 0
        os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)


def test_nothing_outlives_the_command(tmp_path):
    command = start(tmp_path)
    wait_for_checkpoint(tmp_path, command)
    below = psutil.Process(command.pid).children(recursive=True)
    assert len(job_processes(psutil.Process(command.pid))) > 0
    command.kill()
    command.wait()
    _, left = psutil.wait_procs(below, timeout=30)
    assert not left


def test_launched_processes_wait_together(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(COMMAND.parents[2])}
    group = [*command, str(COMMAND.with_name("waiting_group.py")), str(tmp_path)]
    done = subprocess.run(group, capture_output=True, text=True, check=False, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    held, mine = (job.label for job in small_jobs() if "task" in job.label)
    happened = [tuple(event) for event in read(tmp_path, "events")]
    assert happened[:3] == [("elsewhere", held), ("started", endless_job().label), ("elsewhere", endless_job().label)]
    assert sorted(happened[3:5]) == sorted(("done elsewhere", label) for label in (held, endless_job().label))
    assert happened[5:] == [(word, mine) for word in ("started", "stored", "finished")]


def test_without_ray_there_is_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "sakbench.runs.on_ray", raising=False)
    with pytest.raises(UserError, match=r"pip install 'sakbench\[ray\]'"):
        importlib.import_module("sakbench.runs.on_ray")


def test_the_bar_of_the_whole_comes_to_its_end():
    jobs, output = small_jobs(), io.StringIO()
    with Display(Console(file=output, force_terminal=True, width=200), "A table", jobs) as display:
        for job in jobs[:3]:
            display.started(job)
            display.progressed(job, Progress(1, 2))
        display.died(jobs[0], "exit code -9")
        display.finished(jobs[0], {})
        display.elsewhere(jobs[1], "process 7 on alpha")
        display.elsewhere(jobs[3], "process 7 on alpha")
        display.done_elsewhere(jobs[1])
        display.started(jobs[3])
        for job in (jobs[2], jobs[3]):
            display.finished(job, {})
        for job in jobs[4:]:
            display.done_elsewhere(job)
        (whole,) = display.progress.tasks
        assert whole.completed == whole.total and not whole.fields["losses"]
    assert output.getvalue().count("process 7 on alpha is at it") == 2
