"""PASCAL-Context in the multi-task field's archive, which the folders PASCALContext/ and PASCAL_MT/ hold alike.

| what | where | how |
|---|---|---|
| lists | ImageSets/Context/{train,val}.txt | a name per line |
| image | JPEGImages/*.jpg | |
| semseg | semseg/VOC12/*.png, else semseg/pascal-context/*.png | 0 to 20, 255 ignored |
| parsing | human_parts/*.mat | PASCAL-Part's `anno`: objects with masks of their parts |
| saliency | sal_distill/*.png | bytes; salient from 128 on |
| normals | normals_distill/*.png | (n + 1) / 2 as bytes, by a network that knows NYU's classes |
| boundary | pascal-context/trainval/*.mat | `LabelMap`, 0 to 459 |

ImageSets/Parts and the lists of classes in JSON, which some copies have, repeat what is in these files.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sakbench.data.archives.files import (
    Array,
    Shelf,
    read_bytes,
    read_image,
    read_map,
    read_struct,
    require_classes,
    require_shape,
)
from sakbench.data.archives.kept import kept_map
from sakbench.data.archives.normals import unit_normals
from sakbench.errors import UserError

Bytes = NDArray[np.uint8]

PERSON = 15  # of PASCAL-Part's classes
# the 24 parts of a person, and to which of the six each belongs
PARTS = {
    part: number
    for number, parts in enumerate(
        (
            "hair head lear lebrow leye mouth nose rear rebrow reye",
            "neck torso",
            "luarm ruarm",
            "lhand llarm rhand rlarm",
            "luleg ruleg",
            "lfoot llleg rfoot rlleg",
        ),
        start=1,
    )
    for part in parts.split()
}
# Of LabelMap's 459 classes, those that NYU's list of classes has under the same name, and tvmonitor: elsewhere the
# network that made the normals has seen nothing like it.
CLASSES_WITH_NORMALS = {
    "air conditioner": 3, "antenna": 4, "ashtray": 6, "bag": 9, "ball": 10, "balloon": 11, "barrel": 13, "basket": 15,
    "bathtub": 17, "bed": 18, "bench": 22, "bicycle": 23, "blackboard": 29, "board": 30, "book": 33, "bottle": 34,
    "bowl": 36, "box": 37, "bracelet": 38, "brick": 39, "broom": 41, "bucket": 43, "cabinet": 46, "cake": 49,
    "calculator": 50, "calendar": 51, "camera": 53, "can": 55, "candle": 56, "car": 59, "cart": 61, "case": 62,
    "cat": 65, "cd": 66, "ceiling": 68, "cell phone": 69, "chair": 72, "chessboard": 73, "clock": 78,
    "coffee machine": 83, "comb": 84, "computer": 85, "cone": 87, "container": 88, "corkscrew": 95, "counter": 96,
    "crate": 101, "cup": 104, "curtain": 105, "cutting board": 107, "dishwasher": 111, "dog": 113, "door": 115,
    "drum": 122, "duck": 124, "envelope": 135, "fan": 141, "faucet": 142, "fax machine": 143, "fire extinguisher": 146,
    "fish tank": 150, "flag": 154, "flashlight": 157, "floor": 158, "flower": 159, "fork": 165, "fruit": 172,
    "furnace": 174, "glass": 181, "globe": 183, "glove": 184, "guitar": 191, "hammer": 193, "handle": 195,
    "hanger": 197, "hat": 199, "heater": 202, "ipod": 213, "ironing board": 215, "jar": 216, "key": 219,
    "keyboard": 220, "knife": 223, "ladder": 225, "laptop": 228, "lid": 230, "light": 232, "light bulb": 233,
    "lock": 238, "machine": 239, "map": 242, "mask": 243, "mattress": 246, "microphone": 250, "microwave": 251,
    "mirror": 252, "money": 255, "mouse": 260, "mouse pad": 261, "napkin": 263, "oven": 269, "pan": 272, "paper": 273,
    "paper cutter": 275, "pen": 281, "pencil": 283, "person": 284, "photo": 285, "piano": 286, "picture": 287,
    "pig": 288, "pillow": 290, "pipe": 291, "pitcher": 292, "plant": 293, "plate": 295, "pool table": 304, "pot": 307,
    "printer": 309, "projector": 310, "radiator": 314, "radio": 315, "range hood": 319, "remote control": 323,
    "rope": 328, "rug": 329, "ruler": 330, "scale": 336, "sculpture": 342, "sewing machine": 345, "shelves": 349,
    "shoe": 350, "shopping cart": 351, "shovel": 352, "sign": 355, "sink": 357, "sofa": 368, "spatula": 370,
    "speaker": 371, "spoon": 374, "stapler": 378, "stick": 379, "stool": 382, "stove": 383, "table": 397, "tape": 401,
    "telephone": 403, "tent": 405, "toaster": 407, "toilet": 408, "toothbrush": 411, "towel": 412, "toy": 413,
    "toy car": 414, "trampoline": 417, "tray": 419, "tricycle": 421, "trophy": 423, "tvmonitor": 427,
    "typewriter": 429, "umbrella": 430, "vacuum cleaner": 432, "wall": 440, "wallet": 441, "wardrobe": 442,
    "washing machine": 443, "watch": 444, "water dispenser": 446, "window": 454, "wire": 456,
}  # fmt: skip
_HAS_NORMALS = np.isin(np.arange(460), list(CLASSES_WITH_NORMALS.values()))
_BOUNDARY, _NORMALS = 1, 2  # the bits of what is kept of a label map
_KEPT = "pascal-context-1"  # changes when what is computed of a label map does


@dataclass(frozen=True)
class PascalContext:
    """The archive in a folder. Every read raises UserError for what is missing, broken or of another size."""

    folder: Path

    marks = ("JPEGImages", "ImageSets/Context")

    def names(self, split: str) -> Path:
        """The file that lists a split's names."""
        return self.folder / "ImageSets" / "Context" / {"train": "train.txt", "test": "val.txt"}[split]

    @cached_property
    def shelves(self) -> dict[str, Shelf]:
        """Where the images and each task's labels lie."""
        label_maps = (self.folder / "pascal-context" / "trainval", ".mat")
        return {
            "image": Shelf(((self.folder / "JPEGImages", ".jpg"), (self.folder / "JPEGImages", ".png"))),
            "semseg": Shelf(tuple((self.folder / "semseg" / source, ".png") for source in ("VOC12", "pascal-context"))),
            "parsing": Shelf(((self.folder / "human_parts", ".mat"),)),
            "saliency": Shelf(((self.folder / "sal_distill", ".png"),)),
            "normals": Shelf(((self.folder / "normals_distill", ".png"),)),
            "boundary": Shelf((label_maps,)),
        }

    def image(self, name: str) -> Bytes:
        """uint8 (h, w, 3)."""
        return read_image(self.shelves["image"].file(name))

    def target(self, name: str, task: str, shape: tuple[int, int]) -> Array:
        """A task's label for an image of that shape (h, w)."""
        readers: dict[str, Callable[[str, tuple[int, int]], Array]] = {
            "semseg": self._semseg,
            "parsing": self._parsing,
            "saliency": self._saliency,
            "normals": self._normals,
            "boundary": self._boundary,
        }
        return readers[task](name, shape)

    def boundary_source(self, name: str, shape: tuple[int, int]) -> NDArray[np.int32]:
        """LabelMap int32 (h, w), from whose edges the true boundaries of an evaluation are made."""
        path = self.shelves["boundary"].file(name)
        labels = read_map(path, "LabelMap").astype(np.int32)
        require_shape(path, labels, shape)
        if labels.min(initial=0) < 0 or labels.max(initial=0) >= len(_HAS_NORMALS):
            raise UserError(f"{path} holds labels beyond 0 to {len(_HAS_NORMALS) - 1}: it is not PASCAL-Context's.")
        return labels

    def _semseg(self, name: str, shape: tuple[int, int]) -> Bytes:
        path = self.shelves["semseg"].file(name)
        labels = read_map(path)
        require_shape(path, labels, shape)
        require_classes(path, labels, 21)
        return labels.astype(np.uint8)

    def _parsing(self, name: str, shape: tuple[int, int]) -> Bytes:
        path = self.shelves["parsing"].file(name)
        labels = np.zeros(shape, dtype=np.uint8)
        try:
            # structures by position, as the field reads them:
            # anno (name, objects), an object (class, number, mask, parts), a part (name, mask)
            for thing in read_struct(path, "anno")[0, 0][1].ravel():
                if int(thing[1].item()) == PERSON:
                    for part in thing[3].ravel():
                        require_shape(path, part[1], shape)
                        labels[part[1].astype(bool)] = PARTS[str(part[0].item())]
        except (IndexError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise UserError(
                f"{path} is not an annotation of PASCAL-Part ({type(error).__name__}: {error}): unpack the archive"
                " again."
            ) from error
        return labels

    def _saliency(self, name: str, shape: tuple[int, int]) -> Bytes:
        path = self.shelves["saliency"].file(name)
        stored = read_map(path)
        require_shape(path, stored, shape)
        return (stored / 255 > 0.5).astype(np.uint8)

    def _normals(self, name: str, shape: tuple[int, int]) -> NDArray[np.float32]:
        path = self.shelves["normals"].file(name)
        stored = read_map(path, channels=3)
        require_shape(path, stored, shape)
        return unit_normals(stored, self._of_label_map(name, shape) & _NORMALS > 0)

    def _boundary(self, name: str, shape: tuple[int, int]) -> Bytes:
        return self._of_label_map(name, shape) & np.uint8(_BOUNDARY)

    def _of_label_map(self, name: str, shape: tuple[int, int]) -> Bytes:
        """What training needs of a label map, from the cache or computed into it: bit 0 boundary, bit 1 has normals."""
        path = self.shelves["boundary"].file(name)

        def compute() -> Bytes:
            labels = self.boundary_source(name, shape)
            return thinned_boundary(labels) * np.uint8(_BOUNDARY) | _HAS_NORMALS[labels] * np.uint8(_NORMALS)

        found = kept_map(_KEPT, read_bytes(path), compute)
        require_shape(path, found, shape)
        return found


def thinned_boundary(labels: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Boundaries that training sees: where the Laplacian of a label map (h, w) is not zero, thinned; bool (h, w)."""
    # These two take a while to import, and the cache keeps them from most uses.
    from scipy.ndimage import laplace
    from skimage.morphology import thin

    return thin(laplace(labels.astype(np.int64), mode="mirror") != 0)
