"""The models that counterfactuals are made with: names on the Hugging Face hub at pinned revisions, or folders."""

import hashlib
import logging
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError

from sakbench import whole
from sakbench.data.pairs.manifest import printed
from sakbench.errors import UserError

Loaded = TypeVar("Loaded")

# What loaders of models raise on files that are missing, damaged or of another kind.
BROKEN = (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, SafetensorError)

_WEIGHTS = ("*.json", "*.txt", "*.safetensors")
_COPIES = ("*fp16*", "*non_ema*", "v1-5*")  # of weights, which nobody reads


@dataclass(frozen=True)
class Pinned:
    """A model of the hub at one revision, or in a local folder, which has none; `files` are those that it needs."""

    name: str
    revision: str = ""
    files: tuple[str, ...] = _WEIGHTS

    def __str__(self) -> str:
        return f"{self.name}@{self.revision}" if self.revision else self.name

    @cached_property
    def about(self) -> str:
        """What is written down of it: name and revision, or a folder's name and what is in it, wherever it lies."""
        if self.revision:
            return str(self)
        folder, digest = Path(self.name), hashlib.sha256()
        for file in sorted(path for pattern in (*_WEIGHTS, "*.bin") for path in folder.rglob(pattern)):
            digest.update(f"{file.relative_to(folder)} {whole.sha256(file)}\n".encode())
        return f"{printed(folder.resolve().name)[-100:]} {digest.hexdigest()[:12]}"

    @property
    def download(self) -> str:
        """The command that fetches it into a folder."""
        words = ["hf", "download", self.name, "--revision", self.revision, "--include", *self.files]
        return shlex.join([*words, "--exclude", *_COPIES, "--local-dir", self.name.rpartition("/")[2]])


BASE = Pinned("stable-diffusion-v1-5/stable-diffusion-v1-5", "451f4fe16113bff5a5d2269ed5ad43b0592e9a14")
CONTROLNETS = {
    "edges": Pinned("lllyasviel/control_v11p_sd15_canny", "115a470d547982438f70198e353a921996e2e819"),
    "depth": Pinned("lllyasviel/control_v11f1p_sd15_depth", "539f99181d33db39cf1af2e517cd8056785f0a87"),
}
DEPTH = Pinned("Intel/dpt-hybrid-midas", "11eaf7a1cf4bd70740697dbc216f98980c0aeb03", ("*.json", "*.bin"))
JUDGE = Pinned("openai/clip-vit-large-patch14", "32bd64288804d66eefd0ccbe215aa642df71cc41")


def chosen(text: str, usual: Pinned, option: str) -> Pinned:
    """The model that a user names: a folder, or NAME@COMMIT of the hub; the usual one if nothing is named.

    Raises `UserError` for a name of the hub without a commit: what it stands for would change under our feet.
    """
    if not text:
        return usual
    if Path(text).is_dir():
        return Pinned(text)
    name, _, revision = text.partition("@")
    if re.fullmatch(r"[0-9a-f]{40}", revision) and name.count("/") == 1:
        return Pinned(name, revision, usual.files)
    raise UserError(f"{option} {text!r} is neither a folder nor NAME@COMMIT of the Hugging Face hub, such as {usual}.")


def load(model: Pinned, what: str, option: str, read: Callable[[Path], Loaded]) -> Loaded:
    """A model through `read(folder)`; one of the hub is fetched if it is not in the cache.

    Raises `UserError`, with what to do, if it is missing, broken or of another kind.
    """
    if not model.revision:
        return _read(Path(model.name), model, what, read)
    try:
        return read(_fetched(model, here=True))
    except BROKEN:  # it is not here, or not all of it
        pass
    try:
        folder = _fetched(model, here=False)
    except Exception as error:  # the hub's own, and those of whatever carries it
        raise UserError(
            f"{what} {model} is neither in the Hugging Face cache nor can it be downloaded: connect once, or get it"
            f" where there is a network with `{model.download}` and name the folder with {option}."
        ) from error
    return _read(folder, model, what, read)


def _read(folder: Path, model: Pinned, what: str, read: Callable[[Path], Loaded]) -> Loaded:
    try:
        return read(folder)
    except BROKEN as error:
        reason = str(error).strip().partition("\n")[0][:200].rstrip(".")
        raise UserError(f"{what} cannot be read from {model} ({reason or type(error).__name__}).") from error


def complete(read: Callable[..., Any], folder: Path, **options: Any) -> Any:
    """A model that has all its weights: loaders fill what is missing at random and only log it. Raises `ValueError`."""
    model, told = read(folder, output_loading_info=True, **options)
    if missing := told["missing_keys"]:
        raise ValueError(f"{len(missing)} weights are missing: it is a model of another kind")
    return model


def is_here(model: Pinned) -> bool:
    """Whether a model of the hub is in the Hugging Face cache, as far as one of its files tells."""
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(model.name, "config.json", revision=model.revision), str)


def _fetched(model: Pinned, *, here: bool) -> Path:
    from huggingface_hub import snapshot_download

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it tells of every retry
    return Path(
        snapshot_download(
            model.name,
            revision=model.revision,
            allow_patterns=list(model.files),
            ignore_patterns=list(_COPIES),
            local_files_only=here,
        )
    )
