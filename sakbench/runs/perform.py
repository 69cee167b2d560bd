"""Doing one job: from a spec to its weights and numbers. The only place where a spec meets the training code."""

import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import distributed

from sakbench import backbones
from sakbench.backbones.encoder import Encoder
from sakbench.errors import UserError
from sakbench.models.agglomeration import Agglomerated, begin_with
from sakbench.models.parameters import parameter_count, set_trainable
from sakbench.models.plain import PlainStudent
from sakbench.models.processes import rank, world
from sakbench.models.sak import SAK, add_paths, carry_over
from sakbench.runs import artifacts, encoders, pairs, photographs, rendered, results
from sakbench.runs.devices import cores, keep_freed_memory
from sakbench.runs.jobs import Bank
from sakbench.runs.material import Material
from sakbench.runs.place import Place
from sakbench.runs.plan import training_folder
from sakbench.runs.spec import RunSpec
from sakbench.runs.students import Model, Student, build, tasks_of, write
from sakbench.tasks.base import Task
from sakbench.training import evaluation
from sakbench.training.alone import alone
from sakbench.training.loop import Interrupted, fit
from sakbench.training.objectives import AgglomerationObjective, DistillObjective, TaskObjective
from sakbench.training.precision import computing_in
from sakbench.training.progress import Progress

Report = Callable[[Progress], None]
Stop = Callable[[], bool]
Value = TypeVar("Value")

_MEASURED_IMAGES = 2048  # from which a teacher's mean and scale are found, where a method standardises them


class Stopped(Exception):
    """The job stopped because it was asked to; what it had done is in its checkpoint."""


def perform(work: RunSpec | Bank, place: Place, report: Report, stop: Stop) -> dict[str, Any]:
    """Do one job in this process, or this process's share of it; a run's weights go to `place.runs`/ID.

    Returns what the store keeps of a run: `metrics`, `seconds`, `peak_memory_mb`, `gpu`, `notes`, `checkpoint` and
    `artifacts`, whose paths are relative to `place.runs`; nothing for features. The folder of a run's training, with
    its checkpoint and its result, stays for whoever stores the result to remove: until then the run is not done again.
    Raises `Stopped` when `stop()` became true.
    """
    if not place.on_cpu:
        torch.cuda.reset_peak_memory_stats()
        torch.compiler.reset()  # it keeps few models of a kind, and an earlier job's are gone
    else:
        # More threads would gain little at mini's sizes, and one gives the same sums whatever else the machine does.
        torch.set_num_threads(1)
        keep_freed_memory()
    try:
        if isinstance(work, Bank):
            rendered.stored(work, place, lambda done, count: report(Progress(done, count)), stop=stop, summed=True)
            return {}
        return _run(work, place, report, stop)
    except Interrupted:
        raise Stopped from None
    except torch.OutOfMemoryError as error:
        raise UserError(
            "the GPU's memory is too small for so many images at once: name fewer with --images-per-gpu N, the rest of"
            " a batch is accumulated."
        ) from error


def _run(spec: RunSpec, place: Place, report: Report, stop: Stop) -> dict[str, Any]:
    """A run's result: the one that an earlier command left, or a new one. Nobody else is at this run meanwhile.

    The first process looks and locks for all.
    """
    training = training_folder(place.runs, spec)
    with ExitStack() as held:
        found, stopped = None, False
        if rank() == 0:
            try:
                held.enter_context(alone(place.runs / spec.id / ".lock", stop))
                found = results.read(training, place.runs)
            except Interrupted:
                stopped = True
        found, stopped = _of_the_first((found, stopped))
        if stopped:
            raise Interrupted
        if found is None:
            found = _train_and_evaluate(spec, place, report, stop)
            _require_finite(found)
            if rank() == 0:
                results.write(training, found)
        return found


def _require_finite(result: dict[str, Any]) -> None:
    try:
        json.dumps(result, allow_nan=False)
    except ValueError as error:
        numbers = ", ".join(f"{metric['task']} {metric['value']:.4g}" for metric in result["metrics"])
        raise UserError(
            f"the trained model gives numbers that are not finite ({numbers}): the run is given up and none of its"
            " numbers is kept; with a lower learning rate or other data it would be another run."
        ) from error


def _of_the_first(value: Value) -> Value:
    """What the first of all processes has."""
    box = [value]
    if world() > 1:
        distributed.broadcast_object_list(box)
    return box[0]


