"""Tiny copies of the real data sets in their real layouts, for any test that needs files to read.

`pascal_context(folder)`, `nyud(folder)`, `nyu_depth(folder)` and `imagenet(folder)` write one and return its folder.
Contents are a function of the name of an image; names are "train0", "train1", ..., "test0", ...
"""

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

Size = tuple[int, int]
PASCAL_SIZES: Sequence[Size] = ((37, 50), (50, 33), (41, 41))
NYUD_SIZES: Sequence[Size] = ((34, 45),)


def regions(name: str, size: Size, count: int) -> np.ndarray:
    """A map (h, w) of `count` regions 0 .. count - 1: the nearest of as many random points."""
    draw = np.random.default_rng(zlib.crc32(name.encode()))
    height, width = size
    points = draw.uniform(0, 1, (count, 2)) * size
    grid = np.stack(np.mgrid[:height, :width], axis=-1)
    return ((grid[:, :, None] - points) ** 2).sum(-1).argmin(-1)


def names(split: str, count: int) -> list[str]:
    return [f"{split}{i}" for i in range(count)]


def _write_png(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def _write_palette(path: Path, labels: np.ndarray) -> None:
    """As VOC stores labels: indices into a palette."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(labels.astype(np.uint8))
    image.putpalette([value for index in range(256) for value in (index * 7 % 256, index * 11 % 256, index)])
    image.save(path)


def _write_list(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def _picture(name: str, size: Size) -> np.ndarray:
    draw = np.random.default_rng(zlib.crc32(name.encode()))
    return draw.integers(0, 256, (6, 3), dtype=np.uint8)[regions(name, size, 6)]


def _objects(people: list[tuple[np.ndarray, list[tuple[str, np.ndarray]]]], others: list[np.ndarray]) -> np.ndarray:
    """PASCAL-Part's objects: persons with parts, then things without."""
    fields = [("class", object), ("class_ind", object), ("mask", object), ("parts", object)]
    objects = np.zeros((1, len(people) + len(others)), dtype=fields)
    for column, (mask, parts) in enumerate(people):
        stored = np.zeros((1, len(parts)), dtype=[("part_name", object), ("mask", object)])
        for place, (part, part_mask) in enumerate(parts):
            stored[0, place] = (part, part_mask.astype(np.uint8))
        objects[0, column] = ("person", np.uint8(15), mask.astype(np.uint8), stored)
    for column, mask in enumerate(others, start=len(people)):
        objects[0, column] = ("dog", np.uint8(12), mask.astype(np.uint8), np.zeros((0, 0)))
    return objects


def write_parts(path: Path, people: list[tuple[np.ndarray, list[tuple[str, np.ndarray]]]], size: Size) -> None:
    """An annotation of PASCAL-Part with these persons, (mask, parts), and a dog."""
    path.parent.mkdir(parents=True, exist_ok=True)
    anno = np.zeros((1, 1), dtype=[("imname", object), ("objects", object)])
    anno[0, 0] = (path.stem, _objects(people, [np.ones(size, dtype=bool)]))
    savemat(path, {"anno": anno}, do_compression=True)


def pascal_context(
    folder: Path, *, train: int = 4, test: int = 3, sizes: Sequence[Size] = PASCAL_SIZES, voc12: bool = True
) -> Path:
    """PASCAL-Context; sizes take turns. Every second image, from the first on, has a person, and VOC12's label."""
    everything = names("train", train) + names("test", test)
    _write_list(folder / "ImageSets/Context/train.txt", names("train", train))
    _write_list(folder / "ImageSets/Context/val.txt", names("test", test))
    for place, name in enumerate(everything):
        size = sizes[place % len(sizes)]
        parts = regions(name, size, 6)
        picture = folder / f"JPEGImages/{name}.jpg"
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(_picture(name, size)).save(picture, quality=95)
        classes = np.array([0, 15, 12, 255, 20, 3])[parts]
        source = "VOC12" if voc12 and place % 2 == 0 else "pascal-context"
        _write_palette(folder / f"semseg/{source}/{name}.png", classes)
        label_map = np.array([284, 440, 113, 360, 427, 2], dtype=np.uint16)[parts]  # person wall dog sky tv aeroplane
        maps = folder / f"pascal-context/trainval/{name}.mat"
        maps.parent.mkdir(parents=True, exist_ok=True)
        savemat(maps, {"LabelMap": label_map}, do_compression=True)
        person = [(part, parts == index) for index, part in enumerate(("head", "torso", "lhand", "ruleg"))]
        people = [(parts < 4, person)] if place % 2 == 0 else []
        write_parts(folder / f"human_parts/{name}.mat", people, size)
        _write_png(folder / f"sal_distill/{name}.png", np.array([0, 127, 128, 255, 40, 200], dtype=np.uint8)[parts])
        _write_png(folder / f"normals_distill/{name}.png", encoded_normals(name, size))
    return folder


def encoded_normals(name: str, size: Size) -> np.ndarray:
    """Random unit vectors, one per region, as bytes (h, w, 3) of (n + 1) / 2."""
    vectors = np.random.default_rng(zlib.crc32(name.encode())).normal(size=(6, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.rint((vectors + 1) / 2 * 255).astype(np.uint8)[regions(name, size, 6)]


def nyud(
    folder: Path, *, train: int = 4, test: int = 3, sizes: Sequence[Size] = NYUD_SIZES, variant: str = "png"
) -> Path:
    """NYUD-v2. `variant`: "png" as in NYUDv2.tar.gz, "npy" for jpg images with npy normals and edges, "mat" for the
    oldest copies, whose segmentation and depth are MATLAB files and whose normals are jpg."""
    everything = names("train", train) + names("test", test)
    _write_list(folder / "gt_sets/train.txt", names("train", train))
    _write_list(folder / "gt_sets/val.txt", names("test", test))
    for kind in ("images", "segmentation", "depth", "normals", "edge"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for place, name in enumerate(everything):
        size = sizes[place % len(sizes)]
        parts = regions(name, size, 6)
        image = Image.fromarray(_picture(name, size))
        image.save(folder / f"images/{name}.{'png' if variant == 'png' else 'jpg'}")
        labels = np.array([0, 1, 40, 7, 12, 3], dtype=np.uint8)[parts]
        depth = np.array([0, 0.5, 2, 9.75, 4, 1], dtype=np.float32)[parts]
        normals = encoded_normals(name, size)
        edge = (np.diff(parts, axis=1, append=parts[:, -1:]) != 0).astype(np.uint8)
        if variant == "mat":
            savemat(folder / f"segmentation/{name}.mat", {"segmentation": labels})
            savemat(folder / f"depth/{name}.mat", {"depth": depth})
            Image.fromarray(normals).save(folder / f"normals/{name}.jpg", quality=95)
        else:
            _write_png(folder / f"segmentation/{name}.png", labels)
            np.save(folder / f"depth/{name}.npy", depth)
        if variant == "npy":
            np.save(folder / f"normals/{name}.npy", normals.astype(np.float32) / 255 * 2 - 1)
            np.save(folder / f"edge/{name}.npy", edge.astype(np.float32))
        else:
            _write_png(folder / f"edge/{name}.png", edge * np.uint8(255))
            if variant == "png":
                _write_png(folder / f"normals/{name}.png", normals)
    return folder


def nyu_depth(folder: Path, *, train: int = 3, test: int = 2, size: Size = (480, 640)) -> Path:
    """NYUd in BTS's copy: lists of images and depths, in millimetres, in folders of scenes."""
    for split, count in (("train", train), ("test", test)):
        lines = []
        for place, name in enumerate(names(split, count)):
            scene = folder / f"room_{place}"
            parts = regions(name, size, 6)
            scene.mkdir(parents=True, exist_ok=True)
            Image.fromarray(_picture(name, size)).save(scene / f"rgb_{name}.jpg", quality=90)
            depth = np.array([0, 500, 2000, 9750, 4000, 12000], dtype=np.uint16)[parts]
            _write_png(scene / f"sync_depth_{name}.png", depth)
            lines.append(f"/{scene.name}/rgb_{name}.jpg /{scene.name}/sync_depth_{name}.png 518.8579")
        _write_list(folder / f"nyu_{split}.txt", lines)
    return folder


def imagenet(folder: Path, *, classes: int = 2, per_class: int = 3, test: int = 4, flat: bool = True) -> Path:
    """ImageNet-1k: `classes` folders of `per_class` images in train, and a flat val or one in class folders."""
    for index in range(classes):
        label = f"n{index:08d}"
        for image in range(per_class):
            _write_jpeg(folder / f"train/{label}/{label}_{image}.JPEG", (30 + index, 40 + image))
    for index in range(test):
        inside = "" if flat else f"n{index % classes:08d}/"
        _write_jpeg(folder / f"val/{inside}ILSVRC2012_val_{index:08d}.JPEG", (40, 30))
    return folder


def _write_jpeg(path: Path, size: Size) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(_picture(path.stem, size)).save(path, format="JPEG")
