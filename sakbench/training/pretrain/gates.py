"""What a pretrained model must have learned before any claim rests on it: figures on scenes it has not seen.

All of them take arrays of the held-out scenes: `images` uint8 (n, 128, 128, 3) and the labels of the miniworld.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from sakbench.training.pretrain.contrastive import ImageText
from sakbench.training.pretrain.promptable import OBJECT, PART, Promptable, point_prompts
from sakbench.training.pretrain.supervised import Classification
from sakbench.training.pretrain.views import halve, normalise, unit
from sakbench.training.pretrain.vit import tokens

Images = NDArray[np.uint8]
Labels = NDArray[np.integer]

_BATCH = 100
_SMALLEST_MASK = 16  # pixels of the 64 x 64 map; smaller objects and parts are not asked for


def accuracy(model: Classification, images: Images, dominant: Labels) -> float:
    """Share of the scenes whose main object is named."""
    logits = _in_batches(lambda x: model.logits(halve(x)), images)
    return float((logits.argmax(dim=1).numpy() == dominant).mean())


def nearest_neighbours(
    vit: VisionTransformer, bank: Images, bank_labels: Labels, queries: Images, labels: Labels, k: int = 20
) -> float:
    """Accuracy of the main object's class by `k` nearest neighbours: cosine of the mean patch tokens, exp(s / 0.07)."""
    size = vit.patch_embed.img_size[0]

    def describe(x: Tensor) -> Tensor:
        return tokens(vit, _sized(x, size))[:, 1:].mean(dim=1)

    stored, asked = (_in_batches(describe, images) for images in (bank, queries))
    centre = stored.mean(dim=0)
    stored, asked = (torch.nn.functional.normalize(x - centre, dim=1) for x in (stored, asked))
    similarity, index = (asked @ stored.T).topk(k)
    votes = torch.zeros(len(asked), int(max(bank_labels.max(), labels.max())) + 1)
    votes.scatter_add_(1, torch.from_numpy(bank_labels.astype(np.int64))[index], (similarity / 0.07).exp())
    return float((votes.argmax(dim=1).numpy() == labels).mean())


def retrieval(model: ImageText, images: Images, captions: Labels, top: int = 1) -> float:
    """Share of the images whose own caption is among the `top` most similar ones (any caption of the same words)."""
    pictures = _in_batches(lambda x: model.embed_images(halve(x)), images)
    words = torch.from_numpy(captions.astype(np.int64))
    with torch.no_grad():
        ranked = (pictures @ model.embed_texts(words).T).topk(top).indices
    hit = (words[ranked] == words.unsqueeze(1)).all(dim=2).any(dim=1)
    return float(hit.float().mean())


def mask_iou(model: Promptable, images: Images, instance: Labels, part: Labels) -> dict[str, float]:
    """Mean IoU of the masks that one point brings: of objects, and of those parts that are not a whole object.

    The point is the innermost one of the mask that is asked for.
    """
    overlaps: dict[int, list[float]] = {OBJECT: [], PART: []}
    for start in range(0, len(images), _BATCH):
        rows = slice(start, start + _BATCH)
        with torch.no_grad():
            features = tokens(model.encoder, _pixels(images[rows]))[:, 1:]
        for feature, objects, parts in zip(features, instance[rows], part[rows], strict=True):
            wanted = [(OBJECT, mask) for mask in _masks(objects)]
            wanted += [(PART, mask) for mask in _masks(np.where(objects > 0, parts, 0)) if not _whole(mask, objects)]
            if not wanted:
                continue
            points = torch.tensor([[_innermost(mask) for _, mask in wanted]], dtype=torch.float32)
            with torch.no_grad():
                found = model.decoder(feature.unsqueeze(0), *point_prompts(points))[0].numpy() > 0
            for (level, mask), answers in zip(wanted, found, strict=True):
                overlaps[level].append((mask & answers[level]).sum() / (mask | answers[level]).sum())
    return {"object": float(np.mean(overlaps[OBJECT])), "part": float(np.mean(overlaps[PART]))}


def patch_miou(
    vit: VisionTransformer,
    images: Images,
    semseg: Labels,
    test_images: Images,
    test_semseg: Labels,
    *,
    classes: int,
    ridge: float = 10.0,
) -> float:
    """mIoU of ridge regression from a frozen model's last patch tokens (no final norm) to the patch's main class."""
    size = vit.patch_embed.img_size[0]
    side = size // vit.patch_embed.patch_size[0]
    x, test_x = (
        _in_batches(lambda p: _last_block(vit, _sized(p, size)), i).flatten(0, 1).numpy().astype(np.float64)
        for i in (images, test_images)
    )
    y, test_y = (_patch_classes(s, side, classes) for s in (semseg, test_semseg))
    mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-6
    x, test_x = (np.concatenate([(v - mean) / scale, np.ones((len(v), 1))], axis=1) for v in (x, test_x))
    weights = np.linalg.solve(x.T @ x + ridge * np.eye(x.shape[1]), x.T @ np.eye(classes)[y])
    guess = (test_x @ weights).argmax(axis=1)
    confusion = np.bincount(test_y * classes + guess, minlength=classes**2).reshape(classes, classes)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - confusion.diagonal()
    return float((confusion.diagonal() / np.maximum(union, 1)).mean())


def _pixels(images: Images) -> Tensor:
    return normalise(unit(torch.from_numpy(np.array(images))))


def _in_batches(model: Callable[[Tensor], Tensor], images: Images) -> Tensor:
    """The outputs of `model` for normalised images at the rendered size."""
    with torch.no_grad():
        return torch.cat([model(_pixels(images[i : i + _BATCH])) for i in range(0, len(images), _BATCH)])


def _sized(images: Tensor, size: int) -> Tensor:
    return images if images.shape[-1] == size else halve(images)


def _last_block(vit: VisionTransformer, images: Tensor) -> Tensor:
    maps: list[Tensor] = vit.forward_intermediates(  # type: ignore[assignment]
        images, indices=1, output_fmt="NLC", intermediates_only=True
    )
    return maps[0]


def _patch_classes(semseg: Labels, side: int, classes: int) -> NDArray[np.int64]:
    """The commonest class of each of `side` x `side` patches, flattened image by image, row by row."""
    n, h, w = semseg.shape
    blocks = semseg.reshape(n, side, h // side, side, w // side).transpose(0, 1, 3, 2, 4).reshape(n * side**2, -1)
    counts = (blocks[:, :, None] == np.arange(classes)).sum(axis=1)
    main: NDArray[np.int64] = counts.argmax(axis=1)
    return main


def _masks(ids: Labels) -> list[NDArray[np.bool_]]:
    """The masks of the ids in a map (h, w) that are large enough to ask for."""
    areas = np.bincount(ids.ravel())
    return [ids == i for i in range(1, len(areas)) if areas[i] >= _SMALLEST_MASK]


def _whole(part: NDArray[np.bool_], objects: Labels) -> bool:
    """Whether a part is nine tenths of its object or more."""
    owner = objects[part][0]
    return bool(part.sum() >= 0.9 * (objects == owner).sum())


def _innermost(mask: NDArray[np.bool_]) -> tuple[float, float]:
    """The point (x, y), in 0 to 1, that is farthest from the mask's border."""
    depth = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return (float(x) + 0.5) / mask.shape[1], (float(y) + 0.5) / mask.shape[0]
