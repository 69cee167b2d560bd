"""Settles mini's schedule on the baselines alone, on the `val` split: no SAK number is looked at here.

Each row is a recipe of the multi-task baseline (and of one single-task baseline); a schedule is long enough when
doubling its steps changes little. `python benchmarks/schedule.py --seeds 1` prints the table.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from sakbench.experiments.rows import Experiment, Row, multi_task, probe
from sakbench.report.commands import run_and_print
from sakbench.runs.scales import MINI, Scale
from sakbench.runs.spec import RunSpec
from sakbench.training.recipe import Recipe

TUNE = ((400, 16, 1e-3), (400, 16, 2e-3), (800, 16, 1e-3), (800, 16, 2e-3))  # steps, batch size, learning rate
PROBE = ((400, 16, 2e-3), (400, 16, 4e-3), (800, 16, 2e-3), (800, 16, 4e-3))


def on_val(run: RunSpec, recipe: Recipe) -> RunSpec:
    return replace(run, recipe=recipe, test_split="val")


def multi_task_rows(scale: Scale, seed: int) -> list[Row]:
    return [Row(name(r), (on_val(multi_task(scale, seed), r),)) for r in recipes(scale.tune, TUNE)]


def probe_rows(scale: Scale, seed: int) -> list[Row]:
    return [Row(name(r), (on_val(probe(scale, seed, scale.vit), r),)) for r in recipes(scale.probe, PROBE)]


def recipes(base: Recipe, grid: tuple[tuple[int, int, float], ...]) -> list[Recipe]:
    return [replace(base, steps=steps, batch_size=size, lr=rate) for steps, size, rate in grid]


def name(recipe: Recipe) -> str:
    return f"{recipe.steps} steps of {recipe.batch_size}, lr {recipe.lr:g}"


SEARCHES = {
    "multi-task": Experiment(
        "schedule-multi-task", "Multi-task baseline on val", multi_task_rows, baseline="400 steps of 16, lr 0.002"
    ),
    "probe": Experiment("schedule-probe", "Probe of the ViT on val", probe_rows, baseline="400 steps of 16, lr 0.002"),
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("search", choices=SEARCHES)
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--store", type=Path, default=Path("results/schedule.db"))
    options = parser.parse_args()
    again = " ".join(["python", *sys.argv])
    run_and_print(SEARCHES[options.search], MINI, options.seeds, options.jobs, options.store, again, as_json=False)
