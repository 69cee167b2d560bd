"""Figures 1 (right), 9, 10 and 11: what frozen backbones and students see in scenes of the miniworld's test splits.

python studies/qualitative.py                         draws the predictions that are kept in results/qualitative.npz
python studies/qualitative.py --runs results/runs     predicts anew with the weights of trained runs, and keeps that
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import common
import numpy as np
import torch
from matplotlib.figure import Figure

from sakbench import data
from sakbench.data import miniworld
from sakbench.errors import UserError
from sakbench.experiments import tables
from sakbench.models import load_checkpoint
from sakbench.plots import figures
from sakbench.runs.artifacts import WEIGHTS
from sakbench.runs.scales import Scale
from sakbench.runs.scales import get as get_scale
from sakbench.runs.spec import RunSpec
from sakbench.runs.students import tasks_of
from sakbench.tasks.colouring import palette
from sakbench.training.scenes import TARGET_SIZE, images_tensor

KEPT = Path("results/qualitative.npz")
SCENES = (1, 3)
DATASETS = {"miniworld-pascal": "figure9", "miniworld-nyud": "figure11"}  # and what trains its models
VIT = "ViT Freeze"  # a row of Table 12, shown where its weights are there
ORDER = ("ViT", "DINOv2", "CLIP", "SAM", "RADIO", "Theia", "SAK")

Pictures = dict[str, dict[str, dict[str, np.ndarray]]]  # data set, "image" or task, model: uint8 (scenes, H, W, 3)


def predicted(runs: Path, scenes: Sequence[int]) -> Pictures:
    """What the models see of which there are weights in a folder of runs, beside the truth, as pictures.

    Raises `UserError` if a model of the paper's figure is missing on every data set.
    """
    pictures: Pictures = {}
    missing = {}
    for dataset, experiment in DATASETS.items():
        scale = get_scale("mini", dataset)
        models = _models(scale, experiment)
        needed = {row.name.removesuffix(" Freeze") for row in tables.get(experiment).build(scale, 0)}
        there = {name: spec for name, spec in models.items() if (runs / spec.id / WEIGHTS).is_file()}
        if lacking := needed - there.keys():
            missing[experiment] = sorted(lacking, key=ORDER.index)
        else:
            pictures[dataset] = _of_dataset(scale, there, runs, np.array(scenes))
    if not pictures:
        experiment, names = next(iter(missing.items()))
        raise UserError(
            f"{runs} lacks the weights of {', '.join(names)}: `sakbench run {experiment}` trains them, with a new"
            " --store if their numbers are in yours already."
        )
    return pictures


def _models(scale: Scale, experiment: str) -> dict[str, RunSpec]:
    """The models to be shown on a data set, by the name that they have in the figure."""
    rows = tables.get(experiment).build(scale, 0)
    others = [row for row in tables.get("table12").build(scale, 0) if row.name == VIT]
    found = {row.name.removesuffix(" Freeze"): row.runs[0] for row in (*rows, *others)}
    return dict(sorted(found.items(), key=lambda item: ORDER.index(item[0])))


@torch.inference_mode()
def _of_dataset(scale: Scale, models: Mapping[str, RunSpec], runs: Path, scenes: np.ndarray) -> dict:
    split = data.load(scale.dataset, "test", scale.test_images)
    if max(scenes) >= len(split):
        raise UserError(f"the test split has scenes 0 to {len(split) - 1}: there is no scene {max(scenes)}.")
    tasks = tasks_of(next(iter(models.values())))
    truth = miniworld.targets(split, scenes, scale.tasks)
    pictures = {"image": {"": np.asarray(split.images[scenes])}}
    for name, task in tasks.items():
        pictures[name] = {"ground truth": np.stack([task.colours(one) for one in truth[name]])}
    for model, spec in models.items():
        student = load_checkpoint(runs / spec.id)
        logits = student(images_tensor(split, scenes, student.backbone.image_size[0]), TARGET_SIZE)
        for name, task in tasks.items():
            pictures[name][model] = np.stack([task.colours(one) for one in task.decode(logits[name])])
    return pictures


def keep(path: Path, pictures: Pictures, scenes: Sequence[int]) -> None:
    """Write pictures and the scenes' numbers as one compressed file. Raises `UserError` if that cannot be done."""
    arrays = {
        f"{dataset}/{row}/{model}": values
        for dataset, rows in pictures.items()
        for row, models in rows.items()
        for model, values in models.items()
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, scenes=np.array(scenes), **arrays)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}).") from error


def kept(path: Path) -> tuple[Pictures, list[int]]:
    """The pictures and scenes that `keep` wrote. Raises `UserError` if there are none."""
    if not path.is_file():
        raise UserError(
            f"there are no predictions in {path}: `sakbench run figure9` trains the models, and"
            " `python studies/qualitative.py --runs results/runs` keeps what they see."
        )
    pictures: Pictures = {}
    try:
        with np.load(path) as arrays:
            scenes = arrays["scenes"].tolist()
            for name in arrays.files:
                if name != "scenes":
                    dataset, row, model = name.split("/")
                    pictures.setdefault(dataset, {}).setdefault(row, {})[model] = arrays[name]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} holds no predictions of this study.") from error
    return pictures, scenes


def figure(pictures: Pictures, scenes: Sequence[int], tasks: Sequence[str] = ()) -> Figure:
    """A block per data set and scene, a row per task (all by default, or `tasks`), a column per model."""
    models = [model for model in ORDER if any(model in row for rows in pictures.values() for row in rows.values())]
    blocks, keys = {}, {}
    for dataset, rows in pictures.items():
        for place, scene in enumerate(scenes):
            image, title = rows["image"][""][place], f"{dataset}, test scene {scene}"
            shown = {name: row for name, row in rows.items() if name != "image" and (not tasks or name in tasks)}
            blocks[title] = {
                name: [image, row["ground truth"][place], *(row[m][place] if m in row else None for m in models)]
                for name, row in shown.items()
            }
            keys[title] = _key(dataset, {name: row["ground truth"][place] for name, row in shown.items()})
    return figures.comparison_sheet(["image", "truth", *models], blocks, keys)


def _key(dataset: str, truths: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the colours of labels mean that occur in a scene's truths, by task: RGB from 0 to 1."""
    names = {"semseg": miniworld.class_names(dataset.removeprefix("miniworld-")), "parsing": miniworld.PARTS}
    key = {}
    for task, labels in names.items():
        colours = dict(zip(labels, palette(len(labels)), strict=True))
        truth = truths.get(task, np.empty((0, 3)))
        shown = [name for name in labels if name != "background" and (truth == colours[name]).all(-1).any()]
        key |= {f"{task}: {name}" if name == shown[0] else name: colours[name] / 255 for name in shown}
    return key


def main(words: Sequence[str] | None = None) -> None:
    options = common.parser(__doc__, "results/qualitative.png", store=False)
    options.add_argument("--runs", type=Path, help="a folder of runs, with whose weights to predict anew")
    options.add_argument("--scenes", type=int, nargs="+", help="of the test split, with --runs (default: 1 3)")
    options.add_argument("--predictions", type=Path, default=KEPT, help="where they are kept (default: %(default)s)")

    def study(chosen: common.Options) -> Figure:
        scenes = chosen.scenes or SCENES
        if chosen.runs:
            keep(chosen.predictions, predicted(chosen.runs, scenes), scenes)
        elif chosen.scenes:
            raise UserError("--scenes needs --runs: other scenes than the kept ones must be predicted anew.")
        return figure(*kept(chosen.predictions))

    common.draw(options, study, words)


if __name__ == "__main__":
    main()
