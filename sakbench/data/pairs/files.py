"""Pictures of a set of pairs as PNG files."""

import hashlib
import io
from pathlib import Path

from PIL import Image

from sakbench import whole
from sakbench.data.pairs.manifest import Bytes, Pair, PastedObject
from sakbench.errors import UserError

Trio = tuple[Bytes, Bytes, Bytes]  # before, after, mask


def write_png(path: Path, pixels: Bytes) -> str:
    """Write a picture uint8 (h, w) or (h, w, 3), whole or not at all; its SHA-256. Raises `UserError` if it cannot."""
    content = _encoded(pixels)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        whole.write_bytes(path, content)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}): make room, or name another folder.") from error
    return hashlib.sha256(content).hexdigest()


def write_pair(folder: Path, number: int, pictures: Trio, background: str, objects: tuple[PastedObject, ...]) -> Pair:
    """Write what a pair shows before and after, and its mask; the pair for the manifest."""
    before, after, mask = (f"{number:03}-{part}.png" for part in ("before", "after", "mask"))
    for name, pixels in zip((before, after, mask), pictures, strict=True):
        write_png(folder / name, pixels)
    return Pair(before, after, mask, sums(pictures), background, objects)


def sums(pictures: Trio) -> tuple[str, str, str]:
    """The SHA-256 sums that the files of a pair have."""
    first, second, third = (hashlib.sha256(_encoded(pixels)).hexdigest() for pixels in pictures)
    return first, second, third


def _encoded(pixels: Bytes) -> bytes:
    picture = io.BytesIO()
    Image.fromarray(pixels).save(picture, format="PNG")
    return picture.getvalue()
