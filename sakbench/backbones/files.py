"""Files of weights: safetensors first, torch files as far as they hold nothing but tensors and plain values."""

import argparse
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from sakbench.errors import UserError

State = dict[str, Tensor]

_WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model", "teacher")  # in the order of what is preferred
_PREFIXES = ("module.", "_orig_mod.", "backbone.", "encoder.vit.", "vit.")
_SAFETENSORS, _TORCH = (".safetensors",), (".pth", ".pt", ".bin", ".tar", ".ckpt")
NUMPY = ".npz"


def read(path: Path) -> State:
    """The state dict that a file holds, without wrappers ("model", "teacher") and prefixes ("module.", "backbone.").

    Nothing but tensors and plain values is ever unpickled.
    Raises UserError for a file that is missing, damaged, of another kind, or holds no state dict.
    """
    content = _content(path)
    state = {key: value for key, value in _unwrapped(content).items() if isinstance(value, Tensor)}
    if not state:
        raise UserError(f"{path} holds no weights by name: give a state dict, best as safetensors.")
    return _unprefixed(state)


def load(model: nn.Module, state: State, source: str) -> None:
    """Put a state into a model, all of it.

    Raises UserError that names the first weights that are missing, have no counterpart, or are of another shape.
    """
    compare(model.state_dict(), state, source)
    model.load_state_dict(state)


def compare(own: State, state: State, source: str) -> None:
    """Raise UserError that names how a state differs from a model's `own`, if it does, in names or shapes."""
    shapes = [
        f"{key} is {tuple(value.shape)} instead of {tuple(own[key].shape)}"
        for key, value in sorted(state.items(), key=lambda item: "pos_embed" in item[0])  # the least telling one last
        if key in own and value.shape != own[key].shape
    ]
    missing, unexpected = [key for key in own if key not in state], [key for key in state if key not in own]
    misfit(source, missing=missing, unexpected=unexpected, shapes=shapes)


def misfit(source: str, *, missing: list[str], unexpected: list[str], shapes: Sequence[str] = ()) -> None:
    """Raise UserError if anything is listed, naming the first of each kind."""
    told = list(shapes[:1])
    told += [f"{_first(missing)} missing"] if missing else []
    told += [f"{_first(unexpected)} without counterpart"] if unexpected else []
    if told:
        raise UserError(f"{source} does not fit this architecture: {'; '.join(told)}.")


def _first(keys: list[str]) -> str:
    more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
    return f"{keys[0]}{more}"


def _content(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"there is no file of weights {path}.")
    kind = path.suffix.lower()
    if kind not in _SAFETENSORS + _TORCH:
        allowed = ", ".join((*_SAFETENSORS, *_TORCH, NUMPY))
        raise UserError(f"{path} is no file of weights that can be read: they end in {allowed}.")
    try:
        if kind in _SAFETENSORS:
            return load_file(path)
        # Checkpoints often keep their options in a Namespace, a plain bag of values.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} is damaged, or holds objects besides tensors, which are not unpickled: save its state dict alone,"
            " best as safetensors."
        ) from error
    except OSError as error:
        raise UserError(f"the weights {path} cannot be read ({error.strerror}).") from error
    except (SafetensorError, RuntimeError, EOFError, ValueError, LookupError, AttributeError) as error:
        raise UserError(f"the weights {path} cannot be read: the file is damaged or cut, get it again.") from error


def _unwrapped(content: Any) -> Mapping[str, Any]:
    while isinstance(content, Mapping):
        inner = [content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)]
        if not inner:
            return content
        content = inner[0]
    return {}


def _unprefixed(state: State) -> State:
    """Without what wraps the encoder's names; what lies beside a "backbone." (a head, a projector) goes."""
    for prefix in _PREFIXES:
        inside = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        if inside and (len(inside) == len(state) or prefix == "backbone."):
            return _unprefixed(inside)
    return state
