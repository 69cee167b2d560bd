"""The paper's columns of parameters and MACs, computed from this package's models beside what is printed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
from torch import Tensor, nn

from sakbench.accounting import models
from sakbench.accounting.counting import Macs
from sakbench.errors import unknown
from sakbench.store import published

PARAMETERS, MACS = "params_m", "macs_g"
PASCAL = "PASCAL-Context"


@dataclass(frozen=True)
class Row:
    """A printed number and what the model gives: millions of parameters, or thousands of millions of MACs per image.

    `computed` follows the paper's convention; `full` and `executed` are there for MACs: see `Macs`. It agrees if it
    rounds to what is printed; otherwise `why` says the reason.
    """

    table: str
    row: str
    quantity: str
    published: float
    computed: float
    agrees: bool
    full: float | None = None
    executed: float | None = None
    why: str = ""


@dataclass(frozen=True)
class Weight:
    """What a model of the paper weighs: millions of parameters, and the MACs of one image where they are printed."""

    millions: float
    macs: Macs | None = None


def rows(tables: Sequence[str] = ()) -> list[Row]:
    """The rows of these tables ("19" or "table19"; all if none are named), in the paper's order.

    Rows of models that are not built here (InvPT, TaskPrompter, ...) are left out.
    Raises UserError for a table that has neither parameters nor MACs.
    """
    names = [name if name.startswith("table") else f"table{name}" for name in tables] or list(_TABLES)
    for name in names:
        if name not in _TABLES:
            raise unknown("table with parameters or MACs", name, _TABLES)
    return [row for name in _TABLES if name in names for row in _table(name)]


def left_out(found: Sequence[Row]) -> int:
    """How many rows of the same tables print parameters of models that are not built here."""
    frame = published.frame()
    printed = frame[frame["table"].isin({row.table for row in found}) & frame["task"].isin(_QUANTITIES)]
    ours = {(row.table, row.row) for row in found}
    return len(set(zip(printed["table"], printed["row"], strict=True)) - ours)


# what the published tables call the quantities
_QUANTITIES = {"params_m": PARAMETERS, "trainable_params_m": PARAMETERS, "macs_g": MACS}


def _table(name: str) -> Iterator[Row]:
    printed = published.table(name)
    weights = _TABLES[name](printed)
    numbers = printed[printed["task"].isin(_QUANTITIES)]
    for row, quantity, value in zip(numbers["row"], numbers["task"], numbers["value"], strict=True):
        if row in weights:
            yield _row(name, row, _QUANTITIES[quantity], value, weights[row])


def _row(table: str, row: str, quantity: str, printed: float, weight: Weight) -> Row:
    digits = len(f"{printed:g}".partition(".")[2])
    if quantity == PARAMETERS:
        computed, full, executed = weight.millions, None, None
    else:
        assert weight.macs is not None
        computed, full, executed = (
            value / 1e9 for value in (weight.macs.paper, weight.macs.full, weight.macs.executed)
        )
    agrees = f"{computed:.{digits}f}" == f"{printed:.{digits}f}"
    why = "" if agrees else _WHY.get((table, row, quantity), "")
    return Row(table, row, quantity, printed, computed, agrees, full, executed, why)


_WHY = {
    ("table5", "MLoRE", PARAMETERS): "its authors' configuration for ViT-L; how they counted is not published",
    ("table15", "MLoRE", PARAMETERS): (
        "its authors' configuration for ViT-S; with the second set of heads that their code makes and does not use, it "
        "would agree"
    ),
    ("table21", "Sum over all teachers and student, RADIO", MACS): "the paper adds up its rounded numbers",
}


def _comparison(printed: pd.DataFrame) -> dict[str, Weight]:
    """Tables 5, 6, 13 to 16: all parameters of each method, with encoders of the table's size."""
    dataset = printed["dataset"].iloc[0]
    size = models.SIZES[printed.loc[printed["row"] == "SAK", "backbone"].iloc[0]]
    vit = models.vit(size)
    builders: dict[str, Callable[[], float]] = {
        "Single-task baseline": lambda: sum(map(models.millions, models.single_tasks(dataset, vit))),
        "Multi-task baseline": lambda: models.millions(models.multi_task(dataset, vit)),
        "MLoRE": lambda: models.millions(models.mlore(dataset, size)),
        "RADIO": lambda: models.millions(models.multi_task(dataset, f"radio_{size}_patch16.v2.5")),
        "Theia": lambda: models.millions(models.multi_task(dataset, f"theia_{size}_patch16_224.cdiv")),
        "SAK": lambda: models.millions(models.sak(size, dataset)),
    }
    return {row: Weight(builders[row]()) for row in printed["row"].unique() if row in builders}


