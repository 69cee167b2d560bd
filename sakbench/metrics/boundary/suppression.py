"""Non-maximum suppression of a boundary map, as structured edge detection does it."""

from numbers import Integral

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

from sakbench.errors import UserError
from sakbench.metrics.boundary.arrays import ByteMap, require_map
from sakbench.metrics.boundary.compiled import compiled

MULTIPLIER = 1.01  # a pixel survives a neighbour that is at most this much higher
MARGIN = 5  # pixels along the image's border whose values fade to zero


def nms(prediction: ByteMap, radius: int = 4) -> ByteMap:
    """The map (h, w) of 0 to 255 with what is no ridge set to zero, before thresholds and thinning.

    `prediction / 255` in float32 is smoothed a little (triangle filter of radius 1); a pixel stays where nothing within
    `radius` pixels along the normal is higher. The normal's direction comes from second derivatives of the map smoothed
    with radius 4 (P. Dollár and C. L. Zitnick, Fast edge detection using structured forests, 2015). As defined, a ridge
    exactly along x, which has no mixed derivative, gets the angle 0 and stays whole; predictions are never so regular.
    SEISM's radius is 4; 1 is another that published numbers use.

    Raises UserError for another type than uint8 and a radius below 1.
    """
    require_map("prediction", prediction, np.uint8)
    if not isinstance(radius, Integral) or radius < 1:
        raise UserError(f"the radius of non-maximum suppression is a number of pixels from 1, not {radius!r}.")
    strength = smoothed(prediction)
    kept = ridges(strength, *normal(strength), radius)
    return np.floor(kept * np.float32(255) + np.float32(0.5)).astype(np.uint8)  # halves go up, as in MATLAB


def smoothed(prediction: ByteMap) -> NDArray[np.float32]:
    """The map of 0 to 255 as fractions, smoothed a little."""
    return _triangle(prediction.astype(np.float32) / np.float32(255), 1)


def _triangle(image: NDArray[np.float32], radius: int) -> NDArray[np.float32]:
    """Convolution with a triangle of half-width `radius + 1` in both directions, mirrored at the border."""
    weights = np.concatenate([np.arange(1, radius + 2), np.arange(radius, 0, -1)]).astype(np.float64)
    weights /= weights.sum()
    return correlate1d(correlate1d(image, weights, axis=0, mode="reflect"), weights, axis=1, mode="reflect")


def normal(strength: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cosine (along x) and sine (along y) of the direction across the ridge at each pixel."""
    smooth = _triangle(strength, 4)
    dx, dy = _slope(smooth, axis=1), _slope(smooth, axis=0)
    dxx, dxy, dyy = _slope(dx, axis=1), _slope(dy, axis=1), _slope(dy, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        slant = np.nan_to_num(dyy * np.sign(-dxy) / (dxx + np.float32(1e-5)), nan=0.0, posinf=np.inf, neginf=-np.inf)
    angle = np.mod(np.arctan(slant), np.float32(np.pi))
    return np.cos(angle), np.sin(angle)


def _slope(image: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Central differences, one-sided at the border; zero along an axis of a single pixel."""
    return np.gradient(image, axis=axis) if image.shape[axis] > 1 else np.zeros_like(image)


@compiled
def ridges(strength, cosine, sine, radius):
    """The map (h, w) where nothing within `radius` pixels along the normal is higher, 0 elsewhere; its margin fades."""
    height, width = strength.shape
    kept = np.zeros_like(strength)
    across = min(MARGIN, width // 2)
    down = min(MARGIN, height // 2)
    for y in range(height):
        for x in range(width):
            here = strength[y, x] * np.float32(MULTIPLIER)
            if here == 0:
                continue
            highest = True
            for step in range(-radius, radius + 1):
                if step != 0 and here < _at(strength, x + step * cosine[y, x], y + step * sine[y, x]):
                    highest = False
                    break
            if highest:
                value = strength[y, x]
                inset = min(x, width - 1 - x)
                if inset < across:
                    value *= np.float32(inset) / np.float32(across)
                inset = min(y, height - 1 - y)
                if inset < down:
                    value *= np.float32(inset) / np.float32(down)
                kept[y, x] = value
    return kept


@compiled
def _at(image, x, y):
    """The image at a point between pixels, bilinear; outside, the nearest point inside."""
    height, width = image.shape
    x = min(max(x, np.float32(0)), np.float32(width) - np.float32(1.001))
    y = min(max(y, np.float32(0)), np.float32(height) - np.float32(1.001))
    left, top = max(int(x), 0), max(int(y), 0)
    right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
    dx, dy = x - np.float32(left), y - np.float32(top)
    upper = image[top, left] * (1 - dx) + image[top, right] * dx
    lower = image[bottom, left] * (1 - dx) + image[bottom, right] * dx
    return upper * (1 - dy) + lower * dy
