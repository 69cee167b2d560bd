"""Tables as TOML files, the paper's and a user's own: a title, a baseline, and rows that say what is trained.

    title = "What γ does to CLIP's student"
    baseline = "Single-task baseline"

    [defaults]
    model = "sak"
    teachers = ["CLIP"]

    [[row]]
    name = "Single-task baseline"
    model = "single-task"

    [[row]]
    name = "γ = 2"
    gamma = 2.0

A row has what `Entry` lists. `defaults` holds for all rows, as far as their model has it.
"""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from sakbench import backbones, plugins
from sakbench.analysis.quantities import QUANTITIES
from sakbench.backbones.registry import TIMM_PREFIX
from sakbench.errors import UserError, unknown
from sakbench.experiments.rows import (
    Experiment,
    Row,
    answering,
    classification,
    depth_probe,
    longer,
    multi_task,
    pairs,
    prism,
    probe,
    rival,
    sak,
    single_task,
    stage1,
    upper_bound,
)
from sakbench.runs.scales import SCALES, Scale, dataset_of
from sakbench.runs.spec import RunSpec

_MOST_BYTES = 1 << 20  # a table is a page of text


@dataclass(frozen=True)
class Entry:
    """A row as a file writes it. Which of the keys a `model` has, `MODELS` says.

    Backbones and teachers go by the paper's names (ViT, DINOv2, CLIP, SAM, RADIO, Theia) or by the zoo's. `first` are
    the teachers that a student knew before the others were added; `fraction` is the share of the labelled images, and
    `steps` how many times longer is trained; `student` and `teacher_size` are sizes where a scale has several.
    """

    name: str
    model: str
    backbone: str = "ViT"
    teachers: tuple[str, ...] = ()
    first: tuple[str, ...] = ()
    stage1: bool = True
    gamma: float | None = None
    adapter_paths: bool = True
    routers: bool = True
    frozen: bool = False
    decoder: str = "simple"
    router: str = "mor"
    adapter: str = "bottleneck"
    fuse: str = ""
    fraction: float = 1.0
    steps: float = 1.0
    side: int = 0  # pixels of the images that a language model sees at scale paper
    student: str = ""
    teacher_size: str = ""
    published: tuple[str, ...] = ()  # table and row of the paper's numbers
    note: bool = False  # shown below the table
    scales: tuple[str, ...] = ("mini", "paper")


@dataclass(frozen=True)
class Head:
    """What a file says of the whole table."""

    title: str
    row: tuple[dict[str, Any], ...] = ()
    baseline: str = ""
    columns: tuple[str, ...] = ()  # quantities beside the tasks
    profile: bool = False
    scales: tuple[str, ...] = ("mini", "paper")
    benchmark: str = ""
    seeds: int = 1
    mini_seeds: int = 1  # at scale mini, where they are cheap
    study: str = ""  # of studies/, which draws its figure
    account: bool = False  # a table of parameters and MACs, for which nothing is trained
    facts: bool = False  # whether it shows on what each student was distilled
    defaults: dict[str, Any] = field(default_factory=dict)


Build = Callable[[Entry, Scale, int], tuple[RunSpec, ...]]


def _tasks(entry: Entry, scale: Scale, seed: int) -> tuple[RunSpec, ...]:
    return tuple(single_task(scale, seed, task, scale.encoder(entry.backbone)) for task in scale.tasks)


def _together(entry: Entry, scale: Scale, seed: int) -> tuple[RunSpec, ...]:
    if entry.backbone in scale.rival_recipes:
        return (rival(scale, seed, entry.backbone),)
    return (multi_task(scale, seed, scale.encoder(entry.backbone), decoder=entry.decoder),)


def _probe(entry: Entry, scale: Scale, seed: int) -> tuple[RunSpec, ...]:
    if entry.backbone in scale.rival_recipes:
        return (rival(scale, seed, entry.backbone, frozen=True),)
    return (probe(scale, seed, scale.encoder(entry.backbone)),)


