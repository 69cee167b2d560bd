"""From photographs with masks to a set of pairs: generate, test, paste, write down. What is done is not done again."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from sakbench import whole
from sakbench.data.pairs import files, gates, manifest
from sakbench.data.pairs.compose import Composite, Crop, Spot, compose, crop, square
from sakbench.data.pairs.manifest import Bytes, Gates, PairSet, PastedObject, Rejected
from sakbench.data.pairs.objects import LEAST_SIDE, Found
from sakbench.errors import UserError
from sakbench.generation.diffusion import Sampling
from sakbench.generation.tools import Tools

_PER_WANTED = 4  # candidates that are tried for each object that is wanted, at most
_RECORD = "object.json"


@dataclass(frozen=True)
class Order:
    """What is to be made: `count` pairs of pictures of `side` pixels, an object at each of the `spots`.

    Each object has up to `attempts` draws, whose seeds count on from `seed`, until one passes the gates. `made_with`
    tells models, versions and settings of the drawing: with others, no object would be the same.
    """

    name: str
    old: str
    new: str
    prompt: str
    spots: tuple[Spot, ...]
    count: int
    side: int
    seed: int
    attempts: int
    sampling: Sampling
    made_with: dict[str, str]

    @property
    def about(self) -> dict[str, str]:
        """All that the set depends on beside the photographs."""
        places = " ".join(f"{at.side:g}@{at.x:g},{at.y:g}" for at in self.spots)
        seeds = f"{self.seed} and on, {self.attempts} for an object"
        return {**self.made_with, "prompt": self.prompt, "seeds": seeds, "places": places, "pairs": str(self.count)}

    @property
    def wanted(self) -> int:
        """How many objects it takes."""
        return self.count * len(self.spots)


class Watch(Protocol):
    """Who follows the work."""

    def drawing(self, source: str, attempt: int, step: int) -> None:
        """A step of an attempt is done."""

    def ended(self, source: str, reasons: tuple[str, ...], accepted: int) -> None:
        """An object is ready, or has failed for these reasons; so many are accepted by now."""


@dataclass(frozen=True, eq=False)
class Made:
    """An object with its counterfactual, uint8 (s, s, 3), their mask bool (s, s), and what was measured."""

    original: Bytes
    counterfactual: Bytes
    mask: np.ndarray
    source: str
    sha256: str
    seed: int
    gates: Gates


def make(
    order: Order,
    objects: Iterator[Found],
    backgrounds: Iterator[tuple[str, Bytes]],
    tools: Callable[[], Tools],
    folder: Path,
    watch: Watch,
) -> PairSet:
    """Make a set of pairs in a folder. What is there already, of the same order, is kept, or mended if it is damaged.

    `tools` are asked for when the first object is to be drawn. Where there are fewer objects than are wanted, the last
    pair has fewer; where there are fewer backgrounds than pairs, they come again. Raises `UserError` for a folder that
    holds something else, or that another process is at, and where no object passes; what was drawn is kept.
    """
    with files.alone(folder):
        former = _former(folder, order)
        scenes = [(name, square(picture, order.side)) for name, picture in islice(backgrounds, order.count)]
        if not scenes:  # known before drawing, which takes long
            raise UserError("there is no background to paste into: name one with --background.")
        accepted, rejected = _objects(order, objects, tools, folder, watch)
        each = len(order.spots)
        parts = [accepted[first : first + each] for first in range(0, len(accepted), each)]
        pasted = [_paste(number, part, order, scenes[number % len(scenes)]) for number, part in enumerate(parts)]
        if former is not None and [p.sha256 for p in former.pairs] != [files.sums(p.pictures) for p in pasted]:
            raise UserError(f"{folder} holds pairs of other photographs: name another folder with --output.")
        pairs = tuple(
            files.write_pair(folder, number, one.pictures, one.background, one.objects)
            for number, one in enumerate(pasted)
        )
        made = PairSet(order.name, order.old, order.new, order.side, order.about, pairs, tuple(rejected))
        with _writing(folder):
            manifest.write(folder, made)
        return made


def _objects(
    order: Order, objects: Iterator[Found], tools: Callable[[], Tools], folder: Path, watch: Watch
) -> tuple[list[Made], list[Rejected]]:
    """The objects that pass, as many as are wanted, and those that do not; drawn now or before."""
    accepted: list[Made] = []
    rejected: list[Rejected] = []
    at_hand = cache(tools)
    for number, found in enumerate(islice(objects, _PER_WANTED * order.wanted)):
        here = folder / manifest.OBJECTS / f"{number:03}"
        made = _kept(here, found, order) or _draw(here, found, number, order, at_hand(), watch)
        reasons = gates.failures(made.gates)
        if reasons:
            rejected.append(Rejected(found.source, reasons, f"{manifest.OBJECTS}/{here.name}"))
        else:
            accepted.append(made)
        watch.ended(found.source, reasons, len(accepted))
        if len(accepted) == order.wanted:
            break
    if not accepted:
        raise _nothing(order, rejected, folder)
    return accepted, rejected


@dataclass(frozen=True, eq=False)
class _Pasted:
    """A pair before it is written."""

    pictures: files.Trio
    background: str
    objects: tuple[PastedObject, ...]


def _paste(number: int, part: list[Made], order: Order, scene: tuple[str, Bytes]) -> _Pasted:
    name, background = scene
    try:
        composite: Composite = compose(
            background,
            [(made.original, made.counterfactual, made.mask) for made in part],
            order.spots[: len(part)],
        )
    except ValueError as error:
        raise UserError(f"pair {number} cannot be composed: {error} Choose other places with --place.") from error
    pasted = tuple(
        PastedObject(place, box, made.source, made.sha256, order.prompt, made.seed, made.gates)
        for place, (box, made) in enumerate(zip(composite.boxes, part, strict=True), start=1)
    )
    return _Pasted((composite.before, composite.after, composite.mask), name, pasted)


def _draw(here: Path, found: Found, number: int, order: Order, tools: Tools, watch: Watch) -> Made:
    """Draw an object until it passes, and keep the draw that fails in least."""
    original = crop(found.image, found.mask, tools.painter.side)
    control = tools.control(original.picture, original.mask)
    best: Made | None = None
    for attempt in range(order.attempts):
        seed = order.seed + number * order.attempts + attempt
        step = partial(watch.drawing, found.source, attempt)
        drawn, flagged = tools.painter(
            original.picture, original.mask, control, order.prompt, seed, order.sampling, step
        )
        share = tools.judge(drawn, order.old, order.new) if tools.judge and not flagged else None
        measured = gates.measure(original.picture, drawn, original.mask, class_share=share, flagged=flagged)
        made = Made(original.picture, drawn, original.mask, found.source, found.sha256, seed, measured)
        if best is None or len(gates.failures(measured)) < len(gates.failures(best.gates)):
            best = made
        if not gates.failures(measured):
            break
    assert best is not None
    _keep(here, best, original, control, found, order)
    return best


def _keep(here: Path, made: Made, original: Crop, control: Bytes, found: Found, order: Order) -> None:
    draft = whole.draft_of(here)
    record = {
        "recipe": _recipe(found, order),
        "about": _settings(order),
        "source": made.source,
        "sha256": made.sha256,
        "crop": original.where,
        "prompt": order.prompt,
        "seed": made.seed,
        "gates": asdict(made.gates),
    }
    pictures = {"original": made.original, "control": control, "counterfactual": made.counterfactual}
    pictures["mask"] = (255 * made.mask).astype(np.uint8)
    try:
        with _writing(here.parent):
            whole.clear(here.parent)
            draft.mkdir(parents=True)
            sums = {name: files.write_png(draft / f"{name}.png", picture) for name, picture in pictures.items()}
            (draft / _RECORD).write_text(whole.sealed({**record, "sums": sums}), encoding="utf-8")
            whole.settle(draft, here)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _kept(here: Path, found: Found, order: Order) -> Made | None:
    """An object that was drawn before; None if there is none that is whole.

    Raises `UserError` for one that another order has made.
    """
    try:
        record: dict[str, Any] = whole.unsealed((here / _RECORD).read_text(encoding="utf-8"))
        if any(whole.sha256(here / f"{name}.png") != sum_ for name, sum_ in record["sums"].items()):
            return None
        original, counterfactual, mask = (
            np.asarray(Image.open(here / f"{name}.png")) for name in ("original", "counterfactual", "mask")
        )
    except (OSError, ValueError):
        return None
    if record["recipe"] != _recipe(found, order):
        raise UserError(
            f"{here} was drawn {_otherwise(record['about'], _settings(order))}: name another --output, or delete it."
        )
    measured = Gates(**record["gates"])
    return Made(original, counterfactual, mask > 0, record["source"], record["sha256"], record["seed"], measured)


def _settings(order: Order) -> dict[str, str]:
    """All that an object depends on beside the photograph."""
    drawing = {"seed": str(order.seed), "attempts": str(order.attempts), "prompt": order.prompt}
    return {**order.made_with, "classes": f"{order.old} to {order.new}", **drawing}


def _recipe(found: Found, order: Order) -> str:
    """A hash of all that an object's pictures depend on."""
    outline = hashlib.sha256(np.packbits(found.mask).tobytes()).hexdigest()
    return hashlib.sha256(json.dumps([found.sha256, outline, _settings(order)], sort_keys=True).encode()).hexdigest()


