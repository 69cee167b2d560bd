"""What one run is: a frozen record whose hash is its identity."""

import hashlib
import json
import reprlib
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from types import UnionType
from typing import Annotated, Any, Literal, NoReturn, get_args, get_origin, get_type_hints

from sakbench import plugins
from sakbench.errors import UserError, unknown
from sakbench.tasks.names import TASKS
from sakbench.tasks.protocols import PROTOCOLS
from sakbench.training.recipe import Count, Recipe

LINEAR = ("lin1", "lin4")  # decoders of DINOv2's depth probes

# A name that is one of several words, to which plug-ins add.
Task = Annotated[str, lambda: tuple(TASKS)]
Decoder = Annotated[str, lambda: ("simple", "mlore", *LINEAR, *plugins.known("decoder"))]
Router = Annotated[str, lambda: ("mor", *plugins.known("router"))]
Adapter = Annotated[str, lambda: ("bottleneck", *plugins.known("adapter"))]
BoundaryProtocol = Annotated[str, tuple(PROTOCOLS)]
Fusion = Annotated[str, ("", "addition", "concat", "mor")]
Method = Annotated[str, ("", "radio", "theia", "prism")]

PAIRS = "pairs"  # how the input that is a set of counterfactual pairs begins

_ADDED = (
    "size",
    "norm",
    "sam_padding",
    "noise",
    "decoder",
    "fuse",
    "nyud_truth",
    "method",
    "router",
    "adapter",
    "language",
    "align",
    "blind",
    "optimizer",
)  # after the first stored results


