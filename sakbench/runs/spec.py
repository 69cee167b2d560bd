"""What one run is: a frozen record whose hash is its identity."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from sakbench.errors import UserError
from sakbench.training.recipe import Recipe


@dataclass(frozen=True)
class RunSpec:
    """One training with its evaluation. Two equal specs are the same run and give the same numbers.

    `kind` is `distill` (stage 1: the committee's representations on unlabelled images) or `tasks` (stage 2, the
    single- and multi-task baselines and the frozen probes, which differ by `teachers`, `frozen` and `tasks`).
    """

    kind: Literal["distill", "tasks"]
    scale: str
    dataset: str
    backbone: str
    recipe: Recipe
    seed: int
    train_images: int
    test_split: str
    test_images: int
    inputs: tuple[str, ...]  # versions and digests of what it reads: the world, every weight file
    teachers: tuple[str, ...] = ()
    adapter_paths: bool = True
    routers: bool = True
    tasks: tuple[str, ...] = ()
    frozen: bool = False  # train nothing but routers and heads
    gamma: float = 0.0  # weight of the distillation loss beside the tasks' losses (Eq. 6)
    start: "RunSpec | None" = None  # the stage-1 run whose weights it begins with

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits, a hash of everything above."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:12]

    @property
    def is_sak(self) -> bool:
        """Whether the student has teachers; otherwise it is a plain backbone with heads."""
        return bool(self.teachers)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> "RunSpec":
        """The spec that `to_dict` wrote. Raises `UserError` for fields that no spec has."""
        strange = set(record) - {field.name for field in fields(cls)}
        if strange:
            raise UserError(f"a run's record has fields that this version does not know: {', '.join(sorted(strange))}.")
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in record.items()
        }
        values["recipe"] = Recipe(**record["recipe"])
        values["start"] = cls.from_dict(record["start"]) if record.get("start") else None
        return cls(**values)
