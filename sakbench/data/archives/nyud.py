"""NYUD-v2 in the multi-task field's archives: NYUDv2/ (425 x 560) and NYUD_MT/ (425 x 560 or 480 x 640, by its origin).

| what | where | how |
|---|---|---|
| lists | gt_sets/{train,val}.txt | a name per line |
| image | images/*.png or .jpg | |
| semseg | segmentation/*.png, or `segmentation` of .mat | 1 to 40; 0 is ignored |
| depth | depth/*.npy, or `depth` of .mat | metres; 0 is ignored |
| normals | normals/*.png or .jpg, or .npy | (n + 1) / 2 as bytes, or n as floats |
| boundary | edge/*.png, or .npy | 0 and 255, or 0 and 1 |
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sakbench.data.archives.files import Array, Shelf, read_image, read_map, require_classes, require_shape
from sakbench.data.archives.normals import IGNORE, unit_normals
from sakbench.errors import UserError

Bytes = NDArray[np.uint8]

_FARTHEST = 80.0  # metres; beyond it a depth is not in metres


@dataclass(frozen=True)
class Nyud:
    """The archive in a folder. Every read raises UserError for what is missing, broken or of another size."""

    folder: Path

    marks = ("images", "gt_sets")

    def names(self, split: str) -> Path:
        """The file that lists a split's names."""
        return self.folder / "gt_sets" / {"train": "train.txt", "test": "val.txt"}[split]

    @cached_property
    def shelves(self) -> dict[str, Shelf]:
        """Where the images and each task's labels lie."""
        kinds = {
            "image": ("images", (".png", ".jpg")),
            "semseg": ("segmentation", (".png", ".mat")),
            "depth": ("depth", (".npy", ".mat")),
            "normals": ("normals", (".png", ".npy", ".jpg")),
            "boundary": ("edge", (".png", ".npy")),
        }
        return {
            kind: Shelf(tuple((self.folder / folder, ending) for ending in endings))
            for kind, (folder, endings) in kinds.items()
        }

    def image(self, name: str) -> Bytes:
        """uint8 (h, w, 3)."""
        return read_image(self.shelves["image"].file(name))

    def target(self, name: str, task: str, shape: tuple[int, int]) -> Array:
        """A task's label for an image of that shape (h, w)."""
        readers: dict[str, Callable[[str, tuple[int, int]], Array]] = {
            "semseg": self._semseg,
            "depth": self._depth,
            "normals": self._normals,
            "boundary": self._boundary,
        }
        return readers[task](name, shape)

    def boundary_source(self, name: str, shape: tuple[int, int]) -> NDArray[np.int32]:
        """The boundary map int32 (h, w) of 0 and 1: an evaluation's truth itself, or, to compare with published scores,
        what passes for a label map whose edges are the truth."""
        return self._boundary(name, shape).astype(np.int32)

    def _semseg(self, name: str, shape: tuple[int, int]) -> Bytes:
        path = self.shelves["semseg"].file(name)
        stored = read_map(path, "segmentation").astype(np.int32)
        require_shape(path, stored, shape)
        labels = np.where((stored == 0) | (stored == IGNORE), IGNORE, stored - 1)
        require_classes(path, labels, 40)
        return labels.astype(np.uint8)

    def _depth(self, name: str, shape: tuple[int, int]) -> NDArray[np.float32]:
        path = self.shelves["depth"].file(name)
        metres = read_map(path, "depth").astype(np.float32)
        require_shape(path, metres, shape)
        known = np.isfinite(metres) & (metres != 0) & (metres != IGNORE)
        wrong = metres[known & ((metres < 0) | (metres > _FARTHEST))]
        if wrong.size:
            raise UserError(f"{path} holds the depth {wrong.flat[0]:g}: depths are metres, up to {_FARTHEST:g}.")
        return np.where(known, metres, np.float32(IGNORE))

    def _normals(self, name: str, shape: tuple[int, int]) -> NDArray[np.float32]:
        path = self.shelves["normals"].file(name)
        stored = read_map(path, channels=3)
        require_shape(path, stored, shape)
        return unit_normals(stored)

    def _boundary(self, name: str, shape: tuple[int, int]) -> Bytes:
        path = self.shelves["boundary"].file(name)
        stored = read_map(path)
        require_shape(path, stored, shape)
        full = 1 if stored.max(initial=0) <= 1 else 255
        return (stored >= full / 2).astype(np.uint8)
