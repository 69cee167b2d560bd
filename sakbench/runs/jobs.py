"""What there is to do for a plan: its runs, and the teachers' features that several of them read."""

from dataclasses import dataclass
from typing import Literal, Self

from sakbench.runs.plan import label, short
from sakbench.runs.scales import get as get_scale
from sakbench.runs.spec import RunSpec


@dataclass(frozen=True)
class Bank:
    """Features of a frozen backbone on the first `count` images of a split, computed once and kept on disk."""

    dataset: str
    split: str
    count: int
    backbone: str
    flipped: bool = False
    size: tuple[int, int] | None = None  # of the backbone's input, its own if None
    norm: Literal["paper", "native"] = "paper"
    sam_padding: Literal["crop", "stretch"] = "crop"
    class_token: bool = False

    @classmethod
    def of(cls, run: RunSpec, split: str, count: int, backbone: str, *, flipped: bool = False) -> Self:
        """The features that a run reads of one of its backbones."""
        # each teacher sees images of its own size, whatever the student sees
        size = run.size if backbone == run.backbone else None
        return cls(run.dataset, split, count, backbone, flipped, size, run.norm, run.sam_padding, run.probes_linearly)

    @property
    def id(self) -> str:
        """A readable identity."""
        choices = [str(self.size)] * (self.size is not None) + [self.norm] * (self.norm != "paper")
        choices += [self.sam_padding] * (self.sam_padding != "crop") + ["class token"] * self.class_token
        flipped = ["flipped"] * self.flipped
        return "/".join([self.dataset, self.split, str(self.count), self.backbone, *choices, *flipped])


@dataclass(frozen=True)
class Job:
    """One piece of work and what must be done before it. `cost` is in image passes, to start long chains first.

    `devices` is how many GPUs, or cores, it takes.
    """

    work: RunSpec | Bank
    after: tuple[str, ...]
    cost: float
    devices: int = 1

    @property
    def id(self) -> str:
        """The identity of the run or of the features."""
        return self.work.id

    @property
    def label(self) -> str:
        """What a progress line calls it."""
        if isinstance(self.work, RunSpec):
            return label(self.work)
        mirrored = ", mirrored" if self.work.flipped else ""
        return f"features {short(self.work.backbone)} · {self.work.split}{mirrored}"


def jobs(runs: list[RunSpec], devices: int = 1) -> list[Job]:
    """The planned runs and the feature banks they read, for a machine's `devices`.

    The longest remaining chain comes first, so that none stands before those it comes after.
    """
    made: dict[str, Job] = {}
    planned = {run.id for run in runs}
    for run in runs:
        banks = banks_of(run)
        for bank in banks:
            made.setdefault(bank.id, Job(bank, (), cost=float(bank.count)))
        before = [bank.id for bank in banks]
        if run.start is not None and run.start.id in planned:
            before.append(run.start.id)
        made[run.id] = Job(run, tuple(before), _cost(run), width(run, devices))
    chain: dict[str, float] = {}
    for job in reversed(made.values()):  # descendants stand behind their ancestors
        below = [chain[other.id] for other in made.values() if job.id in other.after]
        chain[job.id] = job.cost + max(below, default=0.0)
    return sorted(made.values(), key=lambda job: -chain[job.id])


def width(run: RunSpec, devices: int) -> int:
    """On how many of a machine's devices a run trains: as many as its scale lays out, if they can share a batch."""
    layout = get_scale(run.scale).layouts.get(run.kind)
    most = min(devices, layout.gpus) if layout else 1
    return next(count for count in range(most, 0, -1) if run.recipe.batch_size % count == 0)


def _cost(run: RunSpec) -> float:
    return float(run.recipe.steps * run.recipe.batch_size if run.trains else run.test_images)


def banks_of(run: RunSpec) -> list[Bank]:
    """The features that a run reads: its teachers' where it distils, its own backbone's where that is frozen."""
    if run.scale != "mini" or run.kind in ("pairs", "classify", "answer"):
        return []  # scale paper's would fill terabytes: its teachers look on while it trains
    teachers = [backbone for _, backbone in run.teachers]
    banks = []
    if run.kind == "score":
        if run.is_fixed:
            banks.append(Bank.of(run, run.test_split, run.test_images, run.backbone))
    elif run.kind == "distill":
        for teacher in teachers:
            banks.append(Bank.of(run, "distill", run.train_images, teacher))
            banks.append(Bank.of(run, run.test_split, run.test_images, teacher))
    elif run.gamma > 0:
        banks += [
            Bank.of(run, "train", run.train_images, teacher, flipped=flipped)
            for teacher in teachers
            for flipped in (False, True)
        ]
    elif run.is_fixed:
        banks += [Bank.of(run, "train", run.train_images, run.backbone, flipped=flipped) for flipped in (False, True)]
        banks.append(Bank.of(run, run.test_split, run.test_images, run.backbone))
    return banks
