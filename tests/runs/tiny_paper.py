"""`python tiny_paper.py STORE DATA PROCESSES` trains a small table of scale paper on small archives, on the CPU.

Its code and its data's layout are the paper's, its models mini's. It may be started by torchrun too.
"""

import sys
from dataclasses import replace
from pathlib import Path

from sakbench.experiments.preparation import of_the_data
from sakbench.experiments.rows import Experiment, Row, multi_task, probe, sak
from sakbench.report.running import Request, run
from sakbench.runs.scales import MINI, Scale, get


def scale(data: Path, dataset: str = "pascal-context") -> Scale:
    paper = replace(
        get("paper", dataset),
        vit=MINI.vit,
        teachers=MINI.teachers,
        sizes={},
        rivals={},
        size=(64, 64) if dataset == "pascal-context" else (40, 48),
        distill_size=(48, 48),
        distill=replace(get("paper").distill, steps=4, batch_size=4, warmup=1),
        tune=replace(get("paper").tune, steps=4, batch_size=4),
        probe=replace(get("paper").probe, steps=4, batch_size=4),
    )
    return of_the_data(paper, data)


def rows(scale, seed):
    return [
        Row("ViT Freeze", (probe(scale, seed, scale.vit),)),
        Row("Multi-task baseline", (multi_task(scale, seed),)),
        Row("DINOv2+SAM", (sak(scale, seed, ("DINOv2", "SAM")),)),
    ]


EXPERIMENT = Experiment("tiny", "A small table", rows, baseline="Multi-task baseline", extras=("rep_sim",))

if __name__ == "__main__":
    store, data, processes = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    request = Request(store, " ".join(sys.argv), data=data, gpus=0, jobs=processes)
    sys.exit(run(EXPERIMENT, scale(data), request))
