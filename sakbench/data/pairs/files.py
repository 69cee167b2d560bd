"""Pictures of a set of pairs as PNG files."""

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from PIL import Image

from sakbench import whole
from sakbench.data.pairs.manifest import Bytes, Pair, PastedObject
from sakbench.errors import UserError

LOCK = ".lock"
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


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a folder, which is made if need be. Raises `UserError` if another process does, or it cannot be written."""
    lock = FileLock(folder / LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UserError(f"another process makes pairs in {folder}: wait for it, or name another --output.") from error
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written to ({error.strerror}): make room there, or name another folder with --output."
        ) from error
    try:
        yield
    finally:
        lock.release()


def _encoded(pixels: Bytes) -> bytes:
    picture = io.BytesIO()
    Image.fromarray(pixels).save(picture, format="PNG")
    return picture.getvalue()
