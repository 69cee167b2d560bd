"""Exact counterfactual pairs: the same scene with one class turned into its lookalike, and where it is."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sakbench.data.miniworld.render import Bytes, render
from sakbench.data.miniworld.scenes import counterfactual
from sakbench.data.miniworld.splits import IMAGE_SIZE, sample_scene, split_seed
from sakbench.errors import UserError

_SEARCHED = 50  # scenes per pair, at most
_LEAST = 64  # pixels of 128 x 128: what is smaller is hardly seen


@dataclass(frozen=True, eq=False)
class Pictures:
    """Images as a split has them: uint8 (n, 128, 128, 3)."""

    images: Bytes


@dataclass(frozen=True, eq=False)
class Pairs:
    """`before` and `after` differ in nothing but the texture of one object, which is `mask`: bool (n, 128, 128).

    `scene` (n,) numbers the scenes of the split that they show.
    """

    before: Pictures
    after: Pictures
    mask: NDArray[np.bool_]
    scene: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.mask)

    @property
    def sides(self) -> NDArray[np.float64]:
        """The root of the object's visible area, in pixels, (n,)."""
        return np.sqrt(self.mask.sum((1, 2)))


def pairs(old: str, new: str, split: str, count: int) -> Pairs:
    """The first `count` scenes of a split that show enough of an `old`, and each with a `new` there.

    Only the largest `old` of a scene is changed. Raises `UserError` for classes that do not share their geometry, and
    where the scenes are too few.
    """
    found = list(_found(old, new, split, count))
    if len(found) < count:
        raise UserError(
            f"the first {_SEARCHED * count} scenes of {split} show a {old} in {len(found)} only: ask for fewer."
        )
    before, after, masks, scenes = (np.stack(part) for part in zip(*found, strict=True))
    return Pairs(Pictures(before), Pictures(after), masks, scenes)


def _found(old: str, new: str, split: str, count: int) -> Iterator[tuple[Bytes, Bytes, NDArray[np.bool_], int]]:
    seed, done = split_seed(split), 0
    for index in range(_SEARCHED * count):
        scene = sample_scene(seed, index)
        wanted = [place for place, thing in enumerate(scene.things, start=1) if thing.label and thing.name == old]
        if not wanted:
            continue
        rendered = render(scene, IMAGE_SIZE)
        areas = np.bincount(rendered.instance.ravel(), minlength=len(scene.things) + 1)
        largest = max(wanted, key=lambda place: areas[place])
        if areas[largest] < _LEAST:
            continue
        alone = counterfactual(replace(scene, things=(scene.things[largest - 1],)), {old: new}).things[0]
        changed = replace(scene, things=(*scene.things[: largest - 1], alone, *scene.things[largest:]))
        yield rendered.image, render(changed, IMAGE_SIZE).image, rendered.instance == largest, index
        done += 1
        if done == count:
            return
