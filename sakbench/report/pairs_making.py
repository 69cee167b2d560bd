"""`sakbench pairs make`: a folder of counterfactual pairs, from photographs with masks or from the rendered world."""

import io
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from sakbench import whole
from sakbench.data.pairs import PairSet, compose, exact, files, manifest, objects
from sakbench.data.pairs.manifest import Bytes
from sakbench.errors import INTERRUPTED, UserError, unknown
from sakbench.plots.figures import scenes_sheet
from sakbench.report.output import console, print_json

if TYPE_CHECKING:
    from sakbench.generation.tools import Choice

SHEET = "sheet.png"
_SHOWN = 4  # pairs on the sheet, at most
_MOST_LETTERS = 150  # of a class or a prompt
_LISTED = 12  # objects in the table
_SIDE = 512  # pixels of a composite


@dataclass(frozen=True)
class Wanted:
    """What a user asks for; None, or an empty text, leaves it to the source.

    `source` is miniworld, pascal-context or a folder with images/ and masks/.
    """

    source: str
    output: Path
    old: str = "cat"
    new: str = "dog"
    count: int | None = None
    data: Path | None = None
    split: str = ""
    value: int | None = None
    background: Path | None = None
    places: tuple[str, ...] = ()
    side: int | None = None
    control: str = "edges"
    base: str = ""
    controlnet: str = ""
    detector: str = ""
    judge: str = ""
    prompt: str = ""
    seed: int | None = None
    attempts: int | None = None
    steps: int | None = None
    device: str = ""
    as_json: bool = False


def make(wanted: Wanted) -> int:
    """Make the pairs, or go on where an earlier command was stopped, and tell what came of it; the exit code.

    Raises `UserError` for what does not go together, and for data, weights or packages that are not here.
    """
    out = console(stderr=wanted.as_json)
    if wanted.old == wanted.new:
        raise UserError(f"{wanted.old} and {wanted.new} are the same class: name two with --old and --new.")
    for option, text in (("--old", wanted.old), ("--new", wanted.new), ("--prompt", wanted.prompt)):
        if len(text) > _MOST_LETTERS or not text.isprintable():
            raise UserError(f"{option} must be at most {_MOST_LETTERS} printable characters.")
    if not (wanted.old and wanted.new):
        raise UserError("--old and --new must name a class each.")
    _require_own(wanted.output)
    try:
        made = _rendered(wanted, out) if wanted.source == exact.NAME else _photographed(wanted, out)
    except KeyboardInterrupt:
        out.print("\nstopped; the objects that are drawn are kept, and the same command goes on from there.")
        return INTERRUPTED
    sheet = _sheet(wanted.output, made)
    if wanted.as_json:
        print_json(_as_json(wanted.output, made))
    else:
        _print(out, wanted.output, made, sheet)
    return 0


def _require_own(folder: Path) -> None:
    """Raise `UserError` for a folder that holds something else: nothing of a user's is written over."""
    ours = any((folder / name).exists() for name in (manifest.NAME, files.LOCK))
    if folder.is_dir() and any(folder.iterdir()) and not ours:
        raise UserError(f"{folder} holds other files: name an empty folder, or a new one, with --output.")


def _rendered(wanted: Wanted, out: Console) -> PairSet:
    others = {
        "--data": wanted.data,
        "--label": wanted.value,
        "--background": wanted.background,
        "--place": wanted.places,
        "--side": wanted.side,
        "--control": wanted.control if wanted.control != "edges" else "",
        "--base": wanted.base,
        "--controlnet": wanted.controlnet,
        "--detector": wanted.detector,
        "--judge": wanted.judge,
        "--prompt": wanted.prompt,
        "--seed": wanted.seed,
        "--attempts": wanted.attempts,
        "--steps": wanted.steps,
        "--device": wanted.device,
    }
    if given := [option for option, value in others.items() if value not in (None, "", ())]:
        raise UserError(f"{exact.NAME}'s pairs are rendered, nothing is drawn or pasted: leave {given[0]} out.")
    split, count = wanted.split or exact.SPLIT, wanted.count or exact.COUNT
    exact.require(wanted.old, wanted.new, split)
    with _Bar(out) as bar, files.alone(wanted.output):
        if (wanted.output / manifest.NAME).exists():
            there = manifest.read(wanted.output)
            if there.rendered != exact.identity(wanted.old, wanted.new, split, count):
                raise UserError(f"{wanted.output} holds other pairs: name another folder with --output.")
        return exact.make(
            wanted.output,
            wanted.old,
            wanted.new,
            split,
            count,
            name=manifest.printed(wanted.output.resolve().name),
            progress=lambda done, total: bar.show("rendering", done, total),
        )


