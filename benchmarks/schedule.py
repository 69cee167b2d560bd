"""Settles mini's schedule on the baseline alone, on the `val` split: no number of a SAK student's task is looked at.

`multi-task`, `shorter` and `probe`: each row is a recipe of the multi-task baseline, or of the frozen ViT's probe; a
schedule is long enough when more steps change little.
`stage1`: each row is a recipe of stage 1, which no baseline has, by its likeness to the teachers.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from sakbench.experiments.rows import Experiment, Row, multi_task, probe, stage1
from sakbench.report.running import Request, run
from sakbench.runs.scales import MINI, Scale
from sakbench.runs.spec import RunSpec

Settings = tuple[int, int, int, float]  # labelled images, steps, batch size, learning rate

TUNE: tuple[Settings, ...] = (
    (250, 500, 16, 1e-3),
    (250, 1000, 8, 1e-3),
    (250, 1000, 8, 2e-3),
    (250, 1500, 8, 1e-3),
    (250, 2000, 8, 1e-3),
    (250, 4000, 4, 5e-4),
    (125, 4000, 4, 5e-4),
    (125, 1500, 8, 1e-3),
    (125, 3000, 8, 1e-3),
)
SHORTER: tuple[Settings, ...] = ((125, 1500, 8, 1e-3), (125, 1000, 8, 1e-3), (125, 1000, 8, 1.5e-3))
PROBE: tuple[Settings, ...] = (
    (250, 1500, 8, 1e-3),
    (250, 1500, 8, 2e-3),
    (250, 1500, 8, 4e-3),
    (250, 3000, 8, 2e-3),
    (250, 6000, 8, 2e-3),
    (125, 1500, 8, 1e-3),
    (125, 1500, 8, 2e-3),
    (125, 3000, 8, 2e-3),
)
STAGE1 = ((320, 32, 2e-3), (640, 16, 2e-3), (640, 16, 1e-3), (1280, 8, 1e-3))  # steps, batch size, learning rate
COMMITTEE = ("DINOv2", "CLIP")


def on_val(run: RunSpec, settings: Settings) -> RunSpec:
    labels, steps, batch_size, lr = settings
    recipe = replace(run.recipe, steps=steps, batch_size=batch_size, lr=lr)
    return replace(run, recipe=recipe, train_images=labels, test_split="val")


def multi_task_rows(scale: Scale, seed: int) -> list[Row]:
    return [Row(name(settings), (on_val(multi_task(scale, seed), settings),)) for settings in TUNE]


def shorter_rows(scale: Scale, seed: int) -> list[Row]:
    return [Row(name(settings), (on_val(multi_task(scale, seed), settings),)) for settings in SHORTER]


def probe_rows(scale: Scale, seed: int) -> list[Row]:
    return [Row(name(settings), (on_val(probe(scale, seed, scale.vit), settings),)) for settings in PROBE]


def stage1_rows(scale: Scale, seed: int) -> list[Row]:
    """Stage 1 by what it is for: the likeness to its teachers, on `val`. No task is looked at."""
    return [
        Row(
            f"{steps} x {size}, lr {rate:g}",
            (
                replace(
                    stage1(scale, seed, COMMITTEE),
                    recipe=replace(scale.distill, steps=steps, batch_size=size, lr=rate, warmup=steps // 10),
                    test_split="val",
                ),
            ),
        )
        for steps, size, rate in STAGE1
    ]


def name(settings: Settings) -> str:
    return "{} labels, {} x {}, lr {:g}".format(*settings)


SEARCHES = {
    "multi-task": Experiment(
        "schedule-multi-task", "Multi-task baseline on val", multi_task_rows, baseline=name(TUNE[0])
    ),
    "shorter": Experiment("schedule-shorter", "Multi-task baseline on val", shorter_rows, baseline=name(SHORTER[0])),
    "probe": Experiment("schedule-probe", "Probe of the ViT on val", probe_rows, baseline=name(PROBE[0])),
    "stage1": Experiment("schedule-stage1", "Stage 1 on val", stage1_rows, extras=("rep_sim",)),
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("search", choices=SEARCHES)
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--store", type=Path, default=Path("results/schedule.db"))
    options = parser.parse_args()
    again = " ".join(["python", *sys.argv])
    request = Request(options.store, again, seeds=options.seeds, jobs=options.jobs)
    run(SEARCHES[options.search], MINI, request)
