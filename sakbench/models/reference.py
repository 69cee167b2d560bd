"""The authors' released checkpoints: their names for our parameters, both ways.

Theirs keep each teacher's adapter and each task's router apart, ours stack them. A file tells depth, width, patch size,
teachers and tasks; their experts are the stem, then the teachers in the order of `TEACHERS`.
"""

import pickle
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sakbench.backbones.encoder import LEVELS, Encoder, resize_position_embedding
from sakbench.errors import UserError
from sakbench.models.decoders import Heads
from sakbench.models.hub import ImageSize, plain_transformer
from sakbench.models.sak import SAK
from sakbench.tasks.names import NAMES

TEACHERS = {"dinov2": "DINOv2", "clip": "CLIP", "sam": "SAM"}
TASKS = {
    "semseg": "semseg",
    "human_parts": "parsing",
    "sal": "saliency",
    "normals": "normals",
    "edge": "boundary",
    "depth": "depth",
}
HEAD_WIDTH = 64  # of the attention of every ViT of the paper
# A transformer's own last norm and classifier, which SAK's stem has not; some files still hold them.
IGNORED = re.compile(r"vit\.(norm|fc_norm|head)\.")

_ADAPTER = {
    "down_weight": "down.weight",
    "down_bias": "down.bias",
    "up_weight": "up.weight",
    "up_bias": "up.bias",
    "scale": "scale",
}
_TRANSPOSED = ("down_weight", "up_weight")  # ours are (teachers, in, out)
_ROUTER = {"hidden": "0", "norm": "1", "gate": "3"}
_HEAD = {"conv": "linear_fuse.0", "norm": "linear_fuse.1", "classifier": "last_conv"}


@dataclass(frozen=True)
class Loaded:
    """A checkpoint as a student, and what became of its keys (without the prefixes `module.` and `backbone.`).

    `missing` parameters are as freshly initialised; `ignored` ones are a ViT's last norm and classifier. `progress`
    is the epoch and iteration that the file names, if it does.
    """

    model: SAK
    used: tuple[str, ...]
    unused: tuple[str, ...]
    missing: tuple[str, ...]
    ignored: tuple[str, ...]
    progress: dict[str, int]


def load(
    source: str | Path | Mapping[str, Any],
    image_size: ImageSize | None = None,
    num_heads: int | None = None,
    *,
    grid: tuple[int, int] | None = None,
) -> SAK:
    """The student of a released checkpoint, with its heads if it is of stage 2, in evaluation mode.

    `source` is a file (.pth, .safetensors), what such a file holds, or a state dict. The position embedding is resized
    where `image_size`, (H, W) or a side, is not what it was trained with. Said by the caller where the file cannot
    tell: `num_heads` of the attention if its heads are not 64 wide, and the token `grid` (rows, columns) of a map
    that is not square, unless `image_size` gives just that many tokens.

    Raises UserError for a file that cannot be read, that is no SAK checkpoint, or has keys unused or missing.
    """
    loaded = read(source, image_size, num_heads, grid=grid)
    for what, keys in (("lacks", loaded.missing), ("has, beside what SAK needs,", loaded.unused)):
        if keys:
            more = f" and {len(keys) - 5} others" if len(keys) > 5 else ""
            raise UserError(f"{_named(source)} is not a whole SAK checkpoint: it {what} {', '.join(keys[:5])}{more}.")
    return loaded.model


def read(
    source: str | Path | Mapping[str, Any],
    image_size: ImageSize | None = None,
    num_heads: int | None = None,
    *,
    grid: tuple[int, int] | None = None,
) -> Loaded:
    """As `load`, but with a report of the keys instead of an error where some are unused or missing."""
    content = _content(source) if isinstance(source, str | Path) else dict(source)
    try:
        state = _unprefixed(content)
        ordered = not (isinstance(source, str | Path) and Path(source).suffix == ".safetensors")
        with torch.random.fork_rng(devices=[]):
            model = _build(state, image_size, num_heads, grid, ordered=ordered)
        return _fill(model, state, content)
    except _Misfit as error:
        raise UserError(f"{_named(source)} {error}") from error


