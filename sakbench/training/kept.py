"""Where features of frozen backbones are kept on the disk, whether they are whole, and what they take (no torch here).

The folder of one backbone's features holds an array per level and manifest.json with their sizes and SHA-256 sums.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from sakbench.cache import cache_folder
from sakbench.whole import sha256

LEVELS = tuple(f"level-{level}.npy" for level in (1, 2, 3, 4))
_MANIFEST = "manifest.json"


def place() -> Path:
    """The folder of all features."""
    return cache_folder() / "features"


def folder(name: str, images: str, size: int, *, flipped: bool) -> Path:
    """The folder of one backbone's features of some images at `size` pixels.

    Its name holds a digest of `name`, which says all of the backbone that they depend on, and of the images' checksum.
    """
    digest = hashlib.sha256(f"{name} {size} {images}".encode()).hexdigest()[:16]
    readable = name.split()[0].replace("/", "-")
    return place() / f"{readable}-{digest}{'-flipped' if flipped else ''}"


def size_in_bytes(count: int, levels: Iterable[tuple[int, int, int]]) -> int:
    """What the features (h, w, d) of some levels take for `count` images in half precision, without files' headers."""
    return count * sum(height * width * dim for height, width, dim in levels) * np.dtype(np.float16).itemsize


def write_manifest(folder: Path) -> None:
    """Write down what the levels in a folder are."""
    levels = {name: {"bytes": (folder / name).stat().st_size, "sha256": sha256(folder / name)} for name in LEVELS}
    (folder / _MANIFEST).write_text(json.dumps(levels, indent=1), encoding="utf-8")


def trouble(folder: Path, *, summed: bool) -> str | None:
    """What is wrong with kept features, if anything: of the levels' sizes or, `summed`, of all their bytes.

    SHA-256 takes 0.8 s for each gigabyte where the processor has instructions for it: the same as reading from a disk.
    """
    try:
        levels = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        for name in LEVELS:
            size, digest = levels[name]["bytes"], levels[name]["sha256"]
            if (found := (folder / name).stat().st_size) != size:
                return f"{name} has {found} bytes instead of {size}."
            if summed and sha256(folder / name) != digest:
                return f"{name} does not agree with its checksum."
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing."
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"its manifest cannot be read ({error})."
    return None
