import json
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest

from sakbench.errors import UserError
from sakbench.store import Artifact, Measurement, RunRecord, connection, export_jsonl, open_store
from sakbench.store.environment import environment, git_commit

RUN = {"kind": "tasks", "label": "probe clip", "seed": 0, "scale": "mini", "dataset": "miniworld"}
PLACE = {"scale": "mini", "dataset": "miniworld", "seed": 0}
SEMSEG = Measurement("semseg", "mIoU", 26.0, "%", True, "400 images")
SIMILARITY = Measurement("rep_sim", "cosine", 0.875, "", None)


def weights(run_id):
    return Artifact(f"{run_id}/model.safetensors", 2**33, "0f" * 32)


def fill(store, run_id="abcdef012345", metrics=(SEMSEG, SIMILARITY)):
    record = store.begin(run_id, {"teachers": ["CLIP"], "γ": 1.0}, **RUN)
    about = {"duration_s": 3.5, "peak_memory_mb": 200.0, "notes": {"loss": 0.1}, "artifacts": (weights(run_id),)}
    store.finish(replace(record, metrics=metrics, **about))
    return run_id


@pytest.fixture
def path(tmp_path):
    """Of tests that are about the file."""
    return tmp_path / "new" / "sakbench.db"


@pytest.fixture
def file(path):
    return open_store(path, write=True)


@pytest.fixture
def store(place):
    return open_store(place, write=True)


def test_a_run_comes_back_as_it_was_stored(store, place):
    run = open_store(place, write=False).find(fill(store))
    assert (run.status, run.spec, run.duration_s) == ("done", {"teachers": ["CLIP"], "γ": 1.0}, 3.5)
    assert set(run.metrics) == {SEMSEG, SIMILARITY}
    assert run.artifacts == (weights(run.id),)
    assert run.versions["python"].startswith("3.")
    assert run.machine["cores"] >= 1
    assert run.started <= run.finished
    assert run.finished.endswith("+00:00")


def test_only_complete_runs_count(store):
    record = store.begin("abcdef012345", {}, **RUN)
    store.record_row("table7", "CLIP", position=1, runs={"semseg": record.id}, **PLACE)
    assert store.find(record.id) is None
    assert store.frame().empty
    store.fail(record.id, "the loss is NaN at step 7", duration_s=2.0)
    assert store.find(record.id) is None
    assert store.lookup("abc").notes == {"error": "the loss is NaN at step 7"}
    again = store.begin(record.id, {}, **RUN)
    assert (again.status, again.duration_s, again.notes) == ("running", 2.0, {})
    store.finish(replace(again, metrics=(SEMSEG,)))
    assert store.frame()["value"].tolist() == [26.0]


def test_a_complete_run_stays_complete(store):
    run_id = fill(store)
    before = store.find(run_id)
    again = store.begin(run_id, {}, **RUN)  # for its weights, say
    assert (again.status, again.metrics) == ("running", ())
    assert store.find(run_id) == before
    store.fail(run_id, "killed", status="interrupted")
    assert store.find(run_id) == before


def test_what_was_left_running_was_interrupted(store):
    run_id = fill(store)
    store.begin("fedcba", {}, **RUN)
    store.begin("abab", {}, **RUN)
    with store.claims() as claims:
        assert claims.take("abab") is None
        store.sweep("killed")
    assert (store.lookup("fedcba").status, store.lookup("fedcba").notes) == ("interrupted", {"error": "killed"})
    assert (store.lookup(run_id).status, store.lookup("abab").status) == ("done", "running")


def test_a_run_has_a_history(store):
    fill(store)
    store.begin("fedcba", {}, **RUN, command="sakbench run table7")
    store.fail("fedcba", "the loss is NaN")
    store.begin("fedcba", {}, **RUN)
    events = store.history("fedcba")
    assert [event.kind for event in events] == ["started", "failed", "resumed"]
    assert events[0].detail["command"] == "sakbench run table7" and events[1].detail == {"reason": "the loss is NaN"}
    assert str(os.getpid()) in events[0].by


def test_the_frame_is_tidy(store):
    run = fill(store)
    store.record_row("table7", "CLIP", position=1, runs={"semseg": run, "rep_sim": run}, **PLACE)
    store.record_row("table12", "ViT ST Full", position=0, runs={"semseg": run}, baseline=True, **PLACE)
    frame = store.frame()
    assert list(frame.columns) == [
        *("table", "row", "position", "scale", "dataset", "seed", "baseline", "task"),
        *("metric", "value", "unit", "higher_is_better", "protocol", "run", "label"),
    ]
    assert frame[["table", "row", "task", "value", "baseline"]].to_numpy().tolist() == [
        ["table12", "ViT ST Full", "semseg", 26.0, True],
        ["table7", "CLIP", "rep_sim", 0.875, False],
        ["table7", "CLIP", "semseg", 26.0, False],
    ]
    assert frame["higher_is_better"].isna().tolist() == [False, True, False]


