"""The runs that the paper's tables are made of, and what a table is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from sakbench import backbones, plugins
from sakbench.runs.scales import LLAVA, Scale
from sakbench.runs.scales import get as get_scale
from sakbench.runs.spec import LINEAR, PAIRS, RunSpec
from sakbench.tasks.names import info as task_info
from sakbench.training.recipe import Recipe

# Versions of code that numbers depend on: how archives are read and augmented, how pairs are measured.
_READING, _LOOKING, _LINEAR_DEPTH, _CLASSIFYING, _ASKING = 1, 1, 1, 1, 1
_CLASSIFIED = (224, 224)  # D.6


@dataclass(frozen=True)
class Row:
    """One line of a table. Its runs give one number per task between them."""

    name: str
    runs: tuple[RunSpec, ...] = ()  # none: a row of published numbers alone
    published: tuple[str, str] | None = None  # (table, row) of the paper's numbers
    note: bool = False  # not a row of the paper: shown below the table
    best: bool = False  # an oracle: of each task the best of its runs, instead of the only one


@dataclass(frozen=True)
class Experiment:
    """A table. `baseline` names the row that its Δm is taken against, usually of single-task runs."""

    name: str
    title: str
    build: Callable[[Scale, int], list[Row]]  # of a scale and a seed
    baseline: str = "Single-task baseline"
    extras: tuple[str, ...] = ()  # quantities shown beside the tasks
    profile: bool = False  # whether frozen rows get a bias profile
    own: bool = False  # whether it has rows of a user's own weights, which nobody else can build again
    scales: tuple[str, ...] = ("mini", "paper")  # where there are the models for it
    benchmark: str = ""  # the paper's data set that it is about; any if empty
    seeds: int = 1  # how many it takes where nobody says
    mini_seeds: int = 1  # and at scale mini, where more cost minutes
    file: str = ""  # a user's own, as the user named it
    protocol: str = ""  # of boundary, where it is another than the paper's
    drawn_by: str = ""  # the study that draws its figure
    account: bool = False  # a table of parameters and MACs, for which nothing is trained
    facts: bool = False  # whether it shows on what each student was distilled

    def usual_seeds(self, scale: Scale) -> int:
        """How many seeds it takes at a scale where nobody says."""
        return max(self.seeds, self.mini_seeds) if scale.name == "mini" else self.seeds

    @property
    def command(self) -> str:
        """What fills it: run table7, run my_table.toml, probe timm/NAME.TAG, pairs probe DIR."""
        if self.own:
            return self.name.replace("pairs:", "pairs probe:", 1).replace(":", " ", 1)
        return f"run {self.file or self.name}"


def single_task(scale: Scale, seed: int, task: str, backbone: str | None = None) -> RunSpec:
    """A whole model of its own for one task: what Δm is measured against."""
    return _tasks_run(scale, seed, backbone or scale.vit, tasks=(task,))


def multi_task(scale: Scale, seed: int, backbone: str | None = None, *, decoder: str = "simple") -> RunSpec:
    """One shared backbone and a head per task, or a decoder that they share, all trained together."""
    return _tasks_run(scale, seed, backbone or scale.vit, decoder=decoder)


def upper_bound(scale: Scale, seed: int, teachers: Sequence[str], fuse: str) -> RunSpec:
    """The teachers themselves, frozen, beside a trained backbone, fused."""
    return _tasks_run(scale, seed, scale.vit, teachers=tuple(teachers), fuse=fuse)


def probe(scale: Scale, seed: int, backbone: str) -> RunSpec:
    """Heads trained on a frozen backbone."""
    return _tasks_run(scale, seed, backbone, frozen=True, recipe=scale.probe)


def depth_probe(
    scale: Scale, seed: int, layers: Literal[1, 4], backbone: str | None = None, *, teachers: Sequence[str] = ()
) -> RunSpec:
    """DINOv2's linear depth head on one or four levels of a frozen backbone, or of the student of `teachers`."""
    backbone = backbone or scale.vit
    run = _tasks_run(
        scale,
        seed,
        backbone,
        tasks=("depth",),
        recipe=scale.depth,
        teachers=tuple(teachers),
        frozen=True,
        decoder=f"lin{layers}",
        start=stage1(scale, seed, teachers) if teachers else None,
    )
    return replace(run, size=backbones.info(backbone).padded(scale.size) if scale.size else run.size)