def _student(entry: Entry, scale: Scale, seed: int) -> tuple[RunSpec, ...]:
    return (
        sak(
            scale,
            seed,
            entry.teachers,
            distilled=entry.stage1,
            before=entry.first,
            gamma=entry.gamma,
            adapter_paths=entry.adapter_paths,
            routers=entry.routers,
            frozen=entry.frozen,
            decoder=entry.decoder,
            router=entry.router,
            adapter=entry.adapter,
        ),
    )


def _with_similarity(entry: Entry, scale: Scale, seed: int) -> tuple[RunSpec, ...]:
    """Rep Sim is measured at the end of stage 1, as in the paper: it is the same with and without routers."""
    (run,) = _student(entry, scale, seed)
    return (run.start, run) if run.start else (run,)


def _prism(entry: Entry, scale: Scale, seed: int) -> tuple[RunSpec, ...]:
    return (prism(scale, seed, entry.teachers, gamma=entry.gamma),)


def _distilled(entry: Entry, scale: Scale, seed: int) -> tuple[RunSpec, ...]:
    return (stage1(scale, seed, entry.teachers, adapter_paths=entry.adapter_paths, before=entry.first),)


def _bound(entry: Entry, scale: Scale, seed: int) -> tuple[RunSpec, ...]:
    return (upper_bound(scale, seed, entry.teachers, entry.fuse),)


def _oracle(entry: Entry, scale: Scale, seed: int) -> tuple[RunSpec, ...]:
    return tuple(probe(scale, seed, scale.encoder(name)) for name in entry.teachers)


def _pairs(entry: Entry, scale: Scale, seed: int) -> tuple[RunSpec, ...]:
    if scale.name != "mini":
        raise UserError(
            f"scale {scale.name} looks at pairs of photographs: `sakbench pairs make` makes them, and `sakbench pairs"
            f" probe DIR --scale {scale.name}` looks at them."
        )
    from sakbench.data.pairs import exact  # here, because a mistake in a command's words needs no renderer

    return (pairs(scale, seed, scale.encoder(entry.backbone), exact.identity(), exact.COUNT),)


def _depth(entry: Entry, scale: Scale, seed: int) -> tuple[RunSpec, ...]:
    backbone = scale.encoder(entry.backbone)
    return tuple(depth_probe(scale, seed, layers, backbone, teachers=entry.teachers) for layers in (1, 4))


def _classified(entry: Entry, scale: Scale, seed: int) -> tuple[RunSpec, ...]:
    return (classification(scale, seed, scale.encoder(entry.backbone), teachers=entry.teachers),)


def _answering(entry: Entry, scale: Scale, seed: int) -> tuple[RunSpec, ...]:
    blind = entry.backbone == "none"
    backbone = scale.vit if blind else scale.encoder(entry.backbone)
    return (answering(scale, seed, backbone, teachers=entry.teachers, blind=blind, side=entry.side),)


def _nothing(entry: Entry, scale: Scale, seed: int) -> tuple[RunSpec, ...]:
    return ()


_STUDENT = (
    *("teachers", "first", "stage1", "gamma", "adapter_paths", "routers", "frozen", "decoder", "router", "adapter"),
    *("fraction", "steps", "student", "teacher_size"),
)
# By what a row's `model` is called: its runs, and the keys that it has beside name, published, note and scales.
MODELS: dict[str, tuple[Build, tuple[str, ...]]] = {
    "single-task": (_tasks, ("backbone", "fraction", "steps", "student")),
    "multi-task": (_together, ("backbone", "decoder", "fraction", "steps", "student")),
    "probe": (_probe, ("backbone", "fraction", "steps", "student")),
    "sak": (_student, _STUDENT),
    "sak with similarity": (_with_similarity, tuple(key for key in _STUDENT if key != "steps")),
    "prism": (_prism, ("teachers", "gamma", "fraction", "steps", "student", "teacher_size")),
    "stage 1": (_distilled, ("teachers", "first", "adapter_paths", "student", "teacher_size")),
    "upper bound": (_bound, ("teachers", "fuse", "fraction", "steps", "student", "teacher_size")),
    "oracle": (_oracle, ("teachers", "teacher_size")),
    "pairs": (_pairs, ("backbone", "student")),
    "question answering": (_answering, ("backbone", "teachers", "side", "student", "teacher_size")),
    "classification": (_classified, ("backbone", "teachers", "student", "teacher_size")),
    "linear depth": (_depth, ("backbone", "teachers", "student", "teacher_size")),
    "published": (_nothing, ()),
}
_EVERY_ROW = ("name", "model", "published", "note", "scales")
# Models whose rows give no number of a task, and what they give.
_GIVES = {
    "pairs": tuple(QUANTITIES),
    "stage 1": ("rep_sim",),
    "question answering": ("gqa", "pope", "vqav2"),
    "classification": ("accuracy", "knn"),
    "linear depth": ("depth_lin1", "depth_lin4"),
}
_WITH_TEACHERS = ("sak", "sak with similarity", "prism", "stage 1", "upper bound", "oracle")
_WORDS = {
    "decoder": ("simple", "mlore"),
    "router": ("mor",),
    "adapter": ("bottleneck",),
    "fuse": ("addition", "concat", "mor"),
}