def _freezing(printed: pd.DataFrame) -> dict[str, Weight]:
    """Table 12: the parameters that each row trains."""
    encoders = {
        "ViT": models.vit("base"),
        "DINOv2": models.TEACHERS["base"]["dinov2"],
        "CLIP": models.TEACHERS["base"]["clip"],
        "SAM": models.TEACHERS["base"]["sam"],
        "RADIO": "radio_base_patch16.v2.5",
        "Theia": "theia_base_patch16_224.cdiv",
    }

    def trained(model: str, setting: str) -> float:
        if setting == "ST Full":
            return sum(map(models.millions, models.single_tasks(PASCAL, encoders[model])))
        whole = models.sak("base", PASCAL) if model == "SAK" else models.multi_task(PASCAL, encoders[model])
        return models.millions(whole if setting == "MT Full" else models.frozen(whole), trainable=setting != "MT Full")

    lines = printed.drop_duplicates("row")
    return {
        row: Weight(trained(model, setting))
        for row, model, setting in zip(lines["row"], lines["model"], lines["group"], strict=True)
    }


def _upper_bounds(printed: pd.DataFrame) -> dict[str, Weight]:
    """Table 19: the upper bounds and SAK, on images of 512 pixels."""
    image = models.images(512)
    whole = {
        "Upper bound Addition": models.upper_bound("addition"),
        "Upper bound Concat": models.upper_bound("concat"),
        "Upper bound MoR": models.upper_bound("mor"),
        "SAK MoR": models.sak("base", PASCAL),
    }
    return {
        row: Weight(models.millions(model), models.macs(model, partial(model, image))) for row, model in whole.items()
    }


def _training(printed: pd.DataFrame) -> dict[str, Weight]:
    """Table 21: teachers and students of RADIO and of SAK, each on images of its own size."""
    names = {
        "DFN CLIP-H/14": "vit_huge_patch14_clip_378.dfn5b",
        "SigLIP-SO400M/14": "vit_so400m_patch14_siglip_384.webli",
        "DINOv2-g/14": "vit_giant_patch14_dinov2.lvd142m",
        "SAM-H/16": "samvit_huge_patch16.sa1b",
        "RADIOv2.5-L/16": "radio_large_patch16.v2.5",
        "DINOv2-L/14": models.TEACHERS["large"]["dinov2"],
        "OpenCLIP-L/14": models.TEACHERS["large"]["clip"],
        "SAM-L/16": models.TEACHERS["large"]["sam"],
    }
    sizes = printed[printed["task"] == "input_size"]
    sides = {row: int(side) for row, side in zip(sizes["row"], sizes["value"], strict=True)}
    weights = {}
    for row, name in names.items():
        image, encoder = models.images(sides[row]), models.encoder(name, sides[row])
        weights[row] = Weight(models.millions(encoder), models.macs(encoder, partial(encoder, image)))
    student, image = models.sak("large"), models.images(sides["SAK-L/16"])
    weights["SAK-L/16"] = Weight(models.millions(student), models.macs(student, partial(student.represent, image)))
    for method in ("RADIO", "SAK"):
        members = printed.loc[(printed["group"] == method) & printed["row"].isin(weights), "row"].unique()
        weights[f"Sum over all teachers and student, {method}"] = _sum([weights[row] for row in members])
    return weights


def _inference(printed: pd.DataFrame) -> dict[str, Weight]:
    """Table 22: encoder, adapter paths and routers, without heads, on images of 512 pixels."""
    image, weights = models.images(512), {}
    for row, size in (("ViT-B/16", "base"), ("ViT-L/16", "large")):
        student = models.sak(size, PASCAL)
        student.heads = _NoHeads()
        stages: list[tuple[str, tuple[str, ...], Callable[[Any], Any]]] = [
            (row, ("stem",), student.stem),
            (f"{row} +TSAP (3 branches)", ("stem", "paths"), student.represent),
            (f"{row} +MoR (5 tasks)", ("stem", "paths", "routers"), student),
        ]
        for name, parts, run in stages:
            size_m = sum(models.millions(student.get_submodule(part)) for part in parts)
            weights[name] = Weight(size_m, models.macs(student, partial(run, image)))
    return weights


class _NoHeads(nn.Module):
    """A decoder that leaves each task's maps as they are."""

    def forward(self, maps: dict[str, list[Tensor]], output_size: tuple[int, int]) -> dict[str, list[Tensor]]:
        return maps


def _sum(parts: Sequence[Weight]) -> Weight:
    macs = [part.macs for part in parts if part.macs]
    total = Macs(*(sum(getattr(part, kind) for part in macs) for kind in ("paper", "full", "executed")))
    return Weight(sum(part.millions for part in parts), total)


_TABLES: dict[str, Callable[[pd.DataFrame], dict[str, Weight]]] = {
    "table5": _comparison,
    "table6": _comparison,
    "table12": _freezing,
    **dict.fromkeys(("table13", "table14", "table15", "table16"), _comparison),
    "table19": _upper_bounds,
    "table21": _training,
    "table22": _inference,
}
