"""Scale paper's material: the real data sets, read and augmented while training; teachers look on."""

from typing import Any

import torch
from torch import Tensor

from sakbench.data import catalogue
from sakbench.data.archives import ArchiveSplit, open_split
from sakbench.data.transforms import (
    DepthEvaluationTransform,
    DepthTransform,
    DistillTransform,
    EvaluationTransform,
    Transform,
    TuneTransform,
    ViewTransform,
)
from sakbench.errors import UserError
from sakbench.metrics.boundary import label_edges
from sakbench.runs import encoders
from sakbench.runs.material import Batch, Material
from sakbench.runs.place import Place
from sakbench.runs.scales import get as get_scale
from sakbench.runs.spec import RunSpec
from sakbench.runs.students import tested_size
from sakbench.tasks.base import Task
from sakbench.training import loader
from sakbench.training.committee import Committee


def material(spec: RunSpec, chosen: dict[str, Task], place: Place) -> Material:
    """The photographs of a run, from the folder `place.data`."""
    size, test_size = spec.size, tested_size(spec)
    assert size is not None
    assert test_size is not None
    device = torch.device("cpu" if place.on_cpu else "cuda")
    distils = spec.kind == "distill"
    together = place.images or get_scale(spec.scale).layouts[spec.kind].images
    teachers = _teachers(spec, place) if distils or spec.gamma else {}
    asked = {name: teachers[name] for name, _ in spec.newcomers if name in teachers}
    committee = Committee(asked, device, spec.recipe.precision)
    if not distils:
        onlookers = Committee({}, device)  # in a test of tasks nobody asks the teachers
    elif spec.start is None:
        onlookers = committee
    else:
        onlookers = Committee(teachers, device, spec.recipe.precision)

    labels = tuple(chosen)
    # A crop is drawn again where one class fills it, so that all runs see the same crops whatever they learn.
    watched = ("semseg",) if "semseg" in catalogue.get(spec.dataset).tasks and not distils else ()
    augmented_by = tuple(dict.fromkeys((*labels, *watched)))
    of_depth = spec.dataset == "nyu-depth"

    def training(start: int) -> Any:
        tuned = DepthTransform(size) if of_depth else TuneTransform(size)
        augmented = DistillTransform(size) if distils else tuned
        images = opened(spec, "train", place, augmented_by, augmented, spec.train_images)
        return loader.draw(images, spec.recipe.batch_size, spec.seed, start, parts=parts, workers=place.workers)

    def held_out(wanted: tuple[str, ...]) -> Any:
        tested = DepthEvaluationTransform(test_size) if of_depth else EvaluationTransform(test_size)
        plain = ViewTransform(size) if distils else tested
        images = opened(spec, spec.test_split, place, wanted, plain, spec.test_images)
        for batch in loader.in_order(images, together, workers=place.workers):
            yield onlookers(_with_truth(batch, spec))

    parts = loader.parts_of(spec.recipe.batch_size, together)
    return Material(training, lambda: held_out(labels), lambda: held_out(()), committee, parts)


def opened(
    spec: RunSpec,
    split: str,
    place: Place,
    tasks: tuple[str, ...],
    transform: Transform,
    count: int,
    *,
    with_label: bool = False,
) -> ArchiveSplit:
    """A split of a run's data set, or as many of its training images as a run of tasks learns from.

    Raises UserError where it has another number of images than the run was planned for.
    """
    assert place.data is not None
    images = open_split(
        spec.dataset,
        split,
        place.data,
        tasks=tasks,
        transform=transform,
        with_boundary_source="boundary" in tasks and split == spec.test_split,
        with_label=with_label,
    )
    if split == "train" and spec.kind == "tasks" and count < len(images):
        return images.subset(count)
    if len(images) != count:
        raise UserError(
            f"the {split} split of {spec.dataset} in {place.data} has {len(images)} images, but the run was planned for"
            f" {count}: the data changed since; call the command again."
        )
    return images


def _with_truth(batch: Batch, spec: RunSpec) -> Batch:
    """The batch with what odsF takes as the true boundaries, which is not quite what they are learned from."""
    source = batch.pop("boundary_source", None)
    if source is None:
        return batch
    if spec.dataset == "nyud-v2" and spec.nyud_truth == "clean":
        return {**batch, "truth/boundary": (source != 0).to(torch.uint8)}
    return {**batch, "truth/boundary": torch.stack([_edges(s, b) for s, b in zip(source, batch["box"], strict=True)])}


def _edges(source: Tensor, box: Tensor) -> Tensor:
    """The edges of a label map (H, W) within its padding, uint8 (H, W); the padding has none."""
    top, left, height, width = box.tolist()
    edges = torch.zeros_like(source, dtype=torch.uint8)
    inside = source[top : top + height, left : left + width].numpy()
    edges[top : top + height, left : left + width] = torch.from_numpy(label_edges(inside))
    return edges


def _teachers(spec: RunSpec, place: Place) -> dict[str, Any]:
    return {name: encoders.load(backbone, spec, place) for name, backbone in spec.teachers}