def test_a_row_replaces_its_former_self_alone(store):
    old, new = fill(store), fill(store, "fedcba", metrics=(replace(SEMSEG, value=30.0),))
    store.record_row("table7", "CLIP", position=1, runs={"semseg": old, "rep_sim": old}, **PLACE)
    store.record_row("table7", "CLIP", position=1, runs={"semseg": old}, **{**PLACE, "seed": 1})
    store.record_row("table7", "CLIP", position=2, runs={"semseg": new}, **PLACE)
    assert store.frame()[["seed", "position", "value"]].to_numpy().tolist() == [[1, 1, 26.0], [0, 2, 30.0]]


def test_a_row_of_unknown_runs_is_refused_and_leaves_the_former_one(store):
    run = fill(store)
    store.record_row("table7", "CLIP", position=1, runs={"semseg": run}, **PLACE)
    with pytest.raises(ValueError, match="lacks: 0000"):
        store.record_row("table7", "CLIP", position=1, runs={"semseg": run, "normals": "0000"}, **PLACE)
    assert len(store.frame()) == 1


def test_finishing_is_all_or_nothing(store):
    record = store.begin("abcdef012345", {}, **RUN)
    with pytest.raises(Exception, match=r"(?i)unique"):
        store.finish(replace(record, metrics=(SEMSEG, SEMSEG)))
    assert store.find(record.id) is None
    assert store.lookup(record.id).status == "running"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_measurement_is_finite(value):
    with pytest.raises(ValueError, match="semseg"):
        replace(SEMSEG, value=value)


def test_lookup_by_the_beginning_of_an_id(store):
    fill(store, "abc111")
    fill(store, "abc222")
    assert store.lookup("abc1").id == "abc111"
    for prefix, complaint in {"abc": "2 runs: abc111, abc222", "d": "no run", "": "no run"}.items():
        with pytest.raises(UserError, match=complaint):
            store.lookup(prefix)


def test_runs_lists_every_run(store):
    fill(store)
    store.begin("fedcba", {}, **RUN)
    assert dict(store.runs()[["id", "status"]].to_numpy()) == {"abcdef012345": "done", "fedcba": "running"}
    lines = {line["id"]: line for line in store.runs().to_dict("records")}
    assert (lines["abcdef012345"]["peak_memory_mb"], lines["fedcba"]["peak_memory_mb"]) == (200.0, None)
    json.dumps(lines, allow_nan=False)


def test_a_reader_cannot_write(store, place):
    reader = open_store(place, write=False)
    with pytest.raises(UserError, match="for reading only"):
        reader.begin("x", {}, **RUN)


def test_writing_leaves_one_file(file, path):
    fill(file)
    assert [file.name for file in path.parent.iterdir()] == ["sakbench.db"]


@pytest.mark.parametrize(
    ("name", "remedy"), [("sakbench.db", "sakbench run table7"), ("mini.jsonl", "sakbench store export")]
)
def test_a_missing_store(tmp_path, name, remedy):
    with pytest.raises(UserError, match=remedy):
        open_store(tmp_path / name, write=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("write", [True, False])
@pytest.mark.parametrize("content", [b"", b"not a database at all, but long enough to be one" * 50])
def test_a_file_that_is_no_database(tmp_path, content, write):
    path = tmp_path / "s.db"
    path.write_bytes(content)
    if write and not content:
        assert open_store(path, write=True).runs().empty
        return
    with pytest.raises(UserError, match=r"s\.db is not a"):
        open_store(path, write=write)
    assert path.read_bytes() == content


def test_a_damaged_database(file, path):
    for number in range(5):
        file.begin(str(number), {"long": "x" * 20_000}, **RUN)
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + os.urandom(len(whole) - 4096))
    with pytest.raises(UserError, match="damaged"):
        open_store(path, write=False).runs()


def test_another_program_s_database(tmp_path):
    path = tmp_path / "s.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE runs (id)")
    connection.close()
    with pytest.raises(UserError, match="is not a sakbench store"):
        open_store(path, write=True)


def test_a_locked_store(file, path, monkeypatch):
    fill(file)
    monkeypatch.setattr(connection, "BUSY_SECONDS", 0.1)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        assert len(open_store(path, write=False).runs()) == 1  # readers are not kept out
        assert len(open_store(path, write=True).runs()) == 1  # nor is who has written nothing yet
        with pytest.raises(UserError, match="locked by another process"):
            file.begin("fedcba", {}, **RUN)
    finally:
        other.close()
    file.begin("fedcba", {}, **RUN)


