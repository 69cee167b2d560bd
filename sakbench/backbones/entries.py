"""The table of known backbones: mini's, the paper's (Tables 10, 21 and 23) and newer ones that people ask for."""

from dataclasses import dataclass
from typing import Any, Literal

from sakbench.backbones.registry import BackboneInfo, Four, register


@dataclass(frozen=True)
class _Training:
    """What weights were trained for and on (paper Table 1), and under which licence they may be used."""

    objective: str
    data: str
    data_size: str
    licence: str = "apache-2.0"
    note: str = ""


def _mini(name: str, parameters: int, training: _Training, weights: Literal["package", "random"] = "package") -> None:
    small, sam = name.startswith("mini_vit_s"), name.startswith("mini_samvit")
    dim, depth, heads = (96, 4, 3) if small else (128, 8, 4)
    _plain(
        name,
        (dim, depth, heads),
        8,
        1,
        128 if sam else 64,
        parameters,
        training,
        weights=weights,
        own_input=sam,
    )


def _plain(
    name: str,
    shape: tuple[int, int, int],
    patch: int,
    prefix: int,
    image_size: int,
    parameters: int,
    training: _Training,
    **more: Any,
) -> None:
    """Register a plain transformer of (width, depth, heads)."""
    dim, depth, heads = shape
    _staged(name, (dim,) * 4, depth, heads, (patch,) * 4, prefix, image_size, parameters, training, **more)


def _staged(
    name: str,
    dims: Four,
    depth: int,
    heads: int,
    strides: Four,
    prefix: int,
    image_size: int,
    parameters: int,
    training: _Training,
    **more: Any,
) -> None:
    register(
        BackboneInfo(
            name,
            dims,
            depth,
            heads,
            strides,
            prefix,
            image_size,
            parameters,
            training.objective,
            training.data,
            training.data_size,
            training.licence,
            training.note,
            **more,
        )
    )


_OWN = "sakbench's own"
_mini("mini_vit_s.supervised", 472_224, _Training("supervised classification", "miniworld", "", _OWN))
_mini("mini_vit_b.dinov2", 1_619_328, _Training("self-distillation with masked patches", "miniworld", "", _OWN))
_mini("mini_vit_b.clip", 1_619_328, _Training("image-text contrast", "miniworld", "", _OWN))
_mini("mini_samvit_b.sam", 1_643_904, _Training("promptable masks", "miniworld", "", _OWN))
_mini("mini_samvit_b.random", 1_643_904, _Training("none", "no data", "", _OWN), weights="random")

_S, _B, _L, _H, _G, _SO = (
    (384, 12, 6),
    (768, 12, 12),
    (1024, 24, 16),
    (1280, 32, 16),
    (1536, 40, 24),
    (1152, 27, 16),
)
_ANY = "not stated"

# Paper Table 10, with the tags that its numbers come from, and the raw CLIPs as controls of its fine-tuned ones.
_SUPERVISED = _Training("supervised classification", "ImageNet-21k, -1k", "14.2M, 1.2M")
_DINOV2 = _Training("self-distillation with masked patches", "LVD-142M", "142M")
_FINE_TUNED = _Training(
    "image-text contrast, fine-tuned on ImageNet labels",
    "LAION-2B, ImageNet-12k, -1k",
    "2B",
    note="The paper's CLIP: OpenCLIP fine-tuned on ImageNet labels; the raw ones beside it are its controls.",
)
_LAION = _Training("image-text contrast", "LAION-2B", "2B")
_WIT = _Training("image-text contrast", "WebImageText", "400M")
_SAM = _Training("promptable masks", "SA-1B", "11M, 1B masks")
_plain("vit_small_patch16_384.augreg_in21k_ft_in1k", _S, 16, 1, 384, 21_810_816, _SUPERVISED)
_plain("vit_base_patch16_384.augreg_in21k_ft_in1k", _B, 16, 1, 384, 86_088_960, _SUPERVISED)
_plain("vit_large_patch16_384.augreg_in21k_ft_in1k", _L, 16, 1, 384, 303_688_704, _SUPERVISED)
_plain("vit_base_patch14_dinov2.lvd142m", _B, 14, 1, 518, 86_578_176, _DINOV2)
_plain("vit_large_patch14_dinov2.lvd142m", _L, 14, 1, 518, 304_365_568, _DINOV2)
_plain("vit_base_patch16_clip_384.laion2b_ft_in12k_in1k", _B, 16, 1, 384, 86_089_728, _FINE_TUNED)
_plain("vit_large_patch14_clip_336.laion2b_ft_in12k_in1k", _L, 14, 1, 336, 303_505_408, _FINE_TUNED)
_plain("vit_base_patch16_clip_224.laion2b", _B, 16, 1, 224, 85_797_888, _LAION)
_plain("vit_large_patch14_clip_224.laion2b", _L, 14, 1, 224, 303_177_728, _LAION)
_plain("vit_large_patch14_clip_336.openai", _L, 14, 1, 336, 303_505_408, _WIT)
_plain("samvit_base_patch16.sa1b", _B, 16, 0, 1024, 88_883_456, _SAM, own_input=True)
_plain("samvit_large_patch16.sa1b", _L, 16, 0, 1024, 307_425_280, _SAM, own_input=True)

