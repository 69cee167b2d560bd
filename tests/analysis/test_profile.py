import math

import pandas as pd
import pytest

from sakbench.analysis.profile import bias_profile, mean_profiles, row_profiles
from sakbench.analysis.verify import published_profiles
from sakbench.store import published

BETTER = {"semseg": True, "normals": False}

# Recomputed by hand from Table 12's Freeze rows: mean, population standard deviation and their ratio.
CHECKED = {
    "DINOv2": (11.63, 11.79, 0.99),
    "CLIP": (6.80, 5.79, 1.17),
    "SAM": (-0.06, 16.68, 0.00),
    "RADIO": (12.62, 9.00, 1.40),
    "Theia": (-2.76, 5.34, -0.52),
    "SAK": (13.27, 7.73, 1.72),
}


def test_by_hand():
    profile = bias_profile({"semseg": 55.0, "normals": 14.0}, {"semseg": 50.0, "normals": 20.0}, BETTER)
    assert profile.improvement == pytest.approx({"semseg": 10, "normals": 30})
    assert (profile.mean, profile.sd, profile.ratio) == pytest.approx((20, 10, 2))


def test_the_vit_has_no_ratio():
    profile = bias_profile({"semseg": 50.0}, {"semseg": 50.0}, BETTER)
    assert (profile.mean, profile.sd) == (0, 0)
    assert math.isnan(profile.ratio)


def test_no_tasks_are_refused():
    with pytest.raises(ValueError, match="at least one task"):
        bias_profile({}, {"semseg": 50.0}, BETTER)


def test_the_paper_s_models():
    profiles = published_profiles(published.frame())
    assert set(profiles) == set(CHECKED)
    for model, expected in CHECKED.items():
        found = profiles[model]
        assert (found.mean, found.sd, found.ratio) == pytest.approx(expected, abs=0.0051), model
    # Section 2.1: DINOv2 over 30% in parsing, CLIP over 5% in both segmentations, SAM 30% down in semseg
    assert profiles["DINOv2"].improvement["parsing"] > 30
    assert min(profiles["CLIP"].improvement[task] for task in ("semseg", "parsing")) > 5
    assert profiles["SAM"].improvement["semseg"] < -30


def test_every_row_and_seed_is_profiled_against_the_mean_vit():
    numbers = [
        ("ViT Freeze", 0, "semseg", 40.0, True),
        ("ViT Freeze", 1, "semseg", 60.0, True),
        ("ViT Freeze", 0, "normals", 20.0, False),
        ("ViT Freeze", 1, "normals", 20.0, False),
        ("SAM Freeze", 0, "semseg", 25.0, True),
        ("SAM Freeze", 0, "normals", 10.0, False),
        ("CLIP Freeze", 0, "semseg", 60.0, True),
    ]
    frame = pd.DataFrame(numbers, columns=["row", "seed", "task", "value", "higher_is_better"])
    profiles = row_profiles(frame.assign(table="table12", scale="mini", dataset="d")).set_index(["row", "seed"])
    assert profiles.loc[("ViT Freeze", 0), "semseg"] == -20
    sam = profiles.loc[("SAM Freeze", 0)]
    assert (sam["semseg"], sam["normals"], sam["bias_mean"], sam["bias_sd"]) == (-50, 50, 0, 50)
    assert "CLIP Freeze" not in profiles.index  # one of its tasks is missing
    assert row_profiles(frame.assign(table="table12", scale="mini", dataset="d"), vit="absent").empty


def test_noise_of_seeds_is_no_bias():
    lines = [
        {"table": "t", "scale": "mini", "dataset": "d", "row": row, "seed": seed, "task": task, "value": value}
        for row, seeds in {"ViT Freeze": [(10, 10), (10, 10)], "SAM Freeze": [(14, 8), (8, 14)]}.items()
        for seed, values in enumerate(seeds)
        for task, value in zip(("semseg", "parsing"), values, strict=True)
    ]
    frame = pd.DataFrame(lines).assign(higher_is_better=True)
    seeds = row_profiles(frame).set_index("row").loc["SAM Freeze"]
    assert seeds["bias_sd"].tolist() == pytest.approx([30, 30])
    mean = mean_profiles(frame).set_index("row").loc["SAM Freeze"]
    assert (mean["bias_mean"], mean["bias_sd"]) == pytest.approx((10, 0))
