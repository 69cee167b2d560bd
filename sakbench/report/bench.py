"""`sakbench bench`: images a second, memory, share of the hardware's peak; beside a plain formulation, a bare ViT."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.status import Status
from rich.table import Table

from sakbench.bench.cases import ABOUT, BARE, BATCHES, CASES, OURS, PLAIN
from sakbench.bench.data import loading
from sakbench.bench.measure import Measured, measure
from sakbench.bench.setting import Setting
from sakbench.errors import UserError, unknown
from sakbench.experiments.tables import TRIO
from sakbench.report.output import console, print_json
from sakbench.runs.devices import cores, keep_freed_memory
from sakbench.runs.scales import Scale, with_choices
from sakbench.runs.scales import get as get_scale
from sakbench.training.recipe import Precision

_GRID = 16  # pixels of a patch of the students
# Images of a step on one GPU in the paper, and what suits a pass without gradients.
_IMAGES = {"stage1": 16, "stage2": 2, "student": 2, "probe": 2, "inference": 8, "evaluation": 8, "data": 8}


@dataclass(frozen=True)
class Wanted:
    """What to measure. Empty lists stand for the paper's: its batch on one GPU, its size, three teachers, all tasks.

    `precision` and `device` are chosen for the machine where they are empty.
    """

    what: Sequence[str] = ()
    scale: str = "mini"
    model: str = ""
    images: Sequence[int] = ()
    sizes: Sequence[tuple[int, int]] = ()
    teachers: Sequence[int] = ()
    tasks: Sequence[int] = ()
    precision: Precision | None = None
    device: str = ""
    rounds: int = 5
    random_weights: bool = False
    as_json: bool = False


def bench(wanted: Wanted) -> int:
    """Measure and print; returns the exit code. Raises `UserError` for what cannot be measured."""
    names = list(wanted.what or ABOUT)
    for name in names:
        if name not in ABOUT:
            raise unknown("thing to measure", name, ABOUT)
    device = _device(wanted.device)
    precision: Precision = wanted.precision or ("bf16" if device == "cuda" else "fp32")
    scale = with_choices(_scale(wanted), precision=precision)
    if scale.name == "mini" and device == "cpu":  # as its runs do
        torch.set_num_threads(1)
        keep_freed_memory()
    out = console(stderr=wanted.as_json)
    where = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    out.print(f"[bold]speed[/bold]  ·  scale {scale.name} · {precision} · {where} · torch {torch.__version__}")
    out.print(
        f"{wanted.rounds} rounds in turn; ratios are of rounds, median (least to most)\n", style="dim", highlight=False
    )
    found = []
    for name in names:
        lines = list(_data(wanted, scale, out) if name == "data" else _case(name, wanted, scale, device, out))
        if not wanted.as_json:
            out.print(_table(name, lines))
        found += lines
    if wanted.as_json:
        print_json({"device": where, "torch": torch.__version__, "precision": precision, "measured": found})
    return 0


def _device(asked: str) -> str:
    if asked not in ("", "cpu", "cuda"):
        raise unknown("device", asked, ("cpu", "cuda"))
    if asked == "cuda" and not torch.cuda.is_available():
        raise UserError("torch sees no GPU: run this where there is one, or leave --device out.")
    return asked or ("cuda" if torch.cuda.is_available() else "cpu")


def _scale(wanted: Wanted) -> Scale:
    scale = get_scale(wanted.scale)
    if scale.name == "mini" and (wanted.model or wanted.sizes):
        raise UserError("scale mini has models of one size for images of one size: leave --model and --size out.")
    if wanted.model:
        if wanted.model not in scale.sizes:
            raise unknown("size of model", wanted.model, scale.sizes)
        size = scale.sizes[wanted.model]
        scale = replace(scale, vit=size.vit, teachers=size.teachers or scale.teachers)
    for height, width in wanted.sizes:
        if height % _GRID or width % _GRID:
            raise UserError(f"images of {height}x{width} have no whole number of patches: name a multiple of {_GRID}.")
    for count, most, what in ((wanted.teachers, len(TRIO), "teachers"), (wanted.tasks, len(scale.tasks), "tasks")):
        if any(not 1 <= number <= most for number in count):
            raise UserError(f"there are 1 to {most} {what}, not {', '.join(map(str, count))}.")
    return scale


def _settings(name: str, wanted: Wanted, scale: Scale, device: str) -> Iterator[Setting]:
    images = wanted.images or ([_IMAGES[name]] if scale.name == "paper" else [_recipe_images(name, scale)])
    native = (scale.distill_size if name == "stage1" else scale.size) or (64, 64)
    for count, size, teachers, tasks in product(
        images,
        wanted.sizes or [native],
        wanted.teachers or [len(TRIO)],
        wanted.tasks or [len(scale.tasks)],
    ):
        yield Setting(scale, count, size, TRIO[:teachers], scale.tasks[:tasks], device, wanted.random_weights)


def _recipe_images(name: str, scale: Scale) -> int:
    return scale.distill.batch_size if name == "stage1" else scale.tune.batch_size


def _case(name: str, wanted: Wanted, scale: Scale, device: str, out: Console) -> Iterator[dict[str, Any]]:
    for setting in _settings(name, wanted, scale, device):
        with out.status(f"{name}, {setting.images} images") as status:

            def told(said: str, status: Status = status) -> None:
                status.update(f"{name} · {said}")

            try:
                measured = list(measure(CASES[name], setting, wanted.rounds, told, BATCHES.get(name, 1)))
            except RuntimeError as error:
                if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in str(error):
                    raise
                raise UserError(
                    f"the memory is too small for {name} with {setting.images} images: name fewer with --images."
                ) from error
        for one in measured:
            yield _line(name, setting, one, measured)


def _line(name: str, setting: Setting, one: Measured, all_of_them: Sequence[Measured]) -> dict[str, Any]:
    by_name = {other.subject: other for other in all_of_them}
    against = {} if one.subject != OURS else {PLAIN: "times_plain", BARE: "times_bare"}
    ratios = {
        key: _spread([ours / theirs for ours, theirs in zip(one.rates, by_name[subject].rates, strict=True)])
        for subject, key in against.items()
        if subject in by_name
    }
    return {
        "what": name,
        "images": setting.images,
        "size": "x".join(map(str, setting.size)),
        "teachers": len(setting.teachers),
        "tasks": len(setting.tasks),
        **{key: value for key, value in asdict(one).items() if key != "rates"},
        "images_per_second": _spread(one.rates),
        **ratios,
    }


def _data(wanted: Wanted, scale: Scale, out: Console) -> Iterator[dict[str, Any]]:
    workers = max(1, cores() - 1)
    for images, size in product(wanted.images or [_IMAGES["data"]], wanted.sizes or [scale.size or (512, 512)]):
        for count in (workers, 0):
            subject = f"{count} worker{'s' * (count > 1)}" if count else "training process itself"
            with out.status(f"data · {subject}"):
                rates = loading(images, size, scale.tasks, count, wanted.rounds)
            yield {
                "what": "data",
                "images": images,
                "size": "x".join(map(str, size)),
                "subject": subject,
                "images_per_second": _spread(rates),
            }


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"min": min(values), "median": median(values), "max": max(values)}


def _table(name: str, lines: Sequence[dict[str, Any]]) -> Table:
    table = Table(title=f"{name} · {ABOUT[name]}", title_justify="left", title_style="bold", box=None)
    columns = ["images", "size", "teachers", "tasks", "", "images/s", "times plain", "times bare ViT"]
    columns += ["memory MiB", "GMAC/image", "of peak", "operators"]
    for column in columns if name != "data" else ["images", "size", "", "images/s"]:
        table.add_column(column, justify="left" if column in ("", "size") else "right", no_wrap=True)
    for line in lines:
        cells = [str(line[key]) for key in ("images", "size", "teachers", "tasks") if key in line]
        cells += [line["subject"], _told(line["images_per_second"])]
        if name != "data":
            cells += [_told(line[key]) if key in line else "" for key in ("times_plain", "times_bare")]
            cells += [f"{line['memory'] / 2**20:,.0f}", f"{line['macs'] / 1e9:.3g}", f"{line['share']:.0%}"]
            cells.append("" if line["operators"] is None else f"{line['operators']:,}")
        table.add_row(*cells, style="bold" if line["subject"] == OURS else None)
    return table


def _told(spread: dict[str, float]) -> str:
    return f"{spread['median']:.3g} ({spread['min']:.3g}–{spread['max']:.3g})"
