"""Our own format: a folder, or a repository of a model hub, with safetensors weights beside a config.json.

The configuration rebuilds the architecture without any other weights; README.md is the model's card.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from huggingface_hub import ModelHubMixin, hf_hub_download
from huggingface_hub.utils import HFValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from sakbench import backbones, whole
from sakbench.backbones.encoder import Encoder, resize_position_embedding
from sakbench.backbones.inputs import IMAGENET
from sakbench.errors import UserError

FORMAT = 1
CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
NORMALISATION = {"mean": list(IMAGENET[0]), "std": list(IMAGENET[1])}  # of RGB from 0 to 1, for every model

ORDERED = ("teachers", "tasks")  # stacked weights go by their order, which JSON's objects need not keep
TAGS = ("multi-task", "dense-prediction")

ImageSize = int | tuple[int, int]


class Saved(ModelHubMixin):
    """What gives a student `save_pretrained`, `from_pretrained` and `push_to_hub`.

    `settings` are the arguments of its constructor beside the encoder. Whoever trains it may say more: `output_size`
    (H, W) of the maps that it was trained to give, where that is not the images' own, and `about`, words for the card,
    such as a scale and a data set.
    """

    stands_on: ClassVar[str]  # the name of the encoder among the student's parts
    settings: dict[str, Any]
    about: dict[str, str]
    output_size: tuple[int, int] | None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(library_name="sakbench", tags=list(TAGS), **options)

    @property
    def backbone(self) -> Encoder:
        """The encoder that the student stands on."""
        return getattr(self, self.stands_on)

    @property
    def config(self) -> dict[str, Any]:
        """Everything that rebuilds the student but its weights, as JSON has it.

        Raises UserError for an encoder that neither a name nor a plain transformer's numbers describe.
        """
        return {
            "format": FORMAT,
            "model": type(self).__name__,
            "encoder": _describe(self.backbone),
            "settings": {
                key: list(map(list, value.items())) if key in ORDERED else value for key, value in self.settings.items()
            },
            "output_size": self.output_size,
            "normalisation": NORMALISATION,
            "about": self.about,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], image_size: ImageSize | None = None) -> Self:
        """A fresh student as configured, for images of `image_size`; torch's random state stays as it was.

        Raises UserError if the configuration is not one of this class.
        """
        construct: Any = cls
        try:
            for key, value in {"format": FORMAT, "model": cls.__name__, "normalisation": NORMALISATION}.items():
                if config[key] != value:
                    raise ValueError(f"its {key} is {config[key]}, not {value}")
            with torch.random.fork_rng(devices=[]):
                settings = {key: dict(value) if key in ORDERED else value for key, value in config["settings"].items()}
                student: Self = construct(_encoder(config["encoder"], image_size), **settings)
            student.about = dict(config["about"])
            if config["output_size"] and not image_size:
                height, width = config["output_size"]
                student.output_size = (height, width)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, AssertionError) as error:
            reason = f"it has no {error}" if isinstance(error, KeyError) else str(error).split("\n")[0]
            raise UserError(f"the configuration describes no {cls.__name__} that can be built: {reason}.") from error
        return student

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Write weights, config.json and README.md into a folder, each whole or not at all, the weights last.

        A README.md that is there already stays. `push_to_hub=True` sends them to the hub too, as `repo_id` or under
        the folder's name, and gives the address; the other options are `push_to_hub`'s.
        Raises UserError if the folder cannot be written.
        """
        folder = Path(save_directory)
        _write(folder, self)
        if options.pop("push_to_hub", False):
            return self.push_to_hub(options.pop("repo_id", None) or folder.name, **options)
        return None

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | Path, *, image_size: ImageSize | None = None, **options: Any
    ) -> Self:
        """A student from a folder, or from a hub's repository, in evaluation mode.

        `image_size`, (H, W) or a side, is what it shall take instead of what it was trained with: the position
        embedding is resized. The options are those of `huggingface_hub.hf_hub_download`, such as `revision`.
        Raises UserError if there is no such model, its files do not belong together, or it is of another class.
        """
        path, weights = _files(pretrained_model_name_or_path, options)
        config = read_config(path)
        try:
            student = cls.from_config(config, image_size)
        except UserError as error:
            raise UserError(f"{path} cannot be used: {error}") from error
        _fill(student, weights, tuple(config["encoder"]["grid"]))
        return student


def _describe(encoder: Encoder) -> dict[str, Any]:
    """An encoder's name, or the numbers of one that has none."""
    shape = {"image_size": list(encoder.image_size), "grid": list(encoder.grid)}
    if encoder.name:
        norm = "native" if encoder.renormalisation else "paper"
        more = {"class_token": True} if encoder.class_token else {}
        return {"name": encoder.name, **shape, "norm": norm, "sam_padding": encoder.sam_padding, **more}
    vit = encoder.vit
    if isinstance(vit, VisionTransformer) and not encoder.renormalisation:
        block: Any = vit.blocks[0]
        numbers: dict[str, Any] = {
            "patch_size": encoder.patch_size,
            "embed_dim": encoder.dim,
            "depth": encoder.depth,
            "num_heads": block.attn.num_heads,
            "mlp_ratio": block.mlp.fc1.out_features / encoder.dim,
            "class_token": vit.cls_token is not None,
        }
        with torch.device("meta"):
            plain = Encoder(VisionTransformer(img_size=encoder.image_size, num_classes=0, **numbers))
        if _shapes(plain) == _shapes(encoder):
            return {"name": None, **shape, **numbers}
    raise UserError("this model's encoder has no name of the zoo and is no plain transformer: it cannot be saved.")


def _shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in module.state_dict().items()}


