"""Runs that train a student: stage 1, stage 2 and the baselines, and a trained one scored once more."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from sakbench import backbones
from sakbench.models import prism
from sakbench.models.agglomeration import Agglomerated, begin_with
from sakbench.models.parameters import DECODER, parameter_count, set_trainable
from sakbench.models.plain import PlainStudent
from sakbench.models.prism import Prism
from sakbench.models.processes import world
from sakbench.models.sak import SAK, add_paths, carry_over
from sakbench.runs import encoders, photographs, rendered
from sakbench.runs.devices import cores
from sakbench.runs.material import Material
from sakbench.runs.measures import stored_name
from sakbench.runs.session import Learned, Session
from sakbench.runs.spec import RunSpec
from sakbench.runs.students import Model, Student, build, tasks_of, tested_size
from sakbench.tasks.base import Task
from sakbench.training import evaluation
from sakbench.training.objectives import AgglomerationObjective, DistillObjective, PrismObjective, TaskObjective

_MEASURED_IMAGES = 2048  # from which a teacher's mean and scale are found, where a method standardises them


def distil(session: Session) -> Learned:
    """Stage 1: a student's representations follow its teachers'."""
    spec = session.spec
    given = _material(session, {})
    student = _built(session, spec)
    how = "cosine of flattened maps, mean over levels and images"
    if isinstance(student, Agglomerated):
        for name in student.teachers:
            student.measure(name, _last_maps(name, spec, given))
        seconds = session.train(AgglomerationObjective(student), given)
        how = f"cosine of standardised tokens that {student.method.title} heads predict, last level"
    elif isinstance(student, Prism):
        seconds = session.train(PrismObjective(student), given)
    else:
        assert isinstance(student, SAK)
        if spec.start is None:
            seconds = session.train(DistillObjective(student), given)
        else:
            seconds = _add(session, student, given)
    with session.computing:
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
    notes = {"parameters": parameter_count(student)} | _layout(spec, given)
    return Learned(metrics, seconds, notes, student)


def tune(session: Session) -> Learned:
    """Stage 2, baselines and probes: learn the tasks, and measure them."""
    spec, chosen = session.spec, tasks_of(session.spec)
    given = _material(session, chosen)
    student = _built(session, spec)
    assert not isinstance(student, Agglomerated)
    if spec.start is not None:
        known = session.weights_of(spec.start)
        if isinstance(student, SAK):
            carry_over(known, student, grid_of(spec.start))
        elif isinstance(student, Prism):
            prism.begin_with(known, student, grid_of(spec.start))
        else:
            assert isinstance(student, PlainStudent)
            begin_with(known, student, grid_of(spec.start))
    set_trainable(student, "freeze" if spec.frozen else "full")
    if isinstance(student, SAK) and not spec.gamma:
        student.aligners.requires_grad_(False)  # nothing is distilled through them
    if isinstance(student, Prism):
        student.aligners.requires_grad_(bool(spec.gamma))
        student.teacher_codes.requires_grad_(bool(spec.gamma))
        seconds = session.train(PrismObjective(student, chosen, spec.gamma), given)
    else:
        seconds = session.train(TaskObjective(student, chosen, spec.gamma), given)
    metrics, notes, sums = _evaluate(session, _resized(session, student), chosen, given)
    return Learned(metrics, seconds, notes, student, sums)


def score(session: Session) -> Learned:
    """A trained student measured once more, under the run's protocol."""
    spec, chosen = session.spec, tasks_of(session.spec)
    assert spec.start is not None
    given = _material(session, chosen)
    student = _built(session, spec)
    assert not isinstance(student, Agglomerated)
    student.load_state_dict(session.weights_of(spec.start))
    metrics, notes, sums = _evaluate(session, student.to(session.device), chosen, given)
    return Learned(metrics, notes=notes, sums=sums)