def _otherwise(before: dict[str, str], now: dict[str, str]) -> str:
    """In what two makings differ."""
    for name in [*now, *before]:
        if before.get(name) != now.get(name):
            return f"with another {name} ({before.get(name, 'none')}, now {now.get(name, 'none')})"
    return "from another photograph"


def _former(folder: Path, order: Order) -> PairSet | None:
    """The set that is there already. Raises `UserError` if it is not the one that is ordered."""
    if not (folder / manifest.NAME).exists():
        return None
    there = manifest.read(folder)
    before, now = (
        {**one.made_with, "classes": f"{one.old} to {one.new}", "side": str(one.side)}
        for one in (there, replace(there, made_with=order.about, old=order.old, new=order.new, side=order.side))
    )
    if before != now:
        raise UserError(f"{folder} holds pairs made {_otherwise(before, now)}: name another folder with --output.")
    return there


def _nothing(order: Order, rejected: list[Rejected], folder: Path) -> UserError:
    if not rejected:
        return UserError(
            f"there is no {order.old} to be changed: objects must be whole within their image, {LEAST_SIDE} pixels or"
            " larger, and a hundredth of it."
        )
    first = rejected[0]
    return UserError(
        f"none of {len(rejected)} objects became a {order.new}; of {first.source}: {'; '.join(first.reasons)}. Their"
        f" pictures are in {folder / manifest.OBJECTS}."
    )


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written to ({error.strerror}): make room there, or name another folder with --output."
        ) from error
