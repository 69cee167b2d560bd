"""`pretrain`: train the mini teachers and the small ViT on rendered scenes, measure them, ship weights and cards."""

import hashlib
import json
import os
import platform
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from sakbench import __version__
from sakbench.backbones import info
from sakbench.backbones.cards import WEIGHTS
from sakbench.data.miniworld import CLASSES, VERSION, VOCABULARY, Split, load_split, split_seed
from sakbench.errors import UserError, unknown
from sakbench.training import checkpoint
from sakbench.training.loop import Progress, fit
from sakbench.training.order import rows_of_step
from sakbench.training.pretrain import gates
from sakbench.training.pretrain.contrastive import ImageText
from sakbench.training.pretrain.promptable import Promptable
from sakbench.training.pretrain.self_distillation import Crops, MomentumContrast, SelfDistillation
from sakbench.training.pretrain.supervised import Classification
from sakbench.training.pretrain.vit import build
from sakbench.training.recipe import Recipe

SCENES = 22_400
_QUERIES, _BANK = 400, 2000  # the last scenes of the split are held out: first the queries, then the bank
_SAM_QUERIES = 200

Scenes = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Phase:
    """One objective of a pretraining: built from the phase before it (None at first), and how it is optimised."""

    objective: str
    build: Callable[[Scenes, nn.Module | None], nn.Module]
    recipe: Recipe
    fields: tuple[str, ...]
    scenes: int | None = None  # how many scenes it may see; all but the held-out ones if None


@dataclass(frozen=True)
class Pretraining:
    """How one backbone comes about: its phases, and what it must have learned (figure: the least allowed)."""

    paradigm: str
    phases: tuple[Phase, ...]
    encoder: Callable[[nn.Module], VisionTransformer]
    measure: Callable[[nn.Module, Scenes], dict[str, float]]
    gates: Mapping[str, float]


@dataclass(frozen=True)
class State:
    """What `progress` is told: which backbone learns by which objective, how far it is, and how to measure it now."""

    name: str
    objective: str
    progress: Progress
    measure: Callable[[], dict[str, float]]


def pretrain(
    names: Iterable[str] = (),
    out_dir: Path = WEIGHTS,
    *,
    seed: int = 0,
    scenes: int = SCENES,
    checkpoints: Path | None = None,
    cache: Path | None = None,
    progress: Callable[[State], None] | None = None,
    rendering: Callable[[int, int], None] | None = None,
) -> dict[str, dict[str, Any]]:
    """Pretrain the named backbones (all if none is named); returns their cards, which lie beside the weights.

    Figures below a gate do not stop it: the card tells `passed: false`. With `checkpoints` an interrupted call goes
    on where it was. Raises `UserError` for an unknown name.
    """
    chosen = chosen_names(names)
    split = load_split("pretrain", "pascal", scenes, cache=cache, progress=rendering)
    return {name: _pretrain(name, split, out_dir, seed, checkpoints, progress) for name in chosen}


def chosen_names(names: Iterable[str]) -> tuple[str, ...]:
    """The names, or all if there is none. Raises `UserError` for an unknown one."""
    chosen = tuple(names) or tuple(PRETRAININGS)
    for name in chosen:
        if name not in PRETRAININGS:
            raise unknown("backbone to pretrain", name, PRETRAININGS)
    return chosen


def _pretrain(
    name: str,
    split: Split,
    out_dir: Path,
    seed: int,
    checkpoints: Path | None,
    progress: Callable[[State], None] | None,
) -> dict[str, Any]:
    plan = PRETRAININGS[name]
    arrays: dict[str, NDArray[Any]] = {
        "images": split.images,
        "captions": split.captions,
        "dominant": split.dominant,
        **split.labels,
    }
    seen = len(split) - _QUERIES - _BANK
    held_out = {key: array[seen:] for key, array in arrays.items()}
    objective: nn.Module | None = None
    phases = []
    for number, phase in enumerate(plan.phases):
        torch.manual_seed(seed)
        count = min(phase.scenes or seen, seen)
        objective = phase.build(arrays, objective)
        model, said = objective, phase.objective

        def report(now: Progress, model: nn.Module = model, said: str = said) -> None:
            if progress:
                progress(State(name, said, now, lambda: plan.measure(model, held_out)))

        seconds = fit(
            objective,
            batches(arrays, phase.fields, count, phase.recipe.batch_size, seed),
            phase.recipe,
            seed=seed,
            checkpoints=checkpoints / f"{name}-{number}-{_digest(plan.phases[: number + 1], split, seed)}"
            if checkpoints
            else None,
            report=report,
        )
        phases.append(
            {
                "objective": phase.objective,
                "recipe": asdict(phase.recipe),
                "scenes": count,
                "images_seen": phase.recipe.steps * phase.recipe.batch_size,
                "seconds": round(seconds),
            }
        )
    assert objective is not None
    figures = plan.measure(objective, held_out)
    encoder = plan.encoder(objective)
    card = {
        "architecture": {k: getattr(info(name), k) for k in ("image_size", "patch_size", "dim", "depth", "heads")},
        "paradigm": plan.paradigm,
        "phases": phases,
        "seed": seed,
        "data": {
            "name": "miniworld",
            "version": VERSION,
            "kind": split.kind,
            "split": split.name,
            "seed": split_seed(split.name),
            "scenes": len(split),
            "held_out": _QUERIES + _BANK,
            "checksum": split.checksum,
        },
        "figures": {key: round(value, 4) for key, value in figures.items()},
        "gates": dict(plan.gates),
        "passed": all(figures[key] >= least for key, least in plan.gates.items()),
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "versions": {"sakbench": __version__, **{p: version(p) for p in ("torch", "timm", "numpy")}},
        "licence": info(name).licence,
    }
    return ship(out_dir, name, encoder, card)