def _train_and_evaluate(spec: RunSpec, place: Place, report: Report, stop: Stop) -> dict[str, Any]:
    began = time.monotonic()
    torch.manual_seed(spec.seed)
    if spec.kind == "pairs":
        return _look(spec, place, report, stop)
    chosen = tasks_of(spec)
    if spec.scale == "mini":
        given = rendered.material(spec, chosen, place, stop)
    else:
        given = photographs.material(spec, chosen, place)
    trained = 0.0

    def train(objective: DistillObjective | AgglomerationObjective | TaskObjective) -> float:
        nonlocal trained
        started = time.monotonic()
        seconds = fit(
            objective,
            given.training,
            spec.recipe,
            seed=spec.seed,
            parts=given.parts,
            on_cpu=place.on_cpu,
            prepare=given.prepare,
            checkpoints=training_folder(place.runs, spec),
            report=report,
            stop=stop,
        )
        trained = time.monotonic() - started
        return seconds

    learned = {"distill": _distil, "tasks": _tune, "score": _score}[spec.kind](spec, chosen, given, place, train)
    writes = spec.kind != "score" and rank() == 0
    left = write(place.runs / spec.id, learned.student, spec) if writes else []
    weights = spec.start.id if spec.kind == "score" and spec.start else spec.id
    return {
        "metrics": learned.metrics,
        # the training's seconds include those before an interruption
        "seconds": learned.seconds + time.monotonic() - began - trained,
        "peak_memory_mb": _peak_memory_mb(place),
        "gpu": _gpu(place),
        "checkpoint": f"{weights}/{artifacts.WEIGHTS}",
        "artifacts": left,
        "notes": learned.notes | _layout(spec, given),
    }


def _look(spec: RunSpec, place: Place, report: Report, stop: Stop) -> dict[str, Any]:
    """A run's result that looks at pairs, with its backbone alone or with the student that it starts from."""
    began = time.monotonic()
    model: PlainStudent | Encoder
    if spec.start is None:
        model = encoders.load(spec.backbone, spec, place)
    else:
        student = build(spec.start, partial(encoders.load, spec=spec.start, place=place))
        assert isinstance(student, PlainStudent)
        student.load_state_dict(_weights(place.runs / spec.start.id))
        model = student
    model.eval()
    metrics, left = pairs.measure(spec, model if place.on_cpu else model.cuda(), place, report, stop)
    return {
        "metrics": metrics,
        "seconds": time.monotonic() - began,
        "peak_memory_mb": _peak_memory_mb(place),
        "gpu": _gpu(place),
        "checkpoint": None,
        "artifacts": left,
        "notes": {},
    }


def _distil(spec: RunSpec, chosen: dict[str, Task], given: Material, place: Place, train: "Train") -> "Learned":
    student = build(spec, partial(encoders.load, spec=spec, place=place))
    how = "cosine of flattened maps, mean over levels and images"
    if isinstance(student, Agglomerated):
        for name in student.teachers:
            student.measure(name, _last_maps(name, spec, given))
        seconds = train(AgglomerationObjective(student))
        how = f"cosine of standardised tokens that {student.method.title} heads predict, last level"
    else:
        assert isinstance(student, SAK)
        seconds = train(DistillObjective(student)) if spec.start is None else _add(spec, student, place, train)
    with _computing(spec, place):
        likeness = (
            evaluation.likeness(student, given.test())
            if isinstance(student, Agglomerated)
            else evaluation.similarity(student, given.test())
        )
    mean = sum(likeness.values()) / len(likeness)
    protocol = f"{how}; {spec.test_split} {spec.test_images}"
    metrics = [
        {"task": name, "metric": "cosine", "value": value, "unit": "", "higher_is_better": True, "protocol": protocol}
        for name, value in {"rep_sim": mean, **{f"rep_sim {t}": v for t, v in likeness.items()}}.items()
    ]
    return Learned(student, seconds, metrics, {"parameters": parameter_count(student)})


def _add(spec: RunSpec, student: SAK, place: Place, train: "Train") -> float:
    """Train the paths of the new teachers beside a stem that stays as it is, and join them to those that are there.

    The old paths need not run: what they make of the stem's tokens bears on no new one. Returns the seconds.
    """
    assert spec.start is not None
    before = _weights(place.runs / spec.start.id)
    added = build(replace(spec, teachers=spec.newcomers), partial(encoders.load, spec=spec, place=place))
    assert isinstance(added, SAK)
    stem = {name.removeprefix("stem."): values for name, values in before.items() if name.startswith("stem.")}
    added.stem.load_state_dict(stem)
    added.stem.requires_grad_(False)
    seconds = train(DistillObjective(added))
    device = next(added.parameters()).device
    add_paths(before, {name: values.cpu() for name, values in added.state_dict().items()}, student)
    student.to(device)
    return seconds


