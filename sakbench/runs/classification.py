"""Runs of kind `classify`: DINOv2's sweep of linear classifiers, and nearest neighbours, on a frozen model."""

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sakbench import backbones, data
from sakbench.data.transforms import ClassifyTransform, CropTransform
from sakbench.metrics import neighbours_classes
from sakbench.metrics.accuracy import share
from sakbench.metrics.neighbours import NEIGHBOURS
from sakbench.models.classifiers import RATES, Classifier, PlainClassifier, RoutedClassifier
from sakbench.models.processes import gathered, in_order, total
from sakbench.models.sak import carry_over
from sakbench.runs import encoders
from sakbench.runs.learning import grid_of
from sakbench.runs.material import Batch, Material
from sakbench.runs.measures import CLASSIFIED
from sakbench.runs.photographs import opened
from sakbench.runs.scales import get as get_scale
from sakbench.runs.session import Learned, Session
from sakbench.runs.students import build_classifier, class_count
from sakbench.training import loader
from sakbench.training.committee import moved
from sakbench.training.objectives import ClassifyObjective
from sakbench.training.order import coins_of_step, rows_of_step
from sakbench.training.scenes import images_tensor

_BATCH = 50  # rendered images that are looked at at once


@dataclass(frozen=True)
class _Labelled:
    """Batches with a `label`, and an `image` or what a model represents of it: to learn from, the same once each and in
    order, those that the classifier is chosen by, and those that it is measured on."""

    learned: Material
    known: Callable[[], Iterable[Batch]]
    chosen: Callable[[], Iterable[Batch]]
    tested: Callable[[], Iterable[Batch]]
    chosen_by: str


