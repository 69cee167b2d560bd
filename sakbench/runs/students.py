"""From a spec to its untrained student and its tasks."""

from collections.abc import Callable, Sequence
from functools import partial

from sakbench import backbones, tasks
from sakbench.backbones.encoder import Encoder
from sakbench.data import catalogue, miniworld
from sakbench.metrics import OdsF
from sakbench.models.agglomeration import Agglomerated
from sakbench.models.classifiers import Classifier, PlainClassifier, RoutedClassifier
from sakbench.models.plain import PlainStudent
from sakbench.models.prism import Prism
from sakbench.models.sak import SAK
from sakbench.models.upper_bound import UpperBound
from sakbench.runs.spec import RunSpec
from sakbench.tasks import protocols
from sakbench.tasks.base import Task
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
