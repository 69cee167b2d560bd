"""The table of known backbones: what each is, before anything of it is loaded (no torch here)."""

from dataclasses import dataclass
from typing import Literal

from sakbench.errors import unknown

TIMM_PREFIX = "timm/"


@dataclass(frozen=True)
class BackboneInfo:
    """One backbone, named `architecture.tag`; sizes in pixels.

    `weights` says where they come from: shipped with the package, timm's hub, or nowhere (fixed random ones).
    `own_input` marks a model that sees images at its own `image_size`, whatever the others see (SAM).
    """

    name: str
    dim: int
    depth: int
    heads: int
    patch_size: int
    image_size: int
    objective: str
    data: str
    licence: str
    weights: Literal["package", "timm", "random"] = "timm"
    own_input: bool = False


BACKBONES: dict[str, BackboneInfo] = {}


def register(entry: BackboneInfo) -> BackboneInfo:
    """Put an entry into the table, under its name."""
    BACKBONES[entry.name] = entry
    return entry


def names() -> tuple[str, ...]:
    """The registered names; beside these, `timm/<architecture>.<tag>` names any plain transformer of timm."""
    return tuple(BACKBONES)


def info(name: str) -> BackboneInfo:
    """The entry of a registered backbone, or one made from timm's own configuration (which imports torch).

    Raises UserError for a name that neither the table nor timm has.
    """
    if name.startswith(TIMM_PREFIX):
        from sakbench.backbones.encoder import timm_info

        return timm_info(name)
    if name not in BACKBONES:
        tagged = [known for known in BACKBONES if known.startswith(f"{name}.")]
        raise unknown("backbone", name, tagged or BACKBONES)
    return BACKBONES[name]


def _mini(name: str, objective: str, data: str, weights: Literal["package", "random"] = "package") -> None:
    small, sam = name.startswith("mini_vit_s"), name.startswith("mini_samvit")
    register(
        BackboneInfo(
            name=name,
            dim=96 if small else 128,
            depth=4 if small else 8,
            heads=3 if small else 4,
            patch_size=8,
            image_size=128 if sam else 64,
            objective=objective,
            data=data,
            licence="sakbench's own",
            weights=weights,
            own_input=sam,
        )
    )


_mini("mini_vit_s.supervised", "supervised classification", "miniworld")
_mini("mini_vit_b.dinov2", "self-distillation with masked patches", "miniworld")
_mini("mini_vit_b.clip", "image-text contrast", "miniworld")
_mini("mini_samvit_b.sam", "promptable masks", "miniworld")
_mini("mini_samvit_b.random", "none", "none", weights="random")

_SIZES = {"small": (384, 12, 6), "base": (768, 12, 12), "large": (1024, 24, 16)}  # dim, depth, heads


def _paper(name: str, image_size: int, objective: str, data: str, licence: str = "apache-2.0") -> None:
    architecture, _, size_and_patch = name.partition("_")
    size, patch = size_and_patch.split("_")[0], name.split("patch")[1][:2]
    dim, depth, heads = _SIZES[size]
    own_input = architecture == "samvit"
    register(
        BackboneInfo(name, dim, depth, heads, int(patch), image_size, objective, data, licence, own_input=own_input)
    )


# Paper Table 10, with the tags that its numbers come from (RADIO and Theia are not in timm), and the controls.
_paper("vit_small_patch16_384.augreg_in21k_ft_in1k", 384, "supervised classification", "ImageNet-21k, -1k")
_paper("vit_base_patch16_384.augreg_in21k_ft_in1k", 384, "supervised classification", "ImageNet-21k, -1k")
_paper("vit_large_patch16_384.augreg_in21k_ft_in1k", 384, "supervised classification", "ImageNet-21k, -1k")
_paper("vit_base_patch14_dinov2.lvd142m", 518, "self-distillation with masked patches", "LVD-142M")
_paper("vit_large_patch14_dinov2.lvd142m", 518, "self-distillation with masked patches", "LVD-142M")
# The paper's CLIP teachers were fine-tuned on ImageNet labels; the raw ones below are their controls.
_FINE_TUNED = "image-text contrast, fine-tuned on ImageNet labels"
_FINE_TUNED_DATA = "LAION-2B, ImageNet-12k, -1k"
_paper("vit_base_patch16_clip_384.laion2b_ft_in12k_in1k", 384, _FINE_TUNED, _FINE_TUNED_DATA)
_paper("vit_large_patch14_clip_336.laion2b_ft_in12k_in1k", 336, _FINE_TUNED, _FINE_TUNED_DATA)
_paper("vit_base_patch16_clip_224.laion2b", 224, "image-text contrast", "LAION-2B")
_paper("vit_large_patch14_clip_224.laion2b", 224, "image-text contrast", "LAION-2B")
_paper("vit_large_patch14_clip_336.openai", 336, "image-text contrast", "WIT-400M")
_paper("samvit_base_patch16.sa1b", 1024, "promptable masks", "SA-1B")
_paper("samvit_large_patch16.sa1b", 1024, "promptable masks", "SA-1B")
# Table 23
_paper("vit_base_patch16_clip_224.dfn2b", 224, "image-text contrast", "DFN-2B", licence="apple-ascl")
_paper("vit_base_patch16_siglip_512.webli", 512, "image-text contrast with a sigmoid loss", "WebLI")
