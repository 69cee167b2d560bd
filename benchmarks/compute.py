"""What a SAK student costs next to the multi-task baseline, from the durations in a store.

`SAK_COMPUTE` in sakbench/experiments/tables.py is this ratio, rounded: the baseline of Table 7's note trains that many
times longer. `python benchmarks/compute.py --store results/mini.jsonl` prints it.
"""

import argparse
from pathlib import Path
from statistics import median

from sakbench.experiments.rows import longer, multi_task, sak
from sakbench.experiments.tables import COMMITTEES, SAK_COMPUTE
from sakbench.runs.scales import MINI
from sakbench.runs.spec import RunSpec
from sakbench.store import open_store

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, default=Path("results/mini.jsonl"))
    store = open_store(parser.parse_args().store, write=False)

    def seconds(spec: RunSpec) -> float:
        record = store.find(spec.id)
        return record.duration_s if record else float("nan")

    seeds = sorted({int(seed) for seed in store.frame()["seed"]})
    baseline = median(seconds(multi_task(MINI, seed)) for seed in seeds)
    print(f"multi-task baseline: {baseline:.0f} s (median of {len(seeds)} seeds)")
    for committee in COMMITTEES:
        runs = [sak(MINI, seed, committee) for seed in seeds]
        stages = [median(seconds(run.start) for run in runs if run.start), median(seconds(run) for run in runs)]
        costs = f"stage 1 {stages[0]:.0f} s, stage 2 {stages[1]:.0f} s: {sum(stages) / baseline:.2f} times the baseline"
        print(f"{'+'.join(committee):20} {costs}")
    note = median(seconds(longer(multi_task(MINI, seed), SAK_COMPUTE)) for seed in seeds)
    print(f"Table 7's note: {note / baseline:.2f} times the baseline (SAK_COMPUTE {SAK_COMPUTE})")
