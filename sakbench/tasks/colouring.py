"""Maps as pictures: a palette for labels that the colour-blind can read too, greys, a colour for ignored pixels."""

from functools import cache

import numpy as np
import torch
from skimage.color import rgb2lab

from sakbench.metrics import IGNORE
from sakbench.tasks.base import Map

# a pale lilac: no grey, not on the sphere of the normals' colours, and kept away from by the palette
IGNORED = np.array([225, 205, 240], np.uint8)

# Okabe and Ito's colours, black for background; the palette goes on from them
OKABE_ITO = np.array(
    [
        [0, 0, 0],
        [230, 159, 0],
        [86, 180, 233],
        [0, 158, 115],
        [240, 228, 66],
        [0, 114, 178],
        [213, 94, 0],
        [204, 121, 167],
    ],
    np.uint8,
)

# full deuteranopia in linear RGB: Machado, Oliveira and Fernandes 2009
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
)


def as_array(values: Map) -> np.ndarray:
    """The values on the CPU, as NumPy."""
    return torch.as_tensor(values).detach().cpu().numpy()


def seen_by_all(rgb: np.ndarray) -> np.ndarray:
    """Where colours uint8 (n, 3) lie in CIELAB for normal and for deuteranopic eyes, float (2, n, 3)."""
    encoded = rgb / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    confused = (linear @ DEUTERANOPIA.T).clip(0, 1)
    shown = np.where(confused <= 0.0031308, 12.92 * confused, 1.055 * confused ** (1 / 2.4) - 0.055)
    return rgb2lab(np.stack([encoded, shown]))


@cache
def palette(classes: int) -> np.ndarray:
    """A colour for each class, uint8 (classes, 3); the first ones stay the same whatever the number.

    Each colour after Okabe and Ito's is the one farthest, in the eyes that tell it apart worst, from all before it.
    """
    steps = np.linspace(0, 255, 11).astype(np.uint8)
    candidates = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    places = seen_by_all(candidates)

    def distance(colour: np.ndarray) -> np.ndarray:
        return np.linalg.norm(places - seen_by_all(colour[None]), axis=-1).min(0)

    colours = list(OKABE_ITO)
    nearest = np.min([distance(colour) for colour in (*colours, IGNORED)], axis=0)
    while len(colours) < classes:
        colours.append(candidates[nearest.argmax()])
        nearest = np.minimum(nearest, distance(colours[-1]))
    return np.stack(colours[:classes])


def label_colours(labels: Map, classes: int) -> np.ndarray:
    """Class ids (H, W) in the palette's colours, uint8 (H, W, 3); 255 in the ignored colour."""
    table = np.tile(IGNORED, (IGNORE + 1, 1))
    table[:classes] = palette(classes)
    return table[as_array(labels)]


def grey_colours(values: Map, dark: bool = False) -> np.ndarray:
    """Values from 0 to 1 (H, W) as greys, 1 in white or, where `dark`, in black; 255 in the ignored colour."""
    array = as_array(values)
    share = array.clip(0, 1).astype(np.float32)
    picture = np.rint(255 * (1 - share if dark else share)).astype(np.uint8)
    return np.where((array == IGNORE)[..., None], IGNORED, picture[..., None])
