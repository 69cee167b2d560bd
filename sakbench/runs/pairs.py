"""A run of kind `pairs`: what a frozen backbone, and a head on it, make of counterfactual pairs."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from sakbench import whole
from sakbench.analysis.counterfactuals import KEPT, Objects, Seen, numbers
from sakbench.analysis.norm_maps import Maps, changes, norm_maps
from sakbench.analysis.quantities import QUANTITIES
from sakbench.backbones.encoder import Encoder
from sakbench.data.miniworld.pairs import Pictures as Scenes
from sakbench.data.pairs import PairSet, exact, manifest, read
from sakbench.data.pairs.manifest import Bytes, Pictures
from sakbench.errors import UserError, unknown
from sakbench.models.interpolation import bilinear
from sakbench.models.plain import PlainStudent
from sakbench.models.processes import rank
from sakbench.runs import artifacts, encoders
from sakbench.runs.artifacts import MAPS
from sakbench.runs.place import Place
from sakbench.runs.session import Learned, Session
from sakbench.runs.spec import PAIRS, RunSpec
from sakbench.runs.students import build, classes_of, output_size
from sakbench.training.loop import Interrupted
from sakbench.training.precision import computing_in
from sakbench.training.progress import Progress
from sakbench.training.scenes import IMAGE_MEAN, IMAGE_STD, TARGET_SIZE, images_tensor

Report = Callable[[Progress], None]

_BATCH = {"mini": 40, "paper": 4}  # pictures
_LABELS = "labels before", "labels after"
_BELIEFS = "beliefs before", "beliefs after"
_RENDERED_SIDE = 128  # of scale mini's scenes: what is more than that its models have never seen


def look_at(session: Session) -> Learned:
    """A run that looks at pairs, with its backbone alone or with the student that it starts from."""
    spec, place = session.spec, session.place
    model: PlainStudent | Encoder
    if spec.start is None:
        model = encoders.load(spec.backbone, spec, place)
    else:
        student = build(spec.start, partial(encoders.load, spec=spec.start, place=place))
        assert isinstance(student, PlainStudent)
        student.load_state_dict(session.weights_of(spec.start))
        model = student
    model.eval()
    metrics, left = measure(spec, model.to(session.device), place, session.report, session.stop)
    return Learned(metrics, left=left)


def measure(
    spec: RunSpec, model: PlainStudent | Encoder, place: Place, report: Report, stop: Callable[[], bool]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Look at a run's pairs with its model, and keep the maps; the run's metrics, and the files that it leaves."""
    pairs, pictures = load(spec, place)
    classes = head_classes(pairs, spec.dataset) if spec.start else None
    with computing_in(spec.recipe.precision, "cpu" if place.on_cpu else "cuda"):
        output = output_size(spec.start) if spec.start else TARGET_SIZE
        seen = look(
            model,
            pictures,
            spec.scale,
            size=spec.size[0] if spec.size else None,
            classes=classes,
            output=output,
            report=report,
            stop=stop,
        )
    protocol = (
        f"last level, {len(pairs)} pairs {pairs.old} to {pairs.new}, {pairs.identity}; masks kept from IoU {KEPT}"
    )
    found = numbers(seen, Objects.of(pictures.masks), classes)
    metrics = [
        {
            "task": name,
            "metric": metric,
            "value": found[name],
            "unit": unit,
            "higher_is_better": better,
            "protocol": protocol,
        }
        for name, (metric, unit, better) in QUANTITIES.items()
        if name in found
    ]
    return metrics, write(place.runs / spec.id, seen) if rank() == 0 else []


def whereabouts(folder: Path | None) -> tuple[Path, str]:
    """Where pairs lie, and which they are: a user's by their content, Figure 6's own (None) by their recipe."""
    return (exact.kept(), exact.identity()) if folder is None else (folder, read(folder).identity)


def load(spec: RunSpec, place: Place) -> tuple[PairSet, Pictures]:
    """The pairs that a run is about. Raises `UserError` if they are others by now."""
    folder, identity = whereabouts(place.pairs)
    if f"{PAIRS} {identity}" not in spec.inputs:
        raise UserError(f"the pairs in {folder} are not those that the run was planned for: call the command again.")
    pairs = read(folder)
    return pairs, manifest.pictures(folder, pairs)


def head_classes(pairs: PairSet, dataset: str) -> tuple[int, int]:
    """The old and the new class by their numbers in a data set. Raises `UserError` for one that it does not have."""
    known = list(classes_of(dataset))
    for name in (pairs.old, pairs.new):
        if name not in known:
            raise unknown(
                f"class of {dataset}, whose heads are asked (--no-segmentation leaves them out),", name, known
            )
    return known.index(pairs.old), known.index(pairs.new)