def classify(session: Session) -> Learned:
    """Learn the sweep, choose a classifier, measure it, and ask the nearest neighbours.

    The chosen classifier is the best one on mini's split `val`; ImageNet-1k has none, so that there, as in DINOv2's
    protocol, it is the best one on the images that it is measured on.
    """
    spec = session.spec
    model = build_classifier(spec, partial(encoders.load, spec=spec, place=session.place, final_norm=True))
    if isinstance(model, RoutedClassifier):
        assert spec.start is not None
        carry_over(session.weights_of(spec.start), model.student, grid_of(spec.start))
        model.student.requires_grad_(False)
    else:
        model.encoder.requires_grad_(False)
    model.to(session.device).eval()
    given = _scenes(session, model) if spec.scale == "mini" else _photographs(session)
    seconds = session.train(ClassifyObjective(model), given.learned)
    model.eval()
    with session.computing, torch.inference_mode():
        chosen = _right(model, given.chosen(), given.learned)
        shares = 100 * total(chosen.sum(1)) / total(torch.tensor(chosen.shape[1], device=chosen.device))
        best = int(shares.argmax())
        tested = chosen if given.chosen is given.tested else _right(model, given.tested(), given.learned)
        right = {"accuracy": in_order(tested[best]), "knn": in_order(_neighbours(session, model, given))}
    kind, rate = model.names[best // len(RATES)], RATES[best % len(RATES)]
    images = f"{spec.dataset} {spec.test_split} {spec.test_images}"
    protocols = {
        "accuracy": f"best of {len(shares)} linear classifiers on {given.chosen_by}, {images}",
        "knn": f"{NEIGHBOURS} nearest of {spec.train_images} by cosine, {images}",
    }
    sums = {name: torch.stack([each, torch.ones_like(each)], 1).double().cpu() for name, each in right.items()}
    metrics = [
        {
            "task": name,
            "metric": title,
            "value": share(sums[name].sum(0)),
            "unit": "%",
            "higher_is_better": True,
            "protocol": protocols[name],
        }
        for name, title in CLASSIFIED.items()
    ]
    rates = [round(float(each), 3) for each in shares]
    return Learned(metrics, seconds, {"features": kind, "rate": rate, "accuracies": rates}, sums=sums)


def _right(model: Classifier, batches: Iterable[Batch], material: Material) -> Tensor:
    """Which of this process's images each classifier gets right, bool (classifiers, n)."""
    found = []
    for raw in batches:
        batch = material.prepare(raw)
        found.append(model.predict(_represented(model, batch)).argmax(-1) == batch["label"])
    return torch.cat(found, dim=1)


def _neighbours(session: Session, model: Classifier, given: _Labelled) -> Tensor:
    """For which of this process's images the nearest neighbours vote for the right class, bool (n,)."""
    known, labels = _looked_up(model, given.known(), given.learned)
    queries, truth = _looked_up(model, given.tested(), given.learned)
    known, labels = gathered(known), gathered(labels)
    return neighbours_classes(queries, known, labels, class_count(session.spec)) == truth


def _looked_up(model: Classifier, batches: Iterable[Batch], material: Material) -> tuple[Tensor, Tensor]:
    vectors, labels = [], []
    for raw in batches:
        batch = material.prepare(raw)
        vectors.append(model.neighbourly(_represented(model, batch)).half())
        labels.append(batch["label"])
    return torch.cat(vectors), torch.cat(labels)


def _represented(model: Classifier, batch: Batch) -> list[Tensor]:
    return batch["represented"] if "represented" in batch else model.represent(batch["image"])


def _scenes(session: Session, model: Classifier) -> _Labelled:
    """Rendered scenes in memory; what a frozen backbone makes of them, plain and mirrored, is asked once."""
    spec = session.spec
    size = spec.size[0] if spec.size else backbones.info(spec.backbone).image_size

    def batches(split: str, count: int) -> Callable[[], Iterable[Batch]]:
        scenes = data.load(spec.dataset, split, count)
        labels = torch.from_numpy(np.asarray(scenes.dominant).astype(np.int64))

        def each() -> Iterable[Batch]:
            for first in range(0, count, _BATCH):
                rows = np.arange(first, min(first + _BATCH, count))
                yield {"image": images_tensor(scenes, rows, size), "label": labels[rows]}

        return each

    known = batches("distill", spec.train_images)
    chosen, tested = batches("val", spec.test_images), batches(spec.test_split, spec.test_images)
    if isinstance(model, PlainClassifier):  # nothing of it changes
        learned = _kept(model, known)
        known, chosen, tested = (_asked_once(model, each) for each in (known, chosen, tested))
    else:
        learned = _seen(known)

    def training(start: int) -> Generator[Batch]:
        step = start
        while True:
            rows = rows_of_step(spec.train_images, spec.recipe.batch_size, spec.seed, step)
            yield learned(rows, coins_of_step(spec.recipe.batch_size, spec.seed, step))
            step += 1

    material = Material(training, list, list, partial(moved, device=session.device))
    return _Labelled(material, known, chosen, tested, f"val {spec.test_images}")


def _asked_once(model: PlainClassifier, batches: Callable[[], Iterable[Batch]]) -> Callable[[], Iterable[Batch]]:
    """The batches with what a model represents of them in place of their images, which is kept."""
    device = next(model.parameters()).device

    @cache
    def asked() -> list[Batch]:
        with torch.inference_mode():
            return [
                {
                    "represented": [kind.cpu() for kind in model.represent(batch["image"].to(device))],
                    "label": batch["label"],
                }
                for batch in batches()
            ]

    return asked


Rows = Callable[[np.ndarray, np.ndarray], Batch]  # scenes by number, and which of them are mirrored


def _kept(model: PlainClassifier, batches: Callable[[], Iterable[Batch]]) -> Rows:
    """What a model represents of all scenes."""
    sides: tuple[list[list[Tensor]], list[list[Tensor]]] = ([], [])
    labels = []
    with torch.inference_mode():
        device = next(model.parameters()).device
        for batch in batches():
            labels.append(batch["label"])
            for kept, image in zip(sides, (batch["image"], batch["image"].flip(-1)), strict=True):
                kept.append([kind.cpu() for kind in model.represent(image.to(device))])
    plain, mirrored = ([torch.cat(kind) for kind in zip(*kept, strict=True)] for kept in sides)
    known = torch.cat(labels)

    def rows(numbers: np.ndarray, flips: np.ndarray) -> Batch:
        flip = torch.from_numpy(flips)[:, None]
        pairs = zip(plain, mirrored, strict=True)
        return {"represented": [torch.where(flip, b[numbers], a[numbers]) for a, b in pairs], "label": known[numbers]}

    return rows


def _seen(batches: Callable[[], Iterable[Batch]]) -> Rows:
    """The scenes themselves, for a model that learns in the middle."""
    everything = list(batches())
    images, labels = (torch.cat([batch[name] for batch in everything]) for name in ("image", "label"))

    def rows(numbers: np.ndarray, flips: np.ndarray) -> Batch:
        flip = torch.from_numpy(flips).view(-1, 1, 1, 1)
        chosen = images[numbers]
        return {"image": torch.where(flip, chosen.flip(-1), chosen), "label": labels[numbers]}

    return rows


def _photographs(session: Session) -> _Labelled:
    """ImageNet-1k, read while training."""
    spec, place = session.spec, session.place
    assert spec.size is not None
    together = place.images or get_scale(spec.scale).layouts[spec.kind].images
    augmented, plain = CropTransform(spec.size), ClassifyTransform(spec.size)

    def images(split: str, transform: Any) -> Any:
        count = spec.train_images if split == "train" else spec.test_images
        return opened(spec, split, place, (), transform, count, with_label=True)

    def once(split: str) -> Callable[[], Iterable[Batch]]:
        return lambda: loader.in_order(images(split, plain), together, workers=place.workers)

    parts = loader.parts_of(spec.recipe.batch_size, together)
    material = Material(
        lambda start: loader.draw(
            images("train", augmented), spec.recipe.batch_size, spec.seed, start, parts=parts, workers=place.workers
        ),
        list,
        list,
        partial(moved, device=session.device),
        parts,
    )
    tested = once(spec.test_split)
    return _Labelled(material, once("train"), tested, tested, f"{spec.test_split} itself")
