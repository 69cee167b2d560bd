"""`sakbench.probe`: the bias profile of a model that lives in this process, beside those that the package knows."""

import copy
import hashlib
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from sakbench import backbones
from sakbench.backbones import registry
from sakbench.backbones.encoder import Encoder
from sakbench.backbones.maps import FeatureMaps, Maps
from sakbench.errors import UserError
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
    shallow to deep. A module is copied, a callable is not. `image_size` is what it sees (by default its own size, 64
    for a callable). `beside` are the paper's names, the ViT first since profiles are relative to it; rows that the
    store has already are not trained again. At scale paper `data` is the folder of the data sets.

    Returns a frame with a row per model ("MODEL Freeze") and a column per task, μ, σ and μ/σ over seeds.
    Raises UserError for models that give no maps, and for what `sakbench run` refuses.
    """
    known = scale_of(scale, data=Path(data) if data else None)
    experiment = _experiment(model, name, tuple(beside), known, image_size)
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


def _experiment(model: Any, name: str, beside: tuple[str, ...], scale: Scale, image_size: int | None) -> Experiment:
    if isinstance(model, str):
        return tables.probe_of(model)
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
    if not callable(model):
        raise UserError(f"{name} is no model: give a module or a callable that takes images.")
    whole = isinstance(model, nn.Module) and hasattr(model, "forward_intermediates")
    side = image_size or _own_size(model)
    build: Callable[[tuple[int, int], bool], Any]
    if whole:

        def build(size: tuple[int, int], pretrained: bool) -> Any:
            return copy.deepcopy(model)

    else:

        def build(size: tuple[int, int], pretrained: bool) -> Any:
            return FeatureMaps(model, _images(size))

    encoder = Encoder(build((side, side), True), image_size=(side, side)).eval()
    with torch.inference_mode():
        levels = encoder(_images((side, side)))
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
