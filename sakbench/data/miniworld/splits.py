"""Splits of rendered scenes: rendered once, in parallel, into memory-mapped files of the cache.

A split lies in `<cache>/miniworld-<version>/<kind>-<split>-<count>/`: one .npy per array and manifest.json with its
sizes and SHA-256 sums. It is written beside its place and renamed when complete. Loading compares the manifest and
the files' sizes always, and the sums of all arrays below 256 MB; `Split.verify` reads everything. What does not
agree is rendered again, with a warning.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from sakbench import whole
from sakbench.cache import cache_folder
from sakbench.data.miniworld.captions import CAPTION_LENGTH, caption
from sakbench.data.miniworld.geometry import Array
from sakbench.data.miniworld.render import Bytes, Rendered, boundaries, object_areas, render
from sakbench.data.miniworld.rooms import sample_nyud
from sakbench.data.miniworld.scenes import KINDS, VERSION, Scene, sample_pascal
from sakbench.errors import UserError, unknown

SPLITS = ("pretrain", "distill", "train", "val", "test")
TASKS = {
    "pascal": ("semseg", "parsing", "saliency", "normals", "boundary"),
    "nyud": ("semseg", "depth", "normals", "boundary"),
}
IMAGE_SIZE, LABEL_SIZE = 128, 64
_CHUNK = 500
_SUMMED_ON_LOAD = 256 * 2**20

Progress = Callable[[int, int], None]
Manifest = dict[str, Any]
Chunk = tuple[Path, int, str, int, int]


def sample_scene(seed: int, index: int, kind: str = "pascal") -> Scene:
    """Scene `index` of the stream `seed`; the same for the same VERSION everywhere."""
    if kind not in KINDS:
        raise unknown("kind of miniworld scenes", kind, KINDS)
    return sample_pascal(seed, index) if kind == "pascal" else sample_nyud(seed, index)


def split_seed(split: str) -> int:
    """The seed whose scenes make up the split: one per split, so that splits are disjoint."""
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    return SPLITS.index(split)


class Pictured(Protocol):
    """Whatever has images, uint8 (n, 128, 128, 3)."""

    @property
    def images(self) -> Bytes:
        """The images."""


@dataclass(frozen=True, eq=False)
class Split:
    """Rendered scenes 0 .. n-1 of a split, memory-mapped and read-only.

    images uint8 (n, 128, 128, 3); labels at 64 x 64: semseg, parsing, saliency, boundary, instance, part uint8
    (n, 64, 64), normals int8 (n, 64, 64, 3) times 127, depth float16 (n, 64, 64) metres (parsing and saliency for
    "pascal" only, depth for "nyud" only); captions int16 (n, 14) token ids, 0 = padding; dominant uint8 (n,), the class
    of the object that shows most.
    """

    name: str
    kind: str
    images: Bytes
    labels: dict[str, NDArray[np.generic]]
    captions: NDArray[np.int16]
    dominant: Bytes
    checksum: str
    folder: Path

    def __len__(self) -> int:
        return len(self.images)

    def verify(self) -> bool:
        """Whether every byte on disk is what was rendered (reads everything)."""
        return _trouble(self.folder, json.loads((self.folder / _MANIFEST).read_text()), summed=math.inf) is None


_MANIFEST = "manifest.json"


def load_split(
    split: str,
    kind: str,
    count: int,
    *,
    cache: Path | None = None,
    workers: int = 2,
    progress: Progress | None = None,
) -> Split:
    """The first `count` scenes of a split, from the cache or rendered into it by `workers` processes.

    `progress(done, count)` is called while rendering. A split with more scenes begins with those of one with fewer.
    Raises UserError for an unknown split or kind and for a cache that cannot be written.
    """
    seed, folder = split_seed(split), _place(split, kind, count, cache)
    manifest = _read_manifest(folder, split, kind, count)
    if isinstance(manifest, str):
        with _only_renderer(folder):  # whoever waited here finds what the other one rendered
            manifest = _read_manifest(folder, split, kind, count)
            if isinstance(manifest, str):
                if folder.exists():
                    warnings.warn(f"{folder} is rendered again: {manifest}", stacklevel=2)
                manifest = _render_split(folder, seed, split, kind, count, workers, progress)
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in manifest["arrays"]}
    images, captions, dominant = (arrays.pop(name) for name in ("images", "captions", "dominant"))
    return Split(split, kind, images, arrays, captions, dominant, _checksum(manifest), folder)


def cached_checksum(split: str, kind: str, count: int, *, cache: Path | None = None) -> str | None:
    """The checksum of a split's first `count` scenes as their manifest tells it; None if they are not in the cache.

    Nothing is rendered and no array is read. Raises UserError for an unknown split or kind.
    """
    split_seed(split)
    manifest = _read_manifest(_place(split, kind, count, cache), split, kind, count, summed=0)
    return None if isinstance(manifest, str) else _checksum(manifest)


def _place(split: str, kind: str, count: int, cache: Path | None) -> Path:
    if kind not in KINDS:
        raise unknown("kind of miniworld scenes", kind, KINDS)
    if count < 1:
        raise UserError(f"a split needs at least one scene, not {count}.")
    return (cache or cache_folder()) / f"miniworld-{VERSION}" / f"{kind}-{split}-{count}"


def _only_renderer(folder: Path) -> FileLock:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the cache {folder.parent} cannot be written ({error}); set SAKBENCH_CACHE.") from error
    return FileLock(folder.with_name(f".{folder.name}.lock"))


def _layout(kind: str) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Name, dtype and shape per scene of each array."""
    grid = (LABEL_SIZE, LABEL_SIZE)
    layout: dict[str, tuple[str, tuple[int, ...]]] = {
        "images": ("uint8", (IMAGE_SIZE, IMAGE_SIZE, 3)),
        "captions": ("int16", (CAPTION_LENGTH,)),
        "dominant": ("uint8", ()),
        "instance": ("uint8", grid),
        "part": ("uint8", grid),
    }
    for task in TASKS[kind]:
        layout[task] = {"normals": ("int8", (*grid, 3)), "depth": ("float16", grid)}.get(task, ("uint8", grid))
    return layout