def read(path: Path) -> Experiment:
    """The table that a user's TOML file describes, named as the file is.

    Raises `UserError` that names the file, and the row and key where there is one, for whatever it cannot be.
    """
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"{path} is no file: name one that ends in .toml.")
        if path.stat().st_size > _MOST_BYTES:
            raise UserError(f"{path} has more than {_MOST_BYTES:,} bytes: a table is a page of text.")
        text = path.read_text(encoding="utf-8-sig")  # some editors put a byte order mark before it
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no text in UTF-8 ({error.reason}).") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    experiment = parse(text, path.stem, str(path))
    for key, said in (("account", experiment.account), ("study", experiment.drawn_by)):
        if said:
            raise UserError(f"{key} of {path} is for the tables that come with sakbench: leave it out.")
    _check_published(text, str(path))
    return replace(experiment, file=str(path))


def parse(text: str, name: str, where: str) -> Experiment:
    """The table that a TOML text describes; `where` is how mistakes call it."""
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is a ValueError too
        raise UserError(f"{where} is no TOML: {error}.") from error
    head = _read(Head, document, where)
    head = replace(head, scales=_scales(head.scales, where))
    for key, count in (("seeds", head.seeds), ("mini_seeds", head.mini_seeds)):
        if not 1 <= count <= 100:
            raise UserError(f"{key} of {where} is {count}: it must be from 1 to 100.")
    if not (head.row or head.account or head.study):
        raise UserError(f"{where} has no row: write [[row]] and its keys for each.")
    if head.benchmark:
        dataset_of("paper", head.benchmark)
    entries = [_entry(row, head.defaults, f"row {i} of {where}") for i, row in enumerate(head.row, 1)]
    quantities = {"rep_sim", *(f"rep_sim {name}" for entry in entries for name in entry.teachers)}
    quantities |= {quantity for entry in entries for quantity in _GIVES.get(entry.model, ())}
    for column in head.columns:
        if column not in quantities:
            raise unknown(f"quantity for columns of {where}", column, quantities)
    if not head.columns and (without := [entry.model for entry in entries if entry.model in _GIVES]):
        raise UserError(f"columns of {where} is missing: rows of model {without[0]} give no number of a task.")
    used = {key for entry in entries for key in MODELS[entry.model][1]} | set(_EVERY_ROW)
    for key in head.defaults:
        if key not in used:
            raise unknown(f"key of defaults of {where}, which no row has", key, used)
    names = [entry.name for entry in entries]
    if twice := [one for one in names if names.count(one) > 1]:
        raise UserError(f"{where} has two rows named {twice[0]}: each needs a name of its own.")
    if head.baseline and head.baseline not in names:
        raise unknown(f"row of {where}, which its baseline must be", head.baseline, names)

    def build(scale: Scale, seed: int) -> list[Row]:
        return [_row(entry, scale, seed, where) for entry in entries if scale.name in entry.scales]

    return Experiment(
        name=name,
        title=head.title,
        build=build,
        baseline=head.baseline,
        extras=head.columns,
        profile=head.profile,
        scales=head.scales,
        benchmark=head.benchmark,
        seeds=head.seeds,
        mini_seeds=head.mini_seeds,
        drawn_by=head.study,
        account=head.account,
        facts=head.facts,
    )