def classification(scale: Scale, seed: int, backbone: str | None = None, *, teachers: Sequence[str] = ()) -> RunSpec:
    """Linear classifiers and nearest neighbours on a frozen backbone, or on the student of `teachers`."""
    backbone = backbone or scale.vit
    run = RunSpec(
        kind="classify",
        scale=scale.name,
        dataset=scale.distill_dataset,
        backbone=backbone,
        recipe=scale.classify,
        seed=seed,
        train_images=scale.distill_images,
        test_split=scale.distill_test[0],
        test_images=scale.distill_test[1] or scale.test_images,
        inputs=(),
        teachers=tuple((name, scale.encoder(name)) for name in teachers),
        frozen=True,
        start=stage1(scale, seed, teachers) if teachers else None,
        size=_CLASSIFIED if scale.size else _size(scale, backbone),
        norm=scale.norm,
        sam_padding=_padding(scale, backbone),
        noise=scale.noise if teachers else "position",
    )
    return replace(run, inputs=inputs_today(run, scale))


def answering(
    scale: Scale,
    seed: int,
    backbone: str | None = None,
    *,
    teachers: Sequence[str] = (),
    blind: bool = False,
    side: int = 0,
) -> RunSpec:
    """A language model that sees images of `side` pixels (its own if 0) through a frozen backbone, through the student
    of `teachers`, or not at all."""
    backbone = backbone or scale.vit
    mini = scale.name == "mini"
    asked = scale if mini else get_scale(scale.name, LLAVA)
    run = RunSpec(
        kind="answer",
        scale=scale.name,
        dataset=scale.distill_dataset if mini else LLAVA,
        backbone=backbone,
        recipe=scale.instruct,
        seed=seed,
        train_images=scale.distill_images if mini else asked.train_images,
        test_split="test",
        test_images=asked.test_images,
        inputs=(),
        teachers=tuple((name, scale.encoder(name)) for name in teachers),
        frozen=True,
        start=stage1(scale, seed, teachers) if teachers else None,
        size=(side, side) if side and not mini else _size(scale, backbone),
        norm=scale.norm,
        sam_padding=_padding(scale, backbone),
        noise=scale.noise if teachers else "position",
        language=scale.language,
        align=scale.align,
        blind=blind,
    )
    return replace(run, inputs=inputs_today(run, scale))


def rival(scale: Scale, seed: int, name: str, *, frozen: bool = False) -> RunSpec:
    """A student that is distilled as others do it, fine-tuned for all tasks or with heads alone."""
    recipe = scale.rival_recipes[name]
    start = replace(stage1(scale, seed, recipe.teachers, adapter_paths=False), method=recipe.method)
    return _tasks_run(
        scale,
        seed,
        scale.vit,
        recipe=scale.probe if frozen else scale.tune,
        frozen=frozen,
        method=recipe.method,
        start=start,
    )


def stage1(
    scale: Scale,
    seed: int,
    teachers: Sequence[str],
    *,
    adapter_paths: bool = True,
    before: Sequence[str] = (),
    adapter: str = "bottleneck",
) -> RunSpec:
    """Distillation of a committee into a student, on unlabelled images.

    If it knows the first of the teachers from `before`, only the paths of the others are trained (D.4).
    """
    run = RunSpec(
        kind="distill",
        scale=scale.name,
        dataset=scale.distill_dataset,
        backbone=scale.vit,
        recipe=scale.distill,
        seed=seed,
        train_images=scale.distill_images,
        test_split=scale.distill_test[0],
        test_images=scale.distill_test[1] or scale.test_images,
        inputs=(),
        teachers=tuple((name, scale.encoder(name)) for name in teachers),
        size=scale.distill_size,
        norm=scale.norm,
        sam_padding=_padding(scale, *(scale.encoder(name) for name in teachers)),
        adapter_paths=adapter_paths,
        routers=adapter_paths,  # stage 1 has none yet; the same for students that will go without
        start=stage1(scale, seed, before, adapter=adapter) if before else None,
        adapter=adapter,
    )
    return replace(run, inputs=inputs_today(run, scale))


