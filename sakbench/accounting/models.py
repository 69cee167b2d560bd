"""The paper's models at full size on the meta device: shapes without weights."""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from sakbench import backbones, tasks
from sakbench.accounting.counting import Macs, count
from sakbench.backbones.encoder import Encoder
from sakbench.backbones.radio import Radio
from sakbench.models import SAK, PlainStudent, parameter_count, set_trainable
from sakbench.models.mlore import NYUD_LARGE, MLoRE
from sakbench.models.upper_bound import UpperBound

# the tasks of each data set, classes where a task has them, and the network's image size (height, width)
DATASETS: dict[str, tuple[dict[str, int | None], tuple[int, int]]] = {
    "PASCAL-Context": (
        {"semseg": 21, "parsing": 7, "saliency": None, "normals": None, "boundary": None},
        (512, 512),
    ),
    "NYUD-v2": ({"semseg": 40, "depth": None, "normals": None, "boundary": None}, (448, 576)),
}
SIZES = {"ViT-S": "small", "ViT-B": "base", "ViT-L": "large"}
TEACHERS = {
    "base": {
        "dinov2": "vit_base_patch14_dinov2.lvd142m",
        "clip": "vit_base_patch16_clip_384.laion2b_ft_in12k_in1k",
        "sam": "samvit_base_patch16.sa1b",
    },
    "large": {
        "dinov2": "vit_large_patch14_dinov2.lvd142m",
        "clip": "vit_large_patch14_clip_336.laion2b_ft_in12k_in1k",
        "sam": "samvit_large_patch16.sa1b",
    },
}
STUDENT_SIZE = 384  # of stage 1's images, in pixels


def vit(size: str) -> str:
    """The name of the ImageNet ViT of that size, the stem of every student and the baselines' encoder."""
    return f"vit_{size}_patch16_384.augreg_in21k_ft_in1k"


def channels(dataset: str) -> dict[str, int]:
    """The tasks of a data set with their numbers of output channels."""
    return {name: tasks.make(name, classes=classes).channels for name, classes in DATASETS[dataset][0].items()}


@cache
def encoder(name: str, image_size: int | tuple[int, int] | None) -> Encoder:
    """A backbone for images of that size (its own if None), on the meta device."""
    with torch.device("meta"):
        return backbones.create(name, image_size=image_size, pretrained=False).eval()


def at_size_of(dataset: str, name: str) -> Encoder:
    """A backbone for the images of a data set, with the parameters that the paper counts.

    SAM sees images of its own size; Theia's code keeps the position embedding of its own size as a parameter and
    interpolates it as it runs.
    """
    own = backbones.info(name).own_input or name.startswith("theia_")
    return encoder(name, None if own else DATASETS[dataset][1])


def images(side: int) -> Tensor:
    """One image, on the meta device."""
    return torch.empty(1, 3, side, side, device="meta")


def millions(model: nn.Module, *, trainable: bool = False) -> float:
    """The model's parameters in millions, as the paper counts them."""
    return parameter_count(model, trainable=trainable) / 1e6


def multi_task(dataset: str, name: str) -> PlainStudent:
    """One encoder and a head for each task."""
    with torch.device("meta"):
        return PlainStudent(at_size_of(dataset, name), channels(dataset)).eval()


def single_tasks(dataset: str, name: str) -> Iterator[PlainStudent]:
    """An encoder and a head for each task."""
    with torch.device("meta"):
        for task, width in channels(dataset).items():
            yield PlainStudent(at_size_of(dataset, name), {task: width})


def sak(size: str, dataset: str | None = None) -> SAK:
    """The student of three teachers as wide as itself, with the data set's tasks; without one, that of stage 1."""
    stem = at_size_of(dataset, vit(size)) if dataset else encoder(vit(size), STUDENT_SIZE)
    with torch.device("meta"):
        return SAK(stem, dict.fromkeys(TEACHERS["base"], stem.dim), channels(dataset) if dataset else None).eval()


def mlore(dataset: str, size: str) -> nn.Module:
    """The ViT with the decoder that MLoRE's authors configure for it and the data set."""
    stem = at_size_of(dataset, vit(size))
    settings = NYUD_LARGE if (dataset, size) == ("NYUD-v2", "large") else None
    with torch.device("meta"):
        return nn.ModuleList([stem, MLoRE(stem.dims, channels(dataset), settings)])


def upper_bound(fuse: str) -> UpperBound:
    """The ViT-B teachers beside a ViT-B stem, on PASCAL-Context."""
    dataset = "PASCAL-Context"
    teachers = {name: at_size_of(dataset, backbone) for name, backbone in TEACHERS["base"].items()}
    with torch.device("meta"):
        return UpperBound(at_size_of(dataset, vit("base")), teachers, channels(dataset), fuse=fuse).eval()


def frozen(model: nn.Module) -> nn.Module:
    """The model of a Freeze row: routers and heads are trained."""
    set_trainable(model, "freeze")
    return model


def macs(model: nn.Module, run: Callable[[], Any]) -> Macs:
    """See `count`; what is made on the way lies on the meta device too.

    RADIO's printed MACs are without its patch embedding: its code has a layer of its own kind for it.
    """
    unseen = [part.patch_embed for part in model.modules() if isinstance(part, Radio)]
    with torch.device("meta"):
        return count(model, run, unseen=unseen)