def state_dict(model: SAK) -> dict[str, Tensor]:
    """A student's parameters under the authors' names, for their code. Experts are put into their order.

    Raises UserError for a student that their format has no names for.
    """
    if model.paths is None or not isinstance(model.heads, Heads):
        raise UserError("the authors' format is for students with adapter paths and simple heads.")
    ours = dict(model.state_dict())
    teachers = list(model.teachers)
    order = [teachers.index(teacher) for teacher in _in_their_order(teachers)]
    rows = torch.tensor([0, *(index + 1 for index in order)])
    rows = torch.cat([rows, rows + len(rows)])  # gates, then their noise
    state = {}
    for name, theirs in _counterparts(model).items():
        tensor = ours[name]
        if name.startswith("routers.") and ".gate_" in name:
            tensor = tensor[:, rows.to(tensor.device)]
        slices = tensor if name.startswith(("paths.", "routers.")) else [tensor]
        for key, value in zip(theirs, slices, strict=True):
            if name.startswith("paths."):
                value = value.T if name.endswith(_TRANSPOSED) else value.flatten()
            prefix = "" if key.startswith("heads.") else "backbone."
            state[prefix + key] = value.detach().clone(memory_format=torch.contiguous_format)
    return state


class _Misfit(Exception):
    """What is wrong with a checkpoint; its file is named by whoever knows it."""


def _named(source: str | Path | Mapping[str, Any]) -> str:
    return str(source) if isinstance(source, str | Path) else "the state dict"