def _check_published(text: str, where: str) -> None:
    """Raise `UserError` for a row of a valid table that names published numbers that there are not."""
    document = tomllib.loads(text)
    rows = [{**document.get("defaults", {}), **row} for row in document["row"]]
    named = [row["published"] for row in rows if "published" in row]
    if not named:
        return
    from sakbench.store import published  # here, because it imports pandas

    for table, row in named:
        known = published.table(table)["row"].unique()
        if row not in known:
            raise unknown(f"row of {table}, as {where} says in published,", row, known)


def _row(entry: Entry, scale: Scale, seed: int, where: str) -> Row:
    build, _ = MODELS[entry.model]
    runs = build(entry, _sized(entry, scale), seed)
    runs = tuple(longer(run, entry.steps) for run in runs) if entry.steps != 1 else runs
    try:
        for run in runs:
            RunSpec.from_dict(run.to_dict())
    except UserError as error:
        raise UserError(f"the row {entry.name} of {where} cannot be: {error}") from error
    return Row(
        name=entry.name,
        runs=runs,
        published=(entry.published[0], entry.published[1]) if entry.published else None,
        note=entry.note,
        best=entry.model == "oracle",
    )


def _sized(entry: Entry, scale: Scale) -> Scale:
    """The scale with the row's share of the labels, and models of its sizes where the scale has several."""
    scale = replace(scale, train_images=max(1, round(entry.fraction * scale.train_images)))
    if not scale.sizes:
        return scale
    student, teachers = (scale.sizes.get(size) for size in (entry.student, entry.teacher_size))
    return replace(
        scale,
        vit=student.vit if student else scale.vit,
        rivals=student.rivals if student else scale.rivals,
        teachers=teachers.teachers if teachers else scale.teachers,
    )


def _entry(row: Mapping[str, Any], defaults: Mapping[str, Any], where: str) -> Entry:
    if not isinstance(row, dict):
        raise UserError(f"{where} is no table of keys: write [[row]] above it.")
    model = row.get("model", defaults.get("model"))
    if not isinstance(model, str) or model not in MODELS:
        raise unknown(f"model of {where}", str(model), MODELS)
    allowed = (*_EVERY_ROW, *MODELS[model][1])
    for key in row:
        if key not in allowed:
            raise unknown(f"key of {where}, whose model is {model}", key, allowed)
    entry = _read(Entry, {k: v for k, v in defaults.items() if k in allowed} | row, where)
    _check(entry, where)
    return replace(entry, scales=_scales(entry.scales, where))


def _check(entry: Entry, where: str) -> None:
    """Raise `UserError` for values that a row cannot have, before anything is planned."""
    by_name = {name for scale in SCALES.values() for name in (*scale.encoders, *scale.rival_recipes)}
    for key, names in {"backbone": (entry.backbone,), "teachers": entry.teachers, "first": entry.first}.items():
        for name in names:
            if name.startswith(TIMM_PREFIX):
                backbones.info(name)
            elif name not in {*by_name, *backbones.names()} and (name, entry.model) != ("none", "question answering"):
                raise unknown(f"model for {key} of {where}", name, {*by_name, *backbones.names()})
    if entry.model in _WITH_TEACHERS and not entry.teachers:
        raise UserError(f"teachers of {where} is missing: a row of model {entry.model} needs at least one.")
    if len(set(entry.teachers)) < len(entry.teachers):
        raise UserError(f"teachers of {where} names one of them twice.")
    if entry.first and (entry.first != entry.teachers[: len(entry.first)] or len(entry.first) == len(entry.teachers)):
        raise UserError(f"first of {where} must be the first of its teachers, and leave at least one to be added.")
    if not 0 < entry.fraction <= 1:
        raise UserError(f"fraction of {where} is {entry.fraction:g}: it must be above 0 and at most 1.")
    if not 0 < entry.steps <= 1000:
        raise UserError(f"steps of {where} is {entry.steps:g}: it must be above 0 and at most 1000 times.")
    if not 0 <= entry.side <= 4096:
        raise UserError(f"side of {where} is {entry.side}: it must be from 1 to 4096 pixels, or left out.")
    if entry.gamma is not None and not 0 <= entry.gamma < float("inf"):
        raise UserError(f"gamma of {where} is {entry.gamma:g}: it must be a finite number from 0.")
    if entry.published and len(entry.published) != 2:
        raise UserError(f'published of {where} must be a table and a row: ["table7", "DINOv2"].')
    if entry.model == "published" and not entry.published:
        raise UserError(f"published of {where} is missing: the row has nothing else.")
    for key, own in _WORDS.items():
        words = (*own, *plugins.known(key))
        if (word := getattr(entry, key)) not in words and (word or entry.model == "upper bound"):
            raise unknown(f"{key} of {where}", word, words)
    for key in ("student", "teacher_size"):
        if (size := getattr(entry, key)) and size not in SCALES["paper"].sizes:
            raise unknown(f"{key} of {where}", size, SCALES["paper"].sizes)
    _check_together(entry, where)


