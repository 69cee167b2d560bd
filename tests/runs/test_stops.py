"""Commands that are killed, stopped, doubled or left without their store, at a tiny scale: they end with one result."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from sakbench.store import open_store
from tests.runs.tiny_command import SCALE

COMMAND = Path(__file__).with_name("tiny_command.py")
STEPS = SCALE.tune.steps


def numbers(store):
    """What was measured of each run."""
    records, _ = open_store(store, write=False).complete()
    return {record.id: {m.task: m.value for m in record.metrics} for record in records}


def start(store, runs=None):
    """The small table's command in a process group of its own, as a terminal would start it."""
    return subprocess.Popen(
        [sys.executable, str(COMMAND), str(store), str(runs or store.parent / "runs")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which a test run in the background lacks
        env=os.environ | {"SAKBENCH_CHECKPOINT_SECONDS": "0"},
    )


def wait_for_checkpoint(runs, process):
    """Until a training that is under way has written a checkpoint that was not there yet; its folder."""
    before = set(runs.glob("*/training/step-*"))
    while process.poll() is None:
        for folder in set(runs.glob("*/training/step-*")) - before:
            if 0 < int(folder.name.removeprefix("step-")) < STEPS:
                return folder
        time.sleep(0.005)
    raise AssertionError(f"no training was seen under way: {process.communicate()[0]}")


def test_a_command_that_is_ended_goes_on_at_the_next_call_and_changes_no_number(undisturbed, tmp_path):
    store = tmp_path / "store.db"
    for number in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM):
        process = start(store)
        folder = wait_for_checkpoint(tmp_path / "runs", process)
        os.killpg(process.pid, number)
        output, _ = process.communicate()
        # Ended in the middle of that run: a checkpoint short of its end is what there is to go on from.
        assert 0 < max(int(f.name.removeprefix("step-")) for f in folder.parent.glob("step-*")) < STEPS
        if number != signal.SIGKILL:
            assert process.returncode == 130, output
            assert "interrupted" in set(open_store(store, write=False).runs()["status"])
            assert "goes on from there" in output
            assert "Traceback" not in output
    process = start(store)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert numbers(store) == undisturbed


def test_two_commands_that_start_at_once_share_the_table(undisturbed, tmp_path):
    place = str(tmp_path / "new" / "sakbench.db")
    processes = [start(place, tmp_path / "runs") for _ in range(2)]
    for process in processes:
        output, _ = process.communicate()
        assert process.returncode == 0, output
    assert numbers(place) == undisturbed
    store = open_store(place, write=False)
    events = {run: [event.kind for event in store.history(run)] for run in store.runs()["id"]}
    assert set(map(tuple, events.values())) == {("started", "finished")}, events
    assert store.claimed() == set()


def test_one_of_two_commands_is_killed_and_the_other_does_the_rest(undisturbed, place, request, tmp_path):
    first = start(place, tmp_path / "runs")
    wait_for_checkpoint(tmp_path / "runs", first)
    if place.startswith("postgresql"):  # whose server crashes and comes back before, which costs nothing
        server = request.getfixturevalue("postgresql")
        server.stop()
        time.sleep(2)
        server.start()
        wait_for_checkpoint(tmp_path / "runs", first)
    second = start(place, tmp_path / "runs")
    time.sleep(1)
    first.kill()  # alone: its workers notice, and must not be in the way
    output, _ = second.communicate()
    first.communicate()
    assert second.returncode == 0, output
    assert numbers(place) == undisturbed
