"""Stage 1 and stage 2 at the paper's sizes, with random weights and random images: nothing is downloaded.

    python benchmarks/full_size.py [--models ViT-B | ViT-L] [--images N] [--steps N] [--device cuda | cpu]

The students, teachers, losses and steps are those of `sakbench run table7 --scale paper`. For each stage: the losses of
the last step, which must be finite, images a second, and the peak memory.
"""

import argparse
import math
import resource
import time
from collections.abc import Generator
from dataclasses import replace
from typing import Any

import torch

from sakbench import backbones
from sakbench.backbones.encoder import Encoder
from sakbench.experiments.rows import sak
from sakbench.experiments.tables import TRIO
from sakbench.models.sak import SAK
from sakbench.runs.scales import PAPER
from sakbench.runs.spec import RunSpec
from sakbench.runs.students import build, tasks_of
from sakbench.training.committee import Committee
from sakbench.training.loop import Progress, fit
from sakbench.training.objectives import DistillObjective, TaskObjective


def spec(models: str) -> RunSpec:
    size = PAPER.sizes[models]
    return sak(replace(PAPER, vit=size.vit, teachers=size.teachers), 0, TRIO)


def load(name: str, size: tuple[int, int]) -> Encoder:
    own = backbones.info(name).own_input
    return backbones.create(name, image_size=None if own else size, pretrained=False)


def batches(run: RunSpec, images: int) -> Generator[dict[str, Any]]:
    """The same random images, again and again, with labels for the run's tasks."""
    assert run.size is not None
    draw = torch.Generator().manual_seed(0)
    batch: dict[str, Any] = {"image": torch.randn(images, 3, *run.size, generator=draw)}
    for name, task in tasks_of(run).items():
        if name == "normals":
            directions = torch.randn(images, 3, *run.size, generator=draw)
            batch[name] = torch.nn.functional.normalize(directions, dim=1)
        else:
            classes = task.channels if name in ("semseg", "parsing") else 2
            batch[name] = torch.randint(0, classes, (images, *run.size), generator=draw).byte()
    while True:
        yield batch


def measure(run: RunSpec, images: int, steps: int, device: str) -> None:
    assert run.size is not None
    size = run.size
    student = build(run, lambda name: load(name, size))
    assert isinstance(student, SAK)
    objective = DistillObjective(student) if run.kind == "distill" else TaskObjective(student, tasks_of(run), run.gamma)
    committee = Committee({name: load(backbone, size) for name, backbone in run.teachers}, torch.device(device))
    seen: list[Progress] = []

    def train(count: int) -> float:
        recipe = replace(run.recipe, steps=count, batch_size=images, warmup=0)
        stream = lambda start: batches(run, images)  # noqa: E731
        return fit(objective, stream, recipe, seed=0, on_cpu=device == "cpu", prepare=committee, report=seen.append)

    if device == "cuda":
        train(2)  # whatever is chosen and allocated once
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
    began = time.perf_counter()
    train(steps)
    if device == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    losses = seen[-1].losses
    assert all(math.isfinite(value) for value in losses.values()), losses
    peak = (
        torch.cuda.max_memory_allocated() / 2**30
        if device == "cuda"
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    )
    told = ", ".join(f"{name} {value:.3f}" for name, value in losses.items())
    stage = "stage 1" if run.kind == "distill" else "stage 2"
    rate = images * steps / seconds
    print(f"{stage} {size[0]}x{size[1]}, {images} images: {rate:.2f} images/s, peak {peak:.1f} GiB; {told}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", choices=("ViT-B", "ViT-L"), default="ViT-B")
    parser.add_argument("--images", type=int, nargs=2, default=(16, 4), metavar="N", help="of stage 1, of stage 2")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    where = torch.cuda.get_device_name() if options.device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{options.models} student and teachers, fp32, on {where}, torch {torch.__version__}")
    tuned = spec(options.models)
    assert tuned.start is not None
    for run, images in zip((tuned.start, tuned), options.images, strict=True):
        measure(run, images, options.steps, options.device)
