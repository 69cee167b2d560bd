"""The hyper-parameters of each scale, in one visible table.

`tune` of `mini` was settled on the multi-task baseline of the small ViT alone, and `probe` on the frozen small ViT, on
the `val` split, before any number of a SAK student's task was looked at; they serve every row. `benchmarks/schedule.py`
repeats the search, `benchmarks/RESULTS.md` holds what it gave. Stage 1 has no baseline to be settled on: its length is
what a laptop bears, its rate was never tuned.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from sakbench import plugins
from sakbench.data import catalogue
from sakbench.errors import unknown
from sakbench.training.recipe import Precision, Recipe


@dataclass(frozen=True)
class Layout:
    """How a batch is laid out, which changes no recipe: over `gpus` GPUs at most, at most `images` at once on each."""

    gpus: int
    images: int


@dataclass(frozen=True)
class Size:
    """Models of one size: the ImageNet ViT, the teachers where they exist in it, and what others distilled."""

    vit: str
    teachers: dict[str, str]
    rivals: dict[str, str]


@dataclass(frozen=True)
class Rival:
    """How others distil a committee into one student: the method (see `RunSpec`) and its teachers."""

    method: str
    teachers: tuple[str, ...]


@dataclass(frozen=True)
class Scale:
    """Models, images and recipes of one scale, on one data set."""

    name: str
    dataset: str
    tasks: tuple[str, ...]
    vit: str  # the ImageNet ViT's place: baselines and the student's initialisation
    teachers: dict[str, str]  # the paper's name of a teacher -> its backbone here
    distill_images: int
    train_images: int
    test_images: int
    distill: Recipe
    tune: Recipe  # stage 2, single- and multi-task baselines, whole model trained
    probe: Recipe  # heads (and routers) on a frozen backbone
    gamma: float
    max_dist: float  # odsF's tolerance, as a share of the image's diagonal
    depth: Recipe  # DINOv2's linear depth probes
    classify: Recipe  # DINOv2's linear classifiers; the rate is a factor of the sweep's
    align: Recipe  # LLaVA's first phase
    instruct: Recipe  # and its second
    about: str
    language: str = ""  # the language model that answers questions
    control: str = ""  # random weights at SAM's resolution
    sizes: Mapping[str, Size] = field(default_factory=dict)  # by the paper's names, where there are several
    rivals: dict[str, str] = field(default_factory=dict)  # students that others distilled, of whom we have the weights
    rival_recipes: Mapping[str, Rival] = field(default_factory=dict)  # and how we distil them where we have not
    kin: dict[str, str] = field(default_factory=dict)  # encoders trained as CLIP was
    newer: dict[str, str] = field(default_factory=dict)  # encoders that the paper has not
    published: str = "PASCAL-Context"  # of which data set the published numbers beside it are
    also: tuple[str, ...] = ()  # other data sets of the paper that it stands for
    distill_dataset: str = ""  # where stage 1's images are from, if not from `dataset`
    # on what Rep Sim is measured: a split and how many of its images, as many as `test_images` if 0
    distill_test: tuple[str, int] = ("test", 0)
    size: tuple[int, int] | None = None  # network input (H, W); each backbone's own if None
    distill_size: tuple[int, int] | None = None
    weights: Mapping[str, Path] = field(default_factory=dict)  # local weight files by backbone
    norm: Literal["paper", "native"] = "paper"
    sam_padding: Literal["crop", "stretch"] = "crop"
    noise: Literal["position", "global"] = "position"  # of the routers, in training
    precision: Precision = "fp32"  # of all recipes; the authors' is float32
    nyud_truth: Literal["seism", "clean"] = "seism"  # what odsF takes as NYUD-v2's boundaries
    layouts: Mapping[str, Layout] = field(default_factory=dict)  # by a run's kind; none: a core of the CPU for each run

    @property
    def encoders(self) -> dict[str, str]:
        """The backbones that have a name in the paper: ViT, the teachers, others' students, CLIP's kin."""
        return {"ViT": self.vit, **self.teachers, **self.rivals, **self.kin, **self.newer}

    def encoder(self, name: str) -> str:
        """The backbone of that name of the paper; any other name is a backbone's own."""
        return self.encoders.get(name, name)


