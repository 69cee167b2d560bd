"""What the project ships in results/ is whole, of today's settings, and gives the files made from it."""

from pathlib import Path

import pytest

from sakbench.analysis.gain import row_gains
from sakbench.experiments import tables
from sakbench.experiments.rows import inputs_today
from sakbench.report.summary import summarize
from sakbench.runs.scales import MINI, get
from sakbench.runs.spec import RunSpec
from sakbench.store import open_store, published

RESULTS = Path(__file__).parent.parent / "results"
SEEDS = [0, 1, 2]
PLACES = dict.fromkeys(("table14", "table27"), ("mini", "miniworld-nyud"))


@pytest.fixture(scope="module")
def store():
    return open_store(RESULTS / "mini.jsonl", write=False)


ONCE = ["table9", "table18", "table19", "table20", "table25"]


THRICE = ["table2", "table3", "table4", "table7", "table13", "table14", "table17", "table26", "table27", "table28"]


@pytest.mark.parametrize("name", [*THRICE, "successors", "compute", *ONCE])
def test_every_row_has_its_seeds_of_todays_settings(store, name):
    summary = summarize(tables.get(name), store.frame(), published.frame(), get(*PLACES.get(name, ("mini",))))
    rows = {row.name: row for row in tables.get(name).build(summary.scale, 0)}
    assert [line.row for line in summary.lines] == list(rows)
    enough = 1 if name in ONCE else len(SEEDS)
    assert all(SEEDS[:enough] == line.seeds[:enough] for line in summary.lines if rows[line.row].runs)
    assert summary.left_out == 0


def test_every_frozen_row_has_three_seeds(store):
    summary = summarize(tables.get("table12"), store.frame(), published.frame())
    frozen = {line.row: line for line in summary.lines if line.row.endswith(" Freeze")}
    assert set(frozen) == {row.name for row in tables.get("table12").build(MINI, 0) if row.name.endswith(" Freeze")}
    assert all(line.seeds == SEEDS for line in frozen.values())


def test_runs_tell_where_they_come_from(store):
    for record in store.complete()[0]:
        assert record.git_commit and not record.git_commit.endswith("-dirty"), record.id
        assert record.versions["torch"] and record.machine["cpu"] and record.duration_s > 0


def test_every_run_rests_on_what_it_would_rest_on_today(store):
    specs = [RunSpec.from_dict(record.spec) for record in store.complete()[0]]
    for spec in specs:
        if spec.kind != "pairs":
            scale = get(spec.scale, "" if spec.kind == "distill" else spec.dataset)
            assert inputs_today(spec, scale) == spec.inputs, spec.id
    assert {spec.kind for spec in specs} >= {"distill", "tasks", "classify", "answer"}


def test_the_single_task_baseline_gains_nothing(store):
    gains = row_gains(store.frame()).query("table == 'table7' and row == 'Single-task baseline'")
    assert gains["delta_m"].mean() == pytest.approx(0, abs=1e-9)


def test_the_leaderboard_is_the_stores(sakbench, tmp_path):
    done = sakbench("export", "leaderboard", "--csv", "--store", str(RESULTS / "mini.jsonl"), "--output", "board.csv")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "board.csv").read_text() == (RESULTS / "leaderboard.csv").read_text()