def _check_together(entry: Entry, where: str) -> None:
    """Raise `UserError` for keys of which one makes another meaningless."""
    rivals = {name for scale in SCALES.values() for name in scale.rival_recipes}
    routed = entry.routers and "routers" in MODELS[entry.model][1]
    for wrong, said in (
        (
            routed and not entry.adapter_paths,
            "adapter_paths = false needs routers = false: nothing is left to mix",
        ),
        (entry.first and not entry.adapter_paths, "first needs adapter paths: without them no teacher can be added"),
        (entry.first and not entry.stage1, "first needs stage 1, in which the other teachers are added"),
        (entry.frozen and entry.gamma is not None, "gamma has no meaning with frozen: nothing is distilled then"),
        (
            entry.decoder != "simple" and entry.backbone in rivals,
            f"decoder is for the ViT: {entry.backbone} has the simple one",
        ),
        (
            entry.student and entry.backbone not in {"ViT", *rivals},
            "student is a size of the ViT: name one or the other",
        ),
        (
            entry.teacher_size and not SCALES["paper"].sizes[entry.teacher_size].teachers,
            f"teacher_size is {entry.teacher_size}, and there are no teachers of that size",
        ),
    ):
        if wrong:
            raise UserError(f"{where} contradicts itself: {said}.")


def _scales(names: tuple[str, ...], where: str) -> tuple[str, ...]:
    for name in names:
        if name not in SCALES:
            raise unknown(f"scale of {where}", name, SCALES)
    return names


def _read(kind: Any, values: Mapping[str, Any], where: str) -> Any:
    """The dataclass `kind` from what a file says; lists become tuples."""
    kinds = get_type_hints(kind)
    for key in values:
        if key not in kinds:
            raise unknown(f"key of {where}", key, kinds)
    for one in fields(kind):
        if one.default is MISSING and one.default_factory is MISSING and one.name not in values:
            raise UserError(f"{where} has no {one.name}: it needs one.")
    return kind(**{key: _value(kinds[key], value, f"{key} of {where}") for key, value in values.items()})


def _value(kind: Any, value: Any, where: str) -> Any:
    if kind in (float, float | None) and type(value) in (int, float):
        try:
            return float(value)
        except OverflowError as error:
            raise UserError(f"{where} is too large a number.") from error
    if kind is str and isinstance(value, str):
        if not value or len(value) > 200 or not value.isprintable():
            raise UserError(f"{where} must be 1 to 200 printable characters.")
        return value
    if get_origin(kind) is tuple:
        (inner, _) = get_args(kind)
        if type(value) is list and value:
            return tuple(_value(inner, one, where) for one in value)
        raise UserError(f"{where} must be a list that is not empty.")
    if kind in (bool, int) and type(value) is kind:
        return value
    if get_origin(kind) is dict and isinstance(value, dict):
        return value
    words = {bool: "true or false", int: "a whole number", str: "text in quotes", float: "a number"}
    raise UserError(f"{where} must be {words.get(kind, 'a number' if kind == float | None else 'keys and values')}.")