MINI = Scale(
    name="mini",
    dataset="miniworld-pascal",
    tasks=("semseg", "parsing", "saliency", "normals", "boundary"),
    vit="mini_vit_s.supervised",
    teachers={"DINOv2": "mini_vit_b.dinov2", "CLIP": "mini_vit_b.clip", "SAM": "mini_samvit_b.sam"},
    distill_images=2000,
    train_images=125,
    test_images=400,
    distill=Recipe(steps=320, batch_size=32, lr=2e-3, weight_decay=1e-2, schedule="cosine", warmup=32, min_lr=2e-5),
    tune=Recipe(steps=1000, batch_size=8, lr=1e-3, weight_decay=1e-6, schedule="poly", clip=10.0),
    probe=Recipe(steps=1500, batch_size=8, lr=2e-3, weight_decay=1e-6, schedule="poly", clip=10.0),
    gamma=1.0,  # paper B.6
    depth=Recipe(
        steps=600, batch_size=8, lr=1e-3, weight_decay=1e-2, schedule="cosine", warmup=200, warmup_lr=1e-6, clip=35.0
    ),
    classify=Recipe(steps=400, batch_size=64, lr=4.0, schedule="cosine", optimizer="sgd"),
    align=Recipe(steps=400, batch_size=32, lr=3e-3, schedule="cosine", warmup=40, clip=1.0),
    instruct=Recipe(steps=1000, batch_size=32, lr=2e-3, schedule="cosine", warmup=40, clip=1.0),
    language="mini",
    max_dist=0.016,  # at 64x64 one pixel, diagonals included; the paper's 0.0075 would be less than one
    about="mini numbers come from rendered scenes and small teachers: compare rows with each other, "
    "not with the paper's numbers.",
    control="mini_samvit_b.random",
    # RADIO's teachers are of these three kinds. Theia's are a supervised ViT, DINOv2 and CLIP; here the supervised ViT
    # is what the student begins as.
    rival_recipes={"RADIO": Rival("radio", ("DINOv2", "CLIP", "SAM")), "Theia": Rival("theia", ("DINOv2", "CLIP"))},
    distill_dataset="miniworld-pascal",
    also=("ImageNet-1k", "LLaVA-1.5"),
)

# Mini's second data set: furnished rooms with depth. Stage 1 stays what it is, as the paper's stays ImageNet's.
_MINI_NYUD = replace(
    MINI,
    dataset="miniworld-nyud",
    tasks=("semseg", "depth", "normals", "boundary"),
    published="NYUD-v2",
    also=("NYUd",),
)

_IMAGENET = catalogue.get("imagenet-1k")
_PASCAL = catalogue.get("pascal-context")
_EPOCH = _IMAGENET.images["train"] // 128  # steps

# Table 11, and what it leaves out: where the warm-up begins, where the cosine ends, the power of the poly schedule.
STAGE1 = Recipe(
    steps=30 * _EPOCH,
    batch_size=128,
    lr=1e-3,
    weight_decay=1e-2,
    schedule="cosine",
    warmup=2 * _EPOCH,
    warmup_lr=1.25e-7,
    min_lr=1e-5,
)
STAGE2 = Recipe(steps=40_000, batch_size=4, lr=2e-5, weight_decay=1e-6, schedule="poly", clip=10.0)

# DINOv2's released configuration of its linear depth heads (clipped, warmed up for a third of its steps)
LINEAR_DEPTH = Recipe(
    steps=38_400,
    batch_size=16,
    lr=1e-4,
    weight_decay=1e-2,
    schedule="cosine",
    warmup=12_800,
    warmup_lr=1e-7,
    min_lr=1e-12,
    clip=35.0,
)

