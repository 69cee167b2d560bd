"""The objects of one class in a data set with masks, one by one: what may be turned into another class."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.measure import label

from sakbench import whole
from sakbench.data import catalogue
from sakbench.data.archives import open_split
from sakbench.data.archives.files import read_map, read_photograph
from sakbench.data.archives.pascal_context import PascalContext
from sakbench.data.pairs.manifest import Bytes, box_of, printed
from sakbench.errors import UserError, unknown

IMAGES, MASKS = "images", "masks"
PASCAL = "pascal-context"
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
LEAST_SIDE = 96  # pixels of the longer side: what is smaller has no detail to be kept
_LEAST_SHARE = 0.01  # of an image
_IGNORED = 255


@dataclass(frozen=True, eq=False)
class Found:
    """An object: its image uint8 (h, w, 3), its mask bool (h, w), the image's name and its file's SHA-256."""

    image: Bytes
    mask: NDArray[np.bool_]
    source: str
    sha256: str


def of_folder(folder: Path, value: int | None) -> Iterator[Found]:
    """Objects of `folder/images` by `folder/masks`, PNG files of the same names, in the order of the names.

    An object is what hangs together of a mask's pixels that are `value`. If that is None, 255 decides: where it is most
    of what is not 0, masks go from 0 to 255 and an object begins at 128; else all labels but 0 and 255, which nobody
    labelled, are objects.
    Raises `UserError` for folders that are missing or do not belong together, and for files that cannot be read.
    """
    remedy = "copy the file again"
    for name, path, mask_path in _files(folder):
        image, mask = read_photograph(path, remedy=remedy), read_map(mask_path, remedy=remedy)
        if mask.shape != image.shape[:2]:
            raise UserError(f"{mask_path} has shape {mask.shape}, and its image {image.shape[:2]}: they must agree.")
        yield from _whole_ones(image, mask == value if value is not None else _all_but_ground(mask), name, path)


def of_pascal(root: Path, split: str, name: str) -> Iterator[Found]:
    """Objects of a class of PASCAL-Context's semantic segmentation, in the order of its list.

    Raises `UserError` for a class or a data set that there is not.
    """
    classes = catalogue.get(PASCAL).classes
    if name not in classes[1:]:
        raise unknown(f"class of {PASCAL}", name, classes[1:])
    images = open_split(PASCAL, split, root, tasks=("semseg",))
    assert isinstance(images.archive, PascalContext)
    for row, stem in enumerate(images.names):
        item = images[row]
        path = images.archive.shelves["image"].file(stem)
        yield from _whole_ones(item["image"], item["semseg"] == classes.index(name), path.name, path)


def empty_scenes(root: Path, split: str) -> Iterator[tuple[str, Bytes]]:
    """Names and images of PASCAL-Context that show nothing of its classes: backgrounds."""
    images = open_split(PASCAL, split, root, tasks=("semseg",))
    for row, name in enumerate(images.names):
        item = images[row]
        if not item["semseg"].any():
            yield name, item["image"]


def backgrounds(path: Path) -> Iterator[tuple[str, Bytes]]:
    """Names and pictures of an image file, or of all in a folder. Raises `UserError` where there is none."""
    if not path.exists():
        raise UserError(f"there is no background {path}.")
    for file in _images(path) if path.is_dir() else [path]:
        yield printed(file.name), read_photograph(file, remedy="name another background")


def _files(folder: Path) -> list[tuple[str, Path, Path]]:
    images, masks = folder / IMAGES, folder / MASKS
    for needed in (images, masks):
        if not needed.is_dir():
            raise UserError(
                f"there is no folder {needed}: photographs go to {images}, and for each a PNG of the same name to"
                f" {masks}."
            )
    found = _images(images)
    without = [path.name for path in found if not (masks / f"{path.stem}.png").is_file()]
    if without:
        more = f", nor for {len(without) - 1} others" if len(without) > 1 else ""
        raise UserError(f"{masks} holds no mask for {without[0]}{more}: a PNG of the same name is needed.")
    return [(path.name, path, masks / f"{path.stem}.png") for path in found]


def _all_but_ground(mask: NDArray[Any]) -> NDArray[np.bool_]:
    labelled = (mask != 0) & (mask != _IGNORED)
    if (mask == _IGNORED).sum() > labelled.sum():  # no labels: a mask of 0 to 255, with soft edges maybe
        return mask > _IGNORED // 2
    return labelled


def _images(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
    if not found:
        raise UserError(f"{folder} holds no image ({', '.join(_SUFFIXES)}).")
    return found


def _whole_ones(image: Bytes, mask: NDArray[np.bool_], name: str, path: Path) -> Iterator[Found]:
    """What hangs together in a mask and is large enough and not cut by the image's border, the largest first."""
    parts, count = label(mask, return_num=True, connectivity=2)
    areas = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    sha256 = ""
    for number in np.argsort(-areas, kind="stable") + 1:
        part = parts == number
        _, _, height, width = box_of(part)
        cut = part[0].any() or part[-1].any() or part[:, 0].any() or part[:, -1].any()
        if not cut and max(height, width) >= LEAST_SIDE and part.mean() >= _LEAST_SHARE:
            sha256 = sha256 or whole.sha256(path)
            yield Found(image, part, printed(name), sha256)
