"""A table from a small store whose numbers can be checked by hand."""

import pandas as pd
import pytest
from rich.console import Console

from sakbench.errors import UserError
from sakbench.experiments import tables
from sakbench.experiments.rows import Experiment, Row, multi_task
from sakbench.report.summary import summarize
from sakbench.report.terminal import leaders, print_table
from sakbench.runs.scales import MINI
from sakbench.store import published

HIGHER = {"semseg": True, "normals": False}
VALUES = {  # row -> seed -> task values
    "Single-task baseline": [(40.0, 20.0), (44.0, 20.0)],
    "CLIP": [(42.0, 20.0), (46.2, 20.0)],  # normals as the baseline's
    "SAM": [(21.0, 10.0), (21.0, 10.0)],  # half of the semseg, half of the error
    "a note": [(90.0, 1.0), (90.0, 1.0)],
}
ROWS = [
    Row("Single-task baseline", ()),
    Row("CLIP", (), ("table7", "CLIP")),
    Row("SAM", (), ("table7", "SAM")),
    Row("a note", (), note=True),
]
EXPERIMENT = Experiment("table7", "Table 7", lambda scale, seed: ROWS)


def frame_lines(rows):
    return [
        {
            **{"table": "table7", "row": row, "position": position, "scale": "mini", "dataset": "miniworld-pascal"},
            **{"seed": seed, "baseline": row == "Single-task baseline", "task": task, "metric": "m", "value": value},
            **{"unit": "", "higher_is_better": HIGHER[task], "protocol": "p", "run": f"{row}{seed}", "label": row},
        }
        for position, (row, seeds) in enumerate(rows.items())
        for seed, values in enumerate(seeds)
        for task, value in zip(HIGHER, values, strict=True)
    ]


@pytest.fixture
def summary():
    return summarize(EXPERIMENT, pd.DataFrame(frame_lines(VALUES)), published.frame())


def test_gains_by_hand(summary):
    lines = {line.row: line for line in summary.lines}
    assert lines["Single-task baseline"].delta_m.mean == pytest.approx(0)
    assert lines["CLIP"].delta_m.mean == pytest.approx((100 * 2.1 / 42 + 0) / 2)  # 44.1 against 42
    assert lines["SAM"].delta_m.mean == pytest.approx((-50 + 50) / 2)
    assert lines["SAM"].delta_m.spread == pytest.approx(0)
    assert lines["CLIP"].measured["semseg"].mean == pytest.approx(44.1)
    assert lines["CLIP"].measured["semseg"].spread == pytest.approx(4.2 / 2**0.5)


def test_published_numbers_stand_beside(summary):
    clip = next(line for line in summary.lines if line.row == "CLIP")
    assert clip.published["semseg"] == 80.12
    assert clip.published["delta_m"] == -3.26


def test_differences_within_the_noise_do_not_pretend(summary):
    # CLIP's 44.1 ± 3.0 and the baseline's 42 ± 2.8 cannot be told apart; SAM's error can.
    assert leaders(summary, "semseg") == {"CLIP", "Single-task baseline"}
    assert leaders(summary, "normals") == {"SAM"}


def test_a_row_of_one_seed_is_not_free_of_noise():
    lines = frame_lines({"a": [(40.0, 20.0), (44.0, 20.0)], "b": [(43.0, 20.0)]})
    lines = [line | {"baseline": False} for line in lines]
    rows = [Row("a", ()), Row("b", ())]
    summary = summarize(Experiment("table7", "", lambda scale, seed: rows), pd.DataFrame(lines), published.frame())
    assert leaders(summary, "semseg") == {"a", "b"}


def test_a_table_of_notes_alone_is_shown_and_says_that_its_baseline_is_missing(capsys):
    lines = frame_lines({"a note": VALUES["a note"]})
    print_table(Console(width=160), summarize(EXPERIMENT, pd.DataFrame(lines), published.frame()))
    shown = " ".join(capsys.readouterr().out.split())
    assert "90.00" in shown
    assert "against the row Single-task baseline, which is not in the store" in shown


def test_the_papers_other_metric_is_named(capsys):
    lines = [line | {"task": "boundary", "metric": "anF"} for line in frame_lines(VALUES) if line["task"] == "semseg"]
    summary = summarize(EXPERIMENT, pd.DataFrame(lines), published.frame())
    assert summary.other_metrics == {"boundary": "odsF"}
    print_table(Console(width=160), summary)
    assert "the paper's boundary is odsF, ours anF" in " ".join(capsys.readouterr().out.split())


def test_json_is_complete(summary):
    row = next(row for row in summary.to_json()["rows"] if row["row"] == "CLIP")
    assert row["seeds"] == [0, 1]
    assert row["runs"] == ["CLIP0", "CLIP1"]
    assert set(row["measured"]) == {"semseg", "normals"}
    assert row["delta_m"] == pytest.approx(2.5)
    assert row["published"]["delta_m"] == -3.26


def test_the_printed_table_says_what_the_numbers_are(summary, capsys):
    print_table(Console(width=160), summary)
    shown = " ".join(capsys.readouterr().out.split())  # a caption is wrapped to its table's width
    for words in (
        "scale mini",
        "miniworld-pascal",
        "seeds 0, 1",
        "not with the paper's numbers",
        "44.10 ±2.97",
        "+2.50",
    ):
        assert words in shown


def test_a_store_without_the_table_says_how_to_fill_it():
    empty = pd.DataFrame(columns=["table", "row"])
    with pytest.raises(UserError, match="sakbench run table7"):
        summarize(EXPERIMENT, empty, published.frame())


def test_a_users_own_row_is_shown_though_nobody_can_build_it_again():
    """A probe's weights may have been a local file, of which the name alone does not tell."""
    today = multi_task(MINI, 0)
    lines = [line | {"run": today.id if line["row"] == "CLIP" else line["run"]} for line in frame_lines(VALUES)]
    built = [Row("CLIP", (today,)), *(row for row in ROWS if row.name != "CLIP")]
    for own, shown in ((True, set(VALUES)), (False, {"CLIP"})):
        experiment = Experiment("table7", "", lambda scale, seed: built, own=own)
        summary = summarize(experiment, pd.DataFrame(lines), published.frame())
        assert {line.row for line in summary.lines if line.runs} == shown


def test_table29_tells_on_what_each_student_was_distilled():
    experiment = tables.get("table29")
    row = next(row for row in experiment.build(MINI, 0) if row.name == "SAK")
    (run,) = row.runs
    line = {"table": "table29", "row": "SAK", "scale": "mini", "dataset": MINI.dataset, "seed": 0, "position": 1}
    number = {"task": "semseg", "metric": "mIoU", "unit": "%", "value": 20.0, "higher_is_better": True, "protocol": ""}
    frame = pd.DataFrame([{**line, **number, "run": run.id, "baseline": False}])
    (sak,) = [line for line in summarize(experiment, frame, published.frame()).lines if line.row == "SAK"]
    assert sak.facts == {"teachers": 3, "dataset_images": 2000, "input_size": 64, "samples": 320 * 32}
    assert (sak.published["samples"], sak.published["delta_m"]) == (36_000_000, 0.83)
