"""What happens to images before an encoder sees them: other statistics, another size; and to its maps afterwards."""

from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Statistics = tuple[tuple[float, float, float], tuple[float, float, float]]  # mean and deviation of pixels in 0 to 1

IMAGENET: Statistics = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Renormalisation(nn.Module):
    """From images normalised by ImageNet's statistics to images normalised by a model's own."""

    scale: Tensor
    shift: Tensor

    def __init__(self, statistics: Statistics):
        super().__init__()
        (mean, deviation), (own_mean, own_deviation) = (
            torch.tensor(IMAGENET, device="cpu"),
            torch.tensor(statistics, device="cpu"),
        )
        scale, shift = deviation / own_deviation, (mean - own_mean) / own_deviation
        # Not weights: a state dict is the same under either normalisation.
        self.register_buffer("scale", scale.view(3, 1, 1), persistent=False)
        self.register_buffer("shift", shift.view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to the same, renormalised."""
        return images * self.scale + self.shift


def fit(images: Tensor, size: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
    """Resize images (B, 3, h, w) to fill `size` in one direction and zero-pad them at bottom and right.

    Bicubic, antialiased where it shrinks. Gives the images (B, 3, H, W) and how many of their rows and columns are
    content. Images that fill `size` as they are come back untouched.
    """
    height, width = images.shape[-2:]
    scale = min(size[0] / height, size[1] / width)
    content = max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))
    if content != (height, width):
        images = F.interpolate(images, size=content, mode="bicubic", align_corners=False, antialias=scale < 1)
    if content != size:
        images = F.pad(images, (0, size[1] - content[1], 0, size[0] - content[0]))
    return images, content


def crop(level: Tensor, content: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """The cells of a map (B, d, h, w) of images of `size` that hold any of the images' first `content` pixels."""
    rows = ceil(content[0] * level.shape[-2] / size[0])
    columns = ceil(content[1] * level.shape[-1] / size[1])
    return level[..., :rows, :columns]
