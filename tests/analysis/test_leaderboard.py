import pandas as pd
import pytest

from sakbench.analysis.leaderboard import COLUMNS, leaderboard
from sakbench.store import Measurement, RunRecord, open_store, published

VALUES = {
    # row: run, baseline, semseg, normals
    ("table12", "ViT ST Full"): ("single", True, 50.0, 20.0),
    ("table12", "ViT Freeze"): ("vit", False, 40.0, 25.0),
    ("table12", "SAM Freeze"): ("sam", False, 20.0, 20.0),
    ("table12", "random weights Freeze"): ("random", False, 10.0, 30.0),
    ("table12", "SAK MT Full"): ("sak", False, 60.0, 18.0),
    ("table7", "Single-task baseline"): ("single", True, 50.0, 20.0),
    ("table7", "DINOv2+CLIP+SAM"): ("sak", False, 60.0, 18.0),
}


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path / "s.db", write=True)


def add(store, table, row, runs, *, seed=0, baseline=False, dataset="miniworld"):
    """A row of a table, made of these runs: task -> (run, value). "single" is a run for each task."""
    about = {"seed": seed, "scale": "mini", "dataset": dataset}
    ids = {task: f"{run}{task if run == 'single' else ''}{seed}" for task, (run, _) in runs.items()}
    for run in dict.fromkeys(ids.values()):
        numbers = tuple(
            Measurement(task, "mIoU" if higher else "mErr", runs[task][1], "%", higher, "400 images")
            for task, higher in (("semseg", True), ("normals", False), ("rep_sim", True))
            if ids.get(task) == run
        )
        if not store.runs().query("id == @run").empty:
            continue
        store.finish(RunRecord(run, kind="tasks", label=run, spec={}, metrics=numbers, **about))
    store.record_row(table, row, position=0, runs=ids, baseline=baseline, **about)


@pytest.fixture
def measured(store):
    for seed in (0, 1):
        for (table, row), (run, baseline, semseg, normals) in VALUES.items():
            runs = {"semseg": (run, semseg + seed), "normals": (run, normals)}
            add(store, table, row, runs, seed=seed, baseline=baseline)
    return store.frame()


def test_measured_and_published_models_stand_apart(measured):
    board = leaderboard(measured, published.frame())
    assert tuple(board.columns) == COLUMNS
    assert set(board.groupby("source")["scale"].unique().explode().items()) == {
        ("measured", "mini"),
        ("published", "paper"),
    }
    for model in ("RADIO", "Theia", "SAK", "DINOv2", "PRISM"):
        assert model in set(board.loc[board["source"] == "published", "model"])
    assert not board.duplicated(["model", "setting", "source", "scale", "dataset", "backbone"]).any()


def test_a_model_in_two_tables_is_one_line(measured):
    board = leaderboard(measured, published.frame()).query("source == 'measured'").set_index(["model", "setting"])
    assert set(board.index) == {
        ("SAK", "DINOv2+CLIP+SAM"),
        ("Single-task baseline", ""),
        ("ViT", "Freeze"),
        ("SAM", "Freeze"),
        ("random weights", "Freeze"),
    }
    sak = board.loc[("SAK", "DINOv2+CLIP+SAM")]
    assert (sak["seeds"], sak["semseg"], sak["normals"]) == (2, 60.5, 18)
    assert sak["delta_m"] == pytest.approx(100 * (10 / 50.5 + 2 / 20) / 2)
    assert sak["delta_m_sd"] == pytest.approx(100 / 50.5 / 2 / 2**0.5)
    assert sak["protocol"] == "normals 400 images; semseg 400 images"
    assert pd.isna(sak["bias_ratio"])
    assert board.loc[("Single-task baseline", ""), "delta_m"] == 0  # of whichever table its line is
    assert board.iloc[0].name == ("SAK", "DINOv2+CLIP+SAM")  # the best comes first


