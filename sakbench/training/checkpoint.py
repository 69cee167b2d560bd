"""Checkpoints of a running training: safetensors and JSON, whole or not there at all.

A checkpoint is a folder `step-00000120` with `model.safetensors`, `optimizer.safetensors` and `state.json`. It is
written under another name, synced and renamed, so that a folder with this name is always complete.
"""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sakbench.errors import UserError


def save(folder: Path, step: int, seconds: float, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Write the checkpoint after `step` steps and `seconds` of training, and drop the ones before it."""
    target = folder / f"step-{step:08d}"
    draft = folder / f".draft-{os.getpid()}"
    tensors, scalars = _flatten(optimizer.state_dict())
    try:
        for left in folder.glob(".draft-*"):  # by processes that were killed, and of this one before
            if left == draft or not psutil.pid_exists(int(left.name.rpartition("-")[2])):
                shutil.rmtree(left, ignore_errors=True)
        draft.mkdir(parents=True)
        write_tensors(draft / "model.safetensors", model.state_dict())
        write_tensors(draft / "optimizer.safetensors", tensors)
        state = {
            "step": step,
            "seconds": seconds,
            "optimizer": scalars,
            "sha256": {f.name: sha256(f) for f in sorted(draft.glob("*.safetensors"))},
        }
        (draft / "state.json").write_text(json.dumps(state))
        for file in draft.iterdir():
            sync(file)
        if target.exists():
            shutil.rmtree(target)
        draft.rename(target)
        sync(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise UserError(
            f"the checkpoint {target} could not be written ({error}): make room or choose another place;"
            " the checkpoint before it is kept."
        ) from error
    for old in folder.glob("step-*"):
        if old != target:
            shutil.rmtree(old)


def restore(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, float]:
    """Load the newest checkpoint in `folder`; returns its steps and seconds, zeros if there is none."""
    found = sorted(folder.glob("step-*"))
    if not found:
        return 0, 0.0
    path = found[-1]
    try:
        state = json.loads((path / "state.json").read_text())
        for name, digest in state["sha256"].items():
            if sha256(path / name) != digest:
                raise ValueError(f"{name} has changed")
        model.load_state_dict(load_file(path / "model.safetensors"))
        _unflatten(optimizer, load_file(path / "optimizer.safetensors"), state["optimizer"])
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"the checkpoint {path} cannot be read ({reason}): delete {folder} to train this run again."
        ) from error
    return int(state["step"]), float(state["seconds"])


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors as safetensors; each is copied out so that shared storage is no obstacle."""
    save_file({name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}, path)


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Have the operating system write a file's (or a folder's) content to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _flatten(state: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """AdamW's state as named tensors (`index.name`) and its groups' plain values."""
    tensors = {f"{index}.{name}": value for index, slots in state["state"].items() for name, value in slots.items()}
    return tensors, {"param_groups": state["param_groups"]}


def _unflatten(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], scalars: dict[str, Any]) -> None:
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        slots.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": slots, "param_groups": scalars["param_groups"]})
