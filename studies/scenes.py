"""Scenes of the miniworld with their ground truth, as one picture.

python studies/scenes.py --output results/scenes.png
"""

from collections.abc import Sequence

import common
import numpy as np
from matplotlib.figure import Figure

from sakbench import data, tasks
from sakbench.data import miniworld
from sakbench.errors import UserError
from sakbench.plots import figures
from sakbench.runs.scales import MINI

CHOSEN = (1, 3, 6, 9)  # of the test split: people, occlusion, round things, clutter


def sheet(rows: tuple[int, ...] = CHOSEN) -> Figure:
    split = data.load(MINI.dataset, "test", MINI.test_images)
    scenes = np.array(rows)
    pictures = {"image": np.asarray(split.images[scenes])}
    for name, target in miniworld.targets(split, scenes, MINI.tasks).items():
        task = tasks.make(name, classes=len(miniworld.CLASSES) if name == "semseg" else None)
        pictures[name] = np.stack([task.colours(one) for one in target])
    return figures.scenes_sheet(pictures)


def study(options: common.Options) -> Figure:
    if not all(0 <= row < MINI.test_images for row in options.rows):
        raise UserError(f"the test split has scenes 0 to {MINI.test_images - 1}: name some of these with --rows.")
    return sheet(tuple(options.rows))


def main(words: Sequence[str] | None = None) -> None:
    options = common.parser(__doc__, "results/scenes.png", store=False)
    options.add_argument("--rows", type=int, nargs="+", default=CHOSEN, help="which scenes of the test split")
    common.draw(options, study, words)


if __name__ == "__main__":
    main()
