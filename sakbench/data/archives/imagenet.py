"""ImageNet-1k in its folders: train/n01440764/*.JPEG, val/ in class folders, or flat beside LOC_val_solution.csv.

A class is a folder's place among the sorted folders of train/. Stage 1 uses no labels, and needs none.

Listing 1.28 million files takes minutes on a network disk, so the list is kept in the cache. It is made again when the
modification time of any folder in it has changed, which adding, removing or renaming a file does.
"""

import csv
import hashlib
import io
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from sakbench.cache import cache_folder
from sakbench.data.archives.files import Array, read_image
from sakbench.data.archives.kept import write_whole
from sakbench.errors import UserError

CLASS_FOLDER = re.compile(r"n\d{8}")
_SOLUTION = "LOC_val_solution.csv"
_ENDINGS = (".jpeg", ".jpg", ".png")


class Names(Sequence[str]):
    """A million file names in one array, which worker processes share instead of copying."""

    def __init__(self, table: NDArray[np.bytes_]) -> None:
        self.table = table

    def __len__(self) -> int:
        return len(self.table)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> "Names": ...
    def __getitem__(self, place: int | slice) -> "str | Names":
        return Names(self.table[place]) if isinstance(place, slice) else os.fsdecode(self.table[place])


@dataclass(frozen=True)
class ImageNet:
    """The folders train/ and val/ in a folder."""

    folder: Path

    marks = ("train",)

    def image(self, name: str) -> NDArray[np.uint8]:
        """uint8 (h, w, 3) of a name such as `train/n01440764/n01440764_18.JPEG`."""
        return read_image(self.folder / name)

    def target(self, name: str, task: str, shape: tuple[int, int]) -> Array:
        """There is none: ImageNet's labels are not used."""
        raise UserError(f"ImageNet-1k has no {task}.")

    def boundary_source(self, name: str, shape: tuple[int, int]) -> NDArray[np.int32]:
        """There is none."""
        raise UserError("ImageNet-1k has no boundary.")

    def label(self, name: str) -> int:
        """The class of an image, 0 to 999. Raises UserError where nothing tells it."""
        parts = name.split("/")
        wnid = parts[1] if len(parts) > 2 else self._solution.get(Path(parts[-1]).stem, "")
        if wnid not in self._classes:
            raise UserError(
                f"nothing tells the class of {self.folder / name}: put the images of val/ into class folders, or"
                f" {_SOLUTION} beside it."
            )
        return self._classes[wnid]

    @cached_property
    def _classes(self) -> dict[str, int]:
        _, *folders = self._folders(self.folder / "train")
        return {folder.name: number for number, folder in enumerate(folders)}

    @cached_property
    def _solution(self) -> dict[str, str]:
        """The class folder of each image of val/, where the file of Kaggle's copy is there."""
        try:
            with (self.folder / _SOLUTION).open(encoding="utf-8", newline="") as file:
                rows = csv.DictReader(file)
                return {row["ImageId"]: row["PredictionString"].split()[0] for row in rows}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, IndexError, AttributeError) as error:
            raise UserError(f"{self.folder / _SOLUTION} cannot be read ({error}): get it again.") from error

    def listed(self, split: str) -> Names:
        """The names of a split in order, from the cache or by listing its folders; raises UserError for none."""
        top = self.folder / {"train": "train", "test": "val"}[split]
        folders = self._folders(top)
        kept = cache_folder() / "archives" / "imagenet-1k"
        place = hashlib.sha256(os.fsencode(top.resolve())).hexdigest()[:16]
        state = hashlib.sha256(repr([(path.name, path.stat().st_mtime_ns) for path in folders]).encode())
        path = kept / f"{place}-{state.hexdigest()[:16]}.npy"
        table = _read(path)
        if table is None:
            table = np.array(sorted(self._files(folders)), dtype=np.bytes_)
            if not len(table):
                raise UserError(f"{top} holds no images: there should be {_ENDINGS[0].upper()} files in it.")
            write_whole(path, _as_npy(table))
            for outdated in kept.glob(f"{place}-*.npy"):
                if outdated != path:
                    outdated.unlink(missing_ok=True)
        return Names(table)

    def _folders(self, top: Path) -> list[Path]:
        """The folder of a split and its class folders."""
        try:
            with os.scandir(top) as entries:
                classes = [entry.name for entry in entries if CLASS_FOLDER.fullmatch(entry.name)]
        except OSError as error:
            raise UserError(
                f"{top} cannot be listed ({error.strerror}): is {self.folder} ImageNet's folder?"
            ) from error
        return [top, *(top / name for name in sorted(classes))]

    def _files(self, folders: list[Path]) -> Iterator[bytes]:
        for folder in folders:
            prefix = folder.relative_to(self.folder).as_posix()
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.lower().endswith(_ENDINGS):
                        yield os.fsencode(f"{prefix}/{entry.name}")


def _read(path: Path) -> NDArray[np.bytes_] | None:
    try:
        table = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return table if table.ndim == 1 and table.dtype.kind == "S" and len(table) else None


def _as_npy(table: NDArray[np.bytes_]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, table, allow_pickle=False)
    return stream.getvalue()
