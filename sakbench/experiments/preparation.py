"""Before the first hour of training: are the data and the weights there, and can all processes be used?"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from sakbench import backbones
from sakbench.data import catalogue
from sakbench.data.archives import open_split
from sakbench.data.archives.locate import candidates
from sakbench.data.questions import readers
from sakbench.errors import UserError
from sakbench.runs.scales import LLAVA, Scale
from sakbench.runs.spec import RunSpec


def of_the_data(scale: Scale, folder: Path) -> Scale:
    """The scale with the numbers of images that the data sets in `folder` have, since copies differ.

    Stage 1's images need not be there: not every run distils. Raises `UserError` for a data set or a list that is
    missing.
    """
    found = scale
    if scale.dataset != LLAVA:
        train, test = (len(open_split(scale.dataset, split, folder)) for split in ("train", "test"))
        found = replace(scale, train_images=train, test_images=test)
    if not candidates(scale.distill_dataset, folder):
        return found
    distill, held_out = (len(open_split(scale.distill_dataset, split, folder)) for split in ("train", "test"))
    return replace(found, distill_images=distill, distill_test=(scale.distill_test[0], held_out))


def unlike_the_papers(scale: Scale) -> list[str]:
    """A sentence for each data set of the scale that has other numbers of images than the paper's."""
    if scale.name == "mini":
        return []
    counts = {scale.distill_dataset: {"train": scale.distill_images, "test": scale.distill_test[1]}}
    if scale.dataset != LLAVA:
        counts |= {scale.dataset: {"train": scale.train_images, "test": scale.test_images}}
    return [
        f"{about.title}: {found['train']:,} images to train and {found['test']:,} to test, the paper's"
        f" {about.images['train']:,} and {about.images['test']:,}; numbers do not compare with published ones."
        for about, found in ((catalogue.get(name), found) for name, found in counts.items())
        if found != about.images
    ]


def require_data(runs: Sequence[RunSpec], folder: Path) -> None:
    """Raise `UserError` for images, labels or a whole data set that these runs read and `folder` lacks."""
    if any(run.kind == "answer" for run in runs):
        readers.require(folder)
    of_archives = [run for run in runs if run.kind not in ("pairs", "answer")]
    read = {(r.dataset, split, r.tasks) for r in of_archives for split in ("train", r.test_split)}
    for dataset, split, tasks in sorted(read):
        open_split(dataset, split, folder, tasks=tasks)


def require_shares(runs: list[RunSpec], scale: Scale, processes: int) -> None:
    """Raise `UserError` if not all runs can use the processes that a launcher has started."""
    if scale.name == "mini":
        raise UserError("scale mini's runs take a core each: start it without a launcher.")
    sizes = sorted({run.recipe.batch_size for run in runs if run.trains})
    for size in sizes:
        if size % processes:
            fitting = [str(count) for count in range(1, size + 1) if size % count == 0]
            raise UserError(
                f"{processes} processes cannot share a batch of {size}: start {', '.join(fitting)}, or leave the"
                f" launcher out and say --gpus {processes}, which gives every run as many as it can use."
            )


def require_weights(runs: Sequence[RunSpec], scale: Scale, tell: Callable[[str], None]) -> None:
    """Fetch the weights of every backbone that is not on this machine yet, and try the user's own files.

    Of a language model the tokenizer is tried. Raises `UserError` for weights that are out of reach or do not fit.
    """
    for language in dict.fromkeys(run.language for run in runs if run.language):
        from sakbench.runs import languages  # here, because it imports torch

        languages.require(language)
    needed = dict.fromkeys(name for run in runs for name in run.backbones)
    absent = [n for n in needed if n not in scale.weights and backbones.whereabouts(backbones.info(n)) == "not here"]
    for name in [name for name in needed if name in scale.weights]:
        tell(f"reading the weights of {name}")
        backbones.create(name, weights=scale.weights[name])
    for name in absent:
        tell(f"fetching the weights of {name}")
        try:
            backbones.create(name)
        except UserError as error:
            others = [other for other in absent if other != name]
            more = f" Not here either: {', '.join(others)}." if others else ""
            raise UserError(f"{error}{more}") from error