def _content(path: str | Path) -> dict[str, Any]:
    """What a file holds; nothing in it is executed."""
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except FileNotFoundError as error:
        raise UserError(f"there is no checkpoint {path}.") from error
    except (pickle.UnpicklingError, AttributeError, TypeError) as error:
        raise UserError(
            f"{path} is no checkpoint that can be read safely: it is damaged, or holds more than tensors and numbers."
        ) from error
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, IndexError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read as a checkpoint ({_first_line(error)}): is the file whole?") from error
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds a {type(content).__name__}, not a checkpoint's dict.")
    return dict(content)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _unprefixed(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors by name, without wrapper and prefixes."""
    inner = content.get("model", content)
    if not isinstance(inner, Mapping):
        raise _Misfit(f"holds a {type(inner).__name__} as its model, not a state dict.")
    state: dict[str, Tensor] = {}
    for key, value in inner.items():
        if not isinstance(value, Tensor):
            raise _Misfit(f"is not a SAK checkpoint: its {key!r} is no tensor.")
        name = str(key).removeprefix("module.").removeprefix("backbone.")
        if name in state:
            raise _Misfit(f"holds {name} twice, under different prefixes.")
        state[name] = value
    return state


def _build(
    state: dict[str, Tensor],
    image_size: ImageSize | None,
    num_heads: int | None,
    grid: tuple[int, int] | None,
    *,
    ordered: bool,
) -> SAK:
    """A fresh student of the architecture that the names and shapes tell; fits the position embedding to it."""
    patches = state.get("vit.patch_embed.proj.weight")
    positions = state.get("vit.pos_embed")
    mlp = state.get("vit.blocks.0.mlp.fc1.weight")
    if patches is None or positions is None or mlp is None or patches.dim() != 4 or positions.dim() != 3:
        raise _Misfit(f"is not a SAK checkpoint: it has no vision transformer, but {_some(state)}.")
    dim, patch_size = patches.shape[0], patches.shape[-1]
    prefix = 1 if "vit.cls_token" in state else 0
    stored = _stored_grid(positions.shape[1] - prefix, image_size, patch_size, grid)
    stem = Encoder(
        plain_transformer(
            image_size or (stored[0] * patch_size, stored[1] * patch_size),
            patch_size=patch_size,
            embed_dim=dim,
            depth=1 + max(_numbers(state, r"vit\.blocks\.(\d+)\.")),
            num_heads=_num_heads(dim, num_heads),
            mlp_ratio=mlp.shape[0] / dim,
            class_token=bool(prefix),
        )
    )
    state["vit.pos_embed"] = resize_position_embedding(positions.float(), stored, stem.grid, prefix)
    teachers = _teachers(state, dim)
    routers = any(key.startswith("mor.") for key in state)
    if routers and not ordered and len(set(teachers) - set(TEACHERS.values())) > 1:
        raise _Misfit(
            "does not keep the order of its teachers, which its routers rely on: load the .pth file, "
            "or a state dict in the order of the experts."
        )
    return SAK(stem, teachers, _tasks(state), routers=routers or not _tasks(state))


def _some(state: Mapping[str, Tensor]) -> str:
    return ", ".join(list(state)[:3]) or "nothing at all"


def _numbers(state: Mapping[str, Tensor], pattern: str) -> list[int]:
    return [int(match[1]) for key in state if (match := re.match(pattern, key))]


def _num_heads(dim: int, num_heads: int | None) -> int:
    if num_heads is None and dim % HEAD_WIDTH:
        raise _Misfit(f"has width {dim}, no multiple of {HEAD_WIDTH}: say how many attention heads it has (num_heads).")
    heads = num_heads or dim // HEAD_WIDTH
    if heads < 1 or dim % heads:
        raise _Misfit(f"has width {dim}, which {heads} attention heads do not divide.")
    return heads


def _stored_grid(
    tokens: int, image_size: ImageSize | None, patch_size: int, grid: tuple[int, int] | None
) -> tuple[int, int]:
    """The token grid that the file was trained with."""
    if grid is not None:
        if grid[0] * grid[1] != tokens:
            raise _Misfit(f"has {tokens} patch tokens, not {grid[0]}x{grid[1]}.")
        return grid
    side = isqrt(tokens)
    if side * side == tokens:
        return side, side
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size or (0, 0)
    asked = (height // patch_size, width // patch_size)
    if asked[0] * asked[1] != tokens:
        raise _Misfit(
            f"has {tokens} patch tokens, which form no square: say the image size that it was trained with "
            "(NYUD-v2: 448x576), or its token grid."
        )
    return asked


def _teachers(state: Mapping[str, Tensor], dim: int) -> dict[str, int]:
    """Each teacher's width, in the order of the experts; a teacher without aligners is as wide as the student."""
    names = dict.fromkeys(match[1] for key in state if (match := re.match(r"tsap\.(.+)\.\d+\.", key)))
    if not names:
        raise _Misfit(f"is not a SAK checkpoint: it has no adapter paths (tsap), but {_some(state)}.")
    widths = {}
    for key, tensor in state.items():
        if match := re.fullmatch(r"ts_aligners\.\d+_(.+)\.weight", key):
            widths[match[1]] = tensor.shape[0]
    ours = _in_their_order([TEACHERS.get(name, name) for name in names])
    return {teacher: widths.get(their_name(TEACHERS, teacher), dim) for teacher in ours}


def _in_their_order(teachers: Sequence[str]) -> list[str]:
    """The known teachers first, as the authors' experts stand; the others after them, as they come."""
    known = list(TEACHERS.values())
    return sorted(teachers, key=lambda teacher: known.index(teacher) if teacher in known else len(known))


def _tasks(state: Mapping[str, Tensor]) -> dict[str, int]:
    """Each task's channels, in our order."""
    found = {}
    for key, tensor in state.items():
        if match := re.fullmatch(r"heads\.(.+)\.last_conv\.weight", key):
            found[TASKS.get(match[1], match[1])] = tensor.shape[0]
    return dict(sorted(found.items(), key=lambda item: NAMES.index(item[0]) if item[0] in NAMES else len(NAMES)))


def their_name(names: Mapping[str, str], ours: str) -> str:
    """The authors' name of a teacher or task of `names` (theirs to ours); any other keeps its own."""
    return next((theirs for theirs, own in names.items() if own == ours), ours)


def _counterparts(model: SAK) -> dict[str, list[str]]:
    """For each of our parameters their names, one per slice of a stack, without the prefix `backbone.`."""
    assert model.paths is not None
    teachers = [their_name(TEACHERS, teacher) for teacher in model.teachers]
    tasks = {task: their_name(TASKS, task) for task in model.tasks}
    names = {f"stem.vit.{name}": [f"vit.{name}"] for name in model.stem.vit.state_dict()}
    for layer in range(model.stem.depth + 1):
        for ours, theirs in _ADAPTER.items():
            names[f"paths.adapters.{layer}.{ours}"] = [f"tsap.{teacher}.{layer}.{theirs}" for teacher in teachers]
    for index, level in enumerate(model.stem.levels):
        block = level - 1
        for kind in ("weight", "bias"):
            names[f"paths.norms.{index}.{kind}"] = [f"out_norms.{block}_{teacher}.{kind}" for teacher in teachers]
            for ours, theirs in _ROUTER.items() if model.routers is not None else ():
                names[f"routers.{index}.{ours}_{kind}"] = [
                    f"mor.{block}_{task}.router.module.{theirs}.{kind}" for task in tasks.values()
                ]
            for place, (teacher, width) in enumerate(model.teachers.items()):
                if width != model.stem.dim:
                    key = f"ts_aligners.{block}_{their_name(TEACHERS, teacher)}.{kind}"
                    names[f"aligners.{place}.levels.{index}.{kind}"] = [key]
    for task, theirs_task in tasks.items():
        for index in range(LEVELS):
            for kind in ("weight", "bias"):
                key = f"linears.{index}.{kind}"
                names[f"heads.{task}.{key}"] = [f"heads.{theirs_task}.{key}"]
        for name in model.heads.get_submodule(task).state_dict():
            part, _, kind = name.partition(".")
            if part in _HEAD:
                names[f"heads.{task}.{name}"] = [f"heads.{theirs_task}.{_HEAD[part]}.{kind}"]
    return names


def _fill(model: SAK, state: Mapping[str, Tensor], content: Mapping[str, Any]) -> Loaded:
    """Put the tensors into the model and account for every key."""
    ours, counterparts = model.state_dict(), _counterparts(model)
    filled, missing = {}, []
    for name, theirs in counterparts.items():
        absent = [key for key in theirs if key not in state]
        if absent:
            missing += [key for key in absent if not key.endswith("num_batches_tracked")]  # only training counts
            continue
        due = ours[name].shape[1:] if name.startswith(("paths.", "routers.")) else ours[name].shape
        transposed = name.endswith(_TRANSPOSED)
        filled[name] = torch.stack([_slice(state[key], due, key, transposed=transposed) for key in theirs])
        filled[name] = filled[name].reshape(ours[name].shape)
    model.load_state_dict(filled, strict=False)
    known = {key for theirs in counterparts.values() for key in theirs}
    rest = [key for key in state if key not in known]
    return Loaded(
        model.eval(),
        used=tuple(key for key in state if key in known),
        unused=tuple(key for key in rest if not IGNORED.match(key)),
        missing=tuple(missing),
        ignored=tuple(key for key in rest if IGNORED.match(key)),
        progress={name: content[name] for name in ("epoch", "iter") if isinstance(content.get(name), int)},
    )


def _slice(tensor: Tensor, due: Sequence[int], key: str, *, transposed: bool) -> Tensor:
    """Their tensor as one slice of ours, whose shape it must have but for lengths of 1."""
    wanted = [length for length in (reversed(due) if transposed else due) if length > 1]
    if [length for length in tensor.shape if length > 1] != wanted:
        raise _Misfit(f"is inconsistent: its {key} has the shape {tuple(tensor.shape)}.")
    return tensor.squeeze().T if transposed and len(wanted) > 1 else tensor