def sak(
    scale: Scale,
    seed: int,
    teachers: Sequence[str],
    *,
    distilled: bool = True,
    before: Sequence[str] = (),
    gamma: float | None = None,
    adapter_paths: bool = True,
    routers: bool = True,
    frozen: bool = False,
    decoder: str = "simple",
    router: str = "mor",
    adapter: str = "bottleneck",
) -> RunSpec:
    """A student of `teachers` through stage 1 (unless not `distilled`) and stage 2."""
    start = None
    if distilled:
        start = stage1(scale, seed, teachers, adapter_paths=adapter_paths, before=before, adapter=adapter)
    return _tasks_run(
        scale,
        seed,
        scale.vit,
        recipe=scale.probe if frozen else scale.tune,
        teachers=tuple(teachers),
        adapter_paths=adapter_paths,
        routers=routers,
        frozen=frozen,
        # A frozen student's representations cannot change, so a distillation loss would train nothing.
        gamma=0.0 if frozen else scale.gamma if gamma is None else gamma,
        decoder=decoder,
        router=router if adapter_paths and routers else "mor",
        adapter=adapter,
        start=start,
    )


def pairs(scale: Scale, seed: int, backbone: str, identity: str, count: int, *, heads: bool = True) -> RunSpec:
    """What a frozen backbone makes of counterfactual pairs, and with `heads` the probe's head for semseg too.

    `identity` says which pairs these are, `count` how many. Without heads nothing depends on a seed or on the data set.
    """
    start = probe(scale, seed, backbone) if heads else None
    weights = f"{backbone} {backbones.weights_digest(backbone, scale.weights.get(backbone))}"
    return RunSpec(
        kind="pairs",
        scale=scale.name,
        dataset=scale.dataset,
        backbone=backbone,
        recipe=scale.probe,
        seed=seed if heads else 0,
        train_images=scale.train_images if heads else 1,
        test_split=PAIRS,
        test_images=count,
        inputs=(weights, f"{PAIRS} {identity}", f"{PAIRS} measured {_LOOKING}"),
        frozen=True,
        start=start,
        size=_size(scale, backbone),
        norm=scale.norm,
        sam_padding=_padding(scale, backbone),
    )


def prism(scale: Scale, seed: int, teachers: Sequence[str], *, gamma: float | None = None) -> RunSpec:
    """PRISM's student of `teachers` through both of its stages, by SAK's recipes."""
    start = replace(stage1(scale, seed, teachers, adapter_paths=False), method="prism")
    return _tasks_run(
        scale,
        seed,
        scale.vit,
        teachers=tuple(teachers),
        adapter_paths=False,
        routers=False,
        gamma=scale.gamma if gamma is None else gamma,
        method="prism",
        start=start,
    )


def longer(run: RunSpec, factor: float) -> RunSpec:
    """The same run with `factor` times as many steps."""
    return replace(run, recipe=replace(run.recipe, steps=round(run.recipe.steps * factor)))


def scored(run: RunSpec, protocol: str) -> RunSpec:
    """The same trained model under another protocol for boundary; what has no boundary task stays as it is."""
    return replace(run, kind="score", protocol=protocol, start=run) if "boundary" in run.tasks else run


def under(experiment: Experiment, protocol: str) -> Experiment:
    """The same table, and the same trainings, with boundary measured by another protocol."""

    def build(scale: Scale, seed: int) -> list[Row]:
        rows = experiment.build(scale, seed)
        return [replace(row, runs=tuple(scored(run, protocol) for run in row.runs)) for row in rows]

    return replace(
        experiment,
        name=f"{experiment.name}-{protocol}",
        title=f"{experiment.title} · protocol {protocol}",
        protocol=protocol,
        build=build,
    )


