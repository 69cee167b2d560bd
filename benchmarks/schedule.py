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

RATES = (5e-4, 1e-3, 2e-3)
STEPS = (200, 400, 800)


def on_val(run: RunSpec, recipe: Recipe) -> RunSpec:
    return replace(run, recipe=recipe, test_split="val")


def multi_task_rows(scale: Scale, seed: int) -> list[Row]:
    base = multi_task(scale, seed)
    recipes = {f"{s} steps, lr {r:g}": replace(scale.tune, steps=s, lr=r) for s in STEPS for r in RATES}
    return [Row(name, (on_val(base, recipe),)) for name, recipe in recipes.items()]


def probe_rows(scale: Scale, seed: int) -> list[Row]:
    base = probe(scale, seed, scale.vit)
    recipes = {f"{s} steps, lr {r:g}": replace(scale.probe, steps=s, lr=r) for s in STEPS for r in (1e-3, 2e-3, 4e-3)}
    return [Row(name, (on_val(base, recipe),)) for name, recipe in recipes.items()]


SEARCHES = {
    "multi-task": Experiment(
        "schedule-multi-task", "Multi-task baseline on val", multi_task_rows, baseline="400 steps, lr 0.001"
    ),
    "probe": Experiment("schedule-probe", "Probe of the ViT on val", probe_rows, baseline="400 steps, lr 0.001"),
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("search", choices=SEARCHES)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--store", type=Path, default=Path("results/schedule.db"))
    options = parser.parse_args()
    run_and_print(SEARCHES[options.search], MINI, options.seeds, None, options.store, as_json=False)
