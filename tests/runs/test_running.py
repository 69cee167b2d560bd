"""Whole tables at a tiny scale, through worker processes; killed and interrupted ones end with the same numbers."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from sakbench.errors import UserError
from sakbench.experiments import tables
from sakbench.experiments.rows import multi_task, under
from sakbench.experiments.run import planned, select
from sakbench.report.running import Request, run
from sakbench.runs.jobs import Job, jobs
from sakbench.runs.perform import perform
from sakbench.runs.place import Place
from sakbench.store import open_store
from tests.runs.tiny_command import SCALE

COMMAND = Path(__file__).with_name("tiny_command.py")
STEPS = SCALE.tune.steps


def numbers(store):
    frame = open_store(store, write=False).frame()
    return frame.set_index(["table", "row", "task"])["value"].sort_index()


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
    """Until a training that is under way has written a checkpoint; its folder."""
    while process.poll() is None:
        for folder in runs.glob("*/training/step-*"):
            if 0 < int(folder.name.removeprefix("step-")) < STEPS:
                return folder
        time.sleep(0.005)
    raise AssertionError(f"no training was seen under way: {process.communicate()[0]}")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    store = tmp_path_factory.mktemp("undisturbed") / "store.db"
    process = start(store)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    return numbers(store)


def test_the_table_is_complete(undisturbed):
    tasks = {task for _, row, task in undisturbed.index if row == "CLIP"}
    assert tasks == {"semseg", "parsing", "saliency", "normals", "boundary"}


def test_kill_9_in_the_middle_changes_no_number(undisturbed, tmp_path):
    store = tmp_path / "store.db"
    for _ in range(3):
        process = start(store)
        folder = wait_for_checkpoint(tmp_path / "runs", process)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        # Killed in the middle of that run: a checkpoint short of its end is what there is to go on from.
        assert 0 < max(int(f.name.removeprefix("step-")) for f in folder.parent.glob("step-*")) < STEPS
    process = start(store)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    pd.testing.assert_series_equal(numbers(store), undisturbed)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_stopped_keeps_what_was_done_and_says_how_to_go_on(undisturbed, tmp_path, number):
    store = tmp_path / "store.db"
    process = start(store)
    wait_for_checkpoint(tmp_path / "runs", process)
    os.killpg(process.pid, number)
    output, _ = process.communicate()
    assert process.returncode == 130, output
    assert list((tmp_path / "runs").glob("*/training/step-*"))
    assert "interrupted" in set(open_store(store, write=False).runs()["status"])
    assert "goes on from there" in output
    assert "Traceback" not in output
    process = start(store)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    pd.testing.assert_series_equal(numbers(store), undisturbed)


def test_two_commands_that_start_at_once_share_the_table(undisturbed, tmp_path):
    place = str(tmp_path / "new" / "sakbench.db")
    processes = [start(place, tmp_path / "runs") for _ in range(2)]
    for process in processes:
        output, _ = process.communicate()
        assert process.returncode == 0, output
    pd.testing.assert_series_equal(numbers(place), undisturbed)
    store = open_store(place, write=False)
    events = {run: [event.kind for event in store.history(run)] for run in store.runs()["id"]}
    assert set(map(tuple, events.values())) == {("started", "finished")}, events
    assert store.claimed() == set()


def test_one_of_two_commands_is_killed_and_the_other_does_the_rest(undisturbed, place, tmp_path):
    first = start(place, tmp_path / "runs")
    wait_for_checkpoint(tmp_path / "runs", first)
    second = start(place, tmp_path / "runs")
    time.sleep(1)
    first.kill()  # alone: its workers notice, and must not be in the way
    output, _ = second.communicate()
    first.communicate()
    assert second.returncode == 0, output
    pd.testing.assert_series_equal(numbers(place), undisturbed)


def test_a_server_that_crashes_and_comes_back_costs_nothing(undisturbed, postgresql, tmp_path):
    place = postgresql.database()
    process = start(place, tmp_path / "runs")
    for _ in range(2):
        wait_for_checkpoint(tmp_path / "runs", process)
        postgresql.stop()
        time.sleep(2)
        postgresql.start()
    output, _ = process.communicate()
    assert process.returncode == 0, output
    pd.testing.assert_series_equal(numbers(place), undisturbed)


def test_a_second_call_trains_nothing(tiny, tmp_path, capsys):
    store = tmp_path / "store.db"
    experiment = replace(tables.get("table7"), build=lambda scale, seed: tables.get("table7").build(scale, seed)[:2])
    for _ in range(2):
        assert run(experiment, tiny, Request(store, "again", jobs=2)) == 0
    assert "every run is in the store already" in capsys.readouterr().out
    stored = open_store(store, write=False)
    assert planned(select(experiment, tiny, range(1)), stored, tmp_path / "runs") == []
    assert len(planned(select(experiment, tiny, range(2)), stored, tmp_path / "runs")) == 6
    assert len(planned(select(experiment, tiny, range(2), "multi"), stored, tmp_path / "runs")) == 1


def test_the_number_of_processes_changes_no_number(tiny, tmp_path):
    experiment = replace(tables.get("table7"), build=lambda scale, seed: tables.get("table7").build(scale, seed)[:2])
    found = []
    for processes in (1, 3):
        store = tmp_path / f"{processes}.db"
        run(experiment, tiny, Request(store, "again", jobs=processes))
        found.append(numbers(store))
    pd.testing.assert_series_equal(*found)


def test_another_protocol_scores_again_and_trains_nothing(tiny, tmp_path):
    store = tmp_path / "store.db"
    experiment = replace(tables.get("table7"), build=lambda scale, seed: tables.get("table7").build(scale, seed)[:2])
    run(experiment, tiny, Request(store, "again", jobs=2))
    other = under(experiment, "invpt")
    work = [
        job.work for job in planned(select(other, tiny, range(1)), open_store(store, write=False), tmp_path / "runs")
    ]
    assert [run.kind for run in work] == [
        "score",
        "score",
    ]  # the single-task baseline of boundary, and the multi-task one
    run(other, tiny, Request(store, "again", jobs=2))
    frame = open_store(store, write=False).frame().set_index(["table", "row", "task"])
    first, second = frame.loc["table7"], frame.loc["table7-invpt"]
    pd.testing.assert_series_equal(first["value"].drop("boundary", level=1), second["value"].drop("boundary", level=1))
    protocols = [part.xs("boundary", level="task")["protocol"].unique() for part in (first, second)]
    assert [len(each) for each in protocols] == [1, 1]
    assert "NMS r 4, >=" in protocols[0][0] and "NMS r 1, >," in protocols[1][0]


def test_every_table_runs(tiny, tmp_path):
    """Every kind of run of every table, in this process; those that differ in a number alone are one kind."""
    done = set()
    for name in (e.name for e in tables.EXPERIMENTS.values() if "mini" in e.scales):
        for job in ordered(tables.get(name), tiny):
            if job.id not in done:
                result = perform(job.work, Place(tmp_path / "runs"), lambda *progress: None, lambda: False)
                done.add(job.id)
                for metric in result.get("metrics", []):
                    assert metric["value"] == metric["value"], job.label


def ordered(experiment, scale) -> list[Job]:
    kinds = {}
    for spec in (spec for row in experiment.build(scale, 0) for spec in row.runs):
        alone = {"backbone": scale.vit, "tasks": scale.tasks[:1], "inputs": ()} if len(spec.tasks) == 1 else {}
        same = replace(spec, gamma=float(spec.gamma > 0), train_images=scale.train_images, **alone)
        kinds.setdefault(same.id, spec)
    waiting = jobs(list({each.id: each for run in kinds.values() for each in run.lineage}.values()))
    order: list[Job] = []
    while waiting:
        ready = next(job for job in waiting if all(after in {j.id for j in order} for after in job.after))
        waiting.remove(ready)
        order.append(ready)
    return order


def test_a_diverging_run_stops_the_table_with_a_sentence(tiny, tmp_path):
    spec = multi_task(replace(tiny, tune=replace(tiny.tune, lr=1e30, clip=None, steps=200)), 0)
    with pytest.raises(UserError, match="no longer finite"):
        perform(spec, Place(tmp_path / "runs"), lambda *progress: None, lambda: False)
    assert not (tmp_path / "runs" / spec.id / "model.safetensors").exists()


def test_a_run_that_was_trained_but_not_stored_is_only_evaluated_again(tiny, tmp_path):
    steps = []

    def run():
        return perform(multi_task(tiny, 0), Place(tmp_path), lambda step, *rest: steps.append(step), lambda: False)

    first = run()
    assert steps
    steps.clear()
    assert run()["metrics"] == first["metrics"]
    assert not steps


def test_rows_are_stored_as_soon_as_they_are_complete(tiny, tmp_path):
    diverging = replace(tiny.tune, lr=1e30, clip=None, steps=tiny.tune.steps - 1)  # the shortest run comes last

    def build(scale, seed):
        single, multi = tables.get("table7").build(scale, seed)[:2]
        return [single, replace(multi, runs=(replace(multi.runs[0], recipe=diverging),))]

    experiment = replace(tables.get("table7"), build=build)
    with pytest.raises(UserError, match="no longer finite"):
        run(experiment, tiny, Request(tmp_path / "s.db", "again", jobs=1))
    store = open_store(tmp_path / "s.db", write=False)
    assert set(store.frame()["row"]) == {"Single-task baseline"}
    assert store.runs()["status"].value_counts().to_dict() == {"done": 5, "failed": 1}
    assert not list((tmp_path / "runs").glob("*/training/*"))  # served, or failed before its first checkpoint
