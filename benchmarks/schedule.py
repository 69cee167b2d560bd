"""Settles mini's schedule on the baselines alone, on the `val` split: no SAK number is looked at here.

Each row is a recipe of the multi-task baseline (and of one single-task baseline); a schedule is long enough when
doubling its steps changes little. `python benchmarks/schedule.py --seeds 1` prints the table.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from sakbench.experiments.rows import Experiment, Row, multi_task, probe
from sakbench.report.commands import run_and_print
from sakbench.runs.scales import MINI, Scale
from sakbench.runs.spec import RunSpec
from sakbench.training.recipe import Recipe

TUNE = ((200, 1e-3), (200, 2e-3), (200, 4e-3), (400, 1e-3), (400, 2e-3))  # steps, learning rate
PROBE = ((200, 2e-3), (200, 4e-3), (400, 2e-3), (400, 4e-3))


def on_val(run: RunSpec, recipe: Recipe) -> RunSpec:
    return replace(run, recipe=recipe, test_split="val")


def multi_task_rows(scale: Scale, seed: int) -> list[Row]:
    base = multi_task(scale, seed)
    recipes = {f"{s} steps, lr {r:g}": replace(scale.tune, steps=s, lr=r) for s, r in TUNE}
    return [Row(name, (on_val(base, recipe),)) for name, recipe in recipes.items()]


def probe_rows(scale: Scale, seed: int) -> list[Row]:
    base = probe(scale, seed, scale.vit)
    recipes = {f"{s} steps, lr {r:g}": replace(scale.probe, steps=s, lr=r) for s, r in PROBE}
    return [Row(name, (on_val(base, recipe),)) for name, recipe in recipes.items()]


SEARCHES = {
    "multi-task": Experiment(
        "schedule-multi-task", "Multi-task baseline on val", multi_task_rows, baseline="200 steps, lr 0.002"
    ),
    "probe": Experiment("schedule-probe", "Probe of the ViT on val", probe_rows, baseline="200 steps, lr 0.002"),
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("search", choices=SEARCHES)
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--store", type=Path, default=Path("results/schedule.db"))
    options = parser.parse_args()
    run_and_print(SEARCHES[options.search], MINI, options.seeds, options.jobs, options.store, as_json=False)
