"""Before the first hour of training: are the data and the weights there?"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from sakbench import backbones
from sakbench.data.archives import open_split
from sakbench.runs.scales import Scale
from sakbench.runs.spec import RunSpec


def of_the_data(scale: Scale, folder: Path) -> Scale:
    """The scale with the numbers of images that the data sets in `folder` have, since copies differ.

    Raises `UserError` for a data set, a list or a label that is not there.
    """
    train, test = (len(open_split(scale.dataset, split, folder, tasks=scale.tasks)) for split in ("train", "test"))
    distill, held_out = (len(open_split(scale.distill_dataset, split, folder)) for split in ("train", "test"))
    return replace(
        scale,
        train_images=train,
        test_images=test,
        distill_images=distill,
        distill_test=(scale.distill_test[0], held_out),
    )


def require_weights(runs: Sequence[RunSpec], scale: Scale, tell: Callable[[str], None]) -> None:
    """Fetch the weights of every backbone that is not on this machine yet, and try the user's own files.

    Raises `UserError` for weights that are out of reach or do not fit.
    """
    needed = dict.fromkeys(name for run in runs for name in (run.backbone, *(b for _, b in run.teachers)))
    for name in needed:
        absent = backbones.whereabouts(backbones.info(name)) == "not here"
        if name in scale.weights or absent:
            tell(f"{'reading' if name in scale.weights else 'fetching'} the weights of {name}")
            backbones.create(name, weights=scale.weights.get(name))
