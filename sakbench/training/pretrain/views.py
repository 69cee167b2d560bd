"""What the networks see during pretraining: random crops and colours, a whole batch at a time."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from sakbench.training.scenes import IMAGE_MEAN, IMAGE_STD

_LUMA = torch.tensor([0.299, 0.587, 0.114])


def unit(images: Tensor) -> Tensor:
    """Images uint8 (B, H, W, 3) as float (B, 3, H, W) in 0 to 1."""
    return images.permute(0, 3, 1, 2).float() / 255


def normalise(images: Tensor) -> Tensor:
    """Images (B, 3, H, W) in 0 to 1, normalised by ImageNet's mean and standard deviation."""
    return (images - IMAGE_MEAN.to(images.device)) / IMAGE_STD.to(images.device)


def halve(images: Tensor) -> Tensor:
    """Images (B, 3, H, W) at half the resolution: the mean of 2 x 2 pixels."""
    return F.avg_pool2d(images, 2)


@dataclass(frozen=True)
class View:
    """A crop of every image of a batch, and where it was taken.

    A point p of the crop, in coordinates from -1 to 1 (x, y), lies at `centre + extent * p` of the whole image;
    a negative extent is a flip. `centre` and `extent` are (B, 2).
    """

    images: Tensor
    centre: Tensor
    extent: Tensor


def random_crop(images: Tensor, size: int, area: tuple[float, float], *, flip: bool = True) -> View:
    """Crop `area` (a share of the image) with aspect 3:4 to 4:3 out of each image, resized to `size` x `size`.

    The crop is sampled at twice the size and averaged 2 x 2, as the 64 x 64 images are from the rendered ones.
    """
    n = len(images)
    share = torch.empty(n).uniform_(*area)
    stretch = torch.empty(n).uniform_(0.75, 4 / 3).log().mul(0.5).exp()
    extent = torch.stack([(share.sqrt() * stretch).clamp(max=1), (share.sqrt() / stretch).clamp(max=1)], dim=1)
    centre = (torch.rand(n, 2) * 2 - 1) * (1 - extent)
    if flip:
        extent = extent * torch.stack([(torch.rand(n) < 0.5) * 2.0 - 1, torch.ones(n)], dim=1)
    centre, extent = centre.to(images.device), extent.to(images.device)
    theta = torch.cat([torch.diag_embed(extent), centre.unsqueeze(-1)], dim=2)
    grid = F.affine_grid(theta, [n, 3, 2 * size, 2 * size], align_corners=False)
    sampled = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return View(halve(sampled), centre, extent)


def positions_in(view: View, other: View, points: Tensor) -> Tensor:
    """Where the points (B, n, 2) of `view` lie in `other`; outside of -1 to 1 they are not in it."""
    in_image = view.centre.unsqueeze(1) + view.extent.unsqueeze(1) * points
    return (in_image - other.centre.unsqueeze(1)) / other.extent.unsqueeze(1)


def random_colours(images: Tensor, strength: float) -> Tensor:
    """Mix the channels of each image (in 0 to 1) by a random matrix near the identity, with contrast and brightness.

    `strength` is the standard deviation of the matrix's entries. Tints included: what was grey becomes coloured.
    """
    n = len(images)
    return _relit(images, torch.eye(3) + strength * torch.randn(n, 3, 3), strength, strength / 3)


def random_hues(images: Tensor, strength: float, grey: float) -> Tensor:
    """As `random_colours`, but what is grey stays grey and light stays light: only hues change, as much as they may.

    Strong mixing that also shifts grey would push pixels out of range and wash out texture. A share `grey` of the
    images loses its colours.
    """
    n = len(images)
    shift = torch.randn(n, 3, 3)
    mixing = torch.eye(3) + strength * (shift - shift.mean(dim=2, keepdim=True))
    mixing = torch.where(torch.rand(n, 1, 1) < grey, _LUMA.expand(n, 3, 3), mixing)
    return _relit(images, mixing, 0.35, 0.12)


def random_sensor(images: Tensor, noise: float) -> Tensor:
    """Images as other cameras take them: noise of a random standard deviation up to `noise`, half of them blurred.

    Otherwise views of an image are told by its own noise and sharpness, which survive any crop.
    """
    n = len(images)
    soft = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    blurred = (torch.rand(n, 1, 1, 1) < 0.5).to(images.device)
    level = torch.empty(n, 1, 1, 1).uniform_(0, noise).to(images.device)
    return torch.where(blurred, soft, images) + level * torch.randn_like(images)


def _relit(images: Tensor, mixing: Tensor, contrast: float, brightness: float) -> Tensor:
    """Channels mixed by (n, 3, 3), contrast from 1 - c to 1 + c, brightness from -b to b."""
    n = len(images)
    scale = torch.empty(n, 1, 1).uniform_(1 - contrast, 1 + contrast)
    offset = torch.empty(n, 1, 1).uniform_(0.5 - brightness, 0.5 + brightness)
    flat = images.flatten(2)
    mixing, offset = (mixing * scale).to(images.device), offset.to(images.device)
    return torch.baddbmm(offset.expand(-1, 3, flat.shape[2]), mixing, flat - 0.5).clamp_(0, 1).view_as(images)
