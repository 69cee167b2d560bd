"""What a SAK student costs next to the multi-task baseline, from the durations in a store and the teachers' speed here.

`steps` in sakbench/experiments/paper/compute.toml is this ratio for the trio, rounded up: the baseline of `sakbench run
compute` trains that many times longer. `python benchmarks/compute.py --store results/mini.jsonl` prints it; the store's
runs should be of this machine, since the teachers' features are timed on it.
"""

import argparse
import time
from pathlib import Path
from statistics import median

import torch

from sakbench import backbones
from sakbench.experiments import tables
from sakbench.experiments.rows import multi_task
from sakbench.runs.scales import MINI
from sakbench.runs.spec import RunSpec
from sakbench.store import open_store

BATCH = 50


def feature_seconds(committee: tuple[str, ...]) -> float:
    """To run the teachers once over the images to distil on, and over the labelled ones, plain and mirrored."""
    images = MINI.distill_images + 2 * MINI.train_images
    return sum(images / BATCH * batch_seconds(MINI.teachers[teacher]) for teacher in committee)


@torch.inference_mode()
def batch_seconds(backbone: str, repeats: int = 5) -> float:
    encoder = backbones.create(backbone).eval()
    pixels = torch.randn(BATCH, 3, *encoder.image_size)
    encoder(pixels)
    began = time.perf_counter()
    for _ in range(repeats):
        encoder(pixels)
    return (time.perf_counter() - began) / repeats


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, default=Path("results/mini.jsonl"))
    store = open_store(parser.parse_args().store, write=False)
    torch.set_num_threads(1)

    def seconds(spec: RunSpec) -> float:
        record = store.find(spec.id)
        return record.duration_s if record else float("nan")

    seeds = sorted({int(seed) for seed in store.frame()["seed"]})
    baseline = median(seconds(multi_task(MINI, seed)) for seed in seeds)
    print(f"multi-task baseline: {baseline:.0f} s (median of {len(seeds)} seeds)")
    students: dict[str, list[RunSpec]] = {}
    for seed in seeds:
        for row in tables.get("table7").build(MINI, seed):
            if row.runs[0].is_sak:
                students.setdefault(row.name, []).append(row.runs[0])
    for name, runs in students.items():
        features = feature_seconds(tuple(teacher for teacher, _ in runs[0].teachers))
        stages = [median(seconds(run.start) for run in runs if run.start), median(seconds(run) for run in runs)]
        ratio = (features + sum(stages)) / baseline
        costs = f"features {features:.0f} s, stage 1 {stages[0]:.0f} s, stage 2 {stages[1]:.0f} s"
        print(f"{name:20} {costs}: {ratio:.2f} times the baseline")
    rows = [{row.name: row.runs[0] for row in tables.get("compute").build(MINI, seed)} for seed in seeds]
    longest = [row["Multi-task, SAK's compute"] for row in rows]
    factor = longest[0].recipe.steps / multi_task(MINI, 0).recipe.steps
    print(f"the longer baseline: {median(map(seconds, longest)) / baseline:.2f} times the baseline ({factor} x steps)")
