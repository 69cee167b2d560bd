"""A split of a real data set: images and the labels of the tasks that were asked for, read when they are drawn."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sakbench.data import catalogue
from sakbench.data.archives.files import Array, Shelf
from sakbench.data.archives.imagenet import ImageNet
from sakbench.data.archives.locate import ARCHIVES, find
from sakbench.data.archives.nyud import Nyud
from sakbench.data.archives.pascal_context import PascalContext
from sakbench.errors import UserError, unknown

Item = dict[str, Any]
Transform = Callable[[Item, int], Item]  # of an item and a seed


class Archive(Protocol):
    """What a split needs of an archive. One that is not of the paper has `listed(split)` too, the names in order."""

    def image(self, name: str) -> NDArray[np.uint8]:
        """uint8 (h, w, 3)."""

    def target(self, name: str, task: str, shape: tuple[int, int]) -> Array:
        """A task's label."""

    def boundary_source(self, name: str, shape: tuple[int, int]) -> NDArray[np.int32]:
        """What the true boundaries of an evaluation are made of."""


@dataclass(frozen=True)
class ArchiveSplit:
    """A map-style data set for torch's DataLoader, whose workers may have it by fork or by spawn.

    `split[row]` is a dict of `name` and, without a transform, `image` uint8 (h, w, 3) and the tasks' labels at the
    image's own size: semseg, parsing, saliency, boundary uint8 (h, w), 255 ignored; normals float32 (3, h, w) of unit
    length, 255 in all channels where ignored; depth float32 (h, w) in metres, 255 where ignored. With
    `with_boundary_source` there is `boundary_source` too, int32 (h, w): PASCAL-Context's label map or NYUD-v2's
    boundary map, from which an evaluation makes its truth (`sakbench.metrics.boundary.label_edges` of it, or NYUD-v2's
    map itself); a transform pads it with 0, and `box` says where to cut it out again. With `with_label` there is
    `label`, ImageNet-1k's class from 0.

    `split[row, seed]` gives that seed to the transform: a sampler that yields such pairs makes an item a function of
    the pair alone, whichever worker reads it. A row alone has seed 0.
    """

    archive: Archive
    dataset: str
    split: str
    names: Sequence[str]
    tasks: tuple[str, ...] = ()
    transform: Transform | None = None
    with_boundary_source: bool = False
    with_label: bool = False

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, place: int | tuple[int, int]) -> Item:
        row, seed = place if isinstance(place, tuple) else (place, 0)
        name = self.names[int(row)]
        image = self.archive.image(name)
        shape = (image.shape[0], image.shape[1])
        item: Item = {"name": name, "image": image}
        for task in self.tasks:
            item[task] = self.archive.target(name, task, shape)
        if self.with_boundary_source:
            item["boundary_source"] = self.archive.boundary_source(name, shape)
        if self.with_label:
            assert isinstance(self.archive, ImageNet)
            item["label"] = self.archive.label(name)
        return self.transform(item, int(seed)) if self.transform else item

    def subset(self, count: int) -> "ArchiveSplit":
        """As many of its images, always the same ones, and those of a smaller subset among them.

        They are the first by the SHA-256 of their names, in the order of the list. The paper does not say which it
        took.
        """
        digests = sorted(self.names, key=lambda name: hashlib.sha256(name.encode()).digest())
        chosen = set(digests[:count])
        return replace(self, names=tuple(name for name in self.names if name in chosen))

    def boundary_source(self, row: int) -> NDArray[np.int32]:
        """What the true boundaries of row's image are made of, int32 (h, w) at the image's own size."""
        name = self.names[row]
        height, width, _ = self.archive.image(name).shape
        return self.archive.boundary_source(name, (height, width))


def open_split(
    dataset: str,
    split: str,
    root: Path,
    *,
    tasks: Iterable[str] = (),
    transform: Transform | None = None,
    with_boundary_source: bool = False,
    with_label: bool = False,
) -> ArchiveSplit:
    """The "train" or "test" split of a data set below `root`, with the labels of `tasks`.

    Raises UserError for an unknown name, a data set that is not there, and for a list whose images or labels are not
    all there: a long run does not find that out in its fifth hour.
    """
    about = catalogue.get(dataset)
    if split not in catalogue.SPLITS:
        raise unknown("split", split, catalogue.SPLITS)
    wanted = tuple(tasks)
    if wanted and not about.tasks:
        raise UserError(f"{about.title} has no {wanted[0]}: it has images alone.")
    for task in wanted:
        if task not in about.tasks:
            raise unknown(f"task of {about.title}", task, about.tasks)
    archive = ARCHIVES[dataset](find(dataset, root))
    names = listed(archive, split)
    if isinstance(archive, PascalContext | Nyud):
        kinds = ("image", *wanted, *(("boundary",) if with_boundary_source else ()))
        for kind in dict.fromkeys(kinds):
            _require_files(archive.shelves[kind], kind, names, about, archive.folder, archive.names(split))
    if with_label:
        if not isinstance(archive, ImageNet):
            raise UserError(f"{about.title} has no class for a whole image.")
        archive.label(names[0])  # a flat folder without its list is found out now
    return ArchiveSplit(archive, dataset, split, names, wanted, transform, with_boundary_source, with_label)


def listed(archive: Any, split: str) -> Sequence[str]:
    """The names of a split, in the order of its list. Raises UserError for a list that is absent, empty or no text."""
    if not isinstance(archive, PascalContext | Nyud):
        return archive.listed(split)
    path = archive.names(split)
    try:
        names = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    except FileNotFoundError as error:
        raise UserError(f"the list {path} is missing: unpack the archive again.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the list {path} cannot be read ({error}).") from error
    if not names:
        raise UserError(f"the list {path} is empty: unpack the archive again.")
    return names


def _require_files(
    shelf: Shelf, kind: str, names: Sequence[str], about: catalogue.DataSet, folder: Path, source: Path
) -> None:
    there = set().union(*shelf.present().values())
    missing = [name for name in names if name not in there]
    if not missing:
        return
    where = " and ".join(shelf.patterns())
    if len(missing) == len(names):
        raise UserError(
            f"this copy of {about.title} has no {kind} (looked for {where}): {catalogue.how_to_get(about)}."
        )
    raise UserError(
        f"{len(missing)} of the {len(names)} names in {source} have no {kind}, {missing[0]} for one (looked for"
        f" {where}): `sakbench data check {folder}` tells all that is missing."
    )
