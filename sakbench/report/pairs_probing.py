"""`sakbench pairs probe`: what frozen models make of counterfactual pairs, as a table and as the paper's Figure 6."""

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.typing import ColorType
from rich.markup import escape

from sakbench import backbones, whole
from sakbench.analysis.counterfactuals import Objects, Seen
from sakbench.analysis.norm_maps import outliers
from sakbench.backbones.registry import TIMM_PREFIX
from sakbench.data.pairs import PairSet, exact, manifest
from sakbench.data.pairs.manifest import Bytes, Pictures
from sakbench.errors import UserError, unknown
from sakbench.experiments import pairs as experiments
from sakbench.experiments import tables
from sakbench.experiments.rows import Experiment
from sakbench.plots.figures import Maps, View, norm_maps
from sakbench.report.running import Request, output_of, run
from sakbench.runs.pairs import head_classes, seen_by, whereabouts
from sakbench.runs.scales import Scale
from sakbench.runs.students import classes_of
from sakbench.tasks.colouring import palette

MODELS = ("ViT", "DINOv2", "CLIP", "SAM")

_SUFFIXES = (".png", ".pdf", ".svg")


def probe(
    where: str, scale: Scale, request: Request, *, models: Sequence[str], heads: bool, figure: Path | None
) -> int:
    """Look at the pairs in the folder `where`, or at miniworld's; print the table, draw the figure; the exit code.

    With `heads` the semseg heads of each model's frozen probe are asked too, and trained where they are not in the
    store. Raises `UserError` for pairs or models that there are not, and for classes that the heads do not know.
    """
    folder = None if where == exact.NAME and not Path(where).exists() else Path(where)
    request = replace(request, pairs=folder)
    path = figure or (folder or request.folder) / "figure.png"
    _require_models(models, scale)
    _require_figure(path, named=figure is not None)
    here, identity = whereabouts(folder)
    there = manifest.read(here)
    manifest.check(here, there)  # before the first hour of training
    if heads:
        head_classes(there, scale.dataset)
    elif request.seeds:
        raise UserError("norms alone do not depend on a seed: leave --seeds out.")
    if scale.size and scale.size[0] != scale.size[1]:
        raise UserError(f"the pictures of pairs are square, and {scale.dataset}'s are not: leave --dataset out.")
    known = tables.get("figure6")
    usual = folder is None and tuple(models) == MODELS and heads and scale.name == "mini"
    name = exact.NAME if folder is None else f"{there.name}-{identity[:6]}"
    experiment = known if usual else experiments.look_at(name, identity, len(there), models, heads=heads)
    code = run(experiment, scale, request)
    if code or request.dry_run or os.environ.get("RANK", "0") != "0":  # one of several processes draws
        return code
    save(draw(experiment, scale, request.folder, folder), path)
    output_of(request).print(f"{escape(str(path))} shows the maps", style="dim", highlight=False, soft_wrap=True)
    return code


def _require_models(models: Sequence[str], scale: Scale) -> None:
    """Raise `UserError` for a model that there is not, or that is named twice."""
    known = {*scale.encoders, *backbones.names()}
    for place, name in enumerate(models):
        if name.startswith(TIMM_PREFIX):
            backbones.info(name)
        elif name not in known:
            raise unknown("model", name, known)
        if name in models[:place]:
            raise UserError(f"{name} is named twice in --models.")


def _require_figure(path: Path, *, named: bool) -> None:
    """Raise `UserError` for a figure that could not be written, before the first model is asked.

    The folder must be there where a user has `named` it; that of the runs will be.
    """
    if path.suffix not in _SUFFIXES:
        raise UserError(f"{path} cannot be the figure: name a file that ends in {', '.join(_SUFFIXES)} with --output.")
    there = path.parent.is_dir()
    if path.is_dir() or (named and not there) or (there and not os.access(path.parent, os.W_OK)):
        raise UserError(f"{path} cannot be written: name a file in a folder that is yours to write in with --output.")


def draw(experiment: Experiment, scale: Scale, runs: Path, folder: Path | None = None) -> Figure:
    """The figure of what the models of a table saw, with seed 0, from their folders in `runs`.

    Raises `UserError` where the maps are not there.
    """
    here = folder or exact.kept()
    there = manifest.read(here)
    pictures = manifest.pictures(here, there)
    seen = {
        row.name.removesuffix(experiments.ALONE): seen_by(runs / row.runs[0].id) for row in experiment.build(scale, 0)
    }
    return figure_of(there, pictures, seen, scale.dataset)


def figure_of(pairs: PairSet, pictures: Pictures, seen: Mapping[str, Seen], dataset: str) -> Figure:
    """The paper's Figure 6 of what models saw in some of the pairs; see `chosen`."""
    asked = all(one.labels is not None for one in seen.values())
    classes = head_classes(pairs, dataset) if asked else (1, 2)
    rows = chosen(pictures)
    colours = palette(len(classes_of(dataset)))
    objects = pictures.masks > 0
    views = [
        View(
            pictures.before[row],
            pictures.after[row],
            pictures.masks[row],
            _truths(objects[row], classes, colours),
            {name: _maps(one, row, colours, objects.shape[1], asked=asked) for name, one in seen.items()},
        )
        for row in rows
    ]
    shown = [labels[rows] for one in seen.values() if one.labels for labels in one.labels]
    key = _key(dataset, {*classes, *np.unique(shown).tolist()}, colours) if asked else {}
    return norm_maps(views, (pairs.old, pairs.new), key)


def chosen(pictures: Pictures) -> list[int]:
    """Up to two pairs: a small object and a large one, those whose colours change most; all if there are no more."""
    if len(pictures.masks) <= 2:
        return list(range(len(pictures.masks)))
    objects = Objects.of(pictures.masks)
    change = np.array(
        [
            np.abs(pictures.after[pair][mask].astype(int) - pictures.before[pair][mask]).mean()
            for pair, mask in zip(objects.pair, objects.mask, strict=True)
        ]
    )
    found = []
    for size in ("small", "large"):
        those = np.flatnonzero(objects.of_size(size))
        if len(those):
            found.append(int(objects.pair[those[change[those].argmax()]]))
    return list(dict.fromkeys(found)) or [0]


def save(figure: Figure, path: Path) -> None:
    """Write a figure, whole or not at all. Raises `UserError` if it cannot be."""
    picture = io.BytesIO()
    figure.savefig(picture, format=path.suffix.removeprefix("."), dpi=200)
    try:
        whole.write_bytes(path, picture.getvalue())
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}): name another file with --output.") from error


def _maps(seen: Seen, row: int, colours: Bytes, side: int, *, asked: bool) -> Maps:
    before, after = seen.before[row : row + 1], seen.after[row : row + 1]
    labels = seen.labels if asked else None
    return Maps(
        before[0],
        after[0],
        seen.change[row],
        (outliers(before)[0], outliers(after)[0]),
        (colours[labels[0][row]], colours[labels[1][row]]) if labels else None,
        (seen.extent[0] / side, seen.extent[1] / side),
    )


def _truths(objects: Bytes, classes: tuple[int, int], colours: Bytes) -> tuple[Bytes, Bytes]:
    """What the labels of a pair should be, as far as its objects go."""
    old, new = (np.where(objects[..., None], colours[number], colours[0]).astype(np.uint8) for number in classes)
    return old, new


def _key(dataset: str, shown: set[int], colours: Bytes) -> dict[str, ColorType]:
    names = classes_of(dataset)
    return {names[number]: to_rgb(colours[number] / 255) for number in sorted(shown)}
