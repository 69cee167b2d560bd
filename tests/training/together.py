"""`python together.py FILE PARTS [poisoned | prism]`, alone or under torchrun: some steps, of SAK's stage 2 or of both
of PRISM's, and what they gave into FILE.

The batches are the same however many processes share them, so the losses and gradients must be, too.
"""

import json
import os
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from sakbench import backbones, tasks
from sakbench.models import SAK, Prism
from sakbench.models.processes import rank, world
from sakbench.training import loop, objectives
from sakbench.training.group import launched
from sakbench.training.objectives import PrismObjective, TaskObjective
from sakbench.training.recipe import Recipe

TASKS = {"semseg": 5, "saliency": None, "normals": None, "boundary": None}
TEACHERS = {"DINOv2": 128, "CLIP": 128, "SAM": 128}
IMAGES, STEPS = 4, 6
RECIPE = Recipe(steps=STEPS, batch_size=IMAGES, lr=1e-5, weight_decay=1e-2)


def batch(step):
    """A batch whose images have very different numbers of valid pixels."""
    draw = torch.Generator().manual_seed(step)
    boundary = (torch.rand(IMAGES, 64, 64, generator=draw) < 0.2).byte()
    normals = torch.nn.functional.normalize(torch.randn(IMAGES, 3, 64, 64, generator=draw), dim=1)
    found = {
        "image": torch.randn(IMAGES, 3, 64, 64, generator=draw),
        "semseg": torch.randint(0, 5, (IMAGES, 64, 64), generator=draw).byte(),
        "saliency": (torch.rand(IMAGES, 64, 64, generator=draw) < 0.3).byte(),
        "normals": normals,
        "boundary": boundary,
    }
    for image in range(IMAGES):
        for name in TASKS:
            found[name][image, ..., : 10 * (image + 1) + step] = 255
    maps = [torch.randn(IMAGES, 128, 8, 8, generator=draw) for _ in range(4)]
    return found, maps


def batches(parts, poisoned):
    images = IMAGES // world() // parts

    def stream(start):
        for step in range(start, STEPS):
            found, maps = batch(step)
            for part in range(parts):
                first = rank() * images * parts + part * images
                mine = slice(first, first + images)
                if poisoned and rank() == 1 and step == STEPS - 1:
                    found["image"][mine] = float("nan")
                yield {name: value[mine] for name, value in found.items()} | {
                    f"features/{teacher}": [level[mine] for level in maps] for teacher in TEACHERS
                }

    return stream


def trainings(words):
    """SAK's second stage, or both of PRISM's, where two processes with two images each lack one of three teachers."""
    chosen = {name: tasks.make(name, classes=classes) for name, classes in TASKS.items()}
    channels = {name: task.channels for name, task in chosen.items()}
    if "prism" not in words:
        student = SAK(backbones.create("mini_vit_s.supervised"), {"DINOv2": 128}, channels)
        return [(TaskObjective(student, chosen, gamma=1.0), RECIPE)]
    objectives.BALANCE = 0.0  # it is one of the images that pass together
    found = []
    for learned in ({}, chosen):
        heads = {name: channels[name] for name in learned}
        student = Prism(backbones.create("mini_vit_s.supervised"), TEACHERS, heads, experts=4, active=2)
        found.append((PrismObjective(student, learned), replace(RECIPE, steps=2)))
    return found


def main(file, parts, words):
    torch.manual_seed(0)
    loop._AGREE_SECONDS = 0.0
    loop._REPORT_SECONDS = 0.0
    losses, gradients = [], []

    def look(optimizer, *rest):
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        gradients.append([p.grad.norm().item() for p in parameters])

    register_optimizer_step_pre_hook(look)
    for number, (training, recipe) in enumerate(trainings(words)):
        loop.fit(
            training,
            batches(parts, "poisoned" in words),
            recipe,
            seed=0,
            parts=parts,
            checkpoints=file.parent / "checkpoints" / str(number),
            report=lambda progress: losses.append(progress.losses),
        )
    if rank() == 0:
        buffers = {name: value.double().norm().item() for name, value in training.named_buffers()}
        file.write_text(json.dumps({"losses": losses, "gradients": gradients, "buffers": buffers}))


if __name__ == "__main__":
    with launched(on_cpu=True) if "RANK" in os.environ else nullcontext():
        main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
