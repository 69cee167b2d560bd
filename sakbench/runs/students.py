"""From a spec to its untrained student and its tasks."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sakbench import backbones, tasks, whole
from sakbench.backbones.encoder import Encoder
from sakbench.data import catalogue, miniworld
from sakbench.errors import UserError
from sakbench.metrics import OdsF
from sakbench.models.agglomeration import Agglomerated
from sakbench.models.classifiers import Classifier, PlainClassifier, RoutedClassifier
from sakbench.models.hub import CARD
from sakbench.models.plain import PlainStudent
from sakbench.models.prism import Prism
from sakbench.models.sak import SAK
from sakbench.models.upper_bound import UpperBound
from sakbench.runs import artifacts
from sakbench.runs.artifacts import SUMS, WEIGHTS
from sakbench.runs.spec import RunSpec
from sakbench.tasks import protocols
from sakbench.tasks.base import Task
from sakbench.training.checkpoint import write_tensors
from sakbench.training.scenes import TARGET_SIZE

_CLASSES = {"miniworld-pascal": miniworld.CLASSES, "miniworld-nyud": miniworld.INDOOR_CLASSES}

Student = SAK | Prism | PlainStudent | UpperBound
Model = Student | Agglomerated


def classes_of(dataset: str) -> Sequence[str]:
    """The classes of a data set's semseg, background first."""
    return _CLASSES[dataset] if dataset in _CLASSES else catalogue.get(dataset).classes


def tasks_of(spec: RunSpec) -> dict[str, Task]:
    """The tasks of a run, measured as it says."""
    if spec.probes_linearly:
        from sakbench.tasks import depth  # here, because it imports matplotlib for its colours

        return {"depth": depth.make_linear()}
    protocol = protocols.get(spec.protocol)
    boundary = partial(OdsF, spec.max_dist, nms_radius=protocol.nms_radius, strict=protocol.strict)
    classes, metrics = {"semseg": len(classes_of(spec.dataset))}, {"boundary": boundary}
    return {name: tasks.make(name, classes=classes.get(name), metric=metrics.get(name)) for name in spec.tasks}


def output_size(spec: RunSpec) -> tuple[int, int]:
    """The size (H, W) of the maps that a run's student is trained to give."""
    return spec.size if spec.size and spec.scale != "mini" else TARGET_SIZE


def tested_size(spec: RunSpec) -> tuple[int, int] | None:
    """The size (H, W) of the network's input in a run's evaluation: it is another than in training for NYUd alone."""
    if spec.size is None or spec.scale == "mini" or not spec.tasks:
        return spec.size
    about = catalogue.get(spec.dataset)
    return spec.size if about.test_size is None else backbones.info(spec.backbone).padded(about.test_size)


def build(spec: RunSpec, load: Callable[[str], Encoder]) -> Model:
    """The student on the backbone that `load` gives; everything else is fresh from torch's global generator."""
    encoder = load(spec.backbone)
    channels = {name: task.channels for name, task in tasks_of(spec).items()}
    if spec.fuse:
        teachers = {name: load(backbone) for name, backbone in spec.teachers}
        return UpperBound(encoder, teachers, channels, fuse=spec.fuse, noise=spec.noise, decoder=spec.decoder)
    if spec.method == "prism":
        widths = {name: backbones.info(backbone).dim for name, backbone in spec.teachers}
        return Prism(encoder, widths, channels)
    if spec.method and spec.kind == "distill":
        theirs = {name: (backbones.info(backbone).dim, _grid(spec, backbone)) for name, backbone in spec.teachers}
        return Agglomerated(encoder, theirs, spec.method)
    if not spec.is_sak:
        return PlainStudent(encoder, channels, decoder=spec.decoder)
    return SAK(
        encoder,
        teachers={name: backbones.info(backbone).dim for name, backbone in spec.teachers},
        tasks=channels,
        adapter_paths=spec.adapter_paths,
        routers=spec.routers,
        noise=spec.noise,
        decoder=spec.decoder,
        router=spec.router,
        adapter=spec.adapter,
    )