def _digest(phases: tuple[Phase, ...], split: Split, seed: int) -> str:
    """What the last phase's checkpoint belongs to: other recipes, objectives, data or seeds do not go on from it."""
    settings = ([(phase.objective, asdict(phase.recipe), phase.scenes) for phase in phases], split.checksum, seed)
    return hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:8]


def batches(
    arrays: Scenes, fields: tuple[str, ...], count: int, size: int, seed: int
) -> Callable[[int], Generator[dict[str, Tensor]]]:
    """Batches of the first `count` scenes, shuffled anew in each epoch; batch `step` depends on seed and step alone."""

    def stream(start: int) -> Generator[dict[str, Tensor]]:
        step = start
        while True:
            rows = rows_of_step(count, size, seed, step)
            yield {field: _tensor(arrays[field][rows], field) for field in fields}
            step += 1

    return stream


def ship(out_dir: Path, name: str, vit: VisionTransformer, card: dict[str, Any]) -> dict[str, Any]:
    """Write `name`.safetensors (without the final norm, which no level of a backbone passes) and its card."""
    drafts = [out_dir / f".{name}-{os.getpid()}{suffix}" for suffix in (".safetensors", ".json")]
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        checkpoint.write_tensors(drafts[0], {k: v for k, v in vit.state_dict().items() if not k.startswith("norm.")})
        card = {"name": name, "sha256": checkpoint.sha256(drafts[0]), **card}
        drafts[1].write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
        for draft in drafts:
            draft.replace(out_dir / f"{name}{draft.suffix}")
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"the weights of {name} could not be written to {out_dir} ({error}): make room there."
        ) from error
    return card


def _tensor(rows: NDArray[Any], field: str) -> Tensor:
    tensor = torch.from_numpy(rows)
    return tensor.long() if field in ("dominant", "captions") else tensor


def mirror() -> Tensor:
    """Which word of the vocabulary each word becomes in the caption of the mirrored image."""
    swapped = [word.replace("left", "*").replace("right", "left").replace("*", "right") for word in VOCABULARY]
    return torch.tensor([VOCABULARY.index(word) for word in swapped])


def _frozen(vit: VisionTransformer, scenes: Scenes) -> dict[str, float]:
    """Figures that every encoder has: neighbours of the whole image, and classes of its patches."""
    ask, bank = slice(0, _QUERIES), slice(_QUERIES, _QUERIES + _BANK)
    images, dominant, semseg = scenes["images"], scenes["dominant"], scenes["semseg"]
    return {
        "knn": gates.nearest_neighbours(vit, images[bank], dominant[bank], images[ask], dominant[ask]),
        "patch_miou": gates.patch_miou(vit, images[bank], semseg[bank], images[ask], semseg[ask], classes=len(CLASSES)),
    }


def _measure_supervised(model: Any, scenes: Scenes) -> dict[str, float]:
    accuracy = gates.accuracy(model, scenes["images"][:_QUERIES], scenes["dominant"][:_QUERIES])
    return {"accuracy": accuracy, **_frozen(model.encoder, scenes)}


def _measure_self_distilled(model: Any, scenes: Scenes) -> dict[str, float]:
    return _frozen(model.teacher.encoder, scenes)


def _measure_contrastive(model: Any, scenes: Scenes) -> dict[str, float]:
    pairs = scenes["images"][:_QUERIES], scenes["captions"][:_QUERIES]
    recall = {f"recall_at_{k}": gates.retrieval(model, *pairs, top=k) for k in (1, 5)}
    return {**recall, **_frozen(model.encoder, scenes)}


