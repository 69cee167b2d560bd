"""A rehearsal: the same code on a few images for a few steps, to see that it runs. Its numbers say nothing."""

import tempfile
from dataclasses import replace
from pathlib import Path

from sakbench.runs.perform import perform
from sakbench.runs.place import Place
from sakbench.runs.scales import RECIPES, Scale
from sakbench.runs.spec import RunSpec

_STEPS, _BATCH = 2, 4


def shortened(scale: Scale) -> Scale:
    """A scale with a few steps of a few images; scale mini renders a few scenes, too."""
    recipes = {
        name: replace(getattr(scale, name), steps=_STEPS, batch_size=_BATCH, warmup=min(1, getattr(scale, name).warmup))
        for name in RECIPES
    }
    if scale.name != "mini":
        return replace(scale, **recipes)
    return replace(scale, **recipes, distill_images=8, train_images=8, test_images=4)


def rehearse(run: RunSpec, data: Path | None = None) -> dict[str, float]:
    """Do a run of a `shortened` scale, and those that it begins with, in a folder that is removed; its metrics by name.

    At scale paper `data` holds the data sets; the CPU does.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder), data)
        for one in run.lineage:
            result = perform(one, place, lambda progress: None, lambda: False)
    return {metric["task"]: metric["value"] for metric in result["metrics"]}
