"""Maps computed from archive files, kept in the cache under the hash of the file that they come from.

A kept map is a PNG behind the hash of its bytes, written beside its place and renamed. Any number of processes may read
and write at once: the worst is that two compute the same map.
"""

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sakbench import whole
from sakbench.cache import cache_folder
from sakbench.errors import UserError

Bytes = NDArray[np.uint8]


def kept_map(kind: str, source: bytes, compute: Callable[[], Bytes]) -> Bytes:
    """`compute()` uint8 (h, w) of the file content `source`, or what was kept of it; a damaged copy is made again."""
    key = hashlib.sha256(source).hexdigest()
    path = cache_folder() / "archives" / kind / key[:2] / f"{key[2:]}.map"
    found = _read(path)
    if found is None:
        found = compute()
        picture = io.BytesIO()
        Image.fromarray(found).save(picture, format="PNG")
        write_whole(path, hashlib.sha256(picture.getvalue()).digest() + picture.getvalue())
    return found


def _read(path: Path) -> Bytes | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, picture = content[:32], content[32:]
    if hashlib.sha256(picture).digest() != digest:
        return None
    return np.asarray(Image.open(io.BytesIO(picture)))


def write_whole(path: Path, content: bytes) -> None:
    """A file of the cache, whole or not at all; raises UserError if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        whole.write_bytes(path, content)
    except OSError as error:
        raise UserError(
            f"the cache {path.parent} cannot be written ({error.strerror}): make room there, or name another folder in"
            " SAKBENCH_CACHE."
        ) from error
