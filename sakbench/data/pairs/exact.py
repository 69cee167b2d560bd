"""Exact pairs: scenes of miniworld rendered twice, once with an object's lookalike in its place."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from filelock import FileLock

from sakbench import __version__, whole
from sakbench.cache import cache_folder
from sakbench.data.miniworld import VERSION
from sakbench.data.miniworld.pairs import pairs
from sakbench.data.miniworld.scenes import require_one_shape
from sakbench.data.miniworld.splits import split_seed
from sakbench.data.pairs import files
from sakbench.data.pairs.manifest import Gates, PairSet, PastedObject, box_of, check, read, write
from sakbench.errors import UserError

NAME = "miniworld"
# The pairs that Figure 6 is of at scale mini.
OLD, NEW, SPLIT, COUNT = "cat", "dog", "test", 120

Progress = Callable[[int, int], None]


def identity(old: str = OLD, new: str = NEW, split: str = SPLIT, count: int = COUNT) -> str:
    """Which pairs these are, as a word that their numbers depend on."""
    return f"{NAME} {VERSION} {split} {count} {old} {new}"


def require(old: str, new: str, split: str) -> None:
    """Raise `UserError` for classes that do not share their geometry, and a split that there is not."""
    require_one_shape(old, new)
    if old == new:
        raise UserError(f"a {old} that becomes a {new} is no counterfactual: name another class with --new.")
    split_seed(split)


def make(
    folder: Path,
    old: str = OLD,
    new: str = NEW,
    split: str = SPLIT,
    count: int = COUNT,
    *,
    name: str = NAME,
    progress: Progress = lambda done, total: None,
) -> PairSet:
    """Render pairs into a folder and write their manifest, last.

    Raises `UserError` for classes that do not share their geometry, a split that there is not, or where the scenes are
    too few.
    """
    require(old, new, split)
    rendered = pairs(old, new, split, count)
    made = []
    for row in range(count):
        before, after, mask = rendered.before.images[row], rendered.after.images[row], rendered.mask[row]
        change = np.abs(after.astype(np.float64) - before).mean(-1) / 255
        gates = Gates(1.0, float(change[mask].mean()), float(change[~mask].mean()))  # one renderer, one shape
        scene = f"scene {rendered.scene[row]} of {split}"
        changed = PastedObject(
            1, box_of(mask), scene, "", f"the same scene with a {new}", int(rendered.scene[row]), gates
        )
        made.append(files.write_pair(folder, row, (before, after, mask.astype(np.uint8)), scene, (changed,)))
        progress(row + 1, count)
    side = rendered.mask.shape[1]
    about = {"sakbench": __version__, "renderer": f"{NAME} {VERSION}"}
    found = PairSet(name, old, new, side, about, tuple(made), rendered=identity(old, new, split, count))
    try:
        write(folder, found)
    except OSError as error:
        raise UserError(f"{folder} cannot be written to ({error.strerror}): make room there.") from error
    return found


def kept() -> Path:
    """The folder of Figure 6's pairs at scale mini: in the cache, rendered if it is not there or not whole."""
    folder = cache_folder() / "pairs" / identity().replace(" ", "-")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if _is_whole(folder):
                return folder
            whole.clear(folder.parent)
            draft = whole.draft_of(folder)
            draft.mkdir()
            make(draft)
            whole.settle(draft, folder)
    except OSError as error:
        raise UserError(
            f"the cache {folder.parent} cannot be written ({error.strerror}): make room there, or name another folder"
            " in SAKBENCH_CACHE."
        ) from error
    return folder


def _is_whole(folder: Path) -> bool:
    try:
        found = read(folder)
        check(folder, found)
    except UserError:
        return False
    return found.rendered == identity()
