import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sakbench.analysis.gain import mtl_gain, relative_improvement, row_gains

BETTER = {"semseg": True, "parsing": True, "saliency": True, "normals": False, "boundary": True}
SINGLE = {"semseg": 80.25, "parsing": 70.54, "saliency": 84.54, "normals": 13.57, "boundary": 74.22}
MULTI = {"semseg": 76.76, "parsing": 65.26, "saliency": 84.39, "normals": 13.98, "boundary": 70.37}

positive = st.floats(0.1, 100)


def frame(*rows):
    columns = ["table", "row", "scale", "dataset", "seed", "baseline", "task", "value", "higher_is_better"]
    return pd.DataFrame([("t", row, "mini", "d", *rest) for row, *rest in rows], columns=columns)


def test_the_paper_s_multi_task_baseline():
    assert mtl_gain(MULTI, SINGLE, BETTER) == pytest.approx(-4.04, abs=0.005)


@given(st.dictionaries(st.sampled_from(sorted(BETTER)), positive, min_size=1))
def test_a_baseline_gains_nothing_over_itself(values):
    assert mtl_gain(values, values, BETTER) == 0


@given(positive, positive)
def test_a_lower_error_is_a_gain(worse, better):
    worse, better = max(worse, better), min(worse, better)
    assert relative_improvement({"normals": better}, {"normals": worse}, BETTER)["normals"] >= 0
    assert relative_improvement({"semseg": better}, {"semseg": worse}, BETTER)["semseg"] <= 0


@given(st.permutations(sorted(BETTER)), positive)
def test_neither_order_nor_unit_changes_the_gain(order, unit):
    values = {task: MULTI[task] * unit for task in order}
    baseline = {task: value * unit for task, value in SINGLE.items()}
    assert mtl_gain(values, baseline, BETTER) == pytest.approx(mtl_gain(MULTI, SINGLE, BETTER))


@pytest.mark.parametrize("values", [{}, {"semseg": 1.0}, {**SINGLE, "depth": 1.0}])
def test_tasks_that_differ_are_refused(values):
    with pytest.raises(ValueError, match="the same tasks"):
        mtl_gain(values, SINGLE, BETTER)


def test_a_baseline_of_zero_is_refused():
    with pytest.raises(ValueError, match="semseg is 0"):
        mtl_gain({"semseg": 1.0}, {"semseg": 0.0}, BETTER)


def test_rows_are_measured_against_the_mean_of_the_baseline_s_seeds():
    gains = row_gains(
        frame(
            ("single", 0, True, "semseg", 40.0, True),
            ("single", 1, True, "semseg", 60.0, True),
            ("single", 0, True, "normals", 20.0, False),
            ("single", 1, True, "normals", 20.0, False),
            ("sak", 0, False, "semseg", 55.0, True),
            ("sak", 0, False, "normals", 18.0, False),
            ("sak", 0, False, "rep_sim", 0.8, True),
            ("half done", 0, False, "semseg", 99.0, True),
        )
    )
    by_row = gains.groupby("row")["delta_m"]
    assert by_row.get_group("single").tolist() == [-10, 10]
    assert by_row.get_group("sak").tolist() == pytest.approx([10])
    assert "half done" not in by_row.groups


def test_without_a_baseline_there_are_no_gains():
    assert row_gains(frame(("sak", 0, False, "semseg", 55.0, True))).empty
