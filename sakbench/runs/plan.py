"""Which runs a set of specs needs, in which order, what they are called and where their checkpoints lie."""

from collections.abc import Callable, Iterable
from pathlib import Path

from sakbench.runs.scales import get as get_scale
from sakbench.runs.spec import RunSpec


def plan(
    wanted: Iterable[RunSpec], is_stored: Callable[[str], bool], has_weights: Callable[[str], bool]
) -> list[RunSpec]:
    """The runs still to do for `wanted`, each once, ancestors first.

    A run in the store is not run again, unless a descendant that is to run needs its weights and they are gone, or it
    looks at pairs and its maps are.
    """
    todo: dict[str, RunSpec] = {}

    def visit(spec: RunSpec, *, for_weights: bool) -> None:
        if spec.id in todo or (is_stored(spec.id) and (has_weights(spec.id) or not for_weights)):
            return
        if spec.start is not None:
            visit(spec.start, for_weights=True)
        todo[spec.id] = spec

    for spec in wanted:
        visit(spec, for_weights=spec.kind == "pairs")
    return list(todo.values())


def training_folder(folder: Path, spec: RunSpec) -> Path:
    """Where a run's training keeps its checkpoint, below the `folder` of all runs."""
    return folder / spec.id / "training"


def label(spec: RunSpec) -> str:
    """A few words that tell the run from its neighbours."""
    if spec.kind == "score" and spec.start:
        return f"{label(spec.start)}, protocol {spec.protocol}"
    if spec.kind == "pairs":
        return f"pairs seen by {short(spec.backbone)}" + ", norms alone" * (spec.start is None)
    if spec.kind == "classify":
        student = f"SAK {spec.committee}{_sizes(spec)}" if spec.teachers else short(spec.backbone)
        return f"classifiers on {student}"
    if spec.kind == "answer":
        student = f"SAK {spec.committee}{_sizes(spec)}" if spec.teachers else short(spec.backbone)
        side = f" at {spec.size[0]} px" if spec.size and spec.scale != "mini" else ""
        return "questions to a blind model" if spec.blind else f"questions through {student}{side}"
    words = _words(spec)
    scale = get_scale(spec.scale)
    if spec.kind == "distill":
        usual, images = scale.distill, scale.distill_images
    else:
        usual = scale.depth if spec.probes_linearly else scale.probe if spec.frozen else scale.tune
        images = get_scale(spec.scale, spec.dataset).train_images
    steps = [f"{spec.recipe.steps} steps"] * (spec.recipe.steps != usual.steps)
    return ", ".join([words, *[f"{spec.train_images} images"] * (spec.train_images != images), *steps])


def short(backbone: str) -> str:
    """A mini backbone by what it was pretrained with, one of the paper's by its name there, any other by its own."""
    if backbone.startswith("mini_"):
        return backbone.partition(".")[2]
    paper = get_scale("paper")
    known = {name: model for model, name in paper.encoders.items()}
    return known.get(backbone, backbone)


# Methods that distil a committee into a plain backbone, as their students are called here.
_METHODS = {"radio": "RADIO-like", "theia": "Theia-like", "prism": "PRISM"}


def _words(spec: RunSpec) -> str:
    backbone = short(spec.backbone)
    if spec.method and spec.kind == "distill":
        return f"stage 1 {_METHODS[spec.method]} of {spec.committee}{_sizes(spec)}"
    if spec.method:
        return f"{'probe' if spec.frozen else 'multi-task'} {_METHODS[spec.method]}"
    if spec.kind == "distill" and spec.start:
        return f"stage 1 {spec.start.committee}, then {_added(spec)}"
    if spec.kind == "distill":
        return f"stage 1 {spec.committee}{_sizes(spec)}" + ("" if spec.adapter_paths else ", no adapter paths")
    if spec.fuse:
        return f"upper bound {spec.committee}, {spec.fuse}"
    if spec.is_sak:
        changes = [
            *([] if spec.start else ["no stage 1"]),
            *([f"{_added(spec.start)} added"] if spec.start and spec.start.start else []),
            *([] if spec.gamma or spec.frozen else ["no distillation"]),
            *([f"γ {spec.gamma:g}"] if spec.gamma not in (0.0, get_scale(spec.scale).gamma) else []),
            *([] if spec.adapter_paths else ["no adapter paths"]),
            *(["no routers"] if spec.adapter_paths and not spec.routers else []),
            *(["frozen"] if spec.frozen else []),
            *([spec.decoder] if spec.decoder != "simple" else []),
        ]
        return ", ".join([f"stage 2 {spec.committee}{_sizes(spec)}", *changes])
    if spec.probes_linearly:
        return f"depth {spec.decoder} on {backbone}"
    if spec.frozen:
        return f"probe {backbone}"
    student = f"single-task {spec.tasks[0]}" if len(spec.tasks) == 1 else "multi-task"
    student += f" {spec.decoder}" if spec.decoder != "simple" else ""
    return student if spec.backbone == get_scale(spec.scale).vit else f"{student} {backbone}"


def _added(stage1: RunSpec) -> str:
    """The teachers that a stage 1 adds to the student that it begins with."""
    assert stage1.start is not None
    return "+".join(name for name, _ in stage1.teachers[len(stage1.start.teachers) :])


def _sizes(spec: RunSpec) -> str:
    """The sizes of teachers and student, where they are not the scale's usual ones."""
    scale = get_scale(spec.scale)
    usual = {*scale.teachers.values(), *scale.kin.values(), *scale.newer.values()}
    if spec.backbone == scale.vit and set(dict(spec.teachers).values()) <= usual:
        return ""
    student = next((name for name, size in scale.sizes.items() if size.vit == spec.backbone), spec.backbone)
    backbones = set(dict(spec.teachers).values())
    found = (name for name, size in scale.sizes.items() if backbones <= set(size.teachers.values()))
    return f" {next(found, 'others')} to {student}"
