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
def measured(tmp_path):
    store = open_store(tmp_path / "s.db", write=True)
    for seed in (0, 1):
        for position, ((table, row), (run, baseline, semseg, normals)) in enumerate(VALUES.items()):
            numbers = (
                Measurement("semseg", "mIoU", semseg + seed, "%", True, "400 images"),
                Measurement("normals", "mErr", normals, "deg", False, "400 images"),
            )
            run_id = f"{run}{seed}"
            spec = {"kind": "tasks", "label": run, "spec": {}, "seed": seed, "scale": "mini", "dataset": "miniworld"}
            store.finish(RunRecord(run_id, **spec, metrics=numbers))
            store.record_row(
                table,
                row,
                position=position,
                scale="mini",
                dataset="miniworld",
                seed=seed,
                runs={"semseg": run_id, "normals": run_id},
                baseline=baseline,
            )
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
    assert board.iloc[0].name == ("SAK", "DINOv2+CLIP+SAM")  # the best comes first


def test_a_table_with_fewer_seeds_adds_no_second_line(measured):
    one_seed = measured[(measured["table"] == "table12") | (measured["seed"] == 0)]
    board = leaderboard(one_seed, published.frame()).query("source == 'measured'")
    sak = board[board["reference"].str.contains("SAK|DINOv2")]
    assert sak["reference"].tolist() == ["table12, SAK MT Full"]  # the table with both seeds
    # one baseline of 50 and 51, not one of 50 beside it
    assert sak["delta_m"].item() == pytest.approx(100 * (10 / 50.5 + 2 / 20) / 2)


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
