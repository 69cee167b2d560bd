"""`sakbench.probe`: the bias profile of a model that lives in this process, beside those that the package knows."""

import copy
import hashlib
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from sakbench import backbones
from sakbench.backbones import registry
from sakbench.backbones.encoder import Encoder
from sakbench.backbones.maps import FeatureMaps, Maps
from sakbench.errors import UserError, unknown
from sakbench.experiments import tables
from sakbench.experiments.rows import Experiment, Row
from sakbench.experiments.rows import probe as probe_row
from sakbench.experiments.run import select
from sakbench.report.running import Request, carry_out, scale_of
from sakbench.report.summary import PROFILE, summarize
from sakbench.runs.scales import Scale
from sakbench.store import published
from sakbench.store.location import DEFAULT

BESIDE = ("ViT", "DINOv2", "CLIP", "SAM")
_SIDE = 64  # pixels of mini's images
_PREFIX = "own/"


def probe(
    model: str | nn.Module | Maps,
    name: str = "model",
    *,
    beside: Sequence[str] = BESIDE,
    seeds: int = 1,
    image_size: int | None = None,
    scale: str = "mini",
    data: str | Path | None = None,
    store: str | Path = DEFAULT,
    runs: str | Path | None = None,
    quiet: bool = False,
) -> pd.DataFrame:
    """The bias profile of a frozen `model`: heads are trained on its maps, and the numbers stand beside others'.

    `model` is a name of the zoo or of timm; any module with timm's `forward_intermediates`; or a callable that takes
    images float32 (B, 3, H, W), normalised by ImageNet's mean and std, and gives one map (B, d, h, w) or at least four,
    shallow to deep. A module is copied, to the CPU and to float32; any other callable is not, and must take images
    there. `image_size` is what it sees (by default its own size, 64 for a callable). `beside` are the paper's names,
    the ViT first since profiles are relative to it; rows that the store has already are not trained again. A model of
    the zoo stands beside those of `BESIDE` at its own size. At scale paper `data` is the folder of the data sets.

    Returns a frame with a row per model ("MODEL Freeze") and a column per task, μ, σ and μ/σ over seeds.
    Raises UserError for models that give no maps, or other ones for the same images, and for what `sakbench run`
    refuses.
    """
    if isinstance(seeds, bool) or not isinstance(seeds, Integral) or seeds < 1:
        raise UserError(f"seeds must be a whole number from 1 on, not {seeds!r}.")
    known = scale_of(scale, data=Path(data) if data else None)
    if isinstance(model, str):
        if (name, tuple(beside), image_size) != ("model", BESIDE, None):
            raise UserError(
                "a model of the zoo has its own name, size and neighbours: leave name, beside, image_size out."
            )
        experiment = tables.probe_of(model)
    else:
        experiment = _experiment(model, name, _neighbours(beside, known), known, image_size)
    request = Request(
        str(store),
        f"sakbench.probe(model, {name!r})",
        runs=Path(runs) if runs else None,
        data=Path(data) if data else None,
        seeds=seeds,
        executor="local" if isinstance(model, str) else "here",
        as_json=True,  # progress goes to stderr
    )
    wanted = select(experiment, known, range(seeds))
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 (a device)
        out, err = (nowhere, nowhere) if quiet else (sys.stdout, sys.stderr)
        with redirect_stdout(out), redirect_stderr(err):
            kept = carry_out(experiment, known, request, wanted)
    assert kept is not None
    summary = summarize(experiment, kept.frame(), published.frame(), known)
    tasks = [task for task in known.tasks if task in summary.metrics]
    rows = {
        line.row: {task: line.measured[task].mean for task in tasks if task in line.measured}
        | {PROFILE[key]: measure.mean for key, measure in line.profile.items()}
        for line in summary.lines
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=[*tasks, *PROFILE.values()])


def _neighbours(beside: Sequence[str], scale: Scale) -> tuple[str, ...]:
    names = (beside,) if isinstance(beside, str) else tuple(beside)
    for one in names:
        if one not in scale.encoders:
            raise unknown("model to stand beside", one, scale.encoders)
    if names[:1] != ("ViT",) or len(set(names)) < len(names):
        raise UserError("beside must name the ViT first, to which profiles are relative, and no model twice.")
    return names


