"""`sakbench store ...` and `sakbench repeat` as a user calls them."""

import hashlib
import json
import sqlite3
import subprocess
import sys
from dataclasses import replace

import pytest

from sakbench.experiments.rows import Experiment, Row, multi_task
from sakbench.report.running import Request, carry_out
from sakbench.store import Artifact, Measurement, open_store

RUN = {"kind": "tasks", "label": "probe clip", "seed": 0, "scale": "mini", "dataset": "miniworld-pascal"}


def complains(done, *words):
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr and done.stderr.startswith("sakbench: ")
    assert len(done.stderr.strip().splitlines()) == 1
    for word in words:
        assert word in done.stderr
    return True


@pytest.fixture
def store(tmp_path):
    """`results/sakbench.db` with three runs that have weights beside it."""
    store = open_store(tmp_path / "results" / "sakbench.db", write=True)
    for run in ("aaaa", "bbbb", "cccc"):
        path = tmp_path / "results" / "runs" / run / "model.safetensors"
        path.parent.mkdir(parents=True)
        path.write_bytes(run.encode() * 1000)
        weights = Artifact(f"{run}/{path.name}", 4000, hashlib.sha256(path.read_bytes()).hexdigest())
        metrics = (Measurement("semseg", "mIoU", 26.0, "%", True, "test"),)
        store.finish(replace(store.begin(run, {}, **RUN), metrics=metrics, artifacts=(weights,)))
    return store


def test_results_travel_between_stores(sakbench, store, tmp_path):
    done = sakbench("store", "export", "a.jsonl")
    assert done.returncode == 0 and "3 runs" in done.stderr, done.stderr
    assert sakbench("store", "import", "a.jsonl", "--store", "b.db").stdout.startswith("a.jsonl: 3 new runs")
    (tmp_path / "b.db").unlink()
    done = sakbench("store", "import", "a.jsonl", "--store", "b.db", "--json")
    assert [came["runs"]["new"] for came in json.loads(done.stdout)] == [["aaaa", "bbbb", "cccc"]]
    done = sakbench("store", "import", "a.jsonl", "results/sakbench.db", "--store", "b.db")
    assert done.returncode == 0 and done.stdout.count("3 here already") == 2
    assert sakbench("store", "export", "b.jsonl", "--store", "b.db").returncode == 0
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()


def test_other_numbers_are_told_and_do_not_replace_those_that_are_here(sakbench, store, tmp_path):
    sakbench("store", "export", "a.jsonl")
    text = (tmp_path / "a.jsonl").read_text().replace("26.0", "27.0", 1)
    (tmp_path / "a.jsonl").write_text(text)
    done = sakbench("store", "import", "a.jsonl")
    assert done.returncode == 0 and "other numbers, which stay" in done.stdout
    assert ["aaaa", "semseg", "test", "26", "27"] in [line.split() for line in done.stdout.splitlines()]
    assert store.find("aaaa").metrics[0].value == 26.0


def test_what_cannot_be_imported(sakbench, store, tmp_path):
    (tmp_path / "half.jsonl").write_text('{"type": "schema", "version": 2}\n{"ty')
    assert complains(sakbench("store", "import", "half.jsonl", "--store", "new.db"), "half.jsonl", "line 2")
    assert not (tmp_path / "new.db").exists()
    assert complains(sakbench("store", "import", "results.txt"), "results.txt", ".jsonl")
    assert complains(sakbench("store", "import", "a.jsonl"), "a.jsonl", "sakbench store export")
    assert complains(sakbench("store", "import", "results/sakbench.db", "--store", "a.jsonl"), "for reading only")
    assert complains(sakbench("store", "export", "no/a.jsonl", "--store", "none.db"), "none.db")
    assert complains(sakbench("store", "exprot", "a.jsonl"), "exprot")


def test_an_export_never_takes_the_place_of_a_store(sakbench, store, tmp_path):
    for target in ("results/sakbench.db", "new.db", "out.csv"):
        assert complains(sakbench("store", "export", target), target, ".jsonl")
    assert store.find("aaaa") and not (tmp_path / "new.db").exists()


def test_whole_files_are_whole(sakbench, store):
    done = sakbench("store", "check")
    assert done.returncode == 0 and "3 files in results/runs are whole, no trouble" in done.stdout, done.stdout


def test_damage_is_found_and_repaired(sakbench, store, tmp_path):
    runs = tmp_path / "results" / "runs"
    (runs / "aaaa" / "model.safetensors").unlink()
    with (runs / "bbbb" / "model.safetensors").open("r+b") as file:
        file.seek(1234)
        file.write(b"x")
    store.begin("dddd", {}, **RUN)  # by this process, which has no claim
    broken = runs / "dddd" / "training" / "step-00000007"
    broken.mkdir(parents=True)
    (broken / "state.json").write_text("{")
    phase = runs / "eeee" / "training" / "align" / "step-00000003"  # of one of several phases
    phase.mkdir(parents=True)
    (phase / "state.json").write_text("{")
    listed = {run["id"]: run["status"] for run in json.loads(sakbench("ls", "--json").stdout)["runs"]}
    assert listed["dddd"] == "process gone" and listed["aaaa"] == "done"
    done = sakbench("store", "check", "--json")
    found = {trouble["where"]: trouble["what"] for trouble in json.loads(done.stdout)["troubles"]}
    assert done.returncode == 2 and set(found) == {"aaaa", "bbbb", "dddd", "eeee"}
    assert "missing" in found["aaaa"] and "changed" in found["bbbb"]
    done = sakbench("store", "check")
    assert done.returncode == 2 and "--repair" in done.stdout
    assert (runs / "bbbb" / "model.safetensors").exists() and broken.exists()  # looking changes nothing
    done = sakbench("store", "check", "--repair")
    assert done.returncode == 0, done.stdout
    assert not any(path.exists() for path in (runs / "bbbb" / "model.safetensors", broken, phase))
    assert store.lookup("dddd").status == "interrupted"
    assert [bool(store.find(run).metrics) for run in ("aaaa", "bbbb", "cccc")] == [True] * 3
    assert sakbench("store", "check").returncode == 0