@dataclass(frozen=True)
class RunSpec:
    """One training with its evaluation. Two equal specs are the same run and give the same numbers.

    `kind` is `distill` (stage 1: the committee's representations on unlabelled images), `tasks` (stage 2, the
    single- and multi-task baselines and the frozen probes, which differ by `teachers`, `frozen` and `tasks`), `score`
    (a `tasks` run, its `start`, evaluated once more under another protocol), `pairs` (what a frozen backbone, and the
    heads of its `start` if it has one, make of counterfactual pairs) or `classify` (linear classifiers, and nearest
    neighbours, on a frozen backbone or on the student of its `start`) or `answer` (a language model that sees through
    either of them, or through nothing).
    """

    kind: Literal["distill", "tasks", "score", "pairs", "classify", "answer"]
    scale: str
    dataset: str
    backbone: str
    recipe: Recipe
    seed: int
    train_images: Count
    test_split: str
    test_images: Count
    inputs: tuple[str, ...]  # versions and digests of what its numbers rest on: the world, weight files, metrics
    teachers: tuple[tuple[str, str], ...] = ()  # the paper's name of each and its backbone, in the experts' order
    adapter_paths: bool = True
    routers: bool = True
    tasks: tuple[Task, ...] = ()
    frozen: bool = False  # train nothing but routers and heads
    gamma: float = 0.0  # weight of the distillation loss beside the tasks' losses (Eq. 6)
    protocol: BoundaryProtocol = "paper"  # how boundary maps are prepared for odsF
    max_dist: float = 0.0  # odsF's tolerance, as a share of the image's diagonal
    start: "RunSpec | None" = None  # the run whose weights it begins with
    size: tuple[Count, Count] | None = None  # of the network's input (H, W); the backbone's own if None
    norm: Literal["paper", "native"] = "paper"  # ImageNet's mean and std for every model, or each model's own
    sam_padding: Literal["crop", "stretch"] = "crop"  # what becomes of the padding in SAM's maps
    noise: Literal["position", "global"] = "position"  # of the routers, in training
    decoder: Decoder = "simple"
    fuse: Fusion = ""  # an upper bound: how the frozen teachers' own representations are fused
    nyud_truth: Literal["seism", "clean"] = "seism"  # what odsF takes as NYUD-v2's boundaries
    router: Router = "mor"
    adapter: Adapter = "bottleneck"
    language: str = ""  # the language model that answers
    align: Recipe | None = None  # of its first phase, in which it learns what images are; `recipe` is the second's
    blind: bool = False  # whether it sees nothing
    method: Method = ""  # whose recipe distils into a plain backbone, where it is not SAK's

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits, a hash of everything above."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:12]

    @property
    def trains(self) -> bool:
        """Whether anything is trained in it; otherwise it looks at what there is."""
        return self.kind in ("distill", "tasks", "classify", "answer")

    @property
    def committee(self) -> str:
        """The teachers' names: DINOv2+CLIP+SAM."""
        return "+".join(name for name, _ in self.teachers)

    @property
    def backbones(self) -> tuple[str, ...]:
        """Every backbone that it needs: its own, then its teachers'."""
        return (self.backbone, *(backbone for _, backbone in self.teachers))

    @property
    def lineage(self) -> tuple["RunSpec", ...]:
        """The run whose weights it begins with, and so on, the oldest first; then itself."""
        return (*(self.start.lineage if self.start else ()), self)

    @property
    def is_sak(self) -> bool:
        """Whether it is a SAK student; otherwise it is a plain backbone, or a fusion of several."""
        return bool(self.teachers) and not self.fuse and not self.method

    @property
    def is_fixed(self) -> bool:
        """Whether its features can be kept: those of a frozen backbone that nothing has trained before."""
        return self.frozen and not self.is_sak and not self.method

    @property
    def probes_linearly(self) -> bool:
        """Whether it learns depth as DINOv2's linear probes do (paper Table 27)."""
        return self.decoder in LINEAR

    @property
    def newcomers(self) -> tuple[tuple[str, str], ...]:
        """The teachers whom a stage 1 learns from: those whom the student that it begins with does not know."""
        known = self.start.teachers if self.kind == "distill" and self.start else ()
        return self.teachers[len(known) :]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values. What was added later is left out where it has its default: ids stay what they were."""
        return _plain(asdict(self))

    @classmethod
    def from_dict(cls, values: object) -> "RunSpec":
        """The spec whose `to_dict` gave `values`, or the same from JSON, with its id.

        Raises `UserError` that names the field and what is allowed there for anything else: a field that is unknown,
        missing, or not what its annotation above says, and a run that cannot begin with what its `start` is.
        """
        plugins.load()
        spec: RunSpec = _record(cls, values, "")
        for run in spec.lineage:
            first = run.start.kind if run.start else None
            if first not in _BEGINS_WITH[run.kind]:
                allowed = " or ".join(kind or "none" for kind in _BEGINS_WITH[run.kind])
                raise UserError(f"start of a run of kind {run.kind} is {first or 'none'}: it must be {allowed}.")
            if run.kind == "distill" and run.start and not _adds_teachers(run, run.start):
                raise UserError(
                    "start of a run of kind distill is no student to add teachers to: it must have adapter paths, the"
                    " same backbone and the first of the teachers."
                )
            if lacking := [name for name in _NEEDED[run.kind] if not getattr(run, name)]:
                raise UserError(f"{lacking[0]} of a run of kind {run.kind} is empty: it must name at least one.")
        return spec


def _adds_teachers(run: RunSpec, start: RunSpec) -> bool:
    same = start.backbone == run.backbone and start.adapter_paths and run.adapter_paths
    known = start.teachers == run.teachers[: len(start.teachers)] and len(start.teachers) < len(run.teachers)
    return same and known and not (start.method or run.method)


def _plain(spec: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in spec.items() if key not in _ADDED or value != _DEFAULTS[key]}
    if kept["recipe"]["optimizer"] == "adamw":
        kept["recipe"] = {key: value for key, value in kept["recipe"].items() if key != "optimizer"}
    return {**kept, "start": _plain(spec["start"])} if spec["start"] else kept


_DEFAULTS = {field.name: field.default for field in fields(RunSpec) if field.name in _ADDED}

# What kind of run each kind may begin with, and what it cannot do without.
_BEGINS_WITH = {
    "distill": (None, "distill"),
    "tasks": (None, "distill"),
    "score": ("tasks",),
    "pairs": (None, "tasks"),
    "classify": (None, "distill"),
    "answer": (None, "distill"),
}
_NEEDED = {
    "distill": ("teachers",),
    "tasks": ("tasks",),
    "score": ("tasks",),
    "pairs": (),
    "classify": (),
    "answer": ("language",),
}

# What a plain value must be, and how that is said. The largest whole number is that of a database's column.
_PLAIN: dict[Any, tuple[Callable[[Any], bool], str]] = {
    bool: (lambda value: type(value) is bool, "true or false"),
    int: (lambda value: type(value) is int and 0 <= value < 2**63, "a whole number from 0 to 2^63 - 1"),
    Count: (lambda value: type(value) is int and 0 < value < 2**63, "a whole number from 1 to 2^63 - 1"),
    float: (lambda value: type(value) in (int, float) and 0 <= value <= sys.float_info.max, "a finite number from 0"),
    str: (
        lambda value: type(value) is str and 0 < len(value) <= 200 and value.isprintable(),
        "1 to 200 printable characters",
    ),
}


def _read(kind: Any, value: Any, field: str) -> Any:
    """A value of plain JSON as an annotation's `kind` wants it; `field` says where it stands."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind in _PLAIN:
        fits, allowed = _PLAIN[kind]
        if not fits(value):
            _refuse(field, value, allowed)
        return value
    if origin is UnionType:  # of something and None
        return None if value is None else _read(inner[0], value, field)
    if origin is tuple:
        if type(value) not in (list, tuple):
            _refuse(field, value, "a list")
        kinds = inner[:1] * len(value) if ... in inner else inner
        if len(kinds) != len(value):
            _refuse(field, value, f"a list of {len(kinds)}")
        return tuple(_read(one, part, f"{field}[{i}]") for i, (one, part) in enumerate(zip(kinds, value, strict=True)))
    if origin in (Literal, Annotated):
        words = inner if origin is Literal else inner[1]() if callable(inner[1]) else inner[1]
        if type(value) is not str or value not in words:
            _refuse(field, value, f"one of {', '.join(map(repr, words))}")
        return value
    return _record(kind, value, field)


def _record(kind: Any, values: Any, field: str) -> Any:
    """The dataclass `kind` with fields read from `values`; `field` is empty for the outermost."""
    if field.count("start") > 9:  # a score, a stage 2, a stage 1, and stages 1 that it adds teachers to
        raise UserError(f"{field} is one run too many: a run begins with another at most nine times.")
    if type(values) is not dict:
        _refuse(field, values, "an object of named fields")
    kinds = get_type_hints(kind, include_extras=True)
    for name in values:
        if name not in kinds:
            raise unknown(f"field of {_place(field)}", name[:60] if type(name) is str else _shown(name), kinds)
    for name in kinds:
        if name not in values and name not in _ADDED:
            raise UserError(f"{_place(field)} has no {name}: it must have all its fields.")
    return kind(**{name: _read(kinds[name], value, f"{field}.{name}".lstrip(".")) for name, value in values.items()})


def _refuse(field: str, value: object, allowed: str) -> NoReturn:
    raise UserError(f"{_place(field)} is {_shown(value)}: it must be {allowed}.")


def _place(field: str) -> str:
    return f"{field} of a run's spec" if field else "a run's spec"


def _shown(value: object) -> str:
    try:
        return reprlib.repr(value)
    except ValueError:  # Python prints no integer of so many digits
        return "a number of thousands of digits"
