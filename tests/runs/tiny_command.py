"""`python tiny_command.py STORE RUNS` runs a small table, as `sakbench run` would: what the fault tests kill."""

import sys
from dataclasses import replace
from pathlib import Path

from sakbench.experiments.rows import Experiment, Row, multi_task, sak, single_task
from sakbench.report.running import Request, run
from sakbench.runs.scales import MINI

STEPS = 20
SCALE = replace(
    MINI,
    distill_images=24,
    train_images=16,
    test_images=12,
    distill=replace(MINI.distill, steps=STEPS, batch_size=8, warmup=1),
    tune=replace(MINI.tune, steps=STEPS, batch_size=8),
)


def rows(scale, seed):
    return [
        Row("Single-task baseline", tuple(single_task(scale, seed, task) for task in scale.tasks[:1])),
        Row("Multi-task baseline", (multi_task(scale, seed),)),
        Row("CLIP", (sak(scale, seed, ("CLIP",)),)),
    ]


EXPERIMENT = Experiment("faults", "A small table", rows)

if __name__ == "__main__":
    store, runs = sys.argv[1:]
    sys.exit(run(EXPERIMENT, SCALE, Request(store, " ".join(sys.argv), runs=Path(runs), jobs=2)))
