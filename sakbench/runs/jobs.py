"""What there is to do for a plan: its runs, and the teachers' features that several of them read."""

from dataclasses import dataclass

from sakbench.runs.plan import label
from sakbench.runs.spec import RunSpec


@dataclass(frozen=True)
class Bank:
    """Features of a frozen backbone on the first `count` images of a split, computed once and kept on disk."""

    dataset: str
    split: str
    count: int
    backbone: str
    flipped: bool = False

    @property
    def id(self) -> str:
        """A readable identity."""
        return f"{self.dataset}/{self.split}/{self.count}/{self.backbone}" + ("/flipped" if self.flipped else "")


@dataclass(frozen=True)
class Job:
    """One piece of work and what must be done before it. `cost` is in image passes, to start long chains first."""

    work: RunSpec | Bank
    after: tuple[str, ...]
    cost: float

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
        return f"features {self.work.backbone.partition('.')[2]} · {self.work.split}{mirrored}"


def jobs(runs: list[RunSpec]) -> list[Job]:
    """The planned runs and the feature banks they read, longest remaining chain first."""
    made: dict[str, Job] = {}
    planned = {run.id for run in runs}
    for run in runs:
        banks = banks_of(run)
        for bank in banks:
            made.setdefault(bank.id, Job(bank, (), cost=float(bank.count)))
        before = [bank.id for bank in banks]
        if run.start is not None and run.start.id in planned:
            before.append(run.start.id)
        made[run.id] = Job(run, tuple(before), cost=_cost(run))
    chain: dict[str, float] = {}
    for job in reversed(made.values()):  # descendants stand behind their ancestors
        below = [chain[other.id] for other in made.values() if job.id in other.after]
        chain[job.id] = job.cost + max(below, default=0.0)
    return sorted(made.values(), key=lambda job: -chain[job.id])


def _cost(run: RunSpec) -> float:
    return float(run.test_images if run.kind == "score" else run.recipe.steps * run.recipe.batch_size)


def banks_of(run: RunSpec) -> list[Bank]:
    """The features that a run reads: its teachers' where it distils, its own backbone's where that is frozen."""
    teachers = [backbone for _, backbone in run.teachers]
    banks = []
    if run.kind == "score":
        if run.frozen and not run.is_sak:
            banks.append(Bank(run.dataset, run.test_split, run.test_images, run.backbone))
    elif run.kind == "distill":
        for teacher in teachers:
            banks.append(Bank(run.dataset, "distill", run.train_images, teacher))
            banks.append(Bank(run.dataset, run.test_split, run.test_images, teacher))
    elif run.gamma > 0:
        banks += [Bank(run.dataset, "train", run.train_images, t, flip) for t in teachers for flip in (False, True)]
    elif run.frozen and not run.is_sak:
        banks += [Bank(run.dataset, "train", run.train_images, run.backbone, flip) for flip in (False, True)]
        banks.append(Bank(run.dataset, run.test_split, run.test_images, run.backbone))
    return banks