def build_classifier(spec: RunSpec, load: Callable[[str], Encoder]) -> Classifier:
    """The frozen model under its classifiers, on the backbone that `load` gives."""
    classes, encoder = class_count(spec), load(spec.backbone)
    if not spec.teachers:
        return PlainClassifier(encoder, classes)
    teachers = {name: backbones.info(backbone).dim for name, backbone in spec.teachers}
    return RoutedClassifier(SAK(encoder, teachers, noise=spec.noise), classes)


def class_count(spec: RunSpec) -> int:
    """How many classes there are: mini's are those of the object that shows most."""
    return len(classes_of(spec.dataset)) if spec.scale == "mini" else 1000


def _grid(spec: RunSpec, backbone: str) -> tuple[int, int]:
    """The grid of patch tokens that a teacher has in a run; SAM's as if nothing of it were padding."""
    entry = backbones.info(backbone)
    own = spec.size is None or entry.own_input
    height, width = (entry.image_size, entry.image_size) if own or spec.size is None else spec.size
    return height // entry.patch_size, width // entry.patch_size


def write(
    here: Path, model: Model | None, spec: RunSpec, sums: Mapping[str, Tensor] = MappingProxyType({})
) -> list[dict[str, Any]]:
    """The model in the form that `from_pretrained` loads, beside the run's spec, and what its metrics are made of.

    Returns what it wrote; there may be no model, or nothing of metrics.

    The files are written in a folder of their own and moved when all are on the disk, the weights last. A card that is
    there already stays.
    """
    draft = whole.draft_of(here / "model")
    try:
        here.mkdir(parents=True, exist_ok=True)
        whole.clear(here)
        draft.mkdir()
        (draft / "run.json").write_text(json.dumps(spec.to_dict(), indent=2))
        if sums:
            write_tensors(draft / SUMS, {name: _narrowed(value) for name, value in sums.items()})
        if isinstance(model, UpperBound | Agglomerated):  # of no use elsewhere without its teachers, or tasks
            write_tensors(draft / WEIGHTS, model.state_dict())
        elif model is not None:
            model.about = {"scale": spec.scale, "data set": spec.dataset, "run": spec.id}
            model.output_size = output_size(spec)
            model.save_pretrained(draft)
        return _publish(draft, here)
    except (OSError, SafetensorError) as error:
        raise UserError(f"the weights could not be written to {here} ({error}): make room there.") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def sums_in(here: Path) -> dict[str, Tensor]:
    """What the metrics of a run's tasks are made of, image by image; nothing where it left none.

    Raises UserError for a file that is damaged.
    """
    file = here / SUMS
    if not file.exists():
        return {}
    problem = artifacts.problems(here).get(file)
    try:
        if problem:
            raise ValueError(problem)
        return {
            name: value.long() if not value.is_floating_point() else value for name, value in load_file(file).items()
        }
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"{file} cannot be read ({error}): delete {here}, and the run is done again.") from error


def _narrowed(value: Tensor) -> Tensor:
    """Counts of an image's pixels need no 64 bits."""
    small = not value.is_floating_point() and bool((value.abs() < 2**31).all())
    return value.to(torch.int32) if small else value


def _publish(draft: Path, here: Path) -> list[dict[str, Any]]:
    """Move a draft's files into a run's folder, and write down what they are."""
    files = sorted(draft.iterdir(), key=lambda file: file.name == WEIGHTS)
    for file in files:
        whole.sync(file)
    (here / artifacts.NAME).unlink(missing_ok=True)  # it tells of the files before
    whole.sync(here)
    for file in files:
        if file.name != CARD or not (here / CARD).exists():
            file.replace(here / file.name)
    whole.sync(here)
    return artifacts.write(here, [file.name for file in files])
