"""From a name to an encoder with its weights."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_sam import VisionTransformerSAM
from torch import nn

from sakbench.backbones import cards, files, hub, inputs, radio, sam, theia
from sakbench.backbones.encoder import Encoder, SamPadding, resize_position_embedding, strip
from sakbench.backbones.registry import BUILDERS, TIMM_PREFIX, BackboneInfo, info
from sakbench.errors import UserError, unknown

Norm = Literal["paper", "native"]
Size = tuple[int, int]

_HUB = {"radio": (radio.Radio, radio.convert), "theia": (theia.Theia, theia.convert)}


def create(
    name: str,
    *,
    image_size: int | Size | None = None,
    pretrained: bool = True,
    weights: Path | None = None,
    norm: Norm = "paper",
    sam_padding: SamPadding = "crop",
    class_token: bool = False,
    final_norm: bool = False,
) -> Encoder:
    """Build a backbone, for images of `image_size` pixels, height first (its native size if None).

    A backbone with `own_input` takes images of any size and brings them to `image_size` itself.
    `pretrained=False` gives a fresh initialisation, drawn from torch's global generator; the weights of a
    `.random` backbone are random too, but always the same. `weights` is a file to take instead of the backbone's own:
    safetensors, a torch file without code, or the original .npz of timm's ViTs.
    `norm="native"` renormalises images by the statistics that the model was trained with; with "paper" every model
    sees ImageNet's, as in the paper's experiments. `class_token` lays it beside every cell, and
    `final_norm` keeps the last norm of a model of timm's for its summaries: see `Encoder`.
    Raises UserError for an unknown name or size, and for weights that are missing, damaged or out of reach.
    """
    entry = info(name)
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    if size is not None and min(size) < 1:
        raise UserError(f"an image has at least one pixel in each direction, not {size[0]} x {size[1]}.")
    if entry.weights == "random" and pretrained and weights is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            vit = _plain(entry, size)
    elif entry.weights == "own":
        vit = BUILDERS[entry.name](size or (entry.image_size, entry.image_size), pretrained and weights is None)
    elif not pretrained:
        vit = _timm(name, size, pretrained=False) if entry.weights == "timm" else _plain(entry, size)
    elif entry.weights == "timm":
        vit = _timm_fetched(name, size) if weights is None else _timm_with(name, size, weights, norm=final_norm)
    else:
        vit = _plain(entry, size)
    encoder = Encoder(
        vit,
        image_size=size or (entry.image_size, entry.image_size),
        statistics=_statistics(entry, vit) if norm == "native" else None,
        own_input=entry.own_input,
        sam_padding=sam_padding,
        class_token=class_token,
        final_norm=final_norm and entry.weights == "timm",
    )
    if pretrained and entry.weights != "timm" and (weights or entry.weights not in ("random", "own")):
        _load(encoder, entry, weights)
    encoder.name = name
    return encoder


@cache
def timm_info(name: str) -> BackboneInfo:
    """The entry of a `timm/<architecture>.<tag>` name, from timm's own configuration.

    Raises UserError for a name that timm does not have.
    """
    with torch.device("meta"):
        vit = _timm(name, None, pretrained=False)
        config = vit.pretrained_cfg
        height, width = config["input_size"][1:]
        encoder = Encoder(vit, image_size=(height, width))
    block = next(iter(getattr(vit, "blocks", [])), None)
    return BackboneInfo(
        name=name,
        dims=encoder.dims,
        depth=encoder.depth,
        heads=getattr(getattr(block, "attn", None), "num_heads", 0) if len(set(encoder.strides)) == 1 else 0,
        strides=encoder.strides,
        prefix_tokens=encoder.prefix_tokens,
        image_size=height,
        parameters=sum(parameter.numel() for parameter in encoder.parameters()),
        objective="see its model card",
        data="see its model card",
        data_size="not stated",
        licence=config.get("license") or "not stated",
        own_input=name.removeprefix(TIMM_PREFIX).startswith("samvit_"),
    )


def _statistics(entry: BackboneInfo, vit: Any) -> inputs.Statistics | None:
    """The mean and deviation that a model was trained with; None if they are ImageNet's."""
    if entry.weights == "timm":
        statistics = vit.pretrained_cfg["mean"], vit.pretrained_cfg["std"]
    else:
        statistics = radio.STATISTICS if isinstance(vit, radio.Radio) else inputs.IMAGENET
    return None if statistics == inputs.IMAGENET else statistics


def _plain(entry: BackboneInfo, size: Size | None) -> nn.Module:
    kind: Any = _HUB[_family(entry)][0] if entry.weights == "hub" else partial(VisionTransformer, num_classes=0)
    return kind(
        img_size=size or entry.image_size,
        patch_size=entry.patch_size,
        embed_dim=entry.dim,
        depth=entry.depth,
        num_heads=entry.heads,
    )


def _family(entry: BackboneInfo) -> str:
    return entry.name.split("_")[0]


def _load(encoder: Encoder, entry: BackboneInfo, weights: Path | None) -> None:
    """Weights of models that are built here, from `weights` or from where they belong."""
    path = weights or (cards.weights_file(entry.name) if entry.weights == "package" else _from_hub(entry))
    state, source = files.read(path), str(path) if weights else f"the weights of {entry.name}"
    if entry.weights == "hub":
        _, convert = _HUB[_family(entry)]
        own = encoder.state_dict().keys() >= {f"vit.{key}" for key in state}  # saved from an encoder like this one
        state = state if own else convert(state, source)
    native = entry.image_size // entry.patch_size
    position = state.get("pos_embed")
    if position is not None and position.shape[1] == native**2 + encoder.prefix_tokens:
        resized = resize_position_embedding(position, (native, native), encoder.grid, encoder.prefix_tokens)
        state["pos_embed"] = resized
    if weights is None and entry.weights == "package":
        try:
            files.load(encoder.vit, state, source)
        except UserError as error:
            raise UserError(f"the weights of {entry.name} are of another architecture: {cards.REMEDY}") from error
    else:
        files.load(encoder.vit, state, source)