def _experiment(model: Any, name: str, beside: tuple[str, ...], scale: Scale, image_size: int | None) -> Experiment:
    entry = register(model, name, image_size)

    def build(of: Scale, seed: int) -> list[Row]:
        rows = [
            Row(f"{one} Freeze", (probe_row(of, seed, of.encoder(one)),), ("table12", f"{one} Freeze"))
            for one in beside
        ]
        own = probe_row(of, seed, entry.name)
        size = (entry.image_size, entry.image_size)
        return [*rows, Row(f"{name} Freeze", (replace(own, size=size if of.size is None else own.size),))]

    build(scale, 0)
    return Experiment(f"probe:{entry.name}", f"Bias profile of {name}", build, baseline="", profile=True, own=True)


def register(model: nn.Module | Maps, name: str, image_size: int | None = None) -> backbones.BackboneInfo:
    """A backbone `own/NAME` of this process, known by what it makes of fixed images: see `probe`."""
    if not isinstance(name, str) or not name:
        raise UserError(f"a model needs a name in words, not {name!r}.")
    if isinstance(model, type) or not callable(model):
        raise UserError(f"{name} is no model: give a module or a callable that takes images.")
    if image_size is not None and (not isinstance(image_size, int) or image_size < 1):
        raise UserError(f"image_size must be a number of pixels, not {image_size!r}.")
    side = image_size or _own_size(model)
    build: Callable[[tuple[int, int], bool], Any]
    if isinstance(model, nn.Module):
        own = copy.deepcopy(model).cpu().float().eval()

        def build(size: tuple[int, int], pretrained: bool) -> Any:
            mine = copy.deepcopy(own)
            return mine if hasattr(mine, "forward_intermediates") else FeatureMaps(mine, _images(size))

    else:

        def build(size: tuple[int, int], pretrained: bool) -> Any:
            return FeatureMaps(model, _images(size))

    encoder, levels = _tried(build, name, side)
    entry = registry.BackboneInfo(
        name=f"{_PREFIX}{name}",
        dims=encoder.dims,
        depth=encoder.depth,
        heads=0,
        strides=encoder.strides,
        prefix_tokens=encoder.prefix_tokens,
        image_size=side,
        parameters=sum(parameter.numel() for parameter in encoder.parameters()),
        objective="not stated",
        data="not stated",
        data_size="not stated",
        licence="not stated",
        version=_digest(levels),
    )
    return backbones.register(entry, build)


def _tried(build: Callable[[tuple[int, int], bool], Any], name: str, side: int) -> tuple[Encoder, list[Tensor]]:
    """The model as an encoder, and what it makes of fixed images.

    Raises UserError for one that fails on them, gives no numbers, or gives other ones the second time.
    """
    try:
        with torch.inference_mode():
            encoder = Encoder(build((side, side), True), image_size=(side, side)).eval()
            levels, again = encoder(_images((side, side))), encoder(_images((side, side)))
            alone = encoder(_images((side, side))[:1])
    except UserError:
        raise
    except Exception as error:  # another's code raises all there is
        raise UserError(
            f"{name} cannot see images float32 (2, 3, {side}, {side}) on the CPU ({type(error).__name__}: {error})."
        ) from error
    for level, other, one in zip(levels, again, alone, strict=True):
        if not level.is_floating_point() or not level.shape[1] or not bool(level.isfinite().all()):
            raise UserError(f"{name} gives maps of {level.dtype} {tuple(level.shape)} that are no finite numbers.")
        if level.shape != other.shape or not torch.allclose(level, other):
            raise UserError(f"{name} gives other maps for the same images: a frozen model must not change.")
        if level.shape[1:] != one.shape[1:]:
            raise UserError(f"{name} gives maps of another shape for one image than for two.")
    return encoder, levels


def _own_size(model: Any) -> int:
    size = getattr(getattr(model, "patch_embed", None), "img_size", None) or _SIDE
    return int(size if isinstance(size, int) else size[0])


def _images(size: tuple[int, int]) -> Tensor:
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))


def _digest(levels: Sequence[Tensor]) -> str:
    content = hashlib.sha256()
    for level in levels:
        content.update(level.float().cpu().numpy().tobytes())
    return content.hexdigest()[:12]
