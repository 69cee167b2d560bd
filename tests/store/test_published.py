import re

import pytest

from sakbench.errors import UserError
from sakbench.store import published

TABLES = [f"table{n}" for n in (*range(2, 10), *range(12, 30))]


def value(table, row, task, dataset=None):
    found = published.table(table)
    found = found[(found["row"] == row) & (found["task"] == task)]
    return found[found["dataset"] == dataset]["value"].item() if dataset else found["value"].item()


def test_every_numbered_table_and_the_successors_are_here():
    assert set(TABLES) | {"figure1", "successors"} == set(published.frame()["table"])


def test_a_number_has_one_place_and_a_source():
    frame = published.frame()
    assert not frame.duplicated(["table", "row", "dataset", "task"]).any()
    assert frame["value"].notna().all()
    assert (frame["source"] != "").all()


def test_a_row_holds_one_model_and_backbone():
    counts = published.frame().groupby(["table", "row"])[["model", "group", "backbone"]].nunique()
    several = counts[(counts > 1).any(axis=1)]
    assert several.empty


@pytest.mark.parametrize(
    ("table", "row", "task", "expected"),
    [
        ("table2", "Student w/o biases", "normals_vs_oracle", 1.30),
        ("table3", "no TSAP, no MoR", "rep_sim", 0.3344),
        ("table4", "stage 1, task", "boundary", 72.60),
        ("table5", "MLoRE", "delta_m", 0.16),
        ("table6", "SAK", "depth", 0.4313),
        ("table7", "DINOv2+CLIP+SAM", "delta_m", -0.03),
        ("table8", "ViT-L to ViT-B", "parsing", 74.30),
        ("table9", "SAK + MLoRE", "delta_m", 1.69),
        ("table12", "SAM Freeze", "semseg", 49.11),
        ("table15", "ATMPNet", "params_m", 50),
        ("table17", "TSAP", "rep_sim SAM", 0.8369),
        ("table18", "SAK 25%", "delta_m", -4.02),
        ("table19", "Upper bound Concat", "macs_g", 7661),
        ("table20", "γ = 2.0", "delta_m", 0.07),
        ("table21", "SAK-L/16", "macs_g", 198),
        ("table22", "ViT-L/16 +MoR (5 tasks)", "params_m", 354),
        ("table23", "SigLIP Freeze", "delta_m", -26.61),
        ("table25", "+SigLIP", "parsing", 70.66),
        ("table26", "SAK", "accuracy", 79.1),
        ("table27", "SAK (Distilled from 3 teachers)", "depth_lin4", 0.436),
        ("table28", "RADIO ViT-L/16 512 px", "vqav2", 80.04),
        ("table29", "RADIO", "dataset_images", 1.4e9),
    ],
)
def test_numbers_read_off_the_paper(table, row, task, expected):
    assert value(table, row, task) == expected


def test_table_29_repeats_tables_13_and_14():
    for model in ("RADIO", "Theia", "SAK"):
        for table, dataset in (("table13", "PASCAL-Context"), ("table14", "NYUD-v2")):
            assert value("table29", model, "delta_m", dataset) == value(table, model, "delta_m")


def test_table_2_follows_from_its_rows():
    changes = []
    for task, better in {"semseg": 1, "parsing": 1, "saliency": 1, "normals": -1, "boundary": 1}.items():
        oracle, student = (value("table2", row, task) for row in ("Oracle of teachers", "Student w/o biases"))
        changes.append(100 * better * (student - oracle) / oracle)
        assert value("table2", "Student w/o biases", f"{task}_vs_oracle") == pytest.approx(changes[-1], abs=0.0051)
    assert value("table2", "Student w/o biases", "mean_vs_oracle") == pytest.approx(sum(changes) / 5, abs=0.0051)


def test_table_17_is_the_mean_over_teachers():
    for row in ("no TSAP", "TSAP"):
        teachers = [value("table17", row, f"rep_sim {teacher}") for teacher in ("DINOv2", "CLIP", "SAM")]
        assert value("table17", row, "rep_sim") == pytest.approx(sum(teachers) / 3, abs=0.00006)


def test_directions_are_the_paper_s_arrows():
    directions = published.frame().dropna(subset="higher_is_better").groupby("metric")["higher_is_better"].unique()
    lower = {metric for metric, values in directions.items() if not values[0]}
    assert all(len(values) == 1 for values in directions)
    assert lower == {"mErr", "RMSE"}


def test_an_unknown_table_is_named():
    with pytest.raises(UserError, match=re.escape("'tabel7': did you mean table7?")):
        published.table("tabel7")


def test_a_caller_cannot_change_the_numbers():
    frame = published.frame()
    frame["value"] = 0
    assert value("table7", "CLIP", "semseg") == 80.12
