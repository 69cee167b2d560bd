"""The miniworld: rendered scenes with complete ground truth, deterministic by (seed, index, VERSION, kind).

Kind "pascal" has people, animals and solids in front of curved backgrounds (semseg, parsing, saliency, normals,
boundary); kind "nyud" has furnished rooms in metres (semseg, depth, normals, boundary). Geometry and texture come from
separate random streams, so `counterfactual` turns cats into dogs and changes nothing else.

Boundaries are contours of instances (clutter included) and of the surfaces behind them (ground, walls, hills), one
pixel wide: a pixel belongs to them if its region differs from the one to its right or below.
"""

from sakbench.data.miniworld.captions import VOCABULARY, caption, caption_text, class_names
from sakbench.data.miniworld.render import Rendered, boundaries, render
from sakbench.data.miniworld.rooms import INDOOR_CLASSES
from sakbench.data.miniworld.scenes import CLASSES, KINDS, PARTS, VERSION, Scene, counterfactual
from sakbench.data.miniworld.splits import (
    SPLITS,
    TASKS,
    Pictured,
    Split,
    cached_checksum,
    images64,
    load_split,
    sample_scene,
    scene_arrays,
    split_seed,
    targets,
)

__all__ = [
    "CLASSES",
    "INDOOR_CLASSES",
    "KINDS",
    "PARTS",
    "SPLITS",
    "TASKS",
    "VERSION",
    "VOCABULARY",
    "Pictured",
    "Rendered",
    "Scene",
    "Split",
    "boundaries",
    "cached_checksum",
    "caption",
    "caption_text",
    "class_names",
    "counterfactual",
    "images64",
    "load_split",
    "render",
    "sample_scene",
    "scene_arrays",
    "split_seed",
    "targets",
]
