"""Scenes of the miniworld with their ground truth, as one picture.

python studies/scenes.py --output results/scenes.png
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from sakbench import data, tasks
from sakbench.data import miniworld
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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=CHOSEN, help="which scenes of the test split")
    parser.add_argument("--output", type=Path, default=Path("results/scenes.png"))
    options = parser.parse_args()
    sheet(tuple(options.rows)).savefig(options.output, dpi=160)
    print(options.output)
