"""NYUd, the depth-only set of DINOv2's probes, in BTS's copy: two lists beside the folders of scenes.

| what | where | how |
|---|---|---|
| lists | nyu_train.txt, nyu_test.txt | image, depth, focal length: /attic/rgb_0.jpg /attic/sync_depth_0.png 518.8 |
| image | as listed | 480 x 640, JPEG or PNG |
| depth | as listed | 16-bit PNG in millimetres; 0 is ignored |

It is Eigen's split of the raw videos: 24,231 frames to train, and NYUD-v2's 654 test images.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sakbench.data.archives.files import Array, read_image, read_map, require_shape
from sakbench.errors import UserError

IGNORE = 255
_MILLIMETRES = 1000.0
_LISTS = {"train": "nyu_train.txt", "test": "nyu_test.txt"}


@dataclass(frozen=True)
class NyuDepth:
    """The data set in a folder. A name is the image's place in it, as listed, without a leading slash."""

    folder: Path

    marks = tuple(_LISTS.values())

    def listed(self, split: str) -> tuple[str, ...]:
        """The names of a split in the order of its list.

        Raises UserError for a list that is absent, empty or no such list, and for images or depths that are missing.
        """
        path = self.folder / _LISTS[split]
        names = tuple(self._lines(path))
        if not names:
            raise UserError(f"the list {path} is empty: get it again.")
        files = [self.folder / one for name in names for one in (name, self._depths[name])]
        missing = [file for file in files if not file.is_file()]
        if missing:
            raise UserError(
                f"{len(missing)} of the {len(files)} files that {path} lists are missing, {missing[0]} for one."
            )
        return names

    def image(self, name: str) -> NDArray[np.uint8]:
        """uint8 (h, w, 3)."""
        return read_image(self.folder / name)

    def target(self, name: str, task: str, shape: tuple[int, int]) -> Array:
        """Depth in metres, float32 (h, w), 255 where there is none, for an image of that shape."""
        path = self.folder / self._depths[name]
        stored = read_map(path)
        require_shape(path, stored, shape)
        metres = stored.astype(np.float32) / np.float32(_MILLIMETRES)
        return np.where(metres > 0, metres, np.float32(IGNORE))

    def boundary_source(self, name: str, shape: tuple[int, int]) -> NDArray[np.int32]:
        """There is none."""
        raise UserError("NYUd has no boundary.")

    @cached_property
    def _depths(self) -> dict[str, str]:
        """The depth's file by the image's, of both lists as far as they are there."""
        return {
            name: depth
            for file in _LISTS.values()
            if (self.folder / file).is_file()
            for name, depth in self._lines(self.folder / file).items()
        }

    def _lines(self, path: Path) -> dict[str, str]:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError as error:
            raise UserError(f"the list {path} is missing: get it again.") from error
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"the list {path} cannot be read ({error}).") from error
        found = {}
        for number, line in enumerate(lines, 1):
            words = line.split()
            if len(words) in (2, 3):
                found[words[0].lstrip("/")] = words[1].lstrip("/")
            elif words:
                raise UserError(f"line {number} of {path} is no image, depth and focal length: {line[:60]!r}.")
        return found