def _photographed(wanted: Wanted, out: Console) -> PairSet:
    _require_packages()
    # here, because they import torch and take diffusers
    from sakbench.generation.make import Order, make
    from sakbench.generation.tools import Tools

    spots = tuple(compose.spot(text) for text in wanted.places) or compose.SPOTS
    if len(spots) > 255:
        raise UserError("a pair has at most 255 objects: name fewer with --place.")
    side = wanted.side or _SIDE
    if not manifest.LEAST_SIDE <= side <= manifest.MOST_SIDE:
        raise UserError(f"--side is {side}: it must be from {manifest.LEAST_SIDE} to {manifest.MOST_SIDE} pixels.")
    found, scenes = _sources(wanted)
    choice = _choice(wanted, out)

    def tools() -> Tools:
        told = f"reading the models, on {choice.device}; what is not in the Hugging Face cache is fetched"
        out.print(told, style="dim", highlight=False)
        _quiet()
        return choice.load()

    order = Order(
        name=manifest.printed(wanted.output.resolve().name),
        old=wanted.old,
        new=wanted.new,
        prompt=wanted.prompt or f"a photo of a {wanted.new}",
        spots=spots,
        count=wanted.count or 1,
        side=side,
        seed=wanted.seed or 0,
        attempts=wanted.attempts or 4,
        sampling=choice.sampling,
        made_with=choice.about(),
    )
    with _Bar(out) as bar:
        watch = _Watch(out, bar, order.wanted, choice.sampling.steps)
        made = make(order, found, scenes, tools, wanted.output, watch)
    count = sum(len(pair.objects) for pair in made.pairs)
    if count < order.wanted:
        told = f"{order.wanted} objects were asked for and {count} are there: no other could be used"
        out.print(told, style="bold", highlight=False, soft_wrap=True)
    return made


def _sources(wanted: Wanted) -> tuple[Iterator[objects.Found], Iterator[tuple[str, Bytes]]]:
    """The objects that may be changed, and the backgrounds that they may be pasted into."""
    if wanted.source == objects.PASCAL:
        if wanted.data is None:
            raise UserError(
                f"{objects.PASCAL} is read from files: name the folder that holds it with --data DIR (`sakbench data"
                " check DIR` tells what is missing there)."
            )
        if wanted.value is not None:
            raise UserError(f"{objects.PASCAL}'s classes have names: leave --label out and name one with --old.")
        split = wanted.split or "test"
        found = objects.of_pascal(wanted.data, split, wanted.old)
        own = objects.empty_scenes(wanted.data, split)
    else:
        folder = Path(wanted.source)
        if not folder.is_dir():
            raise unknown("source of pairs, nor a folder,", wanted.source, (exact.NAME, objects.PASCAL))
        if wanted.data is not None or wanted.split:
            raise UserError("a folder has images/ and masks/ alone: leave --data and --split out.")
        if wanted.background is None:
            raise UserError("objects of a folder need a picture to be pasted into: name one with --background.")
        found, own = objects.of_folder(folder, wanted.value), iter(())
    return found, own if wanted.background is None else objects.backgrounds(wanted.background)


def _choice(wanted: Wanted, out: Console) -> "Choice":
    """The models that a user has chosen; the classifier only if it is there, or named."""
    import torch

    from sakbench.generation import pinned
    from sakbench.generation.diffusion import Sampling
    from sakbench.generation.tools import Choice

    device = wanted.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device not in ("cuda", "cpu"):
        raise unknown("device", device, ("cuda", "cpu"))
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("torch sees no GPU: leave --device out, or say cpu.")
    if wanted.detector and wanted.control != "depth":
        raise UserError("--detector is the network for --control depth: edges need none.")
    judge = None if wanted.judge == "none" else pinned.chosen(wanted.judge, pinned.JUDGE, "--judge")
    if judge and not wanted.judge and not pinned.is_here(judge):
        out.print(
            f"nobody is asked whether a {escape(wanted.new)} is to be seen: the classifier {judge.name} is not on this"
            f" machine. `{judge.download}` gets it, and --judge names it.",
            style="dim",
            highlight=False,
            soft_wrap=True,
        )
        judge = None
    usual = pinned.CONTROLNETS.get(wanted.control, pinned.CONTROLNETS["edges"])
    return Choice(
        control=wanted.control,
        device=device,
        base=pinned.chosen(wanted.base, pinned.BASE, "--base"),
        controlnet=pinned.chosen(wanted.controlnet, usual, "--controlnet"),
        detector=pinned.chosen(wanted.detector, pinned.DEPTH, "--detector"),
        judge=judge,
        sampling=Sampling(steps=wanted.steps or Sampling.steps),
    )