def scene_arrays(scene: Scene, rendered: Rendered) -> dict[str, NDArray[np.generic]]:
    """What a split stores of one scene rendered at 128 x 128."""
    chosen = _majority(rendered.part)
    labels: dict[str, NDArray[Any]] = {
        "semseg": rendered.semseg,
        "parsing": rendered.parsing,
        "saliency": rendered.saliency,
        "instance": rendered.instance,
        "part": rendered.part,
        "depth": rendered.depth.astype(np.float16),
    }
    arrays: dict[str, NDArray[np.generic]] = {name: label[chosen] for name, label in labels.items()}
    arrays["normals"] = np.rint(rendered.normals[:, *chosen] * np.float32(127)).astype(np.int8).transpose(1, 2, 0)
    arrays["boundary"] = boundaries(rendered.region[chosen])
    arrays["images"] = rendered.image
    arrays["captions"] = caption(scene, rendered)
    areas = object_areas(scene, rendered.instance)
    main = int(areas.argmax())
    arrays["dominant"] = np.array(scene.things[main - 1].label if areas[main] else 0, dtype=np.uint8)
    return arrays


def _majority(part: Bytes) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns (h/2, w/2) of one pixel of each 2 x 2 block: one whose part is the most frequent there.

    All labels are read from the same pixel, so that they agree with each other.
    """
    a, b, c, d = part[::2, ::2], part[::2, 1::2], part[1::2, ::2], part[1::2, 1::2]
    first = (a == b) | (a == c) | (a == d)
    which = np.where(first, 0, np.where((b == c) | (b == d), 1, np.where(c == d, 2, 0)))
    rows = 2 * np.arange(a.shape[0])[:, None] + which // 2
    columns = 2 * np.arange(a.shape[1])[None, :] + which % 2
    return rows, columns


def render_chunk(folder: Path, seed: int, kind: str, start: int, stop: int) -> int:
    """Render scenes start .. stop-1 into the open arrays of a folder; how many they are."""
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r+") for name in _layout(kind)}
    for index in range(start, stop):
        scene = sample_scene(seed, index, kind)
        rendered = scene_arrays(scene, render(scene, IMAGE_SIZE))
        for name, array in arrays.items():
            array[index] = rendered[name]
    return stop - start


def _render_split(
    folder: Path, seed: int, split: str, kind: str, count: int, workers: int, progress: Progress | None
) -> Manifest:
    """Render a whole split beside its place, then move it there; its manifest."""
    whole.clear(folder.parent)
    fresh = whole.draft_of(folder)
    try:
        fresh.mkdir()
        for name, (dtype, shape) in _layout(kind).items():
            _reserve(fresh / f"{name}.npy", np.dtype(dtype), (count, *shape))
        step = min(_CHUNK, -(-count // max(workers, 1)))
        chunks = [(fresh, seed, kind, start, min(start + step, count)) for start in range(0, count, step)]
        done = 0
        for rendered in _run(chunks, workers):
            done += rendered
            if progress:
                progress(done, count)
        manifest: Manifest = {
            "version": VERSION,
            "split": split,
            "kind": kind,
            "count": count,
            "arrays": _sums(fresh, kind),
        }
        (fresh / _MANIFEST).write_text(json.dumps(manifest, indent=1))
        whole.settle(fresh, folder)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(
            f"the scenes of {kind} {split} could not be rendered into {folder.parent} ({error}): make room there, or"
            " name another folder in SAKBENCH_CACHE."
        ) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return manifest


def _reserve(path: Path, dtype: np.dtype, shape: tuple[int, ...]) -> None:
    """An array file whose space on the disk is taken: a map of a file that cannot grow kills its writer."""
    np.lib.format.open_memmap(path, "w+", dtype, shape).flush()
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _run(chunks: Sequence[Chunk], workers: int) -> Iterable[int]:
    """Render the chunks, in this process or in several, and report each one's size when it is done."""
    if workers <= 1 or len(chunks) == 1:
        for chunk in chunks:
            yield render_chunk(*chunk)
        return
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(_render_apart, *chunk) for chunk in chunks]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _render_apart(folder: Path, seed: int, kind: str, start: int, stop: int) -> int:
    """`render_chunk` in a process of its own."""
    arguments = [str(value) for value in (folder, seed, kind, start, stop)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", "sakbench.data.miniworld.worker", *arguments]
    subprocess.run(command, env=environment, check=True)
    return stop - start


def _sums(folder: Path, kind: str) -> dict[str, dict[str, int | str]]:
    return {
        name: {"bytes": (folder / f"{name}.npy").stat().st_size, "sha256": whole.sha256(folder / f"{name}.npy")}
        for name in _layout(kind)
    }


def _checksum(manifest: Manifest) -> str:
    """A short name of the split's content: of its arrays' sums."""
    sums = json.dumps({name: entry["sha256"] for name, entry in sorted(manifest["arrays"].items())})
    return hashlib.sha256(sums.encode()).hexdigest()[:16]


def _read_manifest(
    folder: Path, split: str, kind: str, count: int, *, summed: float = _SUMMED_ON_LOAD
) -> Manifest | str:
    """The manifest of a cached split, or what is wrong with it; see `_trouble` for `summed`."""
    path = folder / _MANIFEST
    try:
        manifest = json.loads(path.read_text())
        asked = {"version": VERSION, "split": split, "kind": kind, "count": count}
        if {key: manifest[key] for key in asked} != asked or set(manifest["arrays"]) != set(_layout(kind)):
            return "its manifest tells of another split."
        return _trouble(folder, manifest, summed=summed) or manifest
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"its manifest cannot be read ({error})."


def _trouble(folder: Path, manifest: Manifest, *, summed: float) -> str | None:
    """What is wrong with the arrays of a cached split, if anything; those of up to `summed` bytes are read whole."""
    for name, entry in manifest["arrays"].items():
        path, size, digest = folder / f"{name}.npy", entry["bytes"], entry["sha256"]
        if not path.is_file():
            return f"{path.name} is missing."
        if path.stat().st_size != size:
            return f"{path.name} has {path.stat().st_size} bytes instead of {size}."
        if size <= summed and whole.sha256(path) != digest:
            return f"{path.name} does not agree with its checksum."
    return None


def targets(split: Split, indices: Sequence[int] | NDArray[np.integer], tasks: Iterable[str]) -> dict[str, NDArray]:
    """Targets of the given scenes, (b, 64, 64) each: semseg, parsing, saliency, boundary uint8; depth float32 metres;
    normals float32 (b, 3, 64, 64) of unit length. Raises UserError for a task that the kind has not."""
    answer: dict[str, NDArray] = {}
    for task in tasks:
        if task not in TASKS[split.kind]:
            raise unknown(f"task of miniworld {split.kind}", task, TASKS[split.kind])
        label = split.labels[task][indices]
        if task == "normals":
            vectors = np.moveaxis(label, -1, 1).astype(np.float32)
            label = vectors / np.sqrt((vectors**2).sum(1, keepdims=True))
        answer[task] = label.astype(np.float32) if task == "depth" else label
    return answer


def images64(split: Pictured, indices: Sequence[int] | NDArray[np.integer]) -> Array:
    """The images (b, 64, 64, 3) at half the resolution: float32 means of 2 x 2 pixels, 0..255."""
    full = split.images[indices].astype(np.uint16)
    total = full[:, ::2, ::2] + full[:, ::2, 1::2] + full[:, 1::2, ::2] + full[:, 1::2, 1::2]
    return total.astype(np.float32) / np.float32(4)