def _last_maps(name: str, spec: RunSpec, given: Material) -> Iterator[torch.Tensor]:
    """A teacher's last maps of some of the images that are distilled on."""
    with closing(given.training(0)) as stream:
        for _ in range(given.parts * -(-_MEASURED_IMAGES // spec.recipe.batch_size)):
            yield given.prepare(next(stream))[f"features/{name}"][-1]


def _tune(spec: RunSpec, chosen: dict[str, Task], given: Material, place: Place, train: "Train") -> "Learned":
    student = build(spec, partial(encoders.load, spec=spec, place=place))
    assert not isinstance(student, Agglomerated)
    if spec.start is not None:
        known = _weights(place.runs / spec.start.id)
        if isinstance(student, SAK):
            carry_over(known, student, _grid(spec.start))
        else:
            assert isinstance(student, PlainStudent)
            begin_with(known, student, _grid(spec.start))
    set_trainable(student, "freeze" if spec.frozen else "full")
    if isinstance(student, SAK) and not spec.gamma:
        student.aligners.requires_grad_(False)  # nothing is distilled through them
    seconds = train(TaskObjective(student, chosen, spec.gamma))
    return _evaluate(spec, student, chosen, given, place, seconds)


def _score(spec: RunSpec, chosen: dict[str, Task], given: Material, place: Place, train: "Train") -> "Learned":
    assert spec.start is not None
    student = build(spec, partial(encoders.load, spec=spec, place=place))
    assert not isinstance(student, Agglomerated)
    student.load_state_dict(_weights(place.runs / spec.start.id))
    if not place.on_cpu:
        student.cuda()
    return _evaluate(spec, student, chosen, given, place, seconds=0.0)


def _evaluate(
    spec: RunSpec, student: Student, chosen: dict[str, Task], given: Material, place: Place, seconds: float
) -> "Learned":
    threads = 1 if spec.scale == "mini" else max(1, cores() // world())
    with _computing(spec, place):
        values = evaluation.task_metrics(student, given.test(), chosen, threads=threads)
    metrics = [
        {
            "task": name,
            "metric": task.metric,
            "value": values[name],
            "unit": task.unit,
            "higher_is_better": task.higher_is_better,
            "protocol": ", ".join(filter(None, [task.metric, task.new_metric().protocol, _data_set(spec, name)])),
        }
        for name, task in chosen.items()
    ]
    notes: dict[str, Any] = {"parameters": parameter_count(student)}
    if (spec.is_sak and spec.routers and spec.adapter_paths) or spec.fuse == "mor":
        assert not isinstance(student, PlainStudent)
        with _computing(spec, place):
            notes["gates"] = evaluation.mean_gates(student, given.views())
    return Learned(student, seconds, metrics, notes)


@dataclass(frozen=True)
class Learned:
    """A trained model and what was measured of it."""

    student: Model
    seconds: float
    metrics: list[dict[str, Any]]
    notes: dict[str, Any]


class Train(Protocol):
    """The training loop with a run's material, recipe, seed and checkpoints filled in; gives the seconds."""

    def __call__(self, objective: DistillObjective | AgglomerationObjective | TaskObjective) -> float:
        """Train."""


def _computing(spec: RunSpec, place: Place) -> torch.autocast:
    """A run is evaluated as it was trained."""
    return computing_in(spec.recipe.precision, "cpu" if place.on_cpu else "cuda")


def _data_set(spec: RunSpec, task: str) -> str:
    """On which images a task was measured, and how its truth was read."""
    chosen = f", norm {spec.norm}" * (spec.norm != "paper") + ", in bf16" * (spec.recipe.precision == "bf16")
    if spec.scale == "mini":
        return f"{spec.dataset} {spec.test_split} {spec.test_images} at 64x64{chosen}"
    truth = {"pascal-context": "edges of labels", "nyud-v2": f"truth {spec.nyud_truth}"}[spec.dataset]
    how = f", {truth}" * (task == "boundary")
    return f"{spec.dataset} {spec.test_split} {spec.test_images}{how}{chosen}"


def _layout(spec: RunSpec, given: Material) -> dict[str, Any]:
    """How a batch was laid out, where that is worth a note."""
    if spec.scale == "mini":
        return {}
    return {
        "processes": world(),
        "parts": given.parts,
        "images_at_once": spec.recipe.batch_size // world() // given.parts,
    }


def _grid(stage1: RunSpec) -> tuple[int, int] | None:
    """The grid of a stage-1 student's patch tokens, where its size was chosen."""
    patch = backbones.info(stage1.backbone).patch_size
    return (stage1.size[0] // patch, stage1.size[1] // patch) if stage1.size else None


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    """The weights that a run left in its folder. Raises UserError if they are not those any more."""
    remedy = (
        f"`sakbench store check --repair` removes it, or delete {folder}, and the same command trains this run again."
    )
    problems = artifacts.problems(folder)
    for file in (folder / artifacts.NAME, folder / artifacts.WEIGHTS):
        if file in problems:
            raise UserError(f"{problems[file].removesuffix('.')}: {remedy}")
    try:
        return load_file(folder / artifacts.WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{folder / artifacts.WEIGHTS} cannot be read ({error}): {remedy}") from error


def _gpu(place: Place) -> str | None:
    return None if place.on_cpu else f"{world()} x {torch.cuda.get_device_name()}"


def _peak_memory_mb(place: Place) -> float:
    """The GPU's memory where one is used, this process's otherwise."""
    if not place.on_cpu:
        return torch.cuda.max_memory_allocated() / 2**20
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