def _encoder(description: Mapping[str, Any], image_size: ImageSize | None) -> Encoder:
    """The encoder without its weights."""
    numbers = dict(description)
    name, (height, width), _ = (numbers.pop(key) for key in ("name", "image_size", "grid"))
    size = image_size or (height, width)
    if name:
        return backbones.create(name, image_size=size, pretrained=False, **numbers)
    return Encoder(plain_transformer(size, **numbers))


def plain_transformer(image_size: ImageSize, *, patch_size: int, **numbers: Any) -> VisionTransformer:
    """timm's transformer for images of that size. Raises UserError for a size that the patches do not divide."""
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    if height < patch_size or width < patch_size or height % patch_size or width % patch_size:
        raise UserError(
            f"images of {height}x{width} pixels cannot be cut into patches of {patch_size}: both sides must be "
            f"multiples of {patch_size}."
        )
    return VisionTransformer(img_size=(height, width), patch_size=patch_size, num_classes=0, **numbers)


def _files(source: str | Path, options: dict[str, Any]) -> tuple[Path, Path]:
    """Where configuration and weights are, downloaded if need be."""
    folder = Path(source)
    if folder.is_dir():
        for name in (CONFIG, WEIGHTS):
            if not (folder / name).is_file():
                raise UserError(f"{folder} holds no model of sakbench: it has no {name}.")
        return folder / CONFIG, folder / WEIGHTS
    try:
        config, weights = (Path(hf_hub_download(str(source), name, **options)) for name in (CONFIG, WEIGHTS))
    except HFValidationError as error:
        raise UserError(f"{source} is neither a folder nor the name of a repository (owner/name).") from error
    except OSError as error:  # no network, no such repository or file, no access: all are OSErrors
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{source} is no folder here, and a hub does not give it either: {reason}") from error
    return config, weights


def read_config(path: Path) -> dict[str, Any]:
    """The configuration in a file. Raises UserError where there is none."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error}).") from error
    if not isinstance(config, dict):
        raise UserError(f"{path} does not describe a model: it holds a {type(config).__name__}.")
    return config


def _fill(student: Saved, path: Path, grid: tuple[int, int]) -> None:
    """Load the weights, which know the token `grid`, into the student's, and set evaluation mode."""
    assert isinstance(student, nn.Module)
    try:
        state = load_file(path)
        for name in [name for name in state if name.endswith(".vit.pos_embed") and state[name].dim() == 3]:
            prefix = state[name].shape[1] - grid[0] * grid[1]
            state[name] = resize_position_embedding(state[name], grid, student.backbone.grid, prefix)
        student.load_state_dict(state)
    except (OSError, SafetensorError) as error:
        raise UserError(f"the weights {path} cannot be read ({error}): is the file whole?") from error
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise UserError(f"the weights {path} do not fit the model that {CONFIG} describes: {reason}") from error
    student.eval()


def _write(folder: Path, student: Saved) -> None:
    """The files under draft names, synced, then renamed in one go, the weights last."""
    assert isinstance(student, nn.Module)
    config = student.config
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in student.state_dict().items()}
    drafts = {name: whole.draft_of(folder / name) for name in (CARD, CONFIG, WEIGHTS)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / CARD).exists():
            del drafts[CARD]
        else:
            drafts[CARD].write_text(card(config), encoding="utf-8")
        drafts[CONFIG].write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        save_file(state, drafts[WEIGHTS], metadata={"format": "pt"})
        drafts[WEIGHTS].chmod(0o644)  # the library lets nobody else read it
        for draft in drafts.values():
            whole.sync(draft)
        for name, draft in drafts.items():
            draft.replace(folder / name)
        whole.sync(folder)
    except (OSError, SafetensorError) as error:
        raise UserError(f"the model could not be written to {folder} ({error}): make room there.") from error
    finally:
        if folder.is_dir():
            for draft in drafts.values():
                draft.unlink(missing_ok=True)


_KINDS = {
    "SAK": "A SAK student: one encoder that keeps what several vision foundation models know, with an adapter path for "
    "each of them and routers that mix them for each task (Swiss Army Knife, ICLR 2025).",
    "Prism": "A PRISM student: one encoder with experts that specialised by themselves in what several vision "
    "foundation models know, and that each task recombines (Tang et al., ICML 2026).",
}


def card(config: Mapping[str, Any]) -> str:
    """The model's card: what it is, what it was made from, how to load it."""
    teachers, tasks = config["settings"].get("teachers", []), config["settings"]["tasks"]
    encoder = config["encoder"]
    height, width = encoder["image_size"]
    name = encoder["name"] or f"a plain vision transformer, {encoder['depth']} blocks of width {encoder['embed_dim']}"
    kind = _KINDS.get(config["model"], "A baseline: one encoder and a head for each task.")
    facts = {
        "encoder": name,
        "images": f"{height}x{width} pixels (height x width), RGB, normalised by the mean and std of config.json",
        "teachers": ", ".join(name for name, _ in teachers) or "none",
        "tasks and their channels": ", ".join(f"{name} {count}" for name, count in tasks) or "none (stage 1)",
        **{key.replace("_", " "): value for key, value in config["about"].items()},
    }
    listed = "\n".join(f"- {key}: {value}" for key, value in facts.items())
    return f"""---
library_name: sakbench
tags: [{", ".join(TAGS)}]
---

{kind}

{listed}

```python
from sakbench.models import {config["model"]}

model = {config["model"]}.from_pretrained("THIS FOLDER OR REPOSITORY")
logits = model(images)  # each task's, (B, channels, H, W)
```

`sakbench predict THIS_FOLDER IMAGES...` writes each task's picture.

No licence is stated here. The encoder's and the teachers' weights, and the training data, have licences of their own
that may bind this model too: see where they were published.
"""