def test_what_somebody_is_at_is_left_alone(sakbench, store, tmp_path):
    training = tmp_path / "results" / "runs" / "dddd" / "training" / "step-00000007"
    training.mkdir(parents=True)
    (training / "state.json").write_text("{")
    store.begin("dddd", {}, **RUN)
    with store.claims() as claims:
        claims.take("dddd")
        assert sakbench("store", "check", "--repair").returncode == 0
        assert training.exists() and store.lookup("dddd").status == "running"


def test_weights_that_are_elsewhere_are_not_forgotten(sakbench, store, tmp_path):
    runs = tmp_path / "results" / "runs"
    assert complains(sakbench("store", "check", "--repair", "--runs", "nowhere"), "nowhere", "--runs")
    (runs / "aaaa").rename(tmp_path / "aaaa")
    done = sakbench("store", "check", "--repair")
    assert done.returncode == 0 and "2 files" in done.stdout
    assert len(store.find("aaaa").artifacts) == 1


def test_weights_that_are_just_made_again_are_left_alone(sakbench, store, tmp_path):
    weights = tmp_path / "results" / "runs" / "aaaa" / "model.safetensors"
    with store.claims() as claims:
        claims.take("aaaa")
        weights.write_bytes(b"new")
        assert sakbench("store", "check", "--repair").returncode == 0
    assert weights.read_bytes() == b"new" and len(store.find("aaaa").artifacts) == 1


def test_a_damaged_database_is_told(sakbench, store, tmp_path):
    with sqlite3.connect(tmp_path / "results" / "sakbench.db") as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("DELETE FROM runs WHERE id = 'aaaa'")
    connection.close()
    done = sakbench("store", "check")
    assert done.returncode == 2 and "has lost its run" in done.stdout and "cannot be repaired" in done.stdout


def test_an_export_is_checked_against_another_folder(sakbench, store, tmp_path):
    sakbench("store", "export", "a.jsonl")
    assert complains(sakbench("store", "check", "--store", "a.jsonl"), "no folder of runs runs")
    assert sakbench("store", "check", "--store", "a.jsonl", "--runs", "results/runs").returncode == 0
    assert complains(sakbench("store", "check", "--store", "a.jsonl", "--repair"), "for reading only")


def test_a_run_is_repeated_to_the_last_bit(tiny, tmp_path):
    spec = multi_task(tiny, 0)
    experiment = Experiment("one", "One run", lambda scale, seed: [Row("Multi-task baseline", (spec,))])
    carry_out(experiment, tiny, Request(tmp_path / "s.db", "sakbench run one", jobs=1), [spec])

    def call(*arguments):
        command = [sys.executable, "-m", "sakbench", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)

    shown = call("show", spec.id, "--store", "s.db")
    command = next(line for line in shown.stdout.splitlines() if "sakbench repeat" in line).split()
    assert command[command.index("sakbench") :] == ["sakbench", "repeat", spec.id, "--store", "s.db"]
    assert "sakbench run one" in shown.stdout and f"{spec.id}/model.safetensors" in shown.stdout
    done = call(*command[command.index("sakbench") + 1 :], "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["same"] and len(told["numbers"]) == len(tiny.tasks)
    assert (tmp_path / "results" / "repeated" / spec.id / "runs" / spec.id / "model.safetensors").exists()
    assert "to the last bit" in call("repeat", spec.id[:6], "--store", "s.db").stdout  # it is there by now
    with sqlite3.connect(tmp_path / "s.db") as of_another_machine:
        of_another_machine.execute("""UPDATE runs SET machine = '{"cpu": "another"}'""")
        of_another_machine.execute("UPDATE metrics SET value = value + 0.01")
    assert "this is" in call("repeat", spec.id[:6], "--store", "s.db").stdout


def test_what_cannot_be_repeated(sakbench, store, tiny, tmp_path):
    assert complains(sakbench("repeat", "zz"), "no run")
    assert complains(sakbench("repeat", "aaaa"), "spec")
    spec = multi_task(tiny, 0)
    old = replace(spec, inputs=("miniworld 0", *spec.inputs[1:]))
    metrics = (Measurement("semseg", "mIoU", 26.0, "%", True, "test"),)
    store.finish(replace(store.begin(old.id, old.to_dict(), **RUN), metrics=metrics))
    assert complains(sakbench("repeat", old.id), "miniworld 0 (now miniworld 1)")
    store.begin("eeee", {}, **RUN)
    assert complains(sakbench("repeat", "eeee"), "running")
    assert not (tmp_path / "results" / "repeated").exists()
