"""Reading the archives' files: pixels out, or one sentence about the file that is missing or broken."""

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from sakbench.errors import UserError

Array = NDArray[Any]


class MissingFile(UserError):
    """A file that should be there and is not."""


@dataclass(frozen=True)
class Shelf:
    """Where an archive keeps one kind of file: pairs of folder and ending; the first that has a name's file counts."""

    places: tuple[tuple[Path, str], ...]

    def file(self, name: str) -> Path:
        """The file of a name; raises MissingFile."""
        for folder, ending in self.places:
            path = folder / f"{name}{ending}"
            if path.is_file():
                return path
        raise MissingFile(f"{name} is missing: looked for {' and '.join(self.patterns())}.")

    def present(self) -> dict[str, set[str]]:
        """The names that there are files for, by pattern such as `/data/NYUDv2/depth/*.npy`."""
        found: dict[str, set[str]] = {}
        for pattern, (folder, ending) in zip(self.patterns(), self.places, strict=True):
            entries = (path.name for path in folder.iterdir()) if folder.is_dir() else ()
            found[pattern] = {entry.removesuffix(ending) for entry in entries if entry.endswith(ending)}
        return found

    def patterns(self) -> list[str]:
        """What is looked for, as shell patterns."""
        return [f"{folder}/*{ending}" for folder, ending in self.places]


def read_bytes(path: Path) -> bytes:
    """A file's content."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise MissingFile(f"{path} is missing.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from error


_REMEDY = "unpack the archive again"


def _decoded(path: Path, what: str, decode: Callable[[io.BytesIO], Array], remedy: str = _REMEDY) -> Array:
    """A file through a decoder; whatever that one raises on broken bytes is one sentence."""
    content = read_bytes(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of decoders about bytes that they can still read
            return decode(io.BytesIO(content))
    except UserError:
        raise
    except Exception as error:  # decoders of foreign bytes raise all there is
        raise UserError(f"{path} is not {what} or is damaged ({type(error).__name__}: {error}): {remedy}.") from error


def read_image(path: Path) -> NDArray[np.uint8]:
    """A JPEG or PNG as uint8 (h, w, 3)."""

    def decode(stream: io.BytesIO) -> Array:
        with Image.open(stream) as image:
            return np.asarray(image.convert("RGB"))

    return _decoded(path, "an image", decode)


def read_photograph(path: Path, *, remedy: str) -> NDArray[np.uint8]:
    """A user's own image as uint8 (h, w, 3), upright; `remedy` is what helps against a damaged one."""

    def decode(stream: io.BytesIO) -> Array:
        with Image.open(stream) as image:
            if image.mode.startswith(("I", "F")):
                raise UserError(f"{path} has more than 8 bits per channel (mode {image.mode}): convert it first.")
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))

    return _decoded(path, "an image", decode, remedy)


def read_map(path: Path, key: str = "", *, channels: int = 1, remedy: str = _REMEDY) -> Array:
    """A label map (h, w), or (h, w, 3) for 3 channels, from a .png, .jpg or .npy, or variable `key` of a .mat.

    Palette images give their indices; `remedy` is what helps against a damaged file.
    """

    def image(stream: io.BytesIO) -> Array:
        with Image.open(stream) as opened:
            return np.asarray(opened).astype(np.uint8) if opened.mode == "1" else np.asarray(opened)

    def numpy(stream: io.BytesIO) -> Array:
        return np.load(stream, allow_pickle=False)

    def matlab(stream: io.BytesIO) -> Array:
        return _variable(stream, key)

    what, decode = {".npy": ("a NumPy array", numpy), ".mat": (f"a MATLAB file with {key}", matlab)}.get(
        path.suffix, ("an image", image)
    )
    found = _decoded(path, what, decode, remedy)
    if channels == 1 and found.ndim == 3 and found.shape[-1] == 1:
        found = found[..., 0]
    expected = found.ndim == 2 if channels == 1 else found.ndim == 3 and found.shape[2] == channels
    if not expected or found.dtype.kind not in "buif":
        wanted = "(h, w)" if channels == 1 else f"(h, w, {channels})"
        raise UserError(f"{path} holds {found.dtype} of shape {found.shape}; numbers of shape {wanted} are expected.")
    return found


def read_struct(path: Path, key: str) -> Array:
    """Variable `key` of a MATLAB file, as scipy gives structures."""
    return _decoded(path, f"a MATLAB file with {key}", lambda stream: _variable(stream, key))


def _variable(stream: io.BytesIO, key: str) -> Array:
    from scipy.io import loadmat  # here, because it takes long to import and not every archive has MATLAB's files

    return loadmat(stream, variable_names=[key])[key]


def require_shape(path: Path, found: Array, shape: tuple[int, int]) -> None:
    """That a label (h, w, ...) is as large as its image."""
    if found.shape[:2] != shape:
        sizes = [f"{height} x {width}" for height, width in (found.shape[:2], shape)]
        raise UserError(f"{path} is {sizes[0]} while its image is {sizes[1]}: the two come from different copies.")


def require_classes(path: Path, labels: Array, classes: int) -> None:
    """That labels are 0 .. classes - 1, or 255."""
    wrong = labels[(labels >= classes) & (labels != 255)]
    if wrong.size:
        raise UserError(
            f"{path} holds the label {wrong.flat[0]}; 0 to {classes - 1} are classes and 255 is ignored: is it of"
            " another data set?"
        )
