"""Checkpoints of a running training: safetensors and JSON, whole or not there at all.

A checkpoint is a folder `step-00000120` with `model.safetensors`, `optimizer.safetensors` and `state.json`. It is
written under another name, synced and renamed, so that a folder with this name is always complete; what the disk has
changed since is noticed by its sums.
"""

import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sakbench import whole
from sakbench.errors import UserError
from sakbench.training import saved
from sakbench.whole import sha256


def save(folder: Path, step: int, seconds: float, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Write the checkpoint after `step` steps and `seconds` of training, and drop those of fewer steps."""
    target = folder / f"step-{step:08d}"
    draft = whole.draft_of(folder / "checkpoint")
    tensors, scalars = _flatten(optimizer.state_dict())
    try:
        whole.clear(folder)
        draft.mkdir(parents=True)
        write_tensors(draft / "model.safetensors", model.state_dict())
        write_tensors(draft / "optimizer.safetensors", tensors)
        state = {
            "step": step,
            "seconds": seconds,
            "optimizer": scalars,
            "sha256": {f.name: sha256(f) for f in sorted(draft.glob("*.safetensors"))},
        }
        (draft / saved.STATE).write_text(whole.sealed(state), encoding="utf-8")
        whole.settle(draft, target)
        for old in folder.glob("step-*"):
            if old < target:  # never a later one, of a process that was faster
                whole.discard(old)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"the checkpoint {target} could not be written ({error}): make room or choose another place;"
            " what was written before it is kept."
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def restore(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, float]:
    """Load the newest checkpoint in `folder`; returns its steps and seconds, zeros if there is none."""
    path = saved.newest(folder)
    if path is None:
        return 0, 0.0
    try:
        state = saved.read_state(path)
        model.load_state_dict(load_file(path / "model.safetensors"))
        _unflatten(optimizer, load_file(path / "optimizer.safetensors"), state["optimizer"])
        return int(state["step"]), float(state["seconds"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"the checkpoint {path} cannot be read ({reason}): `sakbench store check --repair` removes it, or delete"
            f" {folder}; the same command then trains this run again."
        ) from error


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors as safetensors; each is copied out so that shared storage is no obstacle."""
    save_file({name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}, path)
    path.chmod(0o644)  # the library lets nobody else read it, and machines may share the folder under several names


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