def _tasks_run(
    scale: Scale,
    seed: int,
    backbone: str,
    *,
    tasks: tuple[str, ...] | None = None,
    recipe: Recipe | None = None,
    teachers: tuple[str, ...] = (),
    adapter_paths: bool = True,
    routers: bool = True,
    frozen: bool = False,
    gamma: float = 0.0,
    start: RunSpec | None = None,
    decoder: str = "simple",
    fuse: str = "",
    method: str = "",
    router: str = "mor",
    adapter: str = "bottleneck",
) -> RunSpec:
    run = RunSpec(
        kind="tasks",
        scale=scale.name,
        dataset=scale.dataset,
        backbone=backbone,
        recipe=recipe or scale.tune,
        seed=seed,
        train_images=scale.train_images,
        test_split="test",
        test_images=scale.test_images,
        inputs=(),
        teachers=tuple((name, scale.encoder(name)) for name in teachers),
        adapter_paths=adapter_paths,
        routers=routers,
        tasks=tasks or scale.tasks,
        frozen=frozen,
        gamma=gamma,
        max_dist=scale.max_dist,
        start=start,
        decoder=decoder,
        fuse=fuse,
        method=method,
        router=router,
        adapter=adapter,
        size=_size(scale, backbone),
        norm=scale.norm,
        sam_padding=_padding(scale, backbone, *(scale.encoder(name) for name in teachers)),
        noise=scale.noise if teachers and not method else "position",
        nyud_truth=scale.nyud_truth if "boundary" in (tasks or scale.tasks) else "seism",
    )
    return replace(run, inputs=inputs_today(run, scale))


def inputs_today(run: RunSpec, scale: Scale) -> tuple[str, ...]:
    """What a run's numbers rest on if it is done now: versions of its images, weights and metrics, and of what other
    packages bring. A stored one may rest on other versions. Not for runs that look at pairs."""
    alone = run.kind in _VERSIONS  # the weights of a student's teachers are in those of its stage 1
    return (
        *_inputs(scale, run.dataset, *((run.backbone,) if alone else run.backbones)),
        *_metrics(run.tasks, run.decoder),
        *_VERSIONS.get(run.kind, ()),
        *_language(run),
        *_plugged(run),
    )


_VERSIONS = {"classify": (f"classified {_CLASSIFYING}",), "answer": (f"asked {_ASKING}",)}


def _language(run: RunSpec) -> tuple[str, ...]:
    """A language model in a folder of the user's by what it is; any other by its name alone, which the run has."""
    if run.scale == "mini" or not run.language or not Path(run.language).is_dir():
        return ()
    from sakbench.runs import languages  # here, because it imports torch

    return (f"language {languages.digest(run.language)}",)


def _plugged(run: RunSpec) -> tuple[str, ...]:
    """What of other packages a run rests on, and their versions."""
    named = [("data set", run.dataset), *(("backbone", backbone) for backbone in run.backbones)]
    named += [("task", task) for task in run.tasks]
    return plugins.inputs([*named, ("decoder", run.decoder), ("router", run.router), ("adapter", run.adapter)])


def _metrics(tasks: Sequence[str], decoder: str) -> tuple[str, ...]:
    """What is measured is part of a run's identity: with another metric it is measured anew."""
    if decoder in LINEAR:
        return (f"linear depth {_LINEAR_DEPTH}",)
    return tuple(f"{task} {task_info(task).metric}" for task in tasks)


def _padding(scale: Scale, *names: str) -> Literal["crop", "stretch"]:
    """What becomes of SAM's padding, which no other model has."""
    return scale.sam_padding if any(backbones.info(name).own_input for name in names) else "crop"


def _size(scale: Scale, backbone: str) -> tuple[int, int] | None:
    """What a backbone sees: the data set's size; in mini, where each has its own, a foreign one 8 x 8 patches."""
    if scale.size is not None or backbones.info(backbone).weights in ("package", "random"):
        return scale.size
    entry = backbones.info(backbone)
    rendered = 128  # pixels: what is more than that is not in the scenes
    side = rendered if entry.own_input else min(rendered, 8 * entry.patch_size)
    return side, side


def _inputs(scale: Scale, dataset: str, *names: str) -> tuple[str, ...]:
    weights = (f"{name} {backbones.weights_digest(name, scale.weights.get(name))}" for name in names)
    return (_images(scale, dataset), *weights)


def _images(scale: Scale, dataset: str) -> str:
    """What a run's images are, and the version of the code that makes or reads them."""
    if scale.name != "mini":
        return f"{dataset} {_READING}"
    from sakbench.data.miniworld import VERSION  # here, because a mistake in a command's words needs no renderer

    return f"miniworld {VERSION}"