def _measure_promptable(model: Any, scenes: Scenes) -> dict[str, float]:
    overlap = gates.mask_iou(model, *(scenes[key][:_SAM_QUERIES] for key in ("images", "instance", "part")))
    return {**{f"{level}_iou": value for level, value in overlap.items()}, **_frozen(model.encoder, scenes)}


def _student(model: Any) -> VisionTransformer:
    encoder: VisionTransformer = model.encoder
    return encoder


def _teacher(model: Any) -> VisionTransformer:
    encoder: VisionTransformer = model.teacher.encoder
    return encoder


def _contrast(scenes: Scenes, before: nn.Module | None) -> nn.Module:
    return MomentumContrast(build("mini_vit_b.dinov2", depth=4), steps=_CONTRAST.steps)


def _distillation(scenes: Scenes, before: nn.Module | None) -> nn.Module:
    assert isinstance(before, MomentumContrast)
    first = {key: torch.from_numpy(np.array(scenes[key][: _DISTILLATION.batch_size])) for key in ("images", "instance")}
    return SelfDistillation(before, first, steps=_DISTILLATION.steps, crops=Crops(global_size=64))


def _go_on(scenes: Scenes, before: nn.Module | None) -> nn.Module:
    assert before is not None
    return before


# Settled on short trials of each objective; batch sizes and rates are for one CPU thread and under an hour each.
_SUPERVISED = Recipe(steps=700, batch_size=64, lr=1e-3, warmup=40, clip=3.0)
_CONTRAST = Recipe(steps=2400, batch_size=32, lr=1.5e-3, warmup=60, min_lr=1e-4, clip=3.0)
_DISTILLATION = Recipe(steps=500, batch_size=32, lr=5e-4, warmup=50, clip=3.0)
_IMAGE_TEXT = Recipe(steps=1050, batch_size=128, lr=1e-3, warmup=100, clip=3.0)
_IMAGE_TEXT_MASKED = 920
_PROMPTABLE = Recipe(steps=2600, batch_size=16, lr=1e-3, warmup=80, clip=3.0)
_PROMPTABLE_AGAIN = Recipe(steps=3000, batch_size=16, lr=1e-3, warmup=80, clip=3.0)

PRETRAININGS: dict[str, Pretraining] = {
    "mini_vit_s.supervised": Pretraining(
        "supervised classification (ImageNet's ViT)",
        (
            Phase(
                "cross-entropy of the main object's class, from the class token",
                lambda scenes, before: Classification(build("mini_vit_s.supervised"), len(CLASSES)),
                _SUPERVISED,
                ("images", "dominant"),
                scenes=8000,
            ),
        ),
        _student,
        _measure_supervised,
        {"accuracy": 0.3},
    ),
    "mini_vit_b.clip": Pretraining(
        "image-text contrast (CLIP)",
        (
            Phase(
                "symmetric contrast of class token and caption; half of the patches dropped in all but the last steps",
                lambda scenes, before: ImageText(
                    build("mini_vit_b.clip"),
                    len(VOCABULARY),
                    scenes["captions"].shape[1],
                    mirror(),
                    masked_steps=_IMAGE_TEXT_MASKED,
                ),
                _IMAGE_TEXT,
                ("images", "captions"),
            ),
        ),
        _student,
        _measure_contrastive,
        {"recall_at_1": 0.2},
    ),
    "mini_vit_b.dinov2": Pretraining(
        "self-distillation with masked patches (DINOv2)",
        (
            Phase(
                "4 blocks, views of one thing before different surroundings: contrast with a queue of others, and of"
                " masked patches with the other view (dense MoCo v3)",
                _contrast,
                _CONTRAST,
                ("images", "instance"),
            ),
            Phase(
                "8 blocks, the same views: DINO (images), iBOT (masked patches), KoLeo; Sinkhorn prototypes,"
                " moving-average teacher",
                _distillation,
                _DISTILLATION,
                ("images", "instance"),
            ),
        ),
        _teacher,
        _measure_self_distilled,
        {"knn": 0.45},
    ),
    "mini_samvit_b.sam": Pretraining(
        "promptable masks (SAM)",
        (
            Phase(
                "binary cross-entropy and Dice of object and part masks, from points and boxes",
                lambda scenes, before: Promptable(build("mini_samvit_b.sam")),
                _PROMPTABLE,
                ("images", "instance", "part"),
            ),
            Phase("the same, from a second warm start", _go_on, _PROMPTABLE_AGAIN, ("images", "instance", "part")),
        ),
        _student,
        _measure_promptable,
        {"object_iou": 0.48, "part_iou": 0.40},
    ),
}
