"""Scale mini's material: rendered scenes in memory, and what frozen backbones make of them, computed once."""

from collections.abc import Callable, Iterable
from functools import cache, partial

import torch

from sakbench import backbones, data
from sakbench.runs import banks
from sakbench.runs.jobs import Bank
from sakbench.runs.material import Batch, Material
from sakbench.runs.place import Place
from sakbench.runs.spec import RunSpec
from sakbench.tasks.base import Task
from sakbench.training import features
from sakbench.training.committee import Committee
from sakbench.training.scenes import Scenes

Report = Callable[[int, int], None]
Stop = Callable[[], bool]


def material(spec: RunSpec, chosen: dict[str, Task], place: Place, stop: Stop) -> Material:
    """The scenes of a run."""
    mirrored = spec.kind != "distill"

    def scenes(split: str, count: int, *, mirror: bool) -> Scenes:
        features_of = {}
        for name, backbone in _read(spec, split).items():
            plain = Bank.of(spec, split, count, backbone)
            flipped = Bank.of(spec, split, count, backbone, flipped=True)
            features_of[name] = (
                stored(plain, place, stop=stop),
                stored(flipped, place, stop=stop) if mirror else None,
            )
        return Scenes(data.load(spec.dataset, split, count), size=_image_size(spec), tasks=chosen, banks=features_of)

    @cache
    def learned() -> Scenes:
        return scenes("train" if mirrored else "distill", spec.train_images, mirror=mirrored)

    @cache
    def held_out() -> Scenes:
        return scenes(spec.test_split, spec.test_images, mirror=False)

    committee = Committee({}, torch.device("cpu" if place.on_cpu else "cuda"))  # its teachers have been asked before

    def test() -> Iterable[Batch]:
        return map(committee, held_out().in_order())

    return Material(
        training=lambda start: learned().draw(spec.recipe.batch_size, spec.seed, start, mirror=mirrored),
        test=test,
        views=test,  # all of it is in memory
        prepare=committee,
    )


def stored(
    bank: Bank, place: Place, report: Report = lambda done, count: None, *, stop: Stop, summed: bool = False
) -> features.Levels:
    """The features of a bank, from the disk or computed now; `summed` reads all of what is on the disk."""
    return features.bank(
        banks.identity(bank, place.weights),
        partial(
            backbones.create,
            bank.backbone,
            image_size=None if backbones.info(bank.backbone).own_input else bank.size,
            weights=place.weights.get(bank.backbone),
            norm=bank.norm,
            sam_padding=bank.sam_padding,
            class_token=bank.class_token,
        ),
        data.load(bank.dataset, bank.split, bank.count),
        banks.image_size(bank),
        flipped=bank.flipped,
        summed=summed,
        report=report,
        stop=stop,
    )


def _read(spec: RunSpec, split: str) -> dict[str, str]:
    """Whose features a run reads of a split, by the name that they have in a batch."""
    if spec.is_fixed:
        return {"backbone": spec.backbone}
    if spec.kind == "distill" or (spec.gamma and split == "train"):
        return dict(spec.teachers)
    return {}


def _image_size(spec: RunSpec) -> int | None:
    if spec.is_fixed:
        return None
    return spec.size[0] if spec.size else backbones.info(spec.backbone).image_size
