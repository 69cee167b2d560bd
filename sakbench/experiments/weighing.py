"""What the models of the paper's tables weigh, built at full size without weights."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from sakbench import backbones
from sakbench.accounting.counting import Macs, count
from sakbench.backbones.radio import Radio
from sakbench.data.catalogue import CATALOGUE
from sakbench.experiments.rows import multi_task, sak, single_task, stage1
from sakbench.experiments.tables import EXPERIMENTS, TRIO
from sakbench.models.mlore import NYUD_LARGE, MLoRE
from sakbench.models.parameters import parameter_count
from sakbench.models.plain import PlainStudent
from sakbench.runs.costs import weightless, weightless_encoder
from sakbench.runs.scales import PAPER, Scale, get
from sakbench.runs.spec import RunSpec

Size = tuple[int, int]
Printed = pd.DataFrame  # the lines of one published table


@dataclass(frozen=True)
class Weight:
    """Of a model, or of several together: parameters, and the MACs of one image where they are printed."""

    parameters: int
    macs: Macs | None = None


def macs(model: nn.Module, run: Callable[[], Any]) -> Macs:
    """See `count`; what is made on the way lies on the meta device too.

    RADIO's printed MACs are without its patch embedding: its code has a layer of its own kind for it.
    """
    unseen = [part.patch_embed for part in model.modules() if isinstance(part, Radio)]
    with torch.device("meta"):
        return count(model, run, unseen=unseen)


def image(size: Size | None) -> Tensor:
    """One image (1, 3, H, W), on the meta device."""
    assert size is not None
    return torch.empty(1, 3, *size, device="meta")


def _parameters(runs: Iterable[RunSpec]) -> int:
    """What the paper prints for some runs together: the parameters that a frozen one trains, all of the others."""
    return sum(parameter_count(weightless(_as_counted(run)), trainable=run.frozen) for run in runs)


def _as_counted(run: RunSpec) -> RunSpec:
    """Theia's code keeps the position embedding of its own size as a parameter and interpolates it as it runs."""
    return replace(run, size=None) if run.backbone.startswith("theia_") else run


def _comparison(printed: Printed) -> dict[str, Weight]:
    """Tables 5, 6, 13 to 16: all parameters of each method, with encoders of the table's size."""
    size = printed.loc[printed["row"] == "SAK", "backbone"].iloc[0]
    titles = {dataset.title: dataset.name for dataset in CATALOGUE.values()}
    scale = _sized(get("paper", titles[printed["dataset"].iloc[0]]), size)
    runs = {
        "Single-task baseline": [single_task(scale, 0, task) for task in scale.tasks],
        "Multi-task baseline": [multi_task(scale, 0)],
        "SAK": [sak(scale, 0, TRIO)],
        **{name: [multi_task(scale, 0, backbone)] for name, backbone in scale.rivals.items()},
    }
    return {name: Weight(_parameters(of_row)) for name, of_row in runs.items()} | {"MLoRE": _mlore(scale, size)}


def _sized(scale: Scale, size: str) -> Scale:
    """The scale with models of that size; where there are no teachers of it, with those of ViT-B."""
    of_size = scale.sizes[size]
    return replace(scale, vit=of_size.vit, teachers=of_size.teachers or scale.teachers, rivals=of_size.rivals)


def _mlore(scale: Scale, size: str) -> Weight:
    """The ViT with the decoder that MLoRE's authors configure for it and the data set."""
    run = multi_task(scale, 0, decoder="mlore")
    student = weightless(run)
    if (scale.dataset, size) == ("nyud-v2", "ViT-L"):
        with torch.device("meta"):
            assert isinstance(student, PlainStudent)
            student.heads = MLoRE(backbones.info(run.backbone).dims, student.tasks, NYUD_LARGE)
    return Weight(parameter_count(student))


def _freezing(printed: Printed) -> dict[str, Weight]:
    """Table 12: the parameters that each row trains."""
    weights = {name: Weight(_parameters(runs)) for name, runs in _experiment("table12").items()}
    return {row: weights[row.removesuffix(" (repeated)")] for row in printed["row"].unique()}


