"""Pictures of a set of pairs as PNG files."""

import hashlib
import io
from pathlib import Path

from PIL import Image

from sakbench import whole
from sakbench.data.pairs.manifest import Bytes, Pair, PastedObject
from sakbench.errors import UserError


def write_png(path: Path, pixels: Bytes) -> str:
    """Write a picture uint8 (h, w) or (h, w, 3), whole or not at all; its SHA-256. Raises `UserError` if it cannot."""
    picture = io.BytesIO()
    Image.fromarray(pixels).save(picture, format="PNG")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        whole.write_bytes(path, picture.getvalue())
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}): make room, or name another folder.") from error
    return hashlib.sha256(picture.getvalue()).hexdigest()


def write_pair(
    folder: Path, number: int, pictures: tuple[Bytes, Bytes, Bytes], background: str, objects: tuple[PastedObject, ...]
) -> Pair:
    """Write what a pair shows before and after, and its mask; the pair for the manifest."""
    before, after, mask = (f"{number:03}-{part}.png" for part in ("before", "after", "mask"))
    first, second, third = (
        write_png(folder / name, pixels) for name, pixels in zip((before, after, mask), pictures, strict=True)
    )
    return Pair(before, after, mask, (first, second, third), background, objects)