@torch.inference_mode()
def look(
    model: PlainStudent | Encoder,
    pictures: Pictures,
    scale: str = "mini",
    *,
    size: int | None = None,
    classes: tuple[int, int] | None = None,
    output: tuple[int, int] = TARGET_SIZE,
    report: Report = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
) -> Seen:
    """What a frozen backbone makes of pairs, and its head for semseg, if it has one, of their old and new `classes`.

    The model is in evaluation mode; its pictures go to where it is, `size` pixels a side (its own if None). `output` is
    the size (H, W) of the maps that its heads were trained to give. Raises `UserError` for a model that gives what is
    no number, and `Interrupted` once `stop()` is true.
    """
    encoder = model.encoder if isinstance(model, PlainStudent) else model
    device = next(encoder.parameters()).device
    sent = partial(_network_pictures, size=size or encoder.image_size[0], scale=scale)
    side, count = pictures.masks.shape[1], len(pictures.masks)
    norms: tuple[list[Maps], list[Maps]] = ([], [])
    labels: tuple[list[Bytes], list[Bytes]] = ([], [])
    beliefs: tuple[list[Maps], list[Maps]] = ([], [])
    change: list[Maps] = []
    for first in range(0, count, _BATCH[scale]):
        if stop():
            raise Interrupted
        maps = []
        for images, kept, predicted, believed in zip(
            (pictures.before, pictures.after), norms, labels, beliefs, strict=True
        ):
            levels = encoder(sent(images[first : first + _BATCH[scale]]).to(device))
            maps.append(levels[-1].float().cpu().numpy())
            if not np.isfinite(maps[-1]).all():
                raise UserError(
                    f"{encoder.name or 'the model'} gives tokens that are no finite numbers: nothing is kept."
                )
            kept.append(norm_maps(maps[-1]))
            if isinstance(model, PlainStudent) and classes is not None:
                logits = bilinear(model.predict(levels, output)["semseg"].float(), (side, side))
                predicted.append(logits.argmax(1).to(torch.uint8).cpu().numpy())
                believed.append(logits[:, list(classes)].softmax(1)[:, 1].half().cpu().numpy())
        change.append(changes(*maps))
        report(Progress(min(first + _BATCH[scale], count), count))
    grid = norms[0][0].shape[1:]
    height, width = (
        side * cells * encoder.patch_size / size for cells, size in zip(grid, encoder.image_size, strict=True)
    )
    return Seen(
        np.concatenate(norms[0]),
        np.concatenate(norms[1]),
        np.concatenate(change),
        (height, width),
        (np.concatenate(labels[0]), np.concatenate(labels[1])) if labels[0] else None,
        (np.concatenate(beliefs[0]), np.concatenate(beliefs[1])) if beliefs[0] else None,
    )


def _network_pictures(images: Bytes, *, size: int, scale: str) -> Tensor:
    """Pictures uint8 (n, s, s, 3) as a scale's models see its own: float32 (n, 3, size, size), normalised."""
    if scale == "mini":
        if images.shape[1] != _RENDERED_SIDE:
            small = (_RENDERED_SIDE, _RENDERED_SIDE)
            images = np.stack([np.asarray(Image.fromarray(one).resize(small, Image.Resampling.BOX)) for one in images])
        return images_tensor(Scenes(images), np.arange(len(images)), size)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    if pixels.shape[-1] != size:
        pixels = F.interpolate(pixels, size=size, mode="bicubic", antialias=True).clamp(0, 255)
    return (pixels / 255 - IMAGE_MEAN) / IMAGE_STD


def write(here: Path, seen: Seen) -> list[dict[str, Any]]:
    """Write what was seen into a run's folder; what the files are. Raises `UserError` if that cannot be done."""
    tensors = {"before": seen.before, "after": seen.after, "change": seen.change}
    kept = {name: torch.from_numpy(values.astype(np.float32)) for name, values in tensors.items()}
    for names, asked in ((_LABELS, seen.labels), (_BELIEFS, seen.beliefs)):
        kept |= {name: torch.from_numpy(np.asarray(part)) for name, part in zip(names, asked or (), strict=False)}
    draft = whole.draft_of(here / MAPS)
    try:
        here.mkdir(parents=True, exist_ok=True)
        whole.clear(here)
        save_file(kept, draft, metadata={"extent": " ".join(map(str, seen.extent))})
        whole.sync(draft)
        (here / artifacts.NAME).unlink(missing_ok=True)  # it tells of the file before
        draft.replace(here / MAPS)
        return artifacts.write(here, [MAPS])
    except (OSError, SafetensorError) as error:
        raise UserError(f"the maps could not be written to {here} ({error}): make room there.") from error
    finally:
        draft.unlink(missing_ok=True)


def seen_by(here: Path) -> Seen:
    """What a run of pairs has left in its folder. Raises `UserError` for maps that are gone or altered."""
    if not (here / MAPS).exists():
        raise UserError(
            f"{here / MAPS} is not there: `sakbench run figure6`, or `sakbench pairs probe`, looks at the pairs and"
            " leaves it."
        )
    problems = artifacts.problems(here)
    remedy = f"delete {here}, and `sakbench pairs probe` looks once more"
    if problems:
        raise UserError(f"{next(iter(problems.values())).removesuffix('.')}: {remedy}.")
    try:
        with safe_open(here / MAPS, "numpy") as file:
            maps = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
            height, width = map(float, file.metadata()["extent"].split())
        labels, beliefs = (
            (maps[names[0]], maps[names[1]]) if names[0] in maps else None for names in (_LABELS, _BELIEFS)
        )
        return Seen(maps["before"], maps["after"], maps["change"], (height, width), labels, beliefs)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{here / MAPS} cannot be read ({error}): {remedy}.") from error
