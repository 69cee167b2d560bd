"""What the studies of frozen backbones share: the models, their features of pictures, tables of numbers."""

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import torch
from rich import box
from rich.console import Console
from rich.table import Table

from sakbench import backbones
from sakbench.backbones.encoder import Encoder
from sakbench.data.miniworld import Pictured
from sakbench.runs.scales import MINI
from sakbench.training.scenes import images_tensor

MODELS = {"ViT": MINI.vit, **MINI.teachers}
_BATCH = 50


@cache
def _encoder(name: str) -> Encoder:
    return backbones.create(MODELS[name]).eval()


@torch.inference_mode()
def level_maps(name: str, pictures: Pictured, count: int | None = None) -> list[np.ndarray]:
    """A model's four levels on the first `count` pictures, all if None: un-normalised patch tokens (n, d, h, w)."""
    encoder = _encoder(name)
    rows = np.arange(len(pictures.images) if count is None else count)
    parts = np.array_split(rows, -(-len(rows) // _BATCH))
    batches = [encoder(images_tensor(pictures, part, encoder.image_size[0])) for part in parts]
    return [torch.cat(level).numpy() for level in zip(*batches, strict=True)]


def print_numbers(title: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]], note: str) -> None:
    """Print a table of finished cells, with what one must know to read it."""
    table = Table(box=box.SIMPLE)
    table.add_column("")
    for column in columns:
        table.add_column(column, justify="right")
    for name, cells in rows.items():
        table.add_row(name, *cells)
    console = Console(highlight=False)
    console.print(title, style="bold")
    console.print(table)
    console.print(note)
