"""A trained student on a photograph of any size: brought to the network's size, predicted, brought back."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sakbench.backbones.inputs import IMAGENET
from sakbench.errors import UserError
from sakbench.models.checkpoints import Trained
from sakbench.models.interpolation import bilinear, interpolation
from sakbench.tasks import LABEL_TASKS, make
from sakbench.tasks.base import Task

_BAND_PIXELS = 2**20  # of a large image decoded at once

Size = tuple[int, int]


def tasks_of(student: Trained) -> dict[str, Task]:
    """The student's tasks, with as many classes as its heads have channels.

    Raises UserError if it has none, as after stage 1, or a head that is none of these tasks.
    """
    if not student.tasks:
        raise UserError("this student has no tasks yet: it is of stage 1, stage 2 gives it heads.")
    made = {}
    for name, channels in student.tasks.items():
        made[name] = make(name, classes=channels if name in LABEL_TASKS else None)
        if made[name].channels != channels:
            raise UserError(f"{name} takes {made[name].channels} channels, this student's head has {channels}.")
    return made


@dataclass(frozen=True)
class Spot:
    """Where an image stands on the network's canvas: the size it was brought to, and its upper left corner."""

    height: int
    width: int
    top: int
    left: int


def place(image: Size, canvas: Size) -> Spot:
    """Centred, its sides' ratio kept. An image that fits stays as large as it is, as in evaluation.

    One that fills less than half the canvas both ways is enlarged to fit: training has shown no smaller ones.
    """
    fit = min(canvas[0] / image[0], canvas[1] / image[1])
    factor = 1.0 if 1 <= fit <= 2 else fit
    height, width = (min(max(round(side * factor), 1), most) for side, most in zip(image, canvas, strict=True))
    return Spot(height, width, (canvas[0] - height) // 2, (canvas[1] - width) // 2)


def sizes(student: Trained) -> tuple[Size, Size]:
    """The canvas that the student takes, and the size of the maps that it was trained to give."""
    encoder = student.backbone
    output = student.output_size or encoder.image_size
    if not encoder.own_input:
        return encoder.image_size, output
    factor = min(encoder.image_size[0] / output[0], encoder.image_size[1] / output[1])
    return (round(output[0] * factor), round(output[1] * factor)), output


@torch.inference_mode()
def predict(student: Trained, image: Image.Image, tasks: Mapping[str, Task]) -> dict[str, Tensor]:
    """Each of the `tasks`, decoded at the image's own size, on the CPU; the student is in evaluation mode.

    `image` is RGB. Around it the canvas holds ImageNet's mean colour, as padding does in evaluation.
    """
    canvas, output = sizes(student)
    own = (image.height, image.width)
    where = place(own, canvas)
    device = next(student.parameters()).device
    small = image.resize((where.width, where.height), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(small)).permute(2, 0, 1).float() / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in IMAGENET)
    network = torch.zeros(3, *canvas)
    rows, columns = slice(where.top, where.top + where.height), slice(where.left, where.left + where.width)
    network[:, rows, columns] = (pixels - mean) / std
    logits = student(network[None].to(device), output)
    return {
        name: _decoded(task, bilinear(logits[name], canvas)[..., rows, columns], own)[0].cpu()
        for name, task in tasks.items()
    }


def _decoded(task: Task, logits: Tensor, size: Size) -> Tensor:
    """Logits (1, c, h, w) interpolated to `size` and decoded, band by band: a photograph's would fill the memory."""
    height, width = logits.shape[-2:]
    if (height, width) == size:
        return task.decode(logits)
    rows = interpolation(height, size[0], logits.dtype, logits.device)
    columns = interpolation(width, size[1], logits.dtype, logits.device)
    wide = logits @ columns.T
    band = max(_BAND_PIXELS // size[1], 1)
    return torch.cat([task.decode(some @ wide) for some in rows.split(band)], dim=-2)
