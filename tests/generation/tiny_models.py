"""Tiny models with random weights from fixed seeds, saved in the layout of the Hugging Face hub.

A Stable Diffusion v1 pipeline, a ControlNet that fits its U-Net, a CLIP model as judge and a DPT depth estimator:
the classes, files and native proportions of the real ones (64 pixels = 8 latents times 8), in a few hundred kilobytes
each, so that a test loads them from a local folder and generates in about a second. What they paint means nothing, but
it depends on the seed, the prompt, the picture, the mask and the control image, as with the real ones.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from diffusers import AutoencoderKL, ControlNetModel, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from tokenizers.pre_tokenizers import ByteLevel
from torch import nn
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    DPTConfig,
    DPTForDepthEstimation,
    DPTImageProcessor,
)

SIDE = 64  # pixels, what the pipeline paints when asked for no other size
CLIP_SIDE = 32
START, END = 512, 513  # after 256 bytes within a word and 256 at its end
LAYERS = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
TEXT = {**LAYERS, "vocab_size": END + 1, "bos_token_id": START, "eos_token_id": END, "pad_token_id": END}
VISION = {**LAYERS, "image_size": CLIP_SIDE, "patch_size": 8}
CLIP = {"text_config": {**TEXT, "projection_dim": 16}, "vision_config": {**VISION, "projection_dim": 16}}


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def enliven(model: nn.Module) -> None:
    """Weights that let an input through (a SiLU halves small ones); a ControlNet's outer layers start as zeros."""
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.normal_(layer.weight, std=2 / layer.weight[0].numel() ** 0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def tokenizer(folder: Path) -> CLIPTokenizer:
    """CLIP's own kind with a vocabulary of single bytes, written as the hub has it and read back."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return CLIPTokenizer.from_pretrained(folder)


def image_processor() -> CLIPImageProcessor:
    return CLIPImageProcessor(
        size={"shortest_edge": CLIP_SIDE}, crop_size={"height": CLIP_SIDE, "width": CLIP_SIDE}, do_convert_rgb=True
    )


def unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=SIDE // 8,
        block_out_channels=(8, 16),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=2,
        cross_attention_dim=TEXT["hidden_size"],
    )


def write_base(folder: Path, flags_all: bool = False) -> None:
    """The pipeline, whose safety checker flags no picture, or every one."""
    with seeded(0):
        vae = AutoencoderKL(
            sample_size=SIDE,
            block_out_channels=(8, 8, 8, 8),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            norm_num_groups=4,
        )
        enliven(vae)
        checker = StableDiffusionSafetyChecker(CLIPConfig(**CLIP, projection_dim=16))
        # A concept is found where a cosine lies above its threshold.
        checker.concept_embeds_weights.data.fill_(-2.0 if flags_all else 2.0)
        checker.special_care_embeds_weights.data.fill_(2.0)
        pipeline = StableDiffusionPipeline(
            vae=vae,
            text_encoder=CLIPTextModel(CLIPTextConfig(**TEXT)),
            tokenizer=tokenizer(folder / "tokenizer"),
            unet=unet(),
            scheduler=DDIMScheduler(
                beta_start=0.00085,
                beta_end=0.012,
                beta_schedule="scaled_linear",
                clip_sample=False,
                set_alpha_to_one=False,
                steps_offset=1,
            ),
            safety_checker=checker,
            feature_extractor=image_processor(),
        )
    pipeline.save_pretrained(folder, safe_serialization=True)


def write_controlnet(folder: Path) -> None:
    with seeded(1):
        model = ControlNetModel.from_unet(unet(), conditioning_embedding_out_channels=(4, 8, 8, 16))
        enliven(model)
    model.save_pretrained(folder, safe_serialization=True)


def write_judge(folder: Path) -> None:
    with seeded(2):
        CLIPModel(CLIPConfig(**CLIP, projection_dim=16)).save_pretrained(folder, safe_serialization=True)
    CLIPProcessor(image_processor=image_processor(), tokenizer=tokenizer(folder)).save_pretrained(folder)


def write_depth(folder: Path) -> None:
    config = DPTConfig(
        **{**LAYERS, "num_hidden_layers": 4},
        image_size=SIDE,
        patch_size=16,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        initializer_range=0.2,
    )
    with seeded(3):
        model = DPTForDepthEstimation(config)
    model.head.head[-2].weight.data.abs_()  # from what a ReLU left to the next ReLU, which so cuts nothing off
    model.save_pretrained(folder, safe_serialization=True)
    DPTImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
