"""What one run is: a frozen record whose hash is its identity."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from sakbench.training.recipe import Recipe

_ADDED = ("size", "norm", "sam_padding", "noise", "decoder", "fuse", "nyud_truth")  # after the first stored results


@dataclass(frozen=True)
class RunSpec:
    """One training with its evaluation. Two equal specs are the same run and give the same numbers.

    `kind` is `distill` (stage 1: the committee's representations on unlabelled images), `tasks` (stage 2, the
    single- and multi-task baselines and the frozen probes, which differ by `teachers`, `frozen` and `tasks`) or
    `score` (a `tasks` run, its `start`, evaluated once more under another protocol).
    """

    kind: Literal["distill", "tasks", "score"]
    scale: str
    dataset: str
    backbone: str
    recipe: Recipe
    seed: int
    train_images: int
    test_split: str
    test_images: int
    inputs: tuple[str, ...]  # versions and digests of what its numbers rest on: the world, weight files, metrics
    teachers: tuple[tuple[str, str], ...] = ()  # the paper's name of each and its backbone, in the experts' order
    adapter_paths: bool = True
    routers: bool = True
    tasks: tuple[str, ...] = ()
    frozen: bool = False  # train nothing but routers and heads
    gamma: float = 0.0  # weight of the distillation loss beside the tasks' losses (Eq. 6)
    protocol: str = "paper"  # how boundary maps are prepared for odsF
    max_dist: float = 0.0  # odsF's tolerance, as a share of the image's diagonal
    start: "RunSpec | None" = None  # the run whose weights it begins with
    size: tuple[int, int] | None = None  # of the network's input (H, W); the backbone's own if None
    norm: Literal["paper", "native"] = "paper"  # ImageNet's mean and std for every model, or each model's own
    sam_padding: Literal["crop", "stretch"] = "crop"  # what becomes of the padding in SAM's maps
    noise: Literal["position", "global"] = "position"  # of the routers, in training
    decoder: str = "simple"
    fuse: str = ""  # an upper bound: how the frozen teachers' own representations are fused
    nyud_truth: Literal["seism", "clean"] = "seism"  # what odsF takes as NYUD-v2's boundaries

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits, a hash of everything above."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:12]

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
        """Whether the student is distilled from teachers; otherwise it is a plain backbone, or a fusion of several."""
        return bool(self.teachers) and not self.fuse

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values. What was added later is left out where it has its default: ids stay what they were."""
        return _plain(asdict(self))


def _plain(spec: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in spec.items() if key not in _ADDED or value != _DEFAULTS[key]}
    return {**kept, "start": _plain(spec["start"])} if spec["start"] else kept


_DEFAULTS = {field.name: field.default for field in fields(RunSpec) if field.name in _ADDED}