def test_a_table_with_fewer_seeds_adds_no_second_line(measured):
    one_seed = measured[(measured["table"] == "table12") | (measured["seed"] == 0)]
    board = leaderboard(one_seed, published.frame()).query("source == 'measured'")
    sak = board[board["reference"].str.contains("SAK|DINOv2")]
    assert sak["reference"].tolist() == ["table12, SAK MT Full"]  # the table with both seeds
    # one baseline of 50 and 51, not one of 50 beside it
    assert sak["delta_m"].item() == pytest.approx(100 * (10 / 50.5 + 2 / 20) / 2)


def test_an_oracle_is_no_model_and_its_gains_are_of_its_own_table(store, measured):
    oracle = {"semseg": ("sak", 60.0), "normals": ("sam", 20.0)}
    add(store, "table2", "Oracle of teachers", oracle, baseline=True)
    add(store, "table2", "Student", {"semseg": ("student", 30.0), "normals": ("student", 20.0)})
    board = leaderboard(store.frame(), published.frame()).query("source == 'measured'").set_index("reference")
    assert not any("Oracle" in reference for reference in board.index)
    assert pd.isna(board.loc["table2, Student", "delta_m"])
    before = leaderboard(measured, published.frame()).query("source == 'measured'").set_index("reference")
    pd.testing.assert_frame_equal(board.drop("table2, Student"), before)


def test_each_baseline_is_that_of_its_table(store, measured):
    add(store, "mine", "Multi-task", {"semseg": ("multi", 10.0), "normals": ("multi", 40.0)}, baseline=True)
    add(store, "large", "Alone", {"semseg": ("bigsemseg", 100.0), "normals": ("bignormals", 10.0)}, baseline=True)
    add(store, "large", "Together", {"semseg": ("together", 110.0), "normals": ("together", 9.0)})
    board = leaderboard(store.frame(), published.frame()).query("source == 'measured'").set_index("reference")
    assert board.loc["large, Together", "delta_m"] == pytest.approx(10)
    assert pd.isna(board.loc["mine, Multi-task", "delta_m"])
    assert board.loc["table7, DINOv2+CLIP+SAM", "delta_m"] == pytest.approx(100 * (10 / 50.5 + 2 / 20) / 2)


def test_a_table_of_similarities_has_no_line(store):
    add(store, "table17", "TSAP", {"rep_sim": ("stage1", 0.9)})
    assert set(leaderboard(store.frame(), published.frame())["source"]) == {"published"}


def test_frozen_backbones_have_a_bias_profile(measured):
    board = leaderboard(measured, published.frame()).set_index(["source", "model", "setting"])
    sam = board.loc[("measured", "SAM", "Freeze")]
    semseg, normals = 100 * (20.5 - 40.5) / 40.5, 20.0
    assert sam["bias_mean"] == pytest.approx((semseg + normals) / 2)
    assert sam["bias_sd"] == pytest.approx((normals - semseg) / 2)
    assert board.loc[("published", "SAK", "Freeze"), "bias_ratio"] == pytest.approx(1.72, abs=0.005)
    assert pd.isna(board.loc[("measured", "ViT", "Freeze"), "bias_mean"])


def test_an_empty_store_leaves_the_published_models(tmp_path):
    board = leaderboard(open_store(tmp_path / "s.db", write=True).frame(), published.frame())
    assert set(board["source"]) == {"published"}


def test_a_rows_models_are_weighed_together_once_whatever_the_seeds(measured):
    runs = measured["run"].unique()
    board = leaderboard(
        measured, published.frame(), {run: (2_000_000, 500_000_000) for run in runs if not run.startswith("random")}
    )
    ours = board[board["source"] == "measured"].set_index(["model", "setting"])
    assert tuple(ours.loc[("SAK", "DINOv2+CLIP+SAM"), ["params_m", "macs_g"]]) == (2.0, 0.5)
    assert pd.isna(ours.loc[("random weights", "Freeze"), "params_m"])
    theirs = board[(board["source"] == "published") & (board["model"] == "InvPT") & (board["backbone"] == "ViT-B")]
    assert set(theirs["params_m"]) == {176.0, 161.0}
