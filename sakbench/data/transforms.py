"""From a data set's item to a network's input, on torchvision's transforms v2.

A transform is called with an item of `ArchiveSplit` and a seed, and is a function of these alone: all that is random is
drawn from a generator of that seed, none from torch's global one. Labels travel as tv_tensors: masks, and two kinds of
our own, normals, whose x a mirror negates, and depth, which a magnified image brings nearer.

What comes out is ready for torch's default collation: `image` float32 (3, H, W), normalised; the labels as in the item,
as tensors at the network's size, 255 where they are padded; whatever else the item holds, such as `name`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import log, sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from sakbench.data.archives.split import Item, Transform
from sakbench.data.catalogue import CATALOGUE, Size
from sakbench.errors import UserError

__all__ = [
    "IMAGE_MEAN",
    "IMAGE_STD",
    "ClassifyTransform",
    "CropTransform",
    "Depth",
    "DepthEvaluationTransform",
    "DepthTransform",
    "DistillTransform",
    "EvaluationTransform",
    "Normals",
    "Transform",
    "TuneTransform",
    "ViewTransform",
    "WholeTransform",
    "jittered",
    "scaled",
]

Colour = tuple[float, float, float]

IGNORE = 255
IMAGE_MEAN: Colour = (0.485, 0.456, 0.406)  # ImageNet's
IMAGE_STD: Colour = (0.229, 0.224, 0.225)
_PAPER_SIZE = CATALOGUE["pascal-context"].size

_MOST_OF_A_CROP = 0.75  # that one class may fill
_REDRAWS = 10
_BRIGHTNESS, _CONTRAST, _HUE = 32 / 255, (0.5, 1.5), 18  # hue in steps of 2 degrees
_HUE_STEPS = 180
_NYUD_FRAME = (45, 43, 427, 565)  # top, left, height, width: what of a Kinect's picture has depth all around
_EIGEN_CROP = (45, 41, 426, 560)  # where depth is evaluated
_DEPTH_CROP = CATALOGUE["nyu-depth"].size
_CLASSIFIED = (224, 224)
_MOST_TURN = 2.5  # degrees
_GAMMA, _LIGHT, _TINT = (0.9, 1.1), (0.75, 1.25), (0.9, 1.1)


class Normals(tv_tensors.Mask):
    """Unit vectors (3, h, w), 255 in all channels where ignored."""


class Depth(tv_tensors.Mask):
    """Metres (h, w), 255 where ignored."""


class BoundarySource(tv_tensors.Mask):
    """What the true boundaries are made of (h, w): labels of its own, which are cut out again and never ignored."""


_KINDS: dict[str, type[tv_tensors.Mask]] = {
    "semseg": tv_tensors.Mask,
    "parsing": tv_tensors.Mask,
    "saliency": tv_tensors.Mask,
    "normals": Normals,
    "boundary": tv_tensors.Mask,
    "depth": Depth,
    "boundary_source": BoundarySource,
}


@F.register_kernel(F.horizontal_flip, Normals)
def _mirror_normals(normals: Normals) -> Normals:
    """Places left to right, and x negated; what is ignored stays ignored."""
    x, yz = normals.as_subclass(Tensor).flip(-1).split([1, 2])
    mirrored = torch.cat([torch.where(x == IGNORE, x, -x), yz])
    return tv_tensors.wrap(mirrored, like=normals)


@dataclass(frozen=True)
class TuneTransform:
    """Stage 2's augmentation, in the reference's order.

    Scale by U(0.5, 2), labels to the nearest pixel and depth divided by the scale; crop to `size`, drawn again up to 10
    times while one class fills over 75% of the labelled pixels; mirror, p 0.5; colours; normalise; pad around the
    centre, the image with 0; ignore parsing where a crop shows no part of a person.
    """

    size: Size = _PAPER_SIZE
    mean: Colour = IMAGE_MEAN
    std: Colour = IMAGE_STD

    def __call__(self, item: Item, seed: int) -> Item:
        """The item, augmented as the seed says."""
        draw = np.random.default_rng(seed)
        item = scaled(_as_tensors(item), draw.uniform(0.5, 2.0))
        top, left = _crop_corner(item, self.size, draw)
        height, width = (min(own, cut) for own, cut in zip(_size(item), self.size, strict=True))
        item = _each(item, lambda value: F.crop(value, top, left, height, width))
        if draw.random() < 0.5:
            item = _each(item, F.horizontal_flip)
        item["image"] = jittered(item["image"], draw)
        return _finished(item, self.size, self.mean, self.std)


@dataclass(frozen=True)
class EvaluationTransform:
    """Normalise and pad around the centre to the network's size; nothing is resized, and the seed does not matter.

    `box` int64 (4,) is added: top, left, height and width of the image in the padded one. As in the reference, parsing
    is ignored altogether in an image that shows no part of a person. Raises UserError for an image that is larger.
    """

    size: Size = _PAPER_SIZE
    mean: Colour = IMAGE_MEAN
    std: Colour = IMAGE_STD

    def __call__(self, item: Item, seed: int = 0) -> Item:
        """The item at the network's size."""
        item = _as_tensors(item)
        height, width = _size(item)
        if height > self.size[0] or width > self.size[1]:
            raise UserError(
                f"the image {item.get('name', '')} is {height} x {width}, larger than the network's {self.size[0]} x"
                f" {self.size[1]}, to which images are padded and never resized: this copy of the data set has other"
                " sizes than the paper's; `sakbench data check` tells which, and what to get."
            )
        top, left = ((full - own) // 2 for full, own in zip(self.size, (height, width), strict=True))
        return _finished(item, self.size, self.mean, self.std) | {"box": torch.tensor([top, left, height, width])}


@dataclass(frozen=True)
class DistillTransform:
    """Stage 1's augmentation of images alone: a random part, 8 to 100% of the area, resized; mirror, p 0.5."""

    size: Size = CATALOGUE["imagenet-1k"].size
    mean: Colour = IMAGE_MEAN
    std: Colour = IMAGE_STD

    def __call__(self, item: Item, seed: int) -> Item:
        """The item's image, augmented as the seed says."""
        draw = np.random.default_rng(seed)
        item = _as_tensors(item)
        box = _random_part(_size(item), draw)
        image = F.resized_crop(item["image"], *box, size=list(self.size), antialias=True)
        item["image"] = F.horizontal_flip(image) if draw.random() < 0.5 else image
        return _finished(item, self.size, self.mean, self.std)


@dataclass(frozen=True)
class CropTransform:
    """What DINOv2's linear classifiers learn from: as `DistillTransform`, but resized bicubically."""

    size: Size = _CLASSIFIED
    mean: Colour = IMAGE_MEAN
    std: Colour = IMAGE_STD

    def __call__(self, item: Item, seed: int) -> Item:
        """The item's image, augmented as the seed says."""
        draw = np.random.default_rng(seed)
        item = _as_tensors(item)
        image = _resized(F.crop(item["image"], *_random_part(_size(item), draw)), self.size)
        item["image"] = F.horizontal_flip(image) if draw.random() < 0.5 else image
        return _finished(item, self.size, self.mean, self.std)


@dataclass(frozen=True)
class ClassifyTransform:
    """What they are measured on: the shorter side brought to 256/224 of the network's, and the middle of it."""

    size: Size = _CLASSIFIED
    mean: Colour = IMAGE_MEAN
    std: Colour = IMAGE_STD

    def __call__(self, item: Item, seed: int = 0) -> Item:
        """The item's image; the seed does not matter."""
        item = _as_tensors(item)
        factor = max(self.size) * 256 / 224 / min(_size(item))
        high, wide = (max(round(side * factor), cut) for side, cut in zip(_size(item), self.size, strict=True))
        item["image"] = F.center_crop(_resized(item["image"], (high, wide)), list(self.size))
        return _finished(item, self.size, self.mean, self.std)


@dataclass(frozen=True)
class ViewTransform:
    """The middle of an image, as much as has the network's proportions, resized: stage 1's images to be looked at."""

    size: Size = CATALOGUE["imagenet-1k"].size
    mean: Colour = IMAGE_MEAN
    std: Colour = IMAGE_STD

    def __call__(self, item: Item, seed: int = 0) -> Item:
        """The item's image; the seed does not matter."""
        item = _as_tensors(item)
        height, width = _size(item)
        shrink = min(height / self.size[0], width / self.size[1])
        high, wide = (max(1, round(side * shrink)) for side in self.size)
        box = (height - high) // 2, (width - wide) // 2, high, wide
        item["image"] = F.resized_crop(item["image"], *box, size=list(self.size), antialias=True)
        return _finished(item, self.size, self.mean, self.std)


@dataclass(frozen=True)
class WholeTransform:
    """A whole image, padded to the network's proportions with the mean colour and resized: LLaVA-1.5's images."""

    size: Size
    mean: Colour = IMAGE_MEAN
    std: Colour = IMAGE_STD

    def __call__(self, item: Item, seed: int = 0) -> Item:
        """The item's image; the seed does not matter."""
        item = _as_tensors(item)
        image, (height, width) = item["image"], _size(item)
        grow = max(height / self.size[0], width / self.size[1])
        high, wide = (max(own, round(side * grow)) for own, side in zip((height, width), self.size, strict=True))
        whole = torch.tensor(self.mean).view(3, 1, 1).repeat(1, high, wide)
        top, left = (high - height) // 2, (wide - width) // 2
        whole[:, top : top + height, left : left + width] = image
        item["image"] = F.resize(tv_tensors.Image(whole), list(self.size), antialias=True)
        return _finished(item, self.size, self.mean, self.std)


@dataclass(frozen=True)
class DepthTransform:
    """NYUd's augmentation in DINOv2's depth probes, which is that of BTS.

    The frame without its border; turned by up to 2.5 degrees, p 0.5; mirrored, p 0.5; cropped to 416 x 544; gamma,
    brightness and each channel changed by up to 10, 25 and 10%, p 0.5; normalised; padded around the centre to `size`,
    which a backbone's patches divide.
    """

    size: Size = _DEPTH_CROP
    mean: Colour = IMAGE_MEAN
    std: Colour = IMAGE_STD

    def __call__(self, item: Item, seed: int) -> Item:
        """The item, augmented as the seed says. Raises UserError unless it is 480 x 640."""
        draw = np.random.default_rng(seed)
        item = _each(_of_nyud(item), lambda value: F.crop(value, *_NYUD_FRAME))
        if draw.random() < 0.5:
            angle = draw.uniform(-_MOST_TURN, _MOST_TURN)
            item = _each(item, lambda value: _turned(value, angle))
        if draw.random() < 0.5:
            item = _each(item, F.horizontal_flip)
        top, left = (int(draw.integers(own - cut + 1)) for own, cut in zip(_size(item), _DEPTH_CROP, strict=True))
        item = _each(item, lambda value: F.crop(value, top, left, *_DEPTH_CROP))
        if draw.random() < 0.5:
            tint = torch.from_numpy(draw.uniform(*_TINT, 3)).float().view(3, 1, 1)
            light = item["image"] ** draw.uniform(*_GAMMA) * draw.uniform(*_LIGHT) * tint
            item["image"] = tv_tensors.Image(light.clamp(0, 1))
        return _finished(item, self.size, self.mean, self.std)


@dataclass(frozen=True)
class DepthEvaluationTransform:
    """NYUd's images as they are, normalised and padded around the centre; `box` int64 (4,) is Eigen's crop in them."""

    size: Size = CATALOGUE["nyu-depth"].tested_size
    mean: Colour = IMAGE_MEAN
    std: Colour = IMAGE_STD

    def __call__(self, item: Item, seed: int = 0) -> Item:
        """The item at the network's size; the seed does not matter. Raises UserError unless it is 480 x 640."""
        item = _of_nyud(item)
        top, left = ((full - own) // 2 for full, own in zip(self.size, _size(item), strict=True))
        above, aside, height, width = _EIGEN_CROP
        box = torch.tensor([top + above, left + aside, height, width])
        return _finished(item, self.size, self.mean, self.std) | {"box": box}


def _of_nyud(item: Item) -> Item:
    """The item as tensors, if it has the size of a Kinect's picture, from which the protocol cuts what it uses."""
    item, expected = _as_tensors(item), CATALOGUE["nyu-depth"].tested_size
    if _size(item) != expected:
        height, width = _size(item)
        raise UserError(
            f"the image {item.get('name', '')} is {height} x {width}: what NYUd's protocol learns from and measures is"
            f" cut from {expected[0]} x {expected[1]}."
        )
    return item


def _resized(image: Any, size: Size) -> Any:
    return F.resize(image, list(size), interpolation=F.InterpolationMode.BICUBIC, antialias=True).clamp(0, 1)


def _turned(value: Any, angle: float) -> Any:
    """Turned around the centre: the image between its pixels, labels to the nearest; nothing is known beyond."""
    if isinstance(value, tv_tensors.Image):
        return F.rotate(value, angle, interpolation=F.InterpolationMode.BILINEAR, fill=0)
    return F.rotate(value, angle, fill=IGNORE)


def scaled(item: Item, scale: float) -> Item:
    """An item of tensors `scale` times as large: bilinear image, nearest labels, depth divided by the scale."""
    size = [int(own * scale) for own in _size(item)]

    def resize(value: Any) -> Any:
        # like the reference, bilinear without a filter against aliasing
        resized = F.resize(value, size, antialias=False)
        if not isinstance(value, Depth):
            return resized
        metres = resized.as_subclass(Tensor)
        return tv_tensors.wrap(torch.where(metres == IGNORE, metres, metres / scale), like=value)

    return _each(item, resize)


def jittered(image: Tensor, draw: np.random.Generator) -> Tensor:
    """An image in 0 .. 1 with other colours: each change with p 0.5, contrast before or after saturation and hue.

    Brightness adds up to 32/255; contrast and saturation (of HSV) are multiplied by U(0.5, 1.5); hue turns by up to 36
    degrees.
    """
    if draw.random() < 0.5:
        image = (image + draw.uniform(-_BRIGHTNESS, _BRIGHTNESS)).clamp(0, 1)
    contrast_first = draw.random() < 0.5
    if contrast_first:
        image = _contrast(image, draw)
    if draw.random() < 0.5:
        image = _saturated(image, draw.uniform(*_CONTRAST))
    if draw.random() < 0.5:
        image = F.adjust_hue(image, int(draw.integers(-_HUE, _HUE)) / _HUE_STEPS)
    return image if contrast_first else _contrast(image, draw)


def _contrast(image: Tensor, draw: np.random.Generator) -> Tensor:
    return (image * draw.uniform(*_CONTRAST)).clamp(0, 1) if draw.random() < 0.5 else image


def _saturated(image: Tensor, factor: float) -> Tensor:
    """The image with HSV's saturation times `factor`, at most 1: the distance of each channel from the largest one."""
    value = image.amax(-3, keepdim=True)
    saturation = 1 - image.amin(-3, keepdim=True) / value.clamp(min=1e-6)
    return value - (value - image) * torch.clamp(1 / saturation.clamp(min=1e-6), max=factor)


def _crop_corner(item: Item, size: Size, draw: np.random.Generator) -> tuple[int, int]:
    """Top and left of a crop that no class dominates, if one is found in time."""
    room = [max(own - cut, 0) for own, cut in zip(_size(item), size, strict=True)]
    for _ in range(_REDRAWS + 1):
        top, left = (int(draw.integers(free + 1)) for free in room)
        if "semseg" not in item or not _dominated(item["semseg"][top : top + size[0], left : left + size[1]]):
            break
    return top, left


def _dominated(semseg: Tensor) -> bool:
    """Whether one class fills too much of what is labelled, or nothing is."""
    labelled = semseg[semseg != IGNORE].flatten()
    return not len(labelled) or bool(torch.bincount(labelled).max() >= _MOST_OF_A_CROP * len(labelled))


def _random_part(size: Size, draw: np.random.Generator) -> tuple[int, int, int, int]:
    """Top, left, height and width of a random part of an image, as torchvision's RandomResizedCrop draws it."""
    height, width = size
    for _ in range(10):
        area = height * width * draw.uniform(0.08, 1.0)
        ratio = np.exp(draw.uniform(log(3 / 4), log(4 / 3)))
        part = round(sqrt(area / ratio)), round(sqrt(area * ratio))
        if 0 < part[0] <= height and 0 < part[1] <= width:
            return int(draw.integers(height - part[0] + 1)), int(draw.integers(width - part[1] + 1)), *part
    high, wide = min(height, round(width / (3 / 4))), min(width, round(height * (4 / 3)))
    return (height - high) // 2, (width - wide) // 2, high, wide


def _as_tensors(item: Item) -> Item:
    """The item with its image as float32 (3, h, w) in 0 .. 1 and its labels as tv_tensors."""
    answer = dict(item)
    image = torch.from_numpy(np.array(item["image"]).transpose(2, 0, 1))
    answer["image"] = tv_tensors.Image(F.to_dtype(image, torch.float32, scale=True))
    for name, value in item.items():
        if name != "image" and isinstance(value, np.ndarray):
            answer[name] = _KINDS.get(name, tv_tensors.Mask)(torch.from_numpy(np.array(value)))
    return answer


def _finished(item: Item, size: Size, mean: Colour, std: Colour) -> Item:
    """Normalised, padded around the centre, and without tv_tensors."""
    item["image"] = tv_tensors.Image(F.normalize(item["image"].as_subclass(Tensor), list(mean), list(std)))
    height, width = _size(item)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    padding = [left, top, size[1] - width - left, size[0] - height - top]

    def pad(value: Tensor) -> Tensor:
        zero = isinstance(value, tv_tensors.Image | BoundarySource)
        return F.pad(value, padding, fill=0 if zero else IGNORE).as_subclass(Tensor).contiguous()

    item = _each(item, pad)
    if "parsing" in item and bool(((item["parsing"] == 0) | (item["parsing"] == IGNORE)).all()):
        item["parsing"] = torch.full_like(item["parsing"], IGNORE)
    return item


def _each(item: Item, change: Callable[[Any], Any]) -> Item:
    """The item with its image and labels changed."""
    return {name: change(value) if isinstance(value, tv_tensors.TVTensor) else value for name, value in item.items()}


def _size(item: Item) -> Size:
    height, width = item["image"].shape[-2:]
    return height, width
