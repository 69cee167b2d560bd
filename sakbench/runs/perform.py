"""Doing one job: from a spec to its weights and numbers. The only place where a spec meets the training code."""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from sakbench import backbones, data, tasks
from sakbench.data import miniworld
from sakbench.errors import UserError
from sakbench.metrics import OdsF
from sakbench.models.parameters import parameter_count, set_trainable
from sakbench.models.plain import PlainStudent
from sakbench.models.sak import SAK, carry_over
from sakbench.runs.jobs import Bank
from sakbench.runs.plan import training_folder
from sakbench.runs.spec import RunSpec
from sakbench.tasks import protocols
from sakbench.tasks.base import Task
from sakbench.training import evaluation, features
from sakbench.training.checkpoint import sync, write_tensors
from sakbench.training.loop import Interrupted, fit
from sakbench.training.objectives import DistillObjective, TaskObjective
from sakbench.training.scenes import TARGET_SIZE, Scenes

Report = Callable[[int, int, dict[str, float]], None]
Stop = Callable[[], bool]


class Stopped(Exception):
    """The job stopped because it was asked to; what it had done is in its checkpoint."""


def perform(work: RunSpec | Bank, folder: Path, report: Report, stop: Stop) -> dict[str, Any]:
    """Do one job in this process, on one core; a run's weights go to `folder`/ID.

    Returns what the store keeps of a run: `metrics`, `seconds`, `peak_memory_mb`, `checkpoint`, `notes`; nothing for
    features. The checkpoint of a run's training stays for whoever stores the result to remove; a run that is stopped
    before that need only be evaluated again. Raises `Stopped` when `stop()` became true.
    """
    # More threads would gain little at these sizes, and one gives the same sums whatever else the machine does.
    torch.set_num_threads(1)
    try:
        if isinstance(work, Bank):
            _features(work, lambda done, count: report(done, count, {}), stop)
            return {}
        return _run(work, folder, report, stop)
    except Interrupted:
        raise Stopped from None


def _run(spec: RunSpec, folder: Path, report: Report, stop: Stop) -> dict[str, Any]:
    began = time.monotonic()
    torch.manual_seed(spec.seed)
    here = training_folder(folder, spec)
    trained = 0.0

    def train(objective: nn.Module, scenes: Scenes, *, mirror: bool) -> float:
        nonlocal trained
        started = time.monotonic()
        seconds = fit(
            objective,
            partial(scenes.draw, spec.recipe.batch_size, spec.seed, mirror=mirror),
            spec.recipe,
            seed=spec.seed,
            checkpoints=here,
            report=lambda p: report(p.step, p.steps, p.losses),
            stop=stop,
        )
        trained = time.monotonic() - started
        return seconds

    learned = {"distill": _distil, "tasks": _tune, "score": _score}[spec.kind](spec, folder, train)
    if spec.kind != "score":
        _write_model(folder / spec.id, learned.model, spec)
    weights = spec.start.id if spec.kind == "score" and spec.start else spec.id
    return {
        "metrics": learned.metrics,
        # the training's seconds include those before an interruption
        "seconds": learned.seconds + time.monotonic() - began - trained,
        "peak_memory_mb": _peak_memory_mb(),
        "checkpoint": f"{folder.name}/{weights}/model.safetensors",
        "notes": learned.notes,
    }


def _distil(spec: RunSpec, folder: Path, train: "Train") -> "Learned":
    student = _sak(spec)
    seconds = train(DistillObjective(student), _distil_scenes(spec, "distill", spec.train_images), mirror=False)
    likeness = evaluation.similarity(student, _distil_scenes(spec, spec.test_split, spec.test_images))
    mean = sum(likeness.values()) / len(likeness)
    protocol = f"cosine of flattened maps, mean over levels and images; {spec.test_split} {spec.test_images}"
    metrics = [
        {"task": name, "metric": "cosine", "value": value, "unit": "", "higher_is_better": True, "protocol": protocol}
        for name, value in {"rep_sim": mean, **{f"rep_sim {t}": v for t, v in likeness.items()}}.items()
    ]
    return Learned(student, seconds, metrics, {"parameters": parameter_count(student)})


def _tune(spec: RunSpec, folder: Path, train: "Train") -> "Learned":
    chosen = _tasks(spec)
    student = _sak(spec) if spec.is_sak else _plain(spec)
    if isinstance(student, SAK) and spec.start is not None:
        carry_over(_weights(folder / spec.start.id / "model.safetensors"), student)
    set_trainable(student, "freeze" if spec.frozen else "full")
    seconds = train(TaskObjective(student, chosen, spec.gamma), _tune_scenes(spec, chosen), mirror=True)
    return _evaluate(spec, student, chosen, seconds)


def _score(spec: RunSpec, folder: Path, train: "Train") -> "Learned":
    assert spec.start is not None
    student = _sak(spec) if spec.is_sak else _plain(spec)
    student.load_state_dict(_weights(folder / spec.start.id / "model.safetensors"))
    return _evaluate(spec, student, _tasks(spec), seconds=0.0)