def _upper_bounds(printed: Printed) -> dict[str, Weight]:
    """Table 19: the upper bounds and SAK, on PASCAL-Context's images."""
    weights = {}
    for name, (run,) in _experiment("table19").items():
        model = weightless(run)
        weights[name] = Weight(parameter_count(model), macs(model, partial(model, image(run.size))))
    return weights


def _experiment(table: str) -> dict[str, tuple[RunSpec, ...]]:
    """The runs of that table's own rows, by the rows' published names."""
    rows = EXPERIMENTS[table].build(PAPER, 0)
    return {row.published[1]: row.runs for row in rows if row.published and row.published[0] == table}


def _training(printed: Printed) -> dict[str, Weight]:
    """Table 21: teachers and students of RADIO and of SAK, each on images of its own size."""
    scale = _sized(PAPER, "ViT-L")
    names = {
        "DFN CLIP-H/14": "vit_huge_patch14_clip_378.dfn5b",
        "SigLIP-SO400M/14": "vit_so400m_patch14_siglip_384.webli",
        "DINOv2-g/14": "vit_giant_patch14_dinov2.lvd142m",
        "SAM-H/16": "samvit_huge_patch16.sa1b",
        "RADIOv2.5-L/16": scale.rivals["RADIO"],
        "DINOv2-L/14": scale.teachers["DINOv2"],
        "OpenCLIP-L/14": scale.teachers["CLIP"],
        "SAM-L/16": scale.teachers["SAM"],
    }
    sizes = printed[printed["task"] == "input_size"]
    sides = {row: int(side) for row, side in zip(sizes["row"], sizes["value"], strict=True)}
    weights = {row: _encoder(name, (sides[row], sides[row])) for row, name in names.items()}
    run = stage1(scale, 0, TRIO)
    student = weightless(run)
    weights["SAK-L/16"] = Weight(parameter_count(student), macs(student, partial(student.represent, image(run.size))))
    for method in ("RADIO", "SAK"):
        members = printed.loc[(printed["group"] == method) & printed["row"].isin(weights), "row"].unique()
        weights[f"Sum over all teachers and student, {method}"] = _sum([weights[row] for row in members])
    return weights


def _encoder(name: str, size: Size) -> Weight:
    encoder = weightless_encoder(name, size)
    return Weight(parameter_count(encoder), macs(encoder, partial(encoder, image(size))))


def _sum(parts: Sequence[Weight]) -> Weight:
    counted = [part.macs for part in parts if part.macs]
    total = Macs(*(sum(getattr(one, kind) for one in counted) for kind in ("paper", "full", "executed")))
    return Weight(sum(part.parameters for part in parts), total)


def _inference(printed: Printed) -> dict[str, Weight]:
    """Table 22: encoder, adapter paths and routers, without heads, on PASCAL-Context's images."""
    weights = {}
    for size in ("ViT-B", "ViT-L"):
        run = sak(_sized(PAPER, size), 0, TRIO)
        student = weightless(run)
        student.heads = _NoHeads()
        stages: list[tuple[str, tuple[str, ...], Callable[[Tensor], Any]]] = [
            (f"{size}/16", ("stem",), student.get_submodule("stem")),
            (f"{size}/16 +TSAP (3 branches)", ("stem", "paths"), student.represent),
            (f"{size}/16 +MoR (5 tasks)", ("stem", "paths", "routers"), student),
        ]
        for name, parts, forward in stages:
            parameters = sum(parameter_count(student.get_submodule(part)) for part in parts)
            weights[name] = Weight(parameters, macs(student, partial(forward, image(run.size))))
    return weights


class _NoHeads(nn.Module):
    """A decoder that leaves each task's maps as they are."""

    def forward(self, maps: dict[str, list[Tensor]], output_size: Size) -> dict[str, list[Tensor]]:
        return maps


# of each table's published lines the weights by row; rows of models that are not built here are missing
TABLES: dict[str, Callable[[Printed], dict[str, Weight]]] = {
    "table5": _comparison,
    "table6": _comparison,
    "table12": _freezing,
    **dict.fromkeys(("table13", "table14", "table15", "table16"), _comparison),
    "table19": _upper_bounds,
    "table21": _training,
    "table22": _inference,
}