# 10 epochs of 1,250 steps of 8 x 128 images; rates are those of a batch of 256
LINEAR_CLASSIFIERS = Recipe(steps=12_500, batch_size=1024, lr=4.0, schedule="cosine", optimizer="sgd")

# LLaVA-1.5's: one epoch of 558,128 and of 665,298 conversations, warmed up for 3% of the steps
LLAVA_ALIGN = Recipe(steps=2180, batch_size=256, lr=1e-3, schedule="cosine", warmup=66, clip=1.0)
LLAVA_INSTRUCT = Recipe(steps=5197, batch_size=128, lr=2e-5, schedule="cosine", warmup=156, clip=1.0)

# Table 10
_SIZES = {
    "ViT-S": Size("vit_small_patch16_384.augreg_in21k_ft_in1k", {}, rivals={"Theia": "theia_small_patch16_224.cdiv"}),
    "ViT-B": Size(
        "vit_base_patch16_384.augreg_in21k_ft_in1k",
        {
            "DINOv2": "vit_base_patch14_dinov2.lvd142m",
            "CLIP": "vit_base_patch16_clip_384.laion2b_ft_in12k_in1k",
            "SAM": "samvit_base_patch16.sa1b",
        },
        rivals={"RADIO": "radio_base_patch16.v2.5", "Theia": "theia_base_patch16_224.cdiv"},
    ),
    "ViT-L": Size(
        "vit_large_patch16_384.augreg_in21k_ft_in1k",
        {
            "DINOv2": "vit_large_patch14_dinov2.lvd142m",
            "CLIP": "vit_large_patch14_clip_336.laion2b_ft_in12k_in1k",
            "SAM": "samvit_large_patch16.sa1b",
        },
        rivals={"RADIO": "radio_large_patch16.v2.5"},
    ),
}

PAPER = Scale(
    name="paper",
    dataset="pascal-context",
    tasks=_PASCAL.tasks,
    vit=_SIZES["ViT-B"].vit,
    teachers=_SIZES["ViT-B"].teachers,
    sizes=_SIZES,
    distill_images=_IMAGENET.images["train"],
    train_images=_PASCAL.images["train"],
    test_images=_PASCAL.images["test"],
    distill=STAGE1,
    tune=STAGE2,
    probe=STAGE2,
    gamma=1.0,  # B.6
    max_dist=_PASCAL.max_dist,
    depth=LINEAR_DEPTH,
    classify=LINEAR_CLASSIFIERS,
    align=LLAVA_ALIGN,
    instruct=LLAVA_INSTRUCT,
    language="lmsys/vicuna-7b-v1.5",
    about="the paper's models, data and recipes; the rows named paper are its printed numbers.",
    rivals=_SIZES["ViT-B"].rivals,
    kin={"DFN CLIP": "vit_base_patch16_clip_224.dfn2b", "SigLIP": "vit_base_patch16_siglip_512.webli"},
    newer={
        "raw CLIP": "vit_base_patch16_clip_224.laion2b",  # the paper's was fine-tuned on ImageNet labels
        "DINOv2 reg": "vit_base_patch14_reg4_dinov2.lvd142m",
        "DINOv3": "vit_base_patch16_dinov3.lvd1689m",
        "SigLIP 2": "vit_base_patch16_siglip_512.v2_webli",
        "C-RADIOv3": "vit_base_patch16_radio_v3.c_radio",
        "C-RADIOv4": "vit_so400m_patch16_radio_v4.c_radio",
        "PE spatial": "vit_pe_spatial_base_patch16_512.fb",
        "TIPSv2": "vit_base_patch14_reg1_tipsv2.webli",
        "EVA-02": "eva02_base_patch14_224.mim_in22k",
        "MAE": "vit_base_patch16_224.mae",
        "SAM 2": "sam2_hiera_base_plus.fb_r896_2pt1",
    },
    distill_dataset="imagenet-1k",
    distill_test=("test", _IMAGENET.images["test"]),
    size=_PASCAL.size,
    distill_size=(384, 384),
    # 8 x 16 and 2 x 2 images in the paper; on one GPU stage 2's four fit at once, as BatchNorm would have them.
    layouts={
        "distill": Layout(8, 16),
        "tasks": Layout(2, 4),
        "score": Layout(1, 8),
        "classify": Layout(8, 128),
        "answer": Layout(8, 8),
    },
)