def _evaluate(spec: RunSpec, student: SAK | PlainStudent, chosen: dict[str, Task], seconds: float) -> "Learned":
    test = _test_scenes(spec, chosen)
    values = evaluation.task_metrics(student, test, chosen)
    data_set = f"{spec.dataset} {spec.test_split} {spec.test_images} at {TARGET_SIZE[0]}x{TARGET_SIZE[1]}"
    metrics = [
        {
            "task": name,
            "metric": task.metric,
            "value": values[name],
            "unit": task.unit,
            "higher_is_better": task.higher_is_better,
            "protocol": ", ".join(filter(None, [task.metric, task.new_metric().protocol, data_set])),
        }
        for name, task in chosen.items()
    ]
    notes: dict[str, Any] = {"parameters": parameter_count(student)}
    if isinstance(student, SAK) and spec.routers and spec.adapter_paths:
        notes["gates"] = evaluation.mean_gates(student, test)
    return Learned(student, seconds, metrics, notes)


@dataclass(frozen=True)
class Learned:
    """A trained model and what was measured of it."""

    model: nn.Module
    seconds: float
    metrics: list[dict[str, Any]]
    notes: dict[str, Any]


class Train(Protocol):
    """The training loop with a run's recipe, seed and checkpoints filled in; gives the seconds."""

    def __call__(self, objective: nn.Module, scenes: Scenes, *, mirror: bool) -> float:
        """Train."""


def _tasks(spec: RunSpec) -> dict[str, Task]:
    protocol = protocols.get(spec.protocol)
    boundary = partial(OdsF, spec.max_dist, nms_radius=protocol.nms_radius, strict=protocol.strict)
    classes, metrics = {"semseg": len(miniworld.CLASSES)}, {"boundary": boundary}
    return {name: tasks.make(name, classes=classes.get(name), metric=metrics.get(name)) for name in spec.tasks}


def _channels(spec: RunSpec) -> dict[str, int]:
    return {name: task.channels for name, task in _tasks(spec).items()}


def _sak(spec: RunSpec) -> SAK:
    return SAK(
        backbones.create(spec.backbone),
        teachers={name: backbones.info(backbone).dim for name, backbone in spec.teachers},
        tasks=_channels(spec),
        adapter_paths=spec.adapter_paths,
        routers=spec.routers,
    )


def _plain(spec: RunSpec) -> PlainStudent:
    return PlainStudent(backbones.create(spec.backbone), _channels(spec))


def _distil_scenes(spec: RunSpec, split: str, count: int) -> Scenes:
    banks = {name: (_features(Bank(spec.dataset, split, count, b)), None) for name, b in spec.teachers}
    return Scenes(data.load(spec.dataset, split, count), size=_image_size(spec), banks=banks)


def _tune_scenes(spec: RunSpec, chosen: dict[str, Task]) -> Scenes:
    read = dict(spec.teachers) if spec.gamma else {}
    if _reads_features(spec):
        read = {"backbone": spec.backbone}
    banks = {}
    for name, backbone in read.items():
        pair = [Bank(spec.dataset, "train", spec.train_images, backbone, flipped) for flipped in (False, True)]
        banks[name] = (_features(pair[0]), _features(pair[1]))
    split = data.load(spec.dataset, "train", spec.train_images)
    return Scenes(split, size=_image_size(spec), tasks=chosen, banks=banks)


def _test_scenes(spec: RunSpec, chosen: dict[str, Task]) -> Scenes:
    banks = {}
    if _reads_features(spec):
        bank = Bank(spec.dataset, spec.test_split, spec.test_images, spec.backbone)
        banks["backbone"] = (_features(bank), None)
    split = data.load(spec.dataset, spec.test_split, spec.test_images)
    return Scenes(split, size=_image_size(spec), tasks=chosen, banks=banks)


def _reads_features(spec: RunSpec) -> bool:
    """Whether the backbone is frozen whole, so that it need not run: its features are on disk."""
    return spec.frozen and not spec.is_sak


def _image_size(spec: RunSpec) -> int | None:
    return None if _reads_features(spec) else backbones.info(spec.backbone).image_size


def _features(
    bank: Bank, report: Callable[[int, int], None] = lambda done, count: None, stop: Stop = lambda: False
) -> np.ndarray:
    split = data.load(bank.dataset, bank.split, bank.count)
    return features.bank(bank.backbone, split, flipped=bank.flipped, report=report, stop=stop)


def _weights(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"the weights {path} cannot be read ({error}): delete {path.parent} to train them again."
        ) from error


def _write_model(here: Path, model: nn.Module, spec: RunSpec) -> None:
    """The weights beside their spec, whole or not at all."""
    draft = here / f".draft-{os.getpid()}.safetensors"
    try:
        here.mkdir(parents=True, exist_ok=True)
        write_tensors(draft, model.state_dict())
        sync(draft)
        (here / "config.json").write_text(json.dumps(spec.to_dict(), indent=2))
        draft.rename(here / "model.safetensors")
    except (OSError, SafetensorError) as error:
        raise UserError(f"the weights could not be written to {here} ({error}): make room there.") from error


def _peak_memory_mb() -> float:
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
