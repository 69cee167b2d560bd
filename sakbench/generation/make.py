"""From photographs with masks to a set of pairs: generate, test, paste, write down. What is done is not done again."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from filelock import FileLock, Timeout
from PIL import Image

from sakbench import whole
from sakbench.data.pairs import files, gates, manifest
from sakbench.data.pairs.compose import Composite, Crop, Spot, compose, crop, square
from sakbench.data.pairs.manifest import Bytes, Gates, Pair, PairSet, PastedObject, Rejected
from sakbench.data.pairs.objects import Found
from sakbench.errors import UserError
from sakbench.generation.control import Control
from sakbench.generation.diffusion import Painter, Sampling
from sakbench.generation.judge import Judge

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


@dataclass(frozen=True)
class Tools:
    """What makes a counterfactual, and who judges it, if anyone is there."""

    painter: Painter
    control: Control
    judge: Judge | None


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
    """Make a set of pairs in a folder; one that is there already, of the same order, is read.

    `tools` are asked for when the first object is to be drawn. Where there are fewer objects than are wanted, the last
    pair has fewer; where there are fewer backgrounds than pairs, they come again. Raises `UserError` for a folder that
    holds something else, or that another process is at, and where no object passes; what was drawn is kept.
    """
    with _alone(folder):
        done = _former(folder, order)
        if done is not None:
            return done
        scenes = list(islice(backgrounds, order.count))  # first: drawing takes long
        if not scenes:
            raise UserError("there is no background to paste into: name one with --background.")
        accepted: list[Made] = []
        rejected: list[Rejected] = []
        known: list[Tools] = []

        def at_hand() -> Tools:
            known.extend([tools()] if not known else [])
            return known[0]

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
        each = len(order.spots)
        parts = [accepted[first : first + each] for first in range(0, len(accepted), each)]
        pairs = tuple(
            _paste(folder, number, part, order, scenes[number % len(scenes)]) for number, part in enumerate(parts)
        )
        made_set = PairSet(order.name, order.old, order.new, order.side, order.about, pairs, tuple(rejected))
        with _writing(folder):
            manifest.write(folder, made_set)
        return made_set


def _paste(folder: Path, number: int, part: list[Made], order: Order, scene: tuple[str, Bytes]) -> Pair:
    name, background = scene
    try:
        composite: Composite = compose(
            square(background, order.side),
            [(made.original, made.counterfactual, made.mask) for made in part],
            order.spots[: len(part)],
        )
    except ValueError as error:
        raise UserError(f"pair {number} cannot be composed: {error} Choose other places with --place.") from error
    pasted = tuple(
        PastedObject(place, box, made.source, made.sha256, order.prompt, made.seed, made.gates)
        for place, (box, made) in enumerate(zip(composite.boxes, part, strict=True), start=1)
    )
    return files.write_pair(folder, number, (composite.before, composite.after, composite.mask), name, pasted)


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
        "source": made.source,
        "sha256": made.sha256,
        "crop": original.where,
        "prompt": order.prompt,
        "seed": made.seed,
        "gates": asdict(made.gates),
    }
    with _writing(here.parent):
        whole.clear(here.parent)
        draft.mkdir(parents=True)
        pictures = {"original": made.original, "control": control, "counterfactual": made.counterfactual}
        sums = {name: files.write_png(draft / f"{name}.png", picture) for name, picture in pictures.items()}
        sums["mask"] = files.write_png(draft / "mask.png", (255 * made.mask).astype(np.uint8))
        (draft / _RECORD).write_text(whole.sealed({**record, "sums": sums}), encoding="utf-8")
        whole.settle(draft, here)


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
            f"{here} was drawn with other settings, versions or photographs: name another --output, or delete it."
        )
    measured = Gates(**record["gates"])
    return Made(original, counterfactual, mask > 0, record["source"], record["sha256"], record["seed"], measured)


def _recipe(found: Found, order: Order) -> str:
    """A hash of all that an object's pictures depend on."""
    outline = hashlib.sha256(np.packbits(found.mask).tobytes()).hexdigest()
    depends = [found.sha256, outline, order.old, order.new, order.prompt, order.seed, order.attempts, order.made_with]
    return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()


def _former(folder: Path, order: Order) -> PairSet | None:
    """The set that is there already, if it is the one that was ordered."""
    if not (folder / manifest.NAME).exists():
        return None
    there = manifest.read(folder)
    same = (there.old, there.new, there.side, there.made_with) == (order.old, order.new, order.side, order.about)
    if same:
        return there
    raise UserError(f"{folder} holds other pairs ({there.old} to {there.new}): name another folder with --output.")


def _nothing(order: Order, rejected: list[Rejected], folder: Path) -> UserError:
    if not rejected:
        return UserError(
            f"there is no {order.old} to be changed: objects must be whole within their image and 96 pixels or larger."
        )
    first = rejected[0]
    return UserError(
        f"none of {len(rejected)} objects became a {order.new}; of {first.source}: {'; '.join(first.reasons)}. Their"
        f" pictures are in {folder / manifest.OBJECTS}."
    )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    lock = FileLock(folder / ".lock")
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise UserError(
                f"another process makes pairs in {folder}: wait for it, or name another --output."
            ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written to ({error.strerror}): make room there, or name another folder with --output."
        ) from error