def grid_of(stage1: RunSpec) -> tuple[int, int] | None:
    """The grid of a stage-1 student's patch tokens, where its size was chosen."""
    patch = backbones.info(stage1.backbone).patch_size
    return (stage1.size[0] // patch, stage1.size[1] // patch) if stage1.size else None


def _material(session: Session, chosen: dict[str, Task]) -> Material:
    if session.spec.scale == "mini":
        return rendered.material(session.spec, chosen, session.place, session.stop)
    return photographs.material(session.spec, chosen, session.place)


def _built(session: Session, spec: RunSpec) -> Model:
    return build(spec, partial(encoders.load, spec=spec, place=session.place))


def _add(session: Session, student: SAK, given: Material) -> float:
    """Train the paths of the new teachers beside a stem that stays as it is, and join them to those that are there.

    The old paths need not run: what they make of the stem's tokens bears on no new one. Returns the seconds.
    """
    spec = session.spec
    assert spec.start is not None
    before = session.weights_of(spec.start)
    added = _built(session, replace(spec, teachers=spec.newcomers))
    assert isinstance(added, SAK)
    stem = {name.removeprefix("stem."): values for name, values in before.items() if name.startswith("stem.")}
    added.stem.load_state_dict(stem)
    added.stem.requires_grad_(False)
    seconds = session.train(DistillObjective(added), given)
    device = next(added.parameters()).device
    add_paths(before, {name: values.cpu() for name, values in added.state_dict().items()}, student)
    student.to(device)
    return seconds


def _last_maps(name: str, spec: RunSpec, given: Material) -> Iterator[torch.Tensor]:
    """A teacher's last maps of some of the images that are distilled on."""
    with closing(given.training(0)) as stream:
        for _ in range(given.parts * -(-_MEASURED_IMAGES // spec.recipe.batch_size)):
            yield given.prepare(next(stream))[f"features/{name}"][-1]


def _resized(session: Session, student: Student) -> Student:
    """A frozen student for the images that it is tested on, where these are larger than those that it learned from."""
    spec, size = session.spec, tested_size(session.spec)
    if size == spec.size:
        return student
    larger = _built(session, replace(spec, size=size))
    assert not isinstance(larger, Agglomerated)
    if isinstance(larger, SAK) and spec.start is not None:
        carry_over(session.weights_of(spec.start), larger, grid_of(spec.start))
    learned = {name: value for name, value in student.state_dict().items() if name.startswith(DECODER)}
    larger.load_state_dict(learned, strict=False)
    return larger.to(session.device)


def _evaluate(
    session: Session, student: Student, chosen: dict[str, Task], given: Material
) -> tuple[list[dict[str, Any]], dict[str, Any], dict[str, torch.Tensor]]:
    """The metrics of a student's tasks, notes, and what the metrics are made of."""
    spec = session.spec
    threads = 1 if spec.scale == "mini" else max(1, cores() // world())
    with session.computing:
        sums = evaluation.task_sums(
            student, given.test(), chosen, threads=threads, mirrored=spec.dataset == "nyu-depth"
        )
    metrics = [
        {
            "task": stored_name(spec, name),
            "metric": task.metric,
            "value": evaluation.metric_of(task, sums[name]),
            "unit": task.unit,
            "higher_is_better": task.higher_is_better,
            "protocol": ", ".join(filter(None, [task.metric, task.new_metric().protocol, _data_set(spec, name)])),
        }
        for name, task in chosen.items()
    ]
    notes: dict[str, Any] = {"parameters": parameter_count(student)}
    if (spec.is_sak and spec.routers and spec.adapter_paths) or spec.fuse == "mor":
        assert not isinstance(student, PlainStudent | Prism)
        with session.computing:
            notes["gates"] = evaluation.mean_gates(student, given.views())
    return metrics, notes | _layout(spec, given), {stored_name(spec, name): sums[name] for name in chosen}


def _data_set(spec: RunSpec, task: str) -> str:
    """On which images a task was measured, and how its truth was read."""
    chosen = f", norm {spec.norm}" * (spec.norm != "paper") + ", in bf16" * (spec.recipe.precision == "bf16")
    if spec.scale == "mini":
        return f"{spec.dataset} {spec.test_split} {spec.test_images} at 64x64{chosen}"
    how = ""
    if task == "boundary":
        how = ", edges of labels" if spec.dataset == "pascal-context" else f", truth {spec.nyud_truth}"
    elif spec.dataset == "nyu-depth":
        how = ", Eigen's crop, mean with the mirrored image"
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
