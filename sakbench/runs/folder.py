"""What a run leaves in its folder: weights that `from_pretrained` loads, its spec, and what its metrics are made of."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sakbench import whole
from sakbench.errors import UserError
from sakbench.models.agglomeration import Agglomerated
from sakbench.models.hub import CARD
from sakbench.models.upper_bound import UpperBound
from sakbench.runs import artifacts
from sakbench.runs.artifacts import SUMS, WEIGHTS
from sakbench.runs.spec import RunSpec
from sakbench.runs.students import Model, output_size
from sakbench.training.checkpoint import write_tensors


def write(
    here: Path, model: Model | None, spec: RunSpec, sums: Mapping[str, Tensor] = MappingProxyType({})
) -> list[dict[str, Any]]:
    """The model in the form that `from_pretrained` loads, beside the run's spec, and what its metrics are made of.

    Returns what it wrote; there may be no model, or nothing of metrics.

    The files are written in a folder of their own and moved when all are on the disk, the weights last. A card that is
    there already stays.
    """
    draft = whole.draft_of(here / "model")
    try:
        here.mkdir(parents=True, exist_ok=True)
        whole.clear(here)
        draft.mkdir()
        (draft / "run.json").write_text(json.dumps(spec.to_dict(), indent=2))
        if sums:
            write_tensors(draft / SUMS, {name: _narrowed(value) for name, value in sums.items()})
        if isinstance(model, UpperBound | Agglomerated):  # of no use elsewhere without its teachers, or tasks
            write_tensors(draft / WEIGHTS, model.state_dict())
        elif model is not None:
            model.about = {"scale": spec.scale, "data set": spec.dataset, "run": spec.id}
            model.output_size = output_size(spec)
            model.save_pretrained(draft)
        return _publish(draft, here)
    except (OSError, SafetensorError) as error:
        raise UserError(f"the weights could not be written to {here} ({error}): make room there.") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def sums_in(here: Path) -> dict[str, Tensor]:
    """What the metrics of a run's tasks are made of, image by image; nothing where it left none.

    Raises UserError for a file that is damaged.
    """
    file = here / SUMS
    if not file.exists():
        return {}
    problem = artifacts.problems(here, SUMS).get(file)
    try:
        if problem:
            raise ValueError(problem)
        return {
            name: value.long() if not value.is_floating_point() else value for name, value in load_file(file).items()
        }
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"{file} cannot be read ({error}): delete {here}, and the run is done again.") from error


def _narrowed(value: Tensor) -> Tensor:
    """Counts of an image's pixels need no 64 bits."""
    small = not value.is_floating_point() and bool((value.abs() < 2**31).all())
    return value.to(torch.int32) if small else value


def _publish(draft: Path, here: Path) -> list[dict[str, Any]]:
    """Move a draft's files into a run's folder, and write down what they are."""
    files = sorted(draft.iterdir(), key=lambda file: file.name == WEIGHTS)
    for file in files:
        whole.sync(file)
    (here / artifacts.NAME).unlink(missing_ok=True)  # it tells of the files before
    whole.sync(here)
    for file in files:
        if file.name != CARD or not (here / CARD).exists():
            file.replace(here / file.name)
    whole.sync(here)
    return artifacts.write(here, [file.name for file in files])