_RADIO = _Training(
    "distillation of DFN CLIP, SigLIP, DINOv2 and SAM",
    "DataComp-1B",
    "1.4B",
    "nvidia-source-code-license",
    "RADIO v2.5 (torch hub's radio_v2.5-b and -l), converted from the hub's safetensors or the torch hub's file; no "
    "remote code is run. Its licence allows non-commercial use only.",
)
_THEIA = _Training(
    "distillation of CLIP, DINOv2 and ViT",
    "ImageNet-1k",
    "1.2M",
    "The AI Institute's",
    "Theia, converted from the hub's safetensors; no remote code is run. Its licence allows non-commercial research "
    "only.",
)
_plain("radio_base_patch16.v2.5", _B, 16, 8, 768, 98_233_344, _RADIO, weights="hub", hub="nvidia/RADIO-B")
_plain("radio_large_patch16.v2.5", _L, 16, 8, 768, 319_881_216, _RADIO, weights="hub", hub="nvidia/RADIO-L")
for _size, _shape, _parameters in (("small", _S, 21_664_896), ("base", _B, 85_797_120)):
    _hub = f"theaiinstitute/theia-{_size}-patch16-224-cdiv"
    _plain(f"theia_{_size}_patch16_224.cdiv", _shape, 16, 1, 224, _parameters, _THEIA, weights="hub", hub=_hub)

# Table 23
_DFN = "Apple's sample code licence: read its terms before use."
_SIGMOID = "image-text contrast with a sigmoid loss"
_plain(
    "vit_base_patch16_clip_224.dfn2b",
    _B,
    16,
    1,
    224,
    85_797_888,
    _Training("image-text contrast", "DFN-2B", "2B", "apple-ascl", _DFN),
)
_plain("vit_base_patch16_siglip_512.webli", _B, 16, 0, 512, 86_431_488, _Training(_SIGMOID, "WebLI", _ANY))

# Table 21: RADIO's teachers
_plain(
    "vit_huge_patch14_clip_378.dfn5b",
    _H,
    14,
    1,
    378,
    631_368_960,
    _Training("image-text contrast", "DFN-5B", "5B", "apple-ascl", _DFN),
)
_plain("vit_so400m_patch14_siglip_384.webli", _SO, 14, 0, 384, 412_984_944, _Training(_SIGMOID, "WebLI", _ANY))
_plain("vit_giant_patch14_dinov2.lvd142m", _G, 14, 1, 518, 1_136_476_160, _DINOV2)
_plain("samvit_huge_patch16.sa1b", _H, 16, 0, 1024, 636_107_520, _SAM, own_input=True)

# Newer ones, not in the paper
_REGISTERS = _Training("self-distillation with masked patches, with registers", "LVD-142M", "142M")
_plain("vit_base_patch14_reg4_dinov2.lvd142m", _B, 14, 5, 518, 86_580_480, _REGISTERS)
_plain("vit_large_patch14_reg4_dinov2.lvd142m", _L, 14, 5, 518, 304_368_640, _REGISTERS)
_DINOV3 = _Training(
    "self-distillation with masked patches and Gram anchoring",
    "LVD-1689M",
    "1.689B",
    "dinov3-license",
    "DINOv3's licence restricts use and must be accepted on the hub: read its terms.",
)
_plain("vit_small_patch16_dinov3.lvd1689m", _S, 16, 5, 256, 21_586_176, _DINOV3)
_plain("vit_base_patch16_dinov3.lvd1689m", _B, 16, 5, 256, 85_639_680, _DINOV3)
_plain("vit_large_patch16_dinov3.lvd1689m", _L, 16, 5, 256, 303_077_376, _DINOV3)
_SIGLIP2 = _Training("image-text contrast with captions and self-distillation", "WebLI", _ANY)
_plain("vit_base_patch16_siglip_512.v2_webli", _B, 16, 0, 512, 86_431_488, _SIGLIP2)
_NVIDIA = "NVIDIA's open model licence: read its terms before use."
_C_RADIO = "distillation of several foundation models"
_V3 = _Training(_C_RADIO, _ANY, _ANY, "nvidia-open-model-license", _NVIDIA)
_plain("vit_base_patch16_radio_v3.c_radio", _B, 16, 8, 512, 86_456_064, _V3)
_plain("vit_large_patch16_radio_v3.c_radio", _L, 16, 8, 512, 304_202_752, _V3)
_V4 = _Training("distillation of SigLIP 2, DINOv3 and SAM 3", _ANY, _ANY, "nvidia-open-model-license", _NVIDIA)
_plain("vit_so400m_patch16_radio_v4.c_radio", _SO, 16, 10, 512, 413_543_664, _V4)
_PE = _Training("image-text contrast, aligned with SAM 2's masks", _ANY, _ANY)
_plain("vit_pe_spatial_base_patch16_512.fb", _B, 16, 1, 512, 86_433_792, _PE)
_TIPS = _Training("image-text contrast, self-distillation and masked patches", "WebLI", _ANY)
_plain("vit_base_patch14_reg1_tipsv2.webli", _B, 14, 2, 448, 86_313_216, _TIPS)
_EVA = _Training("masked prediction of CLIP's features", "ImageNet-22k", "14.2M", "mit")
_plain("eva02_base_patch14_224.mim_in22k", _B, 14, 1, 224, 85_757_184, _EVA)
_MAE = _Training(
    "masked prediction of pixels",
    "ImageNet-1k",
    "1.2M",
    "cc-by-nc-4.0",
    "MAE's licence allows non-commercial use only.",
)
_plain("vit_base_patch16_224.mae", _B, 16, 1, 224, 85_797_120, _MAE)
_SAM2 = _Training("promptable masks in images and videos", "SA-1B, SA-V", _ANY)
_staged("sam2_hiera_base_plus.fb_r896_2pt1", (112, 224, 448, 896), 4, 0, (4, 8, 16, 32), 0, 896, 68_675_712, _SAM2)