def _from_hub(entry: BackboneInfo) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(entry.hub, hub.WEIGHTS_FILE))
    except OSError as error:
        raise UserError(
            f"the weights of {entry.name} are neither in the Hugging Face cache nor can they be downloaded: get"
            f" {hub.WEIGHTS_FILE} of huggingface.co/{entry.hub} and name it with --weights, or connect once."
        ) from error


def _timm(name: str, size: Size | None, *, pretrained: bool, **options: Any) -> Any:
    """timm's module, for `size` if it must be told."""
    bare = _known(name, tagged=pretrained and not options)
    told = {} if size is None else {"img_size": size}
    try:
        return _created(bare, pretrained=pretrained, **told, **options)
    except TypeError:
        if not told:
            raise
    return _created(bare, pretrained=pretrained, **options)  # a model without this option takes any size


def _created(bare: str, **options: Any) -> Any:
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it tells of every retry
    try:
        vit = timm.create_model(bare, num_classes=0, **options)
    except OSError as error:
        raise UserError(
            f"the weights of timm/{bare} are neither in the Hugging Face cache nor can they be downloaded: "
            "connect once, set HF_HOME to a cache that holds them, or name a file with --weights."
        ) from error
    if not hasattr(vit, "forward_intermediates"):
        raise UserError(f"timm/{bare} gives no intermediate features: take a model with timm's forward_intermediates.")
    if isinstance(vit, VisionTransformerSAM):
        sam.fold(vit)
    return vit


def _timm_fetched(name: str, size: Size | None) -> Any:
    """timm's module with its own weights."""
    try:
        return _timm(name, size, pretrained=True)
    except RuntimeError as error:  # SAM's have one size
        raise UserError(f"the weights of {name} do not fit images of {size}: {_reason(error)}.") from error


def _timm_with(name: str, size: Size | None, path: Path, *, norm: bool = False) -> Any:
    """timm's module with the weights of a file, read as timm reads its own: renamed, resized to the image size."""
    overlay: dict[str, Any] = {"num_classes": -1, "classifier": "head", "custom_load": False}
    if path.suffix.lower() == files.NUMPY:
        cards.file_digest(path)  # whether it can be read
        overlay |= {"file": str(path), "custom_load": True}
    else:
        overlay["state_dict"] = files.read(path)
    try:
        with _timm_says() as said:
            vit = _timm(name, size, pretrained=True, pretrained_cfg_overlay=overlay)
    except (RuntimeError, ValueError, KeyError, AttributeError, IndexError, AssertionError) as error:
        if "state_dict" in overlay and "size mismatch" not in str(error):  # timm stumbled before it came to shapes
            with torch.device("meta"):
                fresh = _timm(name, size, pretrained=False)
            strip(fresh, norm=not norm)
            files.compare(fresh.state_dict(), overlay["state_dict"], str(path))
        raise UserError(f"{path} does not fit {name}: {_reason(error)}.") from error
    vit.pretrained_cfg.pop("state_dict", None)
    strip(vit, norm=not norm)
    needed = vit.state_dict().keys()
    parts = {key.split(".")[0] for key in needed}
    # Heads, decoders and text towers may lie in the file; a block too many means another model.
    files.misfit(
        str(path),
        missing=[key for key in _keys(said, "Missing") if key in needed],
        unexpected=[key for key in _keys(said, "Unexpected") if key.split(".")[0] in parts],
    )
    return vit


@contextmanager
def _timm_says() -> Iterator[list[str]]:
    """What timm logs while it loads weights: which are missing and which have no place is told nowhere else."""
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    logger, listener = logging.getLogger("timm.models._builder"), Listener()
    level, propagate = logger.level, logger.propagate
    logger.addHandler(listener)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield said
    finally:
        logger.removeHandler(listener)
        logger.setLevel(level)
        logger.propagate = propagate


def _keys(said: list[str], kind: str) -> list[str]:
    found = (re.match(rf"{kind} keys \((.*?)\)", line) for line in said)
    return [key for match in found if match for key in match.group(1).split(", ")]


def _reason(error: Exception) -> str:
    """One clause of torch's long report on a state that does not fit."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    mismatch = re.search(r"size mismatch for (\S+): .*?torch.Size\(\[(.*?)\]\).*?torch.Size\(\[(.*?)\]\)", str(error))
    if mismatch:
        key, theirs, ours = mismatch.groups()
        return f"{key} is ({theirs}) instead of ({ours})"
    return (lines[-1] if lines else type(error).__name__).rstrip(".")


def _known(name: str, *, tagged: bool) -> str:
    """timm's name. Without a tag there are no weights to fetch, so with `tagged` there must be one."""
    bare = name.removeprefix(TIMM_PREFIX)
    pretrained = timm.list_pretrained()
    if bare in pretrained or (not tagged and timm.is_model(bare) and "." not in bare):
        return bare
    if timm.is_model(bare) and "." not in bare:
        tags = [known for known in pretrained if known.startswith(f"{bare}.")]
        raise unknown("pretrained timm model", bare, tags or [bare])
    # by architecture first: a long tag would drown a slip in it
    near = get_close_matches(bare.partition(".")[0], timm.list_models(), n=1, cutoff=0.8)
    tags = [known for known in pretrained if near and known.startswith(f"{near[0]}.")]
    raise unknown("pretrained timm model", bare, tags or get_close_matches(bare, pretrained, n=3, cutoff=0))
