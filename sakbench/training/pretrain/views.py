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


@dataclass(frozen=True)
class Frame:
    """A rectangle of every image of a batch, in the coordinates of `View`: `centre` and `extent` are (B, 2)."""

    centre: Tensor
    extent: Tensor


def random_frames(instance: Tensor, margin: tuple[float, float], least: float) -> tuple[Frame, Tensor]:
    """A square round one thing of each image, as a photographer would take it, and the thing's mask (B, H, W).

    `instance` (B, H, W) int, 0 is none. A thing is chosen as often as it has pixels. The square's side is the longer
    one of the thing's box times `margin`, at least the share `least` of the image's and at most all of it; it never
    leaves the image. An image without a thing is taken whole.
    """
    n, h, w = instance.shape
    flat = instance.flatten(1)
    chosen = flat.gather(1, torch.multinomial((flat > 0) + 1e-9, 1)).unsqueeze(-1)
    shown = (instance == chosen) & (chosen > 0)
    boxes = torch.stack([_interval(shown.any(dim=1), w), _interval(shown.any(dim=2), h)], dim=1)
    low, high = boxes.unbind(dim=2)
    side = (high - low).amax(dim=1, keepdim=True) / 2
    side = (side * torch.empty(n, 1, device=side.device).uniform_(*margin)).clamp(least, 1).expand(n, 2)
    return Frame(((low + high) / 2).clamp(side - 1, 1 - side), side), shown


def surroundings(images: Tensor, instance: Tensor) -> Tensor:
    """Images (B, 3, H, W) without most of their things: what these hide is filled from other images of the batch.

    `instance` (B, h, w), 0 where there is none, may be smaller. Where three images in a row show things, one stays.
    """
    things = enlarged(instance > 0, images) > 0
    out, left = images, things
    for layer in range(1, 4):
        out = torch.where(left, images.roll(layer, 0), out)
        left = left & things.roll(layer, 0)
    return out


def enlarged(mask: Tensor, images: Tensor) -> Tensor:
    """Masks (B, h, w) as floats (B, 1, H, W), at the images' size."""
    return F.interpolate(mask.unsqueeze(1).float(), images.shape[-2:])


def _interval(filled: Tensor, size: int) -> Tensor:
    """Where the true entries of each row (B, size) begin and end, (B, 2) from -1 to 1; all of it if none is true."""
    first = filled.int().argmax(dim=1)
    last = size - filled.flip(1).int().argmax(dim=1)
    return torch.stack([first, last], dim=1) / size * 2 - 1


def random_crop(
    images: Tensor, size: int, area: tuple[float, float], *, flip: bool = True, frames: Frame | None = None
) -> View:
    """Crop `area` (a share of the frame) with aspect 3:4 to 4:3 out of each image, resized to `size` x `size`.

    Images (B, C, H, W) may have more channels than three. The frame is the whole image if none is given. The crop
    is sampled at twice the size and averaged 2 x 2, as the 64 x 64 images are from the rendered ones.
    """
    n = len(images)
    share = torch.empty(n).uniform_(*area)
    stretch = torch.empty(n).uniform_(0.75, 4 / 3).log().mul(0.5).exp()
    extent = torch.stack([(share.sqrt() * stretch).clamp(max=1), (share.sqrt() / stretch).clamp(max=1)], dim=1)
    centre = (torch.rand(n, 2) * 2 - 1) * (1 - extent)
    if flip:
        extent = extent * torch.stack([(torch.rand(n) < 0.5) * 2.0 - 1, torch.ones(n)], dim=1)
    centre, extent = centre.to(images.device), extent.to(images.device)
    if frames is not None:
        centre, extent = frames.centre + frames.extent * centre, frames.extent * extent
    theta = torch.cat([torch.diag_embed(extent), centre.unsqueeze(-1)], dim=2)
    grid = F.affine_grid(theta, [n, 1, 2 * size, 2 * size], align_corners=False)
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