AS_NOBODY = """
import os, sys
from sakbench.errors import UserError
from sakbench.store import open_store
path = sys.argv[1]
open_store(path, write=False).runs()  # imports everything while that is still allowed
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
print(len(open_store(path, write=False).runs()))
try:
    open_store(path, write=True)
except UserError as error:
    print(error)
"""


def test_a_store_without_write_permission():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s.db"
        fill(open_store(path, write=True))
        path.chmod(0o444)
        Path(folder).chmod(0o555)
        done = subprocess.run([sys.executable, "-c", AS_NOBODY, path], capture_output=True, text=True, check=False)
        Path(folder).chmod(0o755)
    assert done.stdout.startswith("1\n"), done.stderr  # it can be read
    assert "cannot be written to" in done.stdout


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be made"):
        open_store(tmp_path / "file" / "s.db", write=True)


def work(place, worker, runs):
    store = open_store(place, write=True)
    for number in range(runs):
        run = fill(store, f"{worker}-{number}")
        store.record_row("t", f"row {worker}-{number}", position=number, runs={"semseg": run}, **PLACE)


def test_processes_that_write_at_once_lose_nothing(place):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=work, args=(place, worker, 10)) for worker in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert len(open_store(place, write=False).frame()) == 30


def test_an_export_holds_the_same(store, tmp_path):
    run = fill(store)
    fill(store, "fedcba", metrics=(replace(SEMSEG, value=0.1 + 0.2),))
    half = store.begin("111111", {}, **RUN)
    store.record_row("table7", "CLIP", position=1, runs={"semseg": run, "rep_sim": run}, baseline=True, **PLACE)
    store.record_row("table7", "SAM", position=2, runs={"semseg": "fedcba"}, **PLACE)
    store.record_row("table7", "unfinished", position=3, runs={"semseg": half.id}, **PLACE)
    export_jsonl(store, tmp_path / "a.jsonl")
    copy = open_store(tmp_path / "a.jsonl", write=False)
    assert copy.frame().equals(store.frame())
    assert copy.find(run) == store.find(run)
    assert set(copy.runs()["id"]) == {run, "fedcba"}
    export_jsonl(copy, tmp_path / "b.jsonl")
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    assert {file.name for file in tmp_path.iterdir()} <= {"a.jsonl", "b.jsonl", "new"}


def test_an_export_is_for_reading(store, tmp_path):
    export_jsonl(store, tmp_path / "a.jsonl")
    with pytest.raises(UserError, match="for reading only"):
        open_store(tmp_path / "a.jsonl", write=True)
    with pytest.raises(UserError, match="for reading only"):
        open_store(tmp_path / "a.jsonl", write=False).add(RunRecord("x", spec={}, **RUN))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda text: "", "empty"),
        (lambda text: text[:-20] + "\n", "line 3"),
        (lambda text: text.replace('"version": 2', '"version": 3'), "version 3"),
        (lambda text: text.partition("\n")[2], "line 1"),
        (lambda text: text.replace('"value": 26.0', '"value": NaN'), "line 2"),
        (lambda text: text.replace('"value": 26.0', '"value": "26"'), "line 2"),
        (lambda text: text.replace('"label"', '"lable"'), "line 2"),
        (lambda text: text.replace('"type": "row"', '"type": "rows"'), "line 3"),
        (lambda text: text.replace('"semseg": "abc', '"semseg": "bbc'), "line 3.*names runs"),
        (lambda text: text + "[]\n", "line 4"),
        (lambda text: text.replace('"id": "abcdef012345"', '"id": "../x"'), "line 2.*no id"),
        (lambda text: text.replace("abcdef012345/model", "../model"), "line 2.*no path inside"),
        (lambda text: text.replace("abcdef012345/model", "another/model"), "line 2.*no file of run abcdef012345"),
        (lambda text: text.replace('"seed": 0', '"seed": 4294967296', 1), "line 2.*seed cannot be"),
        (lambda text: text.replace('"machine": {', '"machine": [], "x": {', 1), "line 2"),
        (lambda text: text.replace("probe clip", "a\\u0000b"), "line 2.*label cannot be"),
        (lambda text: text.replace('"loss": 0.1', '"loss": NaN'), "line 2.*NaN is no number"),
        (lambda text: text.encode("utf-16"), "cannot be read"),
    ],
)
def test_a_spoilt_export(file, tmp_path, change, complaint):
    file.record_row("table7", "CLIP", position=1, runs={"semseg": fill(file)}, **PLACE)
    path = tmp_path / "a.jsonl"
    export_jsonl(file, path)
    spoilt = change(path.read_text(encoding="utf-8"))
    path.write_bytes(spoilt if isinstance(spoilt, bytes) else spoilt.encode())
    with pytest.raises(UserError, match=complaint):
        open_store(path, write=False)