def _quiet() -> None:
    """Have the libraries keep their bars and their notes for themselves."""
    import diffusers.utils.logging
    import transformers.utils.logging

    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.set_verbosity_error()
        library.disable_progress_bar()


def _require_packages() -> None:
    for name in ("diffusers", "transformers"):
        try:
            version(name)
        except PackageNotFoundError as error:
            raise UserError(
                f"counterfactuals of photographs are drawn with {name}, which is not installed: pip install"
                " 'sakbench[pairs]'. Rendered ones need nothing: `sakbench pairs make miniworld`."
            ) from error


class _Bar(AbstractContextManager["_Bar"]):
    """One bar with the time left, on a terminal alone."""

    def __init__(self, out: Console) -> None:
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.total:.0f}", justify="right"),
            TimeRemainingColumn(compact=True),
            TextColumn("left", style="progress.remaining"),
            console=out,
            transient=True,
            disable=not out.is_terminal,
        )
        self.task = self.progress.add_task("", total=1)

    def __enter__(self) -> "_Bar":
        self.progress.start()
        return self

    def __exit__(self, *ended: object) -> None:
        self.progress.stop()

    def show(self, what: str, done: int, total: int) -> None:
        """What is being done, and how much of it is."""
        self.progress.update(self.task, description=escape(what), completed=done, total=total)


class _Watch:
    """Follows the drawing: a bar of steps, and a line for each object."""

    def __init__(self, out: Console, bar: _Bar, wanted: int, steps: int) -> None:
        self.out, self.bar, self.wanted, self.steps, self.accepted = out, bar, wanted, steps, 0

    def drawing(self, source: str, attempt: int, step: int) -> None:
        """A step of an attempt is done."""
        what = f"drawing {source}" + (f", attempt {attempt + 1}" if attempt else "")
        self.bar.show(what, self.accepted * self.steps + step, self.wanted * self.steps)

    def ended(self, source: str, reasons: tuple[str, ...], accepted: int) -> None:
        """An object is ready, or has failed."""
        self.accepted = accepted
        told = f"rejected: {'; '.join(reasons)}" if reasons else "accepted"
        self.out.print(f"{accepted}/{self.wanted}  {escape(source)}  {escape(told)}", highlight=False, soft_wrap=True)


def _sheet(folder: Path, made: PairSet) -> Path:
    """A picture of the first pairs: before, after, and where they differ."""
    shown = manifest.pictures(folder, replace(made, pairs=made.pairs[:_SHOWN]))
    marked = shown.after.copy()
    marked[shown.masks == 0] //= 3
    figure = scenes_sheet({made.old: shown.before, made.new: shown.after, "what has changed": marked})
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=200)
    path = folder / SHEET
    try:
        whole.write_bytes(path, picture.getvalue())
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}): make room there.") from error
    return path


def _print(out: Console, folder: Path, made: PairSet, sheet: Path) -> None:
    table = Table(box=None)
    for heading in ("pair", "object", "from", "seed"):
        table.add_column(heading)
    for heading in ("mask IoU", "change inside", "change outside", f"P({made.new})"):
        table.add_column(heading, justify="right")
    listed = [(number, one) for number, pair in enumerate(made.pairs) for one in pair.objects]
    for number, one in listed[:_LISTED]:
        found = one.gates
        share = "not asked" if found.class_share is None else f"{found.class_share:.2f}"
        numbers = f"{found.mask_iou:.2f}", f"{found.change_inside:.3f}", f"{found.change_outside:.3f}", share
        table.add_row(str(number), str(one.number), escape(one.source), str(one.seed), *numbers)
    out.print(table, highlight=False)
    if len(listed) > _LISTED:
        out.print(f"and {len(listed) - _LISTED} more", style="dim", highlight=False)
    for lost in made.rejected:
        told = f"rejected: {lost.source}: {'; '.join(lost.reasons)} ({folder / lost.folder})"
        out.print(escape(told), highlight=False, soft_wrap=True)
    pairs, count = len(made), len(listed)
    told = f"{pairs} pair{'s' * (pairs > 1)} of {count} object{'s' * (count > 1)}, {made.old} to {made.new}"
    out.print(
        f"{escape(told)}, in {escape(str(folder))}; {escape(str(sheet))} shows them · `sakbench pairs probe"
        f" {escape(str(folder))}` looks at them",
        highlight=False,
        soft_wrap=True,
    )


def _as_json(folder: Path, made: PairSet) -> dict[str, Any]:
    return {"folder": str(folder), "identity": made.identity, **asdict(made)}
