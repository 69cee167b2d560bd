"""What the shape gate of counterfactual pairs lets through: exact pairs of miniworld, and three kinds of wrong ones.

Each of Figure 6's pairs whose object covers two percent of the scene or more is cropped as photographs are. Wrong ones
show the dog at 0.75 or 0.5 of its size in front of a plain ground, or another pair's dog.
"""

import numpy as np
from PIL import Image
from scipy.ndimage import median_filter

from sakbench.data.pairs import exact, gates, manifest, read
from sakbench.data.pairs.compose import Crop, crop
from sakbench.data.pairs.manifest import Bytes

SIDE = 128
LEAST_SHARE = 0.02


def crops() -> list[tuple[Crop, Crop]]:
    folder = exact.kept()
    pictures = manifest.pictures(folder, read(folder))
    triples = zip(pictures.before, pictures.after, pictures.masks > 0, strict=True)
    return [(crop(a, m, SIDE), crop(b, m, SIDE)) for a, b, m in triples if m.mean() >= LEAST_SHARE]


def shrunk(before: Crop, after: Crop, factor: float) -> Bytes:
    """The counterfactual at `factor` of its size about the middle, in front of a plain ground."""
    side = round(SIDE * factor)
    ground = np.where(before.mask[..., None], np.median(before.picture[~before.mask], axis=0), before.picture)
    picture = Image.fromarray(median_filter(ground.astype(np.uint8), (9, 9, 1)))
    small, outline = (
        Image.fromarray(p).resize((side, side)) for p in (after.picture, 255 * before.mask.astype(np.uint8))
    )
    picture.paste(small, ((SIDE - side) // 2, (SIDE - side) // 2), outline)
    return np.asarray(picture)


def main() -> None:
    pairs = crops()
    kinds = {
        "exact": [after.picture for _, after in pairs],
        "0.75 of the size": [shrunk(before, after, 0.75) for before, after in pairs],
        "0.5 of the size": [shrunk(before, after, 0.5) for before, after in pairs],
        "another dog": [pairs[row - 1][1].picture for row in range(len(pairs))],
    }
    print(f"{len(pairs)} objects; IoU of the shapes before and after: percentiles 5, 50, 95; share that passes")
    for name, pictures in kinds.items():
        ious = [
            gates.measure(before.picture, picture, before.mask).mask_iou
            for (before, _), picture in zip(pairs, pictures, strict=True)
        ]
        low, middle, high = np.percentile(ious, [5, 50, 95])
        passed = np.mean(np.array(ious) >= gates.LEAST_MASK_IOU)
        print(f"| {name} | {low:.2f} | {middle:.2f} | {high:.2f} | {100 * passed:.0f} % |")


if __name__ == "__main__":
    main()