def test_an_export_that_cannot_be_written(file, tmp_path):
    (tmp_path / "a.jsonl").mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        export_jsonl(file, tmp_path / "a.jsonl")
    assert {file.name for file in tmp_path.iterdir()} == {"a.jsonl", "new"}


def test_the_environment_is_this_one():
    facts = environment()
    assert set(facts) == {"git_commit", "versions", "machine"}
    assert {"torch", "timm", "sakbench"} <= set(facts["versions"])
    assert os.uname().nodename not in str(facts["machine"])
    assert git_commit() is None or len(git_commit().removesuffix("-dirty")) == 40


def test_no_torch_is_imported():
    script = "import sys, sakbench.store, sakbench.store.published, sakbench.analysis.leaderboard, sakbench.plots\n"
    script += "import sakbench.analysis.similarity\nprint('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "False"


def test_a_network_file_system_is_told(file, path, monkeypatch):
    mounts = [("/", "ext4"), (str(path.parent), "nfs4")]
    partitions = [SimpleNamespace(mountpoint=place, fstype=kind) for place, kind in mounts]
    monkeypatch.setattr(connection.psutil, "disk_partitions", lambda all: partitions)
    with pytest.warns(UserWarning, match="nfs4.*postgresql"):
        open_store(path, write=True)


def test_merging_takes_what_is_new_and_keeps_what_is_there(store, tmp_path):
    mine, other = fill(store), open_store(tmp_path / "other.db", write=True)
    store.begin("half", {}, **RUN)
    store.record_row("table7", "CLIP", position=1, runs={"semseg": mine}, **PLACE)
    for run, value in {mine: 99.0, "half": 1.0, "fedcba": 2.0}.items():
        fill(other, run, metrics=(replace(SEMSEG, value=value),))
    other.record_row("table7", "CLIP", position=1, runs={"semseg": "fedcba"}, **PLACE)
    other.record_row("table7", "SAM", position=2, runs={"semseg": "half"}, **PLACE)
    content = other.complete()
    came = store.merge(*content)
    assert (sorted(came.added), came.same, list(came.different)) == (["fedcba", "half"], [], [mine])
    assert [(d.task, d.here, d.there) for d in came.different[mine]] == [
        ("rep_sim", 0.875, None),
        ("semseg", 26.0, 99.0),
    ]
    assert (came.rows_added, came.rows_kept) == (1, 1)
    assert store.frame()[["row", "value"]].to_numpy().tolist() == [["CLIP", 26.0], ["SAM", 1.0]]
    before = (store.complete(), store.frame())
    again = store.merge(*content)
    assert (again.added, sorted(again.same), again.rows_added) == ([], ["fedcba", "half"], 0)
    assert store.complete() == before[0] and store.frame().equals(before[1])


def test_merging_is_all_or_nothing(store):
    good = replace(store.begin("abc", {}, **RUN), id="def", status="done", metrics=(SEMSEG,))
    with pytest.raises(Exception, match=r"(?i)unique"):
        store.merge([good, replace(good, id="bad", metrics=(SEMSEG, SEMSEG))], [])
    assert set(store.runs()["id"]) == {"abc"}


def test_a_store_that_is_moved_away_does_not_come_back_empty(file, path):
    fill(file)
    path.rename(path.with_name("elsewhere.db"))
    with pytest.raises(UserError, match="cannot be opened"):
        file.begin("fedcba", {}, **RUN)
    assert not path.exists()
    path.touch()
    with pytest.raises(UserError, match="it was replaced"):
        file.begin("fedcba", {}, **RUN)


def test_what_was_done_already_is_not_noted_twice(postgresql):
    """The connection breaks when a transaction is done, before its writer has heard of it."""
    place = postgresql.database()
    store, broken = open_store(place, write=True), []
    commit = store._database._engine.dialect.do_commit

    def do_commit(connection):
        commit(connection)
        if not broken:
            broken.append(True)
            raise psycopg.errors.AdminShutdown("terminating connection")

    store._database._engine.dialect.do_commit = do_commit
    with pytest.warns(UserWarning, match="does not answer"):
        store.begin("abc", {}, **RUN)
    assert [event.kind for event in store.history("abc")] == ["started"]
