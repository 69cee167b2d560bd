"""Maps computed from archive files, kept in the cache under the hash of the file that they come from.

A kept map is a PNG behind the hash of its bytes, written beside its place and renamed. Any number of processes may read
and write at once: the worst is that two compute the same map.
"""

import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np
from numpy.typing import NDArray
from PIL import Image

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
    draft = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path.parent, prefix=".draft-", delete=False) as file:
            draft = Path(file.name)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.chmod(0o644)  # a cache may be shared
        draft.replace(path)
    except OSError as error:
        if draft:
            draft.unlink(missing_ok=True)
        raise UserError(
            f"the cache {path.parent} cannot be written ({error.strerror}): make room there, or name another folder in"
            " SAKBENCH_CACHE."
        ) from error
