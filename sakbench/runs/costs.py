"""What a run will take, before it is done: its models built without weights, and their multiplications counted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import init
from torch.overrides import TorchFunctionMode

from sakbench import backbones
from sakbench.accounting.counting import Macs, count
from sakbench.backbones.encoder import Encoder
from sakbench.models.agglomeration import Agglomerated
from sakbench.models.classifiers import RoutedClassifier
from sakbench.models.parameters import parameter_count, set_trainable
from sakbench.models.prism import Prism
from sakbench.runs.spec import RunSpec
from sakbench.runs.students import Model, build, build_classifier, output_size

# what initial values are made with, in place
_FILLS = {
    *(Tensor.uniform_, Tensor.normal_, Tensor.erfinv_, Tensor.mul_, Tensor.add_, Tensor.clamp_),
    *(Tensor.fill_, Tensor.zero_, init.uniform_, init.normal_, init.constant_, init.kaiming_uniform_),
}
_BYTES = 4  # of a weight
_BACKWARD = 2  # times the forward's multiplications


@dataclass(frozen=True)
class Cost:
    """Of one run: parameters and those that are trained; multiplications of one image in inference and in training
    (teachers included); those of the whole run; bytes of weights that it leaves on the disk."""

    parameters: int
    trained: int
    macs: int
    training_macs: int
    total_macs: int
    disk: int


def cost(run: RunSpec) -> Cost:
    """What a run takes, as far as it can be counted."""
    model = run.start if run.kind == "pairs" and run.start else run
    parameters, trained, whole, frozen_macs = _student(_shape_of(model))
    macs = whole.executed
    teachers = sum(_encoder_macs(name, run.size) for _, name in run.teachers) if _distils(run) else 0
    training = 0 if not run.trains else macs + _BACKWARD * (macs - frozen_macs) + teachers
    recipes = [run.recipe, *([run.align] if run.align else [])] if run.trains else []
    images = sum(recipe.steps * recipe.batch_size for recipe in recipes)
    pictures = 2 if run.kind == "pairs" else 1
    tested = pictures * run.test_images * (macs + (teachers if run.kind == "distill" else 0))
    keeps = run.trains and run.kind not in ("classify", "answer")
    disk = (trained if run.fuse else parameters) * _BYTES if keeps else 0
    return Cost(parameters, trained, macs, training, images * training + tested, disk)


def inference(run: RunSpec) -> tuple[int, Macs]:
    """Parameters of a run's model, and the multiplications of one image in it."""
    parameters, _, macs, _ = _student(_shape_of(run))
    return parameters, macs


def weightless(run: RunSpec) -> Model:
    """The run's student on the meta device, with shapes but no weights; what the run trains is marked."""
    with torch.device("meta"), _Undrawn():
        beside = run.probes_linearly and not run.is_sak
        student = build(run, lambda name: weightless_encoder(name, run.size, class_token=beside))
    set_trainable(student, "freeze" if run.frozen else "full")
    return student.eval()


def weightless_encoder(name: str, size: tuple[int, int] | None, *, class_token: bool = False) -> Encoder:
    """A backbone on the meta device, for images (H, W) of that size; for its own where it has one, or if None."""
    own = backbones.info(name).own_input
    with torch.device("meta"), _Undrawn():
        return backbones.create(
            name, image_size=None if own else size, pretrained=False, class_token=class_token
        ).eval()


class _Undrawn(TorchFunctionMode):
    """Initial values are not drawn: there is no memory for them, and pretending takes longer than all else."""

    def __torch_function__(
        self, function: Any, types: Sequence[Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Leave a tensor without memory as it is, instead of filling it."""
        if function in _FILLS and args and isinstance(args[0], Tensor) and args[0].is_meta:
            return args[0]
        return function(*args, **(kwargs or {}))


def _distils(run: RunSpec) -> bool:
    return run.kind == "distill" or run.gamma > 0


def _shape_of(run: RunSpec) -> RunSpec:
    """The run without what its size does not depend on, so that runs of one shape are counted once."""
    return replace(run, seed=0, inputs=(), start=None, protocol="paper", gamma=0.0, train_images=0, test_images=0)


@cache
def _student(run: RunSpec) -> tuple[int, int, Macs, int]:
    """Parameters, trained ones, multiplications of one image, and those executed in parts that do not learn."""
    if run.kind == "classify":
        return _classifier(run)
    if run.kind == "answer":
        return _tower(run)
    student, images = weightless(run), _images(run.backbone, run.size)

    def forward() -> None:
        if isinstance(student, Prism) and run.kind == "distill":
            student.levels(images, student.teacher_codes[:1])  # each image follows one teacher
        elif run.kind == "distill" or isinstance(student, Agglomerated):
            student.represent(images)
        else:
            student(images, output_size(run))

    whole = count(student, forward)
    frozen = count(student, lambda: student.represent(images)).executed if run.frozen else 0
    if run.fuse:
        frozen += sum(_encoder_macs(name, run.size) for _, name in run.teachers)
    return parameter_count(student), parameter_count(student, trainable=True), whole, frozen


def _classifier(run: RunSpec) -> tuple[int, int, Macs, int]:
    """The same of a frozen model under all its classifiers."""
    with torch.device("meta"), _Undrawn():
        model = build_classifier(run, lambda name: weightless_encoder(name, run.size)).eval()
    images = _images(run.backbone, run.size)
    frozen = model.student if isinstance(model, RoutedClassifier) else model.encoder
    everything, kept = parameter_count(model), parameter_count(frozen)
    whole = count(model, lambda: model.predict(model.represent(images)))
    below = count(model, lambda: model.represent(images)).executed
    return everything, everything - kept, whole, below


def _tower(run: RunSpec) -> tuple[int, int, Macs, int]:
    """The same of what a language model sees through; the language model, which takes most, is left out."""
    if run.blind:
        return 0, 0, Macs(0, 0, 0), 0
    encoder = weightless_encoder(run.backbone, run.size)
    images = _images(run.backbone, run.size)
    whole = count(encoder, lambda: encoder(images))
    return parameter_count(encoder), 0, whole, whole.executed


@cache
def _encoder_macs(name: str, size: tuple[int, int] | None) -> int:
    encoder = weightless_encoder(name, size)
    return count(encoder, lambda: encoder(_images(name, size))).executed


def _images(name: str, size: tuple[int, int] | None) -> Tensor:
    side = backbones.info(name).image_size
    return torch.empty(1, 3, *(size or (side, side)), device="meta")
