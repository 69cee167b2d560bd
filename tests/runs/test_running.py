"""Whole tables at a tiny scale, through worker processes and in this one."""

from dataclasses import replace

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


def numbers(store):
    frame = open_store(store, write=False).frame()
    return frame.set_index(["table", "row", "task"])["value"].sort_index()


def test_a_second_call_trains_nothing(tiny, tmp_path, capsys):
    store = tmp_path / "store.db"
    experiment = replace(tables.get("table7"), build=lambda scale, seed: tables.get("table7").build(scale, seed)[:2])
    for _ in range(2):
        assert run(experiment, tiny, Request(store, "again", jobs=2, seeds=1)) == 0
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
        run(experiment, tiny, Request(store, "again", jobs=processes, seeds=1))
        found.append(numbers(store))
    pd.testing.assert_series_equal(*found)


def test_another_protocol_scores_again_and_trains_nothing(tiny, tmp_path):
    store = tmp_path / "store.db"
    experiment = replace(tables.get("table7"), build=lambda scale, seed: tables.get("table7").build(scale, seed)[:2])
    run(experiment, tiny, Request(store, "again", jobs=2, seeds=1))
    other = under(experiment, "invpt")
    work = [
        job.work for job in planned(select(other, tiny, range(1)), open_store(store, write=False), tmp_path / "runs")
    ]
    assert [run.kind for run in work] == [
        "score",
        "score",
    ]  # the single-task baseline of boundary, and the multi-task one
    run(other, tiny, Request(store, "again", jobs=2, seeds=1))
    frame = open_store(store, write=False).frame().set_index(["table", "row", "task"])
    first, second = frame.loc["table7"], frame.loc["table7-invpt"]
    pd.testing.assert_series_equal(first["value"].drop("boundary", level=1), second["value"].drop("boundary", level=1))
    protocols = [part.xs("boundary", level="task")["protocol"].unique() for part in (first, second)]
    assert [len(each) for each in protocols] == [1, 1]
    assert "NMS r 4, >=" in protocols[0][0] and "NMS r 1, >," in protocols[1][0]


def test_every_table_runs(tiny, tmp_path):
    """Every kind of run of every table, in this process; those that differ in a number alone are one kind."""
    for job in ordered([e for e in tables.EXPERIMENTS.values() if "mini" in e.scales], tiny):
        result = perform(job.work, Place(tmp_path / "runs"), lambda *progress: None, lambda: False)
        for metric in result.get("metrics", []):
            assert metric["value"] == metric["value"], job.label


def suited(experiment, scale):
    """Scenes that hold what a table is about."""
    indoors = experiment.benchmark == "NYUd"
    return replace(scale, dataset="miniworld-nyud", tasks=("depth",)) if indoors else scale


def ordered(experiments, scale) -> list[Job]:
    kinds = {}
    for spec in (spec for e in experiments for row in e.build(suited(e, scale), 0) for spec in row.runs):
        alone = {"backbone": scale.vit, "tasks": scale.tasks[:1], "inputs": ()} if len(spec.tasks) == 1 else {}
        length = {"recipe": scale.tune} if spec.kind == "tasks" and not spec.frozen else {}
        same = replace(spec, gamma=float(spec.gamma > 0), train_images=scale.train_images, **alone, **length)
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
        run(experiment, tiny, Request(tmp_path / "s.db", "again", jobs=1, seeds=1))
    store = open_store(tmp_path / "s.db", write=False)
    assert set(store.frame()["row"]) == {"Single-task baseline"}
    assert store.runs()["status"].value_counts().to_dict() == {"done": 5, "failed": 1}
    assert not list((tmp_path / "runs").glob("*/training/*"))  # served, or failed before its first checkpoint
