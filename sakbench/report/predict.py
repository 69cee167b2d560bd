"""What `sakbench predict` writes: each task's picture of each image, predictions to be scored, overview sheets."""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from rich.console import Console
from rich.markup import escape
from rich.progress import track

from sakbench.errors import UserError, unknown
from sakbench.models import load_checkpoint
from sakbench.models.hub import WEIGHTS
from sakbench.plots.figures import scenes_sheet
from sakbench.report.output import console, print_json
from sakbench.runs import artifacts
from sakbench.scoring.writing import as_pixels, write_png
from sakbench.training import prediction

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
PICTURES, PREDICTIONS, SHEETS = "pictures", "predictions", "sheets"
_PANEL, _PANEL_PIXELS = 2.0, 640  # of a sheet: inches, and pixels at most


def predict(
    checkpoint: Path,
    images: Sequence[Path],
    output: Path,
    *,
    tasks: Sequence[str] = (),
    size: str = "",
    as_json: bool = False,
) -> None:
    """Write what a student sees in images, files or folders of them, into the folder `output`.

    `pictures/TASK/NAME.png` is to be looked at, `predictions/TASK/NAME.png` is what `sakbench score TASK` reads,
    `sheets/NAME.png` shows the image and everything beside it. `tasks` are some of the student's (all by default);
    `size`, as HxW, is the network's instead of the checkpoint's own.
    Raises UserError for a checkpoint, image or name that is none; what was written before it stays.
    """
    out = console(stderr=as_json)
    found = image_files(images)
    _require_whole(checkpoint)
    student = load_checkpoint(checkpoint, _size(size))
    known = prediction.tasks_of(student)
    for name in tasks:
        if name not in known:
            raise unknown("task of this student", name, known)
    chosen = {name: task for name, task in known.items() if not tasks or name in tasks}
    student.to("cuda" if torch.cuda.is_available() else "cpu")
    for name, path in _tracked(out, found):
        image = read_image(path)
        decoded = prediction.predict(student, image, chosen)
        pictures = {}
        for task, values in decoded.items():
            pictures[task] = chosen[task].colours(values)
            write_png(output / PICTURES / task / f"{name}.png", pictures[task])
            write_png(output / PREDICTIONS / task / f"{name}.png", as_pixels(task, values))
        write_png(output / SHEETS / f"{name}.png", sheet(image, pictures))
    if as_json:
        print_json({"output": str(output), "images": {name: str(path) for name, path in found}, "tasks": [*chosen]})
    count = f"{len(found)} image{'s' * (len(found) > 1)}"
    out.print(
        f"{', '.join(chosen)} of {count} in {escape(str(output))}: {PICTURES}/TASK to look at, {PREDICTIONS}/TASK for "
        f"`sakbench score`, {SHEETS} with everything side by side",
        highlight=False,
        soft_wrap=True,
    )


def _require_whole(checkpoint: Path) -> None:
    """Raise UserError for the weights of a run that are not those that it left."""
    folder = checkpoint if checkpoint.is_dir() else checkpoint.parent
    altered = artifacts.problems(folder).get(folder / WEIGHTS)
    if altered:
        raise UserError(f"{altered} `sakbench repeat {folder.name}` trains the run once more.")


def image_files(given: Sequence[Path]) -> list[tuple[str, Path]]:
    """The images among files and folders, each once, with the name that its outputs get.

    Raises UserError for what is no image, a folder without any, and two images of one name.
    """
    files: dict[Path, Path] = {}
    for path in given:
        if not path.exists():
            raise UserError(f"there is no image {path}.")
        inside = [path]
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
            if not inside:
                raise UserError(f"the folder {path} holds no image ({', '.join(SUFFIXES)}).")
        for file in inside:
            files.setdefault(file.resolve(), file)
    if not files:
        raise UserError("there is no image to predict: name files, or folders of them.")
    names: dict[str, Path] = {}
    for file in files.values():
        if file.stem in names:
            raise UserError(
                f"{names[file.stem]} and {file} would be written under one name: predict them into different folders."
            )
        _opened(file).close()
        names[file.stem] = file
    return list(names.items())


def read_image(path: Path) -> Image.Image:
    """An image in RGB, upright. Raises UserError for a file that is broken."""
    with _opened(path) as image:
        try:
            return ImageOps.exif_transpose(image).convert("RGB")
        except (OSError, SyntaxError, ValueError) as error:
            raise UserError(f"{path} cannot be read ({error}): is the file whole?") from error


def sheet(image: Image.Image, pictures: dict[str, np.ndarray]) -> np.ndarray:
    """The image and its tasks' pictures, titled, as one picture: uint8 (H, W, 3)."""
    panels = {"image": np.array(image), **pictures}
    columns = {title: _small(picture)[None] for title, picture in panels.items()}
    figure = scenes_sheet(columns, width=_PANEL * len(columns))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight", dpi=200)
    return np.array(Image.open(buffer).convert("RGB"))


def _small(picture: np.ndarray) -> np.ndarray:
    image = Image.fromarray(picture)
    image.thumbnail((_PANEL_PIXELS, _PANEL_PIXELS))
    return np.array(image)


def _tracked(out: Console, found: list[tuple[str, Path]]) -> Iterable[tuple[str, Path]]:
    """The images, with a progress bar on a terminal."""
    return track(found, "predicting", console=out, transient=True, disable=not out.is_terminal)


def _size(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise UserError(f"the size {text!r} is not HxW, height first, such as 448x576.")
    return int(height), int(width)


def _opened(path: Path) -> Image.Image:
    """A file's header read. Raises UserError for a file that is no image, or has more than 8 bits per channel."""
    try:
        image = Image.open(path)
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} is not an image that can be read ({error}).") from error
    if image.mode.startswith(("I", "F")):
        raise UserError(f"{path} has more than 8 bits per channel (mode {image.mode}): convert it to 8 bits first.")
    return image