SCALES = {scale.name: scale for scale in (MINI, PAPER)}

LLAVA = "llava"  # instructions to learn from, and the questions of GQA's testdev, POPE and VQAv2's val
_LLAVA = replace(
    PAPER,
    dataset=LLAVA,
    tasks=(),
    train_images=665_298,
    test_images=12_578 + 9_000 + 214_354,
    published="LLaVA-1.5",
)


# What may be chosen beside a scale, as (words, its default first); none of it is in the paper's own runs.
CHOICES = {
    "norm": ("paper", "native"),
    "sam_padding": ("crop", "stretch"),
    "noise": ("position", "global"),
    "precision": ("fp32", "bf16"),
    "nyud_truth": ("seism", "clean"),
}


RECIPES = ("distill", "tune", "probe", "depth", "classify", "align", "instruct")


def with_choices(scale: Scale, **chosen: str) -> Scale:
    """The scale with other choices than its own. Raises `UserError` for a word that is none of a choice's."""
    for name, word in chosen.items():
        if word not in CHOICES[name]:
            raise unknown(f"--{name.replace('_', '-')}", word, CHOICES[name])
    scale = replace(scale, **chosen)  # type: ignore[arg-type]
    recipes = {name: replace(getattr(scale, name), precision=scale.precision) for name in RECIPES}
    return replace(scale, **recipes)


def choices(scale: Scale) -> str:
    """In words what was chosen otherwise than the paper's runs: "norm native"; empty if nothing was."""
    made = {name: getattr(scale, name) for name in CHOICES}
    return ", ".join(f"{name.replace('_', ' ')} {word}" for name, word in made.items() if word != CHOICES[name][0])


def get(name: str, dataset: str = "") -> Scale:
    """The scale of that name, on another data set than its first if one is named.

    Raises `UserError` if there is no such scale, or no such data set at that scale.
    """
    if name not in SCALES:
        raise unknown("scale", name, SCALES)
    plugins.load()
    scale, known = SCALES[name], _DATASETS[name]
    if name == PAPER.name:
        known = {**{one: _on(PAPER, about) for one, about in catalogue.CATALOGUE.items()}, **known}
    if dataset in ("", scale.dataset):
        return scale
    if dataset not in known:
        raise unknown(f"data set of scale {name}", dataset, known)
    return known[dataset]


def dataset_of(name: str, benchmark: str) -> str:
    """The data set of a scale that stands for the paper's `benchmark` ("NYUD-v2"); its first one's name if empty.

    Raises `UserError` if there is no such scale, or nothing of the kind there.
    """
    scale = get(name)
    known = {title: one.dataset for one in _DATASETS[name].values() for title in (one.published, *one.also)}
    if benchmark and benchmark not in known:
        raise unknown("benchmark", benchmark, known)
    return known[benchmark] if benchmark else scale.dataset


def _on(scale: Scale, dataset: catalogue.DataSet) -> Scale:
    return replace(
        scale,
        dataset=dataset.name,
        tasks=dataset.tasks,
        train_images=dataset.images["train"],
        test_images=dataset.images["test"],
        max_dist=dataset.max_dist,
        size=dataset.size,
        published=dataset.title,
    )


_DATASETS = {
    "mini": {scale.dataset: scale for scale in (MINI, _MINI_NYUD)},
    "paper": {
        **{name: PAPER if name == PAPER.dataset else _on(PAPER, entry) for name, entry in catalogue.CATALOGUE.items()},
        LLAVA: _LLAVA,
    },
}
